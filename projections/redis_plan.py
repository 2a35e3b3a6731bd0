"""From the ops of a batch to the fewest Redis commands with the same end: what is written twice is written once.

1. A row is a hash: its fields as JSON texts, and under `MARK`, which no field can be called, its places.
2. An index is a sorted set in which every score is 0 and a member is the rank's score (8 bytes, big-endian, from -2^63
   on) and the row's key: Redis orders members byte by byte, so every 64-bit score is exact, the order is that of
   (score, key), and a page goes on behind a member, whatever has changed before it.
3. An index without members is no key any more: its name, which callers may have written, goes with its last row.
4. `Drop` unlinks the hash, places and all, and takes the members out. What Redis keeps on disk (append-only file,
   snapshots) holds the row until it is rewritten (`BGREWRITEAOF`, `BGSAVE`): to see to that is retention's work.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mnemolog.domain import canonical
from mnemolog.domain.ops import Drop, Op, Put, Rank, Rescore, Unrank
from projections.redis_wire import Command

MARK = b"\xff"
_ZERO = 1 << 63
_SCORE = 8
_ARGUMENTS = 1000

Places = dict[str, tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one partition's keys in one version of the views; the tag in braces puts them in one slot."""

    app: str
    version: str
    partition: int

    @property
    def prefix(self) -> str:
        """Return what all keys begin with."""
        return f"{self.app}:{self.version}:{{p{self.partition}}}:"

    @property
    def checkpoint(self) -> str:
        """Return the key of the checkpoint."""
        return self.prefix + "at"

    @property
    def rows(self) -> str:
        """Return what the keys of rows begin with."""
        return self.prefix + "r:"

    def row(self, key: str) -> str:
        """Return the key of a row."""
        return self.rows + key

    def index(self, name: str) -> str:
        """Return the key of an index."""
        return f"{self.prefix}i:{name}"


def member(score: int, key: bytes) -> bytes:
    """Return a place's member. Raises ValueError beyond 64 bits."""
    if not -_ZERO <= score < _ZERO:
        message = f"a score must fit in 64 bits, {score} does not"
        raise ValueError(message)
    return (score + _ZERO).to_bytes(_SCORE, "big") + key


def place(member: bytes) -> tuple[int, str]:
    """Return the score and the key that a member says."""
    return int.from_bytes(member[:_SCORE], "big") - _ZERO, member[_SCORE:].decode()


def fields(reply: Mapping[bytes, bytes] | Sequence[bytes]) -> dict[str, Any] | None:
    """Read the reply to HGETALL: None if there is no such row."""
    found = reply if isinstance(reply, Mapping) else dict(zip(reply[::2], reply[1::2], strict=True))
    if not found:
        return None
    told = [(name.decode(), text) for name, text in found.items() if name != MARK]
    values = canonical.reread(b"[" + b",".join(text for _, text in told) + b"]")
    return dict(zip((name for name, _ in told), values, strict=True))


def ranked(ops: Sequence[Op]) -> list[str]:
    """Return the keys of the rows whose present places a plan must know."""
    return list(dict.fromkeys(op.key for op in ops if not (isinstance(op, Put) and op.fields)))


@dataclass(slots=True)
class _Row:
    places: Places
    before: Places
    fields: dict[str, str | bytes] = field(default_factory=dict)
    dropped: bool = False
    made: bool = False


class Plan:
    """What a batch comes to, row by row. Raises ValueError or TypeError for what cannot be stored."""

    def __init__(self, ops: Sequence[Op], marks: Mapping[str, bytes | None]) -> None:
        """Take the ops, and what stands under `MARK` in the rows that `ranked` names."""
        self._rows: dict[str, _Row] = {}
        for op in ops:
            row = self._rows.get(op.key)
            if row is None:
                before = _places(marks.get(op.key))
                row = self._rows[op.key] = _Row(dict(before), before)
            _fold(row, op)

    def commands(self, names: Names) -> Iterator[Command]:
        """Return the commands: rows that go, rows that change, then each index once or in a few parts."""
        leave: dict[str, list[bytes]] = {}
        enter: dict[str, list[bytes]] = {}
        rows = names.rows
        gone = [rows + key for key, row in self._rows.items() if row.dropped]
        yield from (("UNLINK", *part) for part in _parts(gone))
        for key, row in self._rows.items():
            if change := _change(row):
                yield ("HSET", rows + key, *change)
            name = key.encode()
            left = row.before.values() if row.before else ()
            for index, score in set(left).difference(row.places.values()) if left else ():
                leave.setdefault(index, []).append(member(score, name))
            for index, score in set(row.places.values()).difference(left) if left else row.places.values():
                enter.setdefault(index, []).extend((b"0", member(score, name)))
        for index, members in leave.items():
            yield from (("ZREM", names.index(index), *part) for part in _parts(members))
        for index, members in enter.items():
            yield from (("ZADD", names.index(index), *part) for part in _parts(members))


def _fold(row: _Row, op: Op) -> None:
    match op:
        case Put(_, values):
            row.made = True
            row.fields |= {name: _text(value) for name, value in values.items()}
        case Rank(_, family, index, score):
            row.made = True
            row.places[family] = (index, score)
        case Rescore(_, family, score):
            if family in row.places:
                row.places[family] = (row.places[family][0], score)
        case Unrank(_, family):
            row.places.pop(family, None)
        case Drop():
            row.fields.clear()
            row.places.clear()
            row.dropped, row.made = True, False


def _change(row: _Row) -> list[str | bytes]:
    """Return the fields to set, and the mark where places changed or nothing else would keep the row there."""
    change: list[str | bytes] = [text for pair in row.fields.items() for text in pair]
    moved = bool(row.places) if row.dropped else row.places != row.before
    if moved or (row.made and not change and not row.places):
        change += [MARK, canonical.plain(row.places) if row.places else b""]
    return change


def _text(value: Any) -> str | bytes:
    """Return a value's JSON text; most values are numbers, nothing, or text, and need no encoder of ours."""
    if value is None:
        return "null"
    if type(value) is int:
        return str(value)
    return canonical.plain(value) if type(value) is str else canonical.dumps(value)


def _places(mark: bytes | None) -> Places:
    return {family: (index, score) for family, (index, score) in json.loads(mark).items()} if mark else {}


def _parts(arguments: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (arguments[at : at + _ARGUMENTS] for at in range(0, len(arguments), _ARGUMENTS))
