"""A snapshot in memory: for tests, simulations, and a state that need not outlive its process."""

from __future__ import annotations

from collections.abc import Sequence

from mnemolog.domain.decision import Acceptance, Delta, Owned, Slot, Stream, Token, Written
from mnemolog.domain.record import START, Position
from workers.state import Loaded, empty_delta


class MemorySnapshot:
    """Keeps what is saved in dictionaries."""

    def __init__(self, key: bytes) -> None:
        """Take the key of the marks: 32 random bytes."""
        self._key = key
        self.clear()

    def start(self) -> tuple[bytes, int, Position, str]:
        """Return where the last save stood."""
        return self._key, *self._stand

    def save(self, changed: Delta, offset: int, position: Position, last: str) -> None:
        """Merge what has changed."""
        all_of_it = self._all
        all_of_it.slots.update(changed.slots)
        all_of_it.streams.update(changed.streams)
        all_of_it.keys.update(changed.keys)
        all_of_it.groups.update(changed.groups)
        all_of_it.tokens.update(changed.tokens)
        all_of_it.acceptances.update(changed.acceptances)
        all_of_it.written.update(changed.written)
        all_of_it.erasing.update(changed.erasing)
        all_of_it.owned.update(changed.owned)
        self._stand = (offset, position, last)

    def clear(self) -> None:
        """Forget everything; the key stays, as nothing marked with it is left."""
        self._all = empty_delta()
        self._stand = (0, START, "")

    def slots(self) -> dict[int, Slot]:
        """Return the counters of every slot."""
        return dict(self._all.slots)

    def erasing(self) -> set[str]:
        """Return the streams that wait for the eraser."""
        return {name for name, waits in self._all.erasing.items() if waits}

    def stream(self, name: str) -> Stream | None:
        """Return a stream's state."""
        return self._all.streams.get(name)

    def key(self, mark: bytes) -> str | None:
        """Return what a mark stands for."""
        return self._all.keys.get(mark)

    def group_of(self, message: str) -> str | None:
        """Return the stream of the group that holds a message."""
        return self._all.groups.get(message)

    def token(self, stream: str, sequence: int) -> Token | None:
        """Return an event's token."""
        return self._all.tokens.get((stream, sequence))

    def acceptance(self, slot: int, command: str) -> Acceptance | None:
        """Return an acceptance."""
        return self._all.acceptances.get((slot, command))

    def acceptances(self, commands: Sequence[tuple[int, str]]) -> dict[tuple[int, str], Acceptance]:
        """Return those acceptances of these commands, each with its slot, that there are."""
        return {at: self._all.acceptances[at] for at in commands if at in self._all.acceptances}

    def loaded(self, names: Sequence[str]) -> dict[str, Loaded]:
        """Return those of these streams that there are, with all their facts that are not erased."""
        wanted = {name: self._all.streams[name] for name in names if name in self._all.streams}
        written: dict[str, list[Written]] = {name: [] for name in wanted}
        for (name, _), row in self._all.written.items():
            if row and name in wanted:
                written[name].append(row)
        return {name: Loaded(found, sorted(written[name])) for name, found in wanted.items()}

    def newest(self, slot: int, size: int) -> Sequence[tuple[int, str]]:
        """Return ordinal and command id of the newest acceptances of a slot, newest first."""
        rows = ((a.ordinal, command) for (where, command), a in self._all.acceptances.items() if where == slot)
        return sorted(rows, reverse=True)[:size]

    def written(self, stream: str, subject: str | None, limit: int, above: int = -1) -> Sequence[Written]:
        """Return a stream's first facts above a version that are not erased."""
        rows = (row for (name, v), row in self._all.written.items() if name == stream and row and v > above)
        return sorted(row for row in rows if subject is None or row.subject == subject)[:limit]

    def written_versions(self, stream: str, versions: Sequence[int]) -> Sequence[Written]:
        """Return those of a stream's facts with these versions that are not erased."""
        return [row for v in versions if (row := self._all.written.get((stream, v)))]

    def owned(self, owner: bytes, limit: int, above: int = -1) -> Sequence[Owned]:
        """Return the first things above an ordinal that go with an owner."""
        mine = (row for (whose, at), row in self._all.owned.items() if whose == owner and row and at > above)
        return sorted(mine)[:limit]
