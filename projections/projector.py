"""The projector: facts in, the ops of all views out, one atomic batch after the other (design §6).

1. Facts of one command are applied together: a batch never ends inside a command, unless the log does.
2. An unknown fact stops the projector; it is never skipped.
3. A store that answers `behind` was lost or restored: the projector starts again from the store's own checkpoint. One
   that is lost while nothing new comes is noticed as well.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mnemolog.domain.codec import decode_fact
from mnemolog.domain.fact import Fact
from mnemolog.domain.ops import Op
from mnemolog.domain.ports import Checkpoint, Log, Store
from mnemolog.domain.record import CONTROL_KEY, START, FactRecord, Position
from mnemolog.domain.rules import WORK_LIMIT
from mnemolog.domain.streams import kind_of
from projections import credentials, hidden, memories, messages, policies, sessions, spaces

BATCH = 2 * WORK_LIMIT

Applied = Callable[[Sequence[FactRecord], float], None]
"""(the records of a batch, the seconds that it took): whoever measures."""

_VIEWS: dict[str, Callable[[Fact], Sequence[Op]]] = {
    "space": spaces.view,
    "session": sessions.view,
    "memory": memories.view,
    "group": messages.view,
    "owner": hidden.view,
    "policy": policies.view,
    "access": credentials.view,
}


def project(fact: Fact) -> Sequence[Op]:
    """Return what a fact changes in the views."""
    return _VIEWS[kind_of(fact.stream)](fact)


def whole_commands(records: Sequence[FactRecord], limit: int) -> Sequence[FactRecord]:
    """Return the records without a command at their end that the read may have cut in two.

    A command's last facts may have been erased: then the first fact of another command ends it.
    """
    last = records[-1].headers if records else {}
    if len(records) < limit or "index" not in last or int(last["index"]) + 1 == int(last["count"]):
        return records
    for end in range(len(records) - 1, 0, -1):
        if records[end - 1].headers.get("source") != last["source"]:
            return records[:end]
    return records


class _Prepared(NamedTuple):
    """A batch: its records, what they ask of the views, how far these are then, and whether more lies behind it."""

    records: Sequence[FactRecord]
    ops: Sequence[Op]
    checkpoint: Checkpoint
    more: bool


class Projector:
    """Keeps one partition's views; owned by one task."""

    def __init__(self, log: Log, store: Store, partition: int = 0, *, applied: Applied = lambda *_: None) -> None:
        """Take where facts come from, where views go, and whom to tell of batches."""
        self._log = log
        self._store = store
        self._partition = partition
        self._applied = applied
        self._at: Checkpoint | None = None
        self._ahead: _Prepared | None = None
        self._told = 0

    @property
    def checkpoint(self) -> Checkpoint:
        """How far this projector has come."""
        return self._at or Checkpoint(0, START)

    async def step(self) -> int:
        """Apply the next batch and return how many records it had; 0 once the views stand at the log's end."""
        while True:
            if self._at is None:
                self._at = await self._store.checkpoint(self._partition) or Checkpoint(0, START)
            batch, self._ahead = self._ahead or await self._prepared(self._at), None
            if batch is not None:
                begun = time.monotonic()
                await self._apply_and_prepare(batch)
                self._applied(batch.records, time.monotonic() - begun)
                return len(batch.records)
            if await self._at_the_end(self._at):
                return 0

    async def _prepared(self, at: Checkpoint) -> _Prepared | None:
        """Read the facts behind a checkpoint and make ops of them; None where there is none."""
        read = await self._log.facts(self._partition, at.offset, BATCH)
        records = whole_commands(read, BATCH)
        return _Prepared(records, *_batch(records, at), more=len(read) == BATCH) if records else None

    async def _apply_and_prepare(self, batch: _Prepared) -> None:
        """Apply a batch; where more lies behind it, the next is prepared while the store works."""
        if not batch.more:
            await self._apply(batch.ops, batch.checkpoint)
            return
        preparing = asyncio.create_task(self._prepared(batch.checkpoint))
        try:
            await self._apply(batch.ops, batch.checkpoint)
        except BaseException:
            preparing.cancel()
            await asyncio.wait([preparing])
            raise
        following = await preparing
        self._ahead = following if self._at is not None else None

    async def _at_the_end(self, at: Checkpoint) -> bool:
        """Tell whether nothing is left to read and the store still has all that was applied.

        Kafka's log ends with a marker: a checkpoint comes to the end, which readers may expect, by passing over it. A
        read never stops before an end that the log has told: empty after that, it shows that only markers are there.
        """
        if at.offset < self._told:
            await self._apply((), Checkpoint(self._told, at.position))
        else:
            stored = await self._store.checkpoint(self._partition)
            if (stored.offset if stored else 0) < at.offset:
                self._at = None
        self._told = await self._log.end(self._partition)
        return self._at is not None and self._told <= self._at.offset

    async def _apply(self, ops: Sequence[Op], checkpoint: Checkpoint) -> None:
        follows = self.checkpoint.offset
        applied = await self._store.apply(self._partition, follows, ops, checkpoint)
        self._at = None if applied == "behind" else checkpoint


def _batch(records: Sequence[FactRecord], before: Checkpoint) -> tuple[list[Op], Checkpoint]:
    ops: list[Op] = []
    position = before.position
    for record in records:
        if record.key == CONTROL_KEY:
            position = max(position, Position.parse(record.headers["position"]))
        elif record.value is not None:
            fact = decode_fact(record, linked=False)
            ops.extend(project(fact))
            position = max(position, Position(fact.source.epoch, fact.source.offset + 1))
    return ops, Checkpoint(records[-1].offset + 1, position)
