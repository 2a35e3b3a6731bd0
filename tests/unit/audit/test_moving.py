"""Moving a log to another number of partitions: the same facts, heads and state, and nothing left behind unnoticed."""

from __future__ import annotations

import asyncio

import pytest

from mnemolog.audit import moving
from mnemolog.audit.found import Found
from mnemolog.audit.moving import Place, move
from mnemolog.audit.reading import pages
from mnemolog.audit.walk import Walk
from mnemolog.domain.codec import encode_command
from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ids import partition_of
from mnemolog.domain.record import CONTROL_KEY, Transaction
from mnemolog.domain.rules import Rules
from tests.given import KEY, NOON
from tests.histories import Told
from tests.system.sequencers import envelope
from tests.wishes import add_memory
from workers.log_memory import MemoryLog
from workers.sequencing import Sequencing
from workers.snapshot_memory import MemorySnapshot

pytestmark = pytest.mark.unit


def fresh(partitions: int) -> MemoryLog:
    """Return an empty log with a clock of its own."""
    return MemoryLog(lambda: 2 * NOON, partitions=partitions)


async def facts(log: MemoryLog, partitions: int) -> dict[str, bytes]:
    """Return every fact that is there, erased ones left out."""
    found: dict[str, bytes | None] = {}
    for partition in range(partitions):
        async for page in pages(log, partition):
            found |= {record.key: record.value for record in page if record.key != CONTROL_KEY}
    return {key: value for key, value in found.items() if value is not None}


async def heads(log: MemoryLog, partitions: int) -> dict[int, tuple[int, bytes]]:
    """Return the head of every slot of a sound log."""
    found, all_heads = Found(), dict[int, tuple[int, bytes]]()
    for partition in range(partitions):
        walk = Walk(partition, partitions, found)
        async for page in pages(log, partition):
            walk.take(page)
        walk.finish()
        all_heads |= walk.heads()
    assert not found.count, found.said
    return all_heads


@pytest.mark.parametrize(("seed", "partitions"), [(1, 8), (2, 2), (3, 1), (4, 64), (5, 4)])
def test_a_moved_log_is_the_same_log(seed: int, partitions: int) -> None:
    """There and back: the facts, byte for byte, and the heads; each number of partitions goes on deciding."""

    async def story() -> None:
        told = await Told(seed).more(60)
        before = await facts(told.log, told.partitions)
        new = fresh(partitions)
        assert await move(Place(told.log, told.partitions), Place(new, partitions)) == len(before)
        assert await facts(new, partitions) == before
        assert await heads(new, partitions) == await heads(told.log, told.partitions)
        back = fresh(told.partitions)
        await move(Place(new, partitions), Place(back, told.partitions))
        assert await facts(back, told.partitions) == before
        for log, many in ((new, partitions), (back, told.partitions)):
            said = envelope(add_memory("after the move"))
            partition = partition_of(said.slot, many)
            sequencing = Sequencing(log, lambda: MemorySnapshot(KEY), Rules(), partition, many)
            await sequencing.start()
            await log.append(partition, [encode_command(said)])
            transaction = await sequencing.step()
            assert transaction is not None
            assert len(transaction.facts) == 1
            assert len(await facts(log, many)) == len(before) + 1
            await heads(log, many)

    asyncio.run(story())


class Failing(MemoryLog):
    """A log that fails in the middle of whatever is written to it."""

    left = 3

    async def commit(self, partition: int, transaction: Transaction) -> int:
        """Commit, while there are any left."""
        if self.left == 0:
            message = "the network is away"
            raise Unavailable(message)
        self.left -= 1
        return await super().commit(partition, transaction)


def test_a_move_that_was_interrupted_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever had been written before is left out, and whatever else is there is refused."""
    monkeypatch.setattr(moving, "_BATCH", 5)

    async def story() -> None:
        told = await Told(7).more(60)
        new = Failing(lambda: 2 * NOON, partitions=8)
        attempts = 0
        while True:
            attempts += 1
            try:
                await move(Place(told.log, told.partitions), Place(new, 8))
            except Unavailable:
                new.left = 3
            else:
                break
        assert attempts > 3
        assert await facts(new, 8) == await facts(told.log, told.partitions)
        assert await heads(new, 8) == await heads(told.log, told.partitions)
        other = await Told(8).more(30)
        with pytest.raises(Unavailable, match="another prefix"):
            await move(Place(other.log, other.partitions), Place(new, 8))

    asyncio.run(story())


class Used(MemoryLog):
    """A new log behind whose making somebody says something to the old one."""

    old: MemoryLog

    async def commit(self, partition: int, transaction: Transaction) -> int:
        """Commit, and let the other come in between."""
        said = envelope(add_memory("too late"))
        await self.old.append(partition_of(said.slot, 4), [encode_command(said)])
        return await super().commit(partition, transaction)


def test_a_log_that_is_still_used_is_not_moved() -> None:
    """A command that is not decided, before or meanwhile, ends the move."""

    async def story() -> None:
        told = await Told(9).more(20)
        new = Used(lambda: 2 * NOON, partitions=8)
        new.old = told.log
        with pytest.raises(Unavailable, match="not decided"):
            await move(Place(told.log, told.partitions), Place(new, 8))
        with pytest.raises(Unavailable, match="not decided"):
            await move(Place(told.log, told.partitions), Place(fresh(8), 8))

    asyncio.run(story())
