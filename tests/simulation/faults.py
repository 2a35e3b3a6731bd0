"""What goes wrong in a simulation: logs and stores that fail at a boundary, and the record of what really happened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mnemolog.domain.ops import Op
from mnemolog.domain.ports import Applied, Checkpoint, Log
from mnemolog.domain.record import CommandRecord, FactRecord, Transaction


class Crash(Exception):
    """The process ends here; what it knew is gone."""


@dataclass
class History:
    """What one partition's topics have ever held, whatever compaction and retention took away later."""

    commands: list[CommandRecord] = field(default_factory=list)
    records: list[FactRecord] = field(default_factory=list)
    outcomes: list[tuple[CommandRecord, bytes]] = field(default_factory=list)
    decided: int = 0

    def decide(self, transaction: Transaction) -> None:
        """Note which command each outcome answers: one a command, in order."""
        mine = [c for c in self.commands if self.decided <= c.offset < transaction.position.offset]
        named = [c for c in mine if c.headers.get("ce_id")]
        asked, answered = [c.headers["ce_id"] for c in named], [o.key for o in transaction.outcomes]
        assert asked == answered, f"the commands {asked} were answered as {answered}"
        self.outcomes += [(c, o.value) for c, o in zip(named, transaction.outcomes, strict=True)]
        self.decided = transaction.position.offset


class WatchedLog:
    """A hold on a log that notes what happens, and whose commits fail when told: before they are made, or after."""

    def __init__(self, log: Any, histories: Sequence[History], fault: Callable[[], str]) -> None:
        """Take the log, and what asks whether the next commit is to be `lost`, `unacknowledged` or ``."""
        self._log = log
        self._histories = histories
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        """Reads and the rest are the log's."""
        return getattr(self._log, name)

    async def append(self, partition: int, commands: Sequence[CommandRecord]) -> Sequence[int]:
        """Append, and note the records as the log has stamped them."""
        offsets = await self._log.append(partition, commands)
        if offsets:
            self._histories[partition].commands += await self._log.commands(partition, offsets[0], len(offsets))
        return list(offsets)

    async def commit(self, partition: int, transaction: Transaction) -> int:
        """Commit or fail; a fence is the log's own affair."""
        fault = self._fault()
        if fault == "lost":
            raise Crash(fault)
        before = await self._log.end(partition)
        end = await self._log.commit(partition, transaction)
        history = self._histories[partition]
        # Not read back: what one transaction brings and erases, the embedded log has erased already.
        records = [*transaction.facts, *(FactRecord(key, {}, None) for key in transaction.tombstones)]
        history.records += [replace(record, offset=before + n) for n, record in enumerate(records)]
        history.decide(transaction)
        if fault:
            raise Crash(fault)
        return int(end)


class Frozen:
    """The facts of a log as they stand; enough of the port for whoever only reads facts."""

    def __init__(self, records: Sequence[FactRecord]) -> None:
        """Take the records of partition 0."""
        self._records = records

    async def facts(self, partition: int, start: int, limit: int) -> Sequence[FactRecord]:
        """Return at most `limit` records from offset `start` on."""
        del partition
        return [record for record in self._records if record.offset >= start][:limit]

    async def end(self, partition: int) -> int:
        """Return the offset below which every record lies."""
        del partition
        return self._records[-1].offset + 1 if self._records else 0


def frozen(records: Sequence[FactRecord]) -> Log:
    """Return a log that holds these records and takes no more."""
    log: Any = Frozen(records)
    return log  # type: ignore[no-any-return]


class FlakyStore:
    """A store whose batches fail when told: before they are applied, or after."""

    def __init__(self, store: Any, fault: Callable[[], str]) -> None:
        """Take the store, and what asks for the next batch's fault."""
        self._store = store
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        """Reads are the store's."""
        return getattr(self._store, name)

    async def apply(self, partition: int, follows: int, ops: Sequence[Op], checkpoint: Checkpoint) -> Applied:
        """Apply or fail."""
        fault = self._fault()
        if fault == "lost":
            raise Crash(fault)
        applied: Applied = await self._store.apply(partition, follows, ops, checkpoint)
        if fault:
            raise Crash(fault)
        return applied
