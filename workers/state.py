"""One partition's state: what is new in memory, the rest in a disposable snapshot (design §5).

1. Decisions read through it (`Seen`); a fold writes to it (`apply`); nothing else touches it.
2. What has changed since the last save is held here; what is clean is read from the snapshot and kept while hot.
3. It holds no text: what decisions only compare stands here as a 16-byte HMAC under the snapshot's own random key.
4. After a failed transaction it is thrown away and rebuilt from the facts, never repaired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

from mnemolog.domain.decision import Acceptance, Delta, Owned, Slot, Stream, Token, Written
from mnemolog.domain.ids import keyed_sha256, length_prefixed
from mnemolog.domain.record import Position

_HOT_STREAMS = 20_000
_NEW = Slot(0, 0)
_CHUNK = 50
_NONE: Mapping[str, int] = {}
_Row = TypeVar("_Row", Written, Owned)


class Loaded(NamedTuple):
    """A stream as it was saved, and all of its facts that are not erased, by version."""

    stream: Stream
    written: Sequence[Written]


class Snapshot(Protocol):
    """What a state is loaded from and saved to. Losing it costs a replay, nothing else."""

    def start(self) -> tuple[bytes, int, Position, str]:
        """Return the marks' key, the next fact offset to fold, the next command position, the last command's id."""
        ...

    def save(self, changed: Delta, offset: int, position: Position, last: str) -> None:
        """Keep what has changed, and how far the fold has come, in one step."""
        ...

    def clear(self) -> None:
        """Forget everything, the marks' key too."""
        ...

    def slots(self) -> dict[int, Slot]:
        """Return the counters of every slot."""
        ...

    def erasing(self) -> set[str]:
        """Return the streams that wait for the eraser."""
        ...

    def stream(self, name: str) -> Stream | None:
        """Return a stream's state."""
        ...

    def key(self, mark: bytes) -> str | None:
        """Return what a mark stands for."""
        ...

    def group_of(self, message: str) -> str | None:
        """Return the stream of the group that holds a message."""
        ...

    def token(self, stream: str, sequence: int) -> Token | None:
        """Return an event's token."""
        ...

    def acceptance(self, slot: int, command: str) -> Acceptance | None:
        """Return an acceptance."""
        ...

    def acceptances(self, commands: Sequence[tuple[int, str]]) -> dict[tuple[int, str], Acceptance]:
        """Return those acceptances of these commands, each with its slot, that there are."""
        ...

    def loaded(self, names: Sequence[str]) -> dict[str, Loaded]:
        """Return those of these streams that there are, with all their facts that are not erased.

        One whose facts are too many to be read at once is left out.
        """
        ...

    def newest(self, slot: int, size: int) -> Sequence[tuple[int, str]]:
        """Return ordinal and command id of the newest acceptances of a slot, newest first."""
        ...

    def written(self, stream: str, subject: str | None, limit: int, above: int = -1) -> Sequence[Written]:
        """Return a stream's first facts above a version that are not erased."""
        ...

    def written_versions(self, stream: str, versions: Sequence[int]) -> Sequence[Written]:
        """Return those of a stream's facts with these versions that are not erased."""
        ...

    def owned(self, owner: bytes, limit: int, above: int = -1) -> Sequence[Owned]:
        """Return the first things above an ordinal that go with an owner."""
        ...


def empty_delta() -> Delta:
    """Return a delta that changes nothing."""
    return Delta({}, {}, {}, {}, {}, {}, {}, {}, {})


class State:
    """The state of one partition. Not safe for threads: one sequencer owns it."""

    def __init__(self, snapshot: Snapshot) -> None:
        """Start from what the snapshot has."""
        self._snapshot = snapshot
        key, self.offset, self.position, self.last_command = snapshot.start()
        self._keyed = keyed_sha256(key)
        self._slots = snapshot.slots()
        self.erasing = snapshot.erasing()
        self._hot: dict[str, Stream | None] = {}
        self._new = empty_delta()
        self._new_written: dict[str, dict[int, Written | None]] = {}
        self._new_owned: dict[bytes, dict[int, Owned | None]] = {}
        self._passed: dict[object, int] = {}
        self._accepted: dict[int, int] = {}
        self._floors: dict[tuple[int, int], tuple[int, int]] = {}
        self._ahead: dict[tuple[int, str], Acceptance | None] = {}
        self._whole: dict[str, Sequence[Written]] = {}
        self._unowned: set[bytes] = set()

    def expect(self, commands: Sequence[tuple[int, str]], erased: Mapping[str, int] = _NONE) -> None:
        """Read at once what the snapshot knows that the commands to be decided, each with its slot, will ask for.

        Nearly none of them was accepted before; asked one by one, it would take a good part of the time that a
        decision takes. `erased` are the streams, each with its slot, of which they take facts: these, and the
        acceptances that brought them. What changes from here on stands before what was read (`apply`).
        """
        self._ahead = {**dict.fromkeys(commands), **self._snapshot.acceptances(commands)}
        self._whole = {}
        if not erased:
            return
        if len(self._hot) >= _HOT_STREAMS:
            self._hot.clear()
        for name, (found, written) in self._snapshot.loaded(list(erased)).items():
            self._hot[name] = found
            self._whole[name] = written
        brought = [(erased[name], row.command) for name, written in self._whole.items() for row in written]
        self._ahead |= {**dict.fromkeys(brought), **self._snapshot.acceptances(brought)}

    # ---- Seen --------------------------------------------------------------------------------------------------------

    def mark(self, *parts: str) -> bytes:
        """Return the 16-byte keyed hash that stands in the state for a caller's text."""
        return self._keyed(length_prefixed(parts))[:16]

    def slot(self, slot: int) -> Slot:
        """Return a slot's counters."""
        return self._slots.get(slot, _NEW)

    def stream(self, name: str) -> Stream | None:
        """Return a stream's state, loading it if it is cold."""
        if name in self._new.streams:
            return self._new.streams[name]
        if name not in self._hot:
            if len(self._hot) >= _HOT_STREAMS:
                self._hot.clear()
            self._hot[name] = self._snapshot.stream(name)
        return self._hot[name]

    def key(self, mark: bytes) -> str | None:
        """Return what a mark stands for."""
        return self._new.keys[mark] if mark in self._new.keys else self._snapshot.key(mark)

    def group_of(self, message: str) -> str | None:
        """Return the stream of the group that holds a message."""
        return self._new.groups[message] if message in self._new.groups else self._snapshot.group_of(message)

    def token(self, stream: str, sequence: int) -> Token | None:
        """Return an event's token."""
        at = (stream, sequence)
        return self._new.tokens[at] if at in self._new.tokens else self._snapshot.token(stream, sequence)

    def acceptance(self, slot: int, command: str) -> Acceptance | None:
        """Return an acceptance; one that has left the window may still be there."""
        at = (slot, command)
        found = self._new.acceptances.get(at)
        if found is not None:
            return found
        return self._ahead[at] if at in self._ahead else self._snapshot.acceptance(slot, command)

    def outside(self, slot: int, ordinal: int, size: int) -> bool:
        """Tell whether an acceptance with this ordinal is older than the newest `size` of its slot.

        An erasure asks this of each fact that it takes, and to count them takes milliseconds. What has left the window
        stays outside, and nothing leaves it until another acceptance comes: only then they are counted again.
        """
        floor, counted = self._floors.get((slot, size), (0, -1))
        if ordinal >= floor and (counted < 0 or self._accepted.get(slot, -1) > counted):
            newest = self._newest(slot, size)
            floor = newest[-1] if len(newest) == size else 0
            self._floors[slot, size] = floor, max(newest, default=-1)
        return ordinal < floor

    def _newest(self, slot: int, size: int) -> list[int]:
        """Return the ordinals of the newest acceptances of a slot, newest first."""
        fresh = {command: a.ordinal for (where, command), a in self._new.acceptances.items() if where == slot}
        saved = self._snapshot.newest(slot, size + len(fresh))
        clean = (ordinal for ordinal, command in saved if command not in fresh)
        return sorted((*fresh.values(), *clean), reverse=True)[:size]

    def written(self, stream: str, subject: str | None, limit: int) -> Sequence[Written]:
        """Return the first facts of a stream (of one entry if `subject` is given) that are not erased."""
        changed = self._new_written.get(stream, {})
        if not changed:
            return self._saved(stream, subject, limit, -1)
        clean = self._clean(
            (stream, subject),
            changed,
            limit,
            lambda count, above: self._saved(stream, subject, count, above),
        )
        fresh = (row for row in changed.values() if row and (subject is None or row.subject == subject))
        return sorted((*clean, *fresh), key=lambda row: row.version)[:limit]

    def written_versions(self, stream: str, versions: Sequence[int]) -> Sequence[Written]:
        """Return those of a stream's facts with these versions that are not erased."""
        fresh = [self._new.written[stream, v] for v in versions if (stream, v) in self._new.written]
        clean = [v for v in versions if (stream, v) not in self._new.written]
        whole = self._whole.get(stream)
        if whole is None:
            saved = self._snapshot.written_versions(stream, clean)
        else:
            saved = [row for row in whole if row.version in clean]
        return [*(row for row in fresh if row), *saved]

    def _saved(self, stream: str, subject: str | None, limit: int, above: int) -> Sequence[Written]:
        """Return what the snapshot does, from what was read ahead where it was."""
        whole = self._whole.get(stream)
        if whole is None:
            return self._snapshot.written(stream, subject, limit, above)
        return [row for row in whole if row.version > above and subject in {None, row.subject}][:limit]

    def owned(self, owner: bytes, limit: int) -> Sequence[Owned]:
        """Return the first things, by ordinal, that go with an owner; that there is nothing is remembered.

        Every change of a memory asks whether an erasure of its owner is under way, and there hardly ever is one.
        """
        changed = self._new_owned.get(owner, {})
        if not changed:
            return self._saved_owned(owner, limit)
        clean = self._clean(owner, changed, limit, lambda count, above: self._snapshot.owned(owner, count, above))
        return sorted((*clean, *(row for row in changed.values() if row)), key=lambda row: row.ordinal)[:limit]

    def _saved_owned(self, owner: bytes, limit: int) -> Sequence[Owned]:
        if owner in self._unowned:
            return []
        saved = self._snapshot.owned(owner, limit)
        if not saved:
            if len(self._unowned) >= _HOT_STREAMS:
                self._unowned.clear()
            self._unowned.add(owner)
        return saved

    def _clean(
        self,
        of: object,
        changed: Mapping[int, Written | Owned | None],
        limit: int,
        fetch: Callable[[int, int], Sequence[_Row]],
    ) -> list[_Row]:
        """Return the snapshot's first rows, at most `limit`, of those that have not changed since.

        An erasure in ranges takes the lowest first: what it has taken there is passed once, not in each range.
        """
        above = self._passed.get(of, -1)
        found: list[_Row] = []
        leading = True
        while True:
            count = max(limit - len(found), _CHUNK)
            rows = fetch(count, above)
            for row in rows:
                if row[0] not in changed:
                    leading = False
                    found.append(row)
                elif leading and changed[row[0]] is None:
                    self._passed[of] = row[0]
                else:
                    leading = False
            if len(rows) < count or len(found) >= limit:
                return found[:limit]
            above = rows[-1][0]

    # ---- the fold ----------------------------------------------------------------------------------------------------

    def apply(self, delta: Delta) -> None:
        """Take over what a fact changes."""
        new = self._new
        self._slots.update(delta.slots)
        new.slots.update(delta.slots)
        new.streams.update(delta.streams)
        new.keys.update(delta.keys)
        new.groups.update(delta.groups)
        new.tokens.update(delta.tokens)
        new.acceptances.update(delta.acceptances)
        new.written.update(delta.written)
        new.erasing.update(delta.erasing)
        new.owned.update(delta.owned)
        for (slot, _), acceptance in delta.acceptances.items():
            self._accepted[slot] = max(acceptance.ordinal, self._accepted.get(slot, -1))
        for (stream, version), written in delta.written.items():
            self._new_written.setdefault(stream, {})[version] = written
        for (owner, ordinal), owned in delta.owned.items():
            self._new_owned.setdefault(owner, {})[ordinal] = owned
        for stream, waits in delta.erasing.items():
            (self.erasing.add if waits else self.erasing.discard)(stream)

    @property
    def unsaved(self) -> int:
        """How many facts' worth of changes would be lost with the process, and replayed."""
        return len(self._new.written) + len(self._new.streams)

    def save(self) -> None:
        """Hand everything new to the snapshot; what was new is hot from now on."""
        self._snapshot.save(self._new, self.offset, self.position, self.last_command)
        if len(self._hot) >= _HOT_STREAMS:
            self._hot.clear()
        self._hot.update(self._new.streams)
        self._new = empty_delta()
        self._unowned.difference_update(self._new_owned)
        self._new_written, self._new_owned, self._passed = {}, {}, {}
        self._ahead, self._whole = {}, {}
