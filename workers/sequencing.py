"""The sequencer at work: fence, replay to the end, decide; the same loop over any log (design §5).

1. `start`: take the partition (whoever had it is fenced), load the snapshot, replay the tail.
2. `step`: read a batch, decide it, commit it as one transaction.
3. After any error of a transaction the state is dropped, and the next `start` builds it from the facts again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from mnemolog.domain.ports import Log
from mnemolog.domain.record import CommandRecord, Transaction
from mnemolog.domain.rules import Rules
from workers.position import Intake
from workers.replay import replay
from workers.sequencer import Sequencer
from workers.state import Snapshot, State

BATCH = 500
_BATCH_BYTES = 16 << 20
_SAVE_AT = 100
"""Changes after which a state is saved: what a user who comes meanwhile waits for, too."""

Committed = Callable[[Sequence[CommandRecord], Transaction, float], None]
"""(the commands that were decided, what they left behind, the seconds that its commit took): whoever measures."""
Replayed = Callable[[int, int], None]
"""(the next fact offset, the end): whoever shows how far a replay has come."""


class Sequencing:
    """Sequences one partition; owned by one task."""

    def __init__(
        self,
        log: Log,
        snapshot: Callable[[], Snapshot],
        rules: Rules,
        partition: int = 0,
        partitions: int = 1,
        *,
        committed: Committed = lambda *_: None,
        replayed: Replayed = lambda *_: None,
    ) -> None:
        """Take the log, how to open the snapshot, and whom to tell of commits and of the replay."""
        self._log = log
        self._open = snapshot
        self._rules = rules
        self._partition = partition
        self._partitions = partitions
        self._committed = committed
        self._replayed = replayed
        self._sequencer: Sequencer | None = None
        self._intake = Intake()

    @property
    def state(self) -> State:
        """The state, once started."""
        return self._running().state

    @property
    def settled(self) -> bool:
        """Whether the state is one of committed facts: it is not before the start, and while a transaction is open."""
        return self._sequencer is not None

    def _running(self) -> Sequencer:
        if self._sequencer is None:
            message = "the sequencer has not been started, or its last transaction failed"
            raise RuntimeError(message)
        return self._sequencer

    async def start(self) -> int:
        """Fence, load, replay; return how many records the replay read."""
        await self._log.take(self._partition)
        state = State(self._open())
        if state.offset > await self._log.end(self._partition):
            # A snapshot ahead of the log is of another log, or of one restored from before: it proves nothing.
            self._open().clear()
            state = State(self._open())
        read = await replay(self._log, self._partition, state, self._replayed)
        self._sequencer = Sequencer(state, self._rules, partition=self._partition, partitions=self._partitions)
        self._intake = Intake()
        return read

    async def step(self) -> Transaction | None:
        """Decide the next batch and return what was committed; None if there is nothing to decide now."""
        following = self.state.position.offset
        records = await self._log.commands(self._partition, following, BATCH)
        if not records:
            return None
        # The log is asked where it begins only if the next record is not where it should be: it costs a round trip.
        first = following if records[0].offset <= following else (await self._log.bounds(self._partition))[0]
        taken = self._intake.admit(following, first, records)
        if taken is None:
            return await self.step()
        return await self._decide(_bounded(taken)) if taken else None

    async def mark(self) -> None:
        """Write the control record alone: a partition of a log that is never appended to is never compacted."""
        await self._commit((), Sequencer.marked)

    async def _decide(self, taken: Sequence[CommandRecord]) -> Transaction:
        return await self._commit(taken, lambda sequencer: sequencer.sequence(taken))

    async def _commit(self, taken: Sequence[CommandRecord], decided: Callable[[Sequencer], Transaction]) -> Transaction:
        sequencer, state = self._running(), self.state
        self._sequencer = None  # until the transaction is committed: after any error, only `start` helps
        transaction = decided(sequencer)
        begun = time.monotonic()
        state.offset = await self._log.commit(self._partition, transaction)
        self._sequencer = sequencer
        self._committed(taken, transaction, time.monotonic() - begun)
        if state.unsaved > _SAVE_AT:
            state.save()
        return transaction

    def save(self) -> None:
        """Hand what is new to the snapshot: cheap, and not needed for safety."""
        if self._sequencer is not None and self._sequencer.state.unsaved:
            self._sequencer.state.save()


def _bounded(records: Sequence[CommandRecord]) -> Sequence[CommandRecord]:
    """Return as many records as one transaction may bring: at least one, then up to 16 MiB of commands."""
    size = 0
    for count, record in enumerate(records):
        size += len(record.value or b"")
        if count and size > _BATCH_BYTES:
            return records[:count]
    return records
