"""A snapshot in SQLite: the same file as the log when embedded, one file per partition when distributed.

1. Disposable: made by other code (`fingerprint`), or under other rules, it is cleared, and the state replayed from the
   facts. One in a file of its own that is no database any more is removed (`opened`).
2. Not forced to disk: after a power loss an older snapshot stands there, and the tail to replay is longer.
3. Acceptances that have left the window are removed as others come.
4. A disk that does not answer raises Unavailable, a file that is damaged Corrupt: neither is the fault of the command
   that is being decided.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgpack

import mnemolog.domain
from mnemolog.domain.decision import (
    Acceptance,
    AccessState,
    Answered,
    Body,
    Delta,
    Ended,
    GroupState,
    Head,
    MemoryState,
    Owned,
    OwnerState,
    PolicyState,
    SessionState,
    Slot,
    SpaceState,
    Strategy,
    Stream,
    Token,
    Written,
)
from mnemolog.domain.errors import Corrupt, Unavailable
from mnemolog.domain.record import START, Position
from mnemolog.domain.rules import Rules
from workers.log_sqlite import connect
from workers.state import Loaded

_log = logging.getLogger(__name__)
_BODIES: tuple[type[Body], ...] = (
    SpaceState, SessionState, MemoryState, GroupState, OwnerState, PolicyState, AccessState, Ended,
)  # fmt: skip
_SCHEMA = """
CREATE TABLE IF NOT EXISTS state_meta (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state_slots (slot INTEGER PRIMARY KEY, ordinal INTEGER, last INTEGER);
CREATE TABLE IF NOT EXISTS state_streams (id INTEGER PRIMARY KEY, name TEXT UNIQUE, row BLOB);
CREATE TABLE IF NOT EXISTS state_keys (mark BLOB PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state_groups (message TEXT PRIMARY KEY, stream TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state_tokens (stream INTEGER, sequence INTEGER, at INTEGER, tokens INTEGER, live INTEGER,
    PRIMARY KEY (stream, sequence)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state_window (slot INTEGER, ordinal INTEGER, command TEXT, row BLOB,
    PRIMARY KEY (slot, ordinal)) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS state_window_command ON state_window (slot, command);
CREATE TABLE IF NOT EXISTS state_written (stream INTEGER, version INTEGER, subject TEXT, ordinal INTEGER, link BLOB,
    command TEXT, nth INTEGER, time INTEGER, PRIMARY KEY (stream, version)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state_erasing (stream TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state_owned (owner BLOB, ordinal INTEGER, stream TEXT, subject TEXT,
    PRIMARY KEY (owner, ordinal)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS state_written_subject ON state_written (stream, subject);
"""
_AT_ONCE = (1, 8, 64, 400)
"""How many things a statement asks for: few forms of it, so that they stay prepared, and at most 999 values."""
_ROWS = 2_000
"""How many facts one question about several streams may bring: a stream may have any number."""
_ACCEPTED = (
    "SELECT w.slot, w.command, w.ordinal, w.row FROM (VALUES %s) AS asked"
    " CROSS JOIN state_window AS w ON w.slot = asked.column1 AND w.command = asked.column2"
)
"""CROSS JOIN, so that each command is looked up: for `IN (VALUES …)` SQLite reads the whole window."""
_LOADED = (
    "SELECT s.name, s.row, w.version, w.subject, w.ordinal, w.link, w.command, w.nth, w.time FROM state_streams AS s"
    " LEFT JOIN state_written AS w ON w.stream = s.id WHERE s.name IN (%s) ORDER BY s.name, w.version LIMIT ?"
)
_PRUNINGS = 40
"""How many times a slot's window is pruned while all of it is replaced."""
_TABLES = ("meta", "slots", "streams", "keys", "groups", "tokens", "window", "written", "erasing", "owned")
_Asked = TypeVar("_Asked")
_STREAM = "(SELECT id FROM state_streams WHERE name = ?)"
_WRITTEN = "SELECT version, subject, ordinal, link, command, nth, time FROM state_written"


@cache
def fingerprint() -> bytes:
    """Return the hash of the code that folds and of this module: another code's state is not trusted."""
    digest = hashlib.sha256()
    here = Path(__file__)
    for path in [*sorted(Path(mnemolog.domain.__path__[0]).glob("*.py")), here.with_name("state.py"), here]:
        digest.update(path.read_bytes())
    return digest.digest()


def opened(file: Path) -> sqlite3.Connection:
    """Open a file that holds a snapshot and nothing else; one that is damaged is removed, and the facts replayed."""
    damage = _damage(file)
    if damage:
        _log.warning("the snapshot %s is removed, and all facts are replayed: %s", file, damage)
        for suffix in ("", "-wal", "-shm"):
            file.with_name(file.name + suffix).unlink(missing_ok=True)
    return connect(file, durable=False)


def _damage(file: Path) -> str:
    """Return what is wrong with a file; nothing if it is whole, or not there yet."""
    try:
        database = connect(file, durable=False)
    except Corrupt as error:
        return str(error)
    try:
        (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        return str(error)
    finally:
        database.close()
    return "" if verdict == "ok" else str(verdict)


class SqliteSnapshot:
    """Keeps a state in the tables `state_*` of a database that it shares or owns."""

    def __init__(self, database: sqlite3.Connection, rules: Rules) -> None:
        """Open the tables, and clear them if other code wrote them. The connection is in autocommit mode."""
        self._db = database
        self._rules = rules
        self._pruned: dict[int, int] = {}
        self._db.executescript(_SCHEMA)
        if self._meta("fingerprint") != self._made_by():
            self.clear()

    def start(self) -> tuple[bytes, int, Position, str]:
        """Return where the last save stood."""
        stand = self._meta("stand")
        offset, position, last = msgpack.unpackb(stand) if stand else (0, str(START), "")
        return self._meta("key") or b"", offset, Position.parse(position), last

    def save(self, changed: Delta, offset: int, position: Position, last: str) -> None:
        """Keep what has changed, and how far the fold has come, in one transaction."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._write(changed)
            self._put_meta("stand", msgpack.packb((offset, str(position), last)))
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def clear(self) -> None:
        """Forget everything and take a new key; the tables are made anew, as other code may have made others."""
        self._db.execute("BEGIN IMMEDIATE")
        for table in _TABLES:
            self._db.execute(f"DROP TABLE state_{table}")
        for statement in _SCHEMA.split(";"):
            self._db.execute(statement)
        self._put_meta("key", secrets.token_bytes(32))
        self._put_meta("fingerprint", self._made_by())
        self._db.execute("COMMIT")

    def _made_by(self) -> bytes:
        """Return whose state is trusted: this code's, under these rules, whose window it is pruned by."""
        return fingerprint() + bytes.fromhex(self._rules.hash)

    def _write(self, changed: Delta) -> None:
        many = self._db.executemany
        many("INSERT OR REPLACE INTO state_slots VALUES (?, ?, ?)", ((s, *row) for s, row in changed.slots.items()))
        many(
            "INSERT INTO state_streams (name, row) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET row = excluded.row",
            ((name, _pack_stream(row)) for name, row in changed.streams.items()),
        )
        numbers = self._numbers({name for name, _ in (*changed.tokens, *changed.written)})
        keys = (((mark,), None if value is None else (value,)) for mark, value in changed.keys.items())
        _replace(self._db, "state_keys VALUES (?, ?)", "state_keys WHERE mark = ?", keys)
        groups = (((message,), None if stream is None else (stream,)) for message, stream in changed.groups.items())
        _replace(self._db, "state_groups VALUES (?, ?)", "state_groups WHERE message = ?", groups)
        _replace(
            self._db,
            "state_tokens VALUES (?, ?, ?, ?, ?)",
            "state_tokens WHERE stream = ? AND sequence = ?",
            (((numbers.get(name), sequence), row) for (name, sequence), row in changed.tokens.items()),
        )
        many(
            # An ordinal is one command's for ever: what an erasure has changed stays where it is, in the index as well.
            "INSERT OR REPLACE INTO state_window VALUES (?, ?, ?, ?)"
            " ON CONFLICT (slot, ordinal) DO UPDATE SET row = excluded.row",
            (
                (slot, row.ordinal, command, msgpack.packb((row.time, row.facts)))
                for (slot, command), row in changed.acceptances.items()
            ),
        )
        _replace(
            self._db,
            "state_written VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            "state_written WHERE stream = ? AND version = ?",
            (((numbers.get(name), version), row and row[1:]) for (name, version), row in changed.written.items()),
        )
        waits = (((name,), () if waiting else None) for name, waiting in changed.erasing.items())
        _replace(self._db, "state_erasing VALUES (?)", "state_erasing WHERE stream = ?", waits)
        owned = ((at, row and row[1:]) for at, row in changed.owned.items())
        _replace(self._db, "state_owned VALUES (?, ?, ?, ?)", "state_owned WHERE owner = ? AND ordinal = ?", owned)
        for slot, newest in dict(sorted((at[0], row.ordinal) for at, row in changed.acceptances.items())).items():
            self._prune(slot, newest)

    def _numbers(self, names: Iterable[str]) -> dict[str, int | None]:
        """Return the number that stands for each stream's name in other tables."""
        numbers: dict[str, int | None] = dict.fromkeys(names)
        for some in _lots(list(numbers)):
            sql = f"SELECT name, id FROM state_streams WHERE name IN ({_marks(some)})"  # noqa: S608 -- question marks
            numbers.update(self._rows(sql, *some))
        return numbers

    def _prune(self, slot: int, newest: int) -> None:
        """Remove what has left a slot's window, now and then, as all of it is read; each has an ordinal of its own."""
        some = max(1, self._rules.window_size // _PRUNINGS)
        if newest < self._rules.window_size or newest - self._pruned.setdefault(slot, newest - newest % some) < some:
            return
        self._pruned[slot] = newest - newest % some
        self._db.execute(
            "DELETE FROM state_window WHERE slot = ?1 AND ordinal < (SELECT ordinal FROM state_window WHERE slot = ?1"
            " ORDER BY ordinal DESC LIMIT 1 OFFSET ?2)",
            (slot, self._rules.window_size - 1),
        )

    # ---- reads -------------------------------------------------------------------------------------------------------

    def slots(self) -> dict[int, Slot]:
        """Return the counters of every slot."""
        rows = self._rows("SELECT slot, ordinal, last FROM state_slots")
        return {slot: Slot(ordinal, last) for slot, ordinal, last in rows}

    def erasing(self) -> set[str]:
        """Return the streams that wait for the eraser."""
        return {name for (name,) in self._rows("SELECT stream FROM state_erasing")}

    def stream(self, name: str) -> Stream | None:
        """Return a stream's state."""
        row = self._one("SELECT row FROM state_streams WHERE name = ?", name)
        return _unpack_stream(row) if row else None

    def key(self, mark: bytes) -> str | None:
        """Return what a mark stands for."""
        value: str | None = self._one("SELECT value FROM state_keys WHERE mark = ?", mark)
        return value

    def group_of(self, message: str) -> str | None:
        """Return the stream of the group that holds a message."""
        value: str | None = self._one("SELECT stream FROM state_groups WHERE message = ?", message)
        return value

    def token(self, stream: str, sequence: int) -> Token | None:
        """Return an event's token."""
        sql = f"SELECT at, tokens, live FROM state_tokens WHERE stream = {_STREAM} AND sequence = ?"  # noqa: S608
        rows = self._rows(sql, stream, sequence)
        return Token(rows[0][0], rows[0][1], live=bool(rows[0][2])) if rows else None

    def acceptance(self, slot: int, command: str) -> Acceptance | None:
        """Return an acceptance."""
        sql = "SELECT ordinal, row FROM state_window WHERE slot = ? AND command = ?"
        rows = self._rows(sql, slot, command)
        return _acceptance(*rows[0]) if rows else None

    def acceptances(self, commands: Sequence[tuple[int, str]]) -> dict[tuple[int, str], Acceptance]:
        """Return those acceptances of these commands, each with its slot, that there are."""
        found: dict[tuple[int, str], Acceptance] = {}
        for some in _lots(commands):
            values = (value for at in some for value in at)
            for slot, command, ordinal, row in self._rows(_ACCEPTED % ",".join(["(?,?)"] * len(some)), *values):
                found[slot, command] = _acceptance(ordinal, row)
        return found

    def loaded(self, names: Sequence[str]) -> dict[str, Loaded]:
        """Return those of these streams that there are, with all their facts that are not erased.

        One whose facts are too many to be read at once is left out.
        """
        found: dict[str, Loaded] = {}
        for some in _lots(names):
            written: dict[str, list[Written]] = {}
            rows = self._rows(_LOADED % _marks(some), *some, _ROWS)
            for name, raw, version, *fact in rows:
                if name not in written:
                    written[name] = []
                    found[name] = Loaded(_unpack_stream(raw), written[name])
                if version is not None:
                    written[name].append(Written(version, *fact))
            if len(rows) == _ROWS:
                del found[rows[-1][0]]
        return found

    def newest(self, slot: int, size: int) -> Sequence[tuple[int, str]]:
        """Return ordinal and command id of the newest acceptances of a slot, newest first."""
        sql = "SELECT ordinal, command FROM state_window WHERE slot = ? ORDER BY ordinal DESC LIMIT ?"
        return self._rows(sql, slot, size)

    def written(self, stream: str, subject: str | None, limit: int, above: int = -1) -> Sequence[Written]:
        """Return a stream's first facts above a version that are not erased."""
        where = f"{_WRITTEN} WHERE stream = {_STREAM} AND version > ?"
        if subject is None:
            rows = self._rows(f"{where} ORDER BY version LIMIT ?", stream, above, limit)
        else:
            rows = self._rows(f"{where} AND subject = ? ORDER BY version LIMIT ?", stream, above, subject, limit)
        return [Written(*row) for row in rows]

    def written_versions(self, stream: str, versions: Sequence[int]) -> Sequence[Written]:
        """Return those of a stream's facts with these versions that are not erased."""
        sql = f"{_WRITTEN} WHERE stream = {_STREAM} AND version = ?"
        return [Written(*row) for version in versions for row in self._rows(sql, stream, version)]

    def owned(self, owner: bytes, limit: int, above: int = -1) -> Sequence[Owned]:
        """Return the first things above an ordinal that go with an owner."""
        sql = (
            "SELECT ordinal, stream, subject FROM state_owned WHERE owner = ? AND ordinal > ? ORDER BY ordinal LIMIT ?"
        )
        return [Owned(*row) for row in self._rows(sql, owner, above, limit)]

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _rows(self, sql: str, *arguments: object) -> list[Any]:
        try:
            return self._db.execute(sql, arguments).fetchall()
        except sqlite3.OperationalError as error:
            message = f"the sequencer's snapshot cannot be read now: {error}"
            raise Unavailable(message) from error
        except sqlite3.DatabaseError as error:
            message = f"the sequencer's snapshot is damaged: {error}"
            raise Corrupt(message) from error

    def _one(self, sql: str, argument: object) -> Any:
        rows = self._rows(sql, argument)
        return rows[0][0] if rows else None

    def _meta(self, name: str) -> bytes | None:
        value: bytes | None = self._one("SELECT value FROM state_meta WHERE name = ?", name)
        return value

    def _put_meta(self, name: str, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO state_meta VALUES (?, ?)", (name, value))


_Values = tuple[Any, ...]


def _replace(
    database: sqlite3.Connection, into: str, where: str, changed: Iterable[tuple[_Values, _Values | None]]
) -> None:
    """Insert or replace what has, behind its key, a row; delete what has None."""
    puts: list[_Values] = []
    drops: list[_Values] = []
    for key, row in changed:
        if row is None:
            drops.append(key)
        else:
            puts.append(key + row)
    database.executemany(f"INSERT OR REPLACE INTO {into}", puts)
    database.executemany(f"DELETE FROM {where}", drops)  # noqa: S608 -- the texts are this module's own


def _lots(asked: Sequence[_Asked]) -> Iterator[Sequence[_Asked]]:
    """Yield what is asked for in lots of few sizes; the last one is filled up with what was asked for already."""
    left = list(asked)
    while left:
        size = next((size for size in _AT_ONCE if size >= len(left)), _AT_ONCE[-1])
        some, left = left[:size], left[size:]
        yield some + some[:1] * (size - len(some))


def _marks(some: Sequence[object]) -> str:
    return ",".join("?" * len(some))


def _acceptance(ordinal: int, row: bytes) -> Acceptance:
    time, facts = msgpack.unpackb(row)
    return Acceptance(ordinal, time, tuple(Answered(*fact) for fact in facts))


def _pack_stream(row: Stream) -> bytes:
    fields = () if isinstance(row.body, Ended) else row.body
    packed: bytes = msgpack.packb((row.head, _BODIES.index(type(row.body)), fields))
    return packed


def _unpack_stream(raw: bytes) -> Stream:
    head, body, fields = msgpack.unpackb(raw, use_list=False)
    kind = _BODIES[body]
    if kind is SessionState:
        at = SessionState._fields.index("strategies")
        fields = (*fields[:at], tuple(Strategy(*s) for s in fields[at]), *fields[at + 1 :])
    return Stream(Head(*head), kind(*fields))
