"""A quiet partition gets its control record: Kafka's cleaner comes only where something is appended (design §4)."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from mnemolog.domain.record import CONTROL_KEY
from mnemolog.domain.rules import Rules
from mnemolog.runtime.condition import Condition
from mnemolog.runtime.roles import sequence
from tests.given import KEY, NOON
from workers.log_memory import MemoryLog
from workers.sequencing import Sequencing
from workers.snapshot_memory import MemorySnapshot

pytestmark = pytest.mark.unit


class Idle(MemoryLog):
    """A log without commands, which waits a little where there is nothing, as a remote one does."""

    async def commands(self, partition: int, start: int, limit: int) -> list:  # type: ignore[type-arg]
        """Wait for more, and return nothing."""
        await asyncio.sleep(0.001)
        return list(await super().commands(partition, start, limit))


@pytest.mark.parametrize("seconds", [0.0, 3_600.0])
def test_a_partition_without_commands_is_marked_at_least_so_often(seconds: float) -> None:
    """As often as it is told, and not before."""
    log = Idle(lambda: NOON, partitions=1)
    snapshot = MemorySnapshot(KEY)

    async def settled() -> None:
        """Return at once: there is no group here."""

    async def marks() -> int:
        return sum(record.key == CONTROL_KEY for record in await log.facts(0, 0, 1_000))

    async def story() -> int:
        working = asyncio.create_task(
            sequence(
                log, lambda: Sequencing(log, lambda: snapshot, Rules()), Condition(0), settled, mark_seconds=seconds
            )
        )
        for _ in range(50):
            await asyncio.sleep(0.001)
            if await marks() > 1:
                break
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        return await marks()

    found = asyncio.run(story())
    assert (found > 1) == (seconds == 0)
