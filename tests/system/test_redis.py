"""Redis killed, flushed, restored from an old dump, and rebuilt, under projectors and readers that go on.

A reader may be refused; what he is told is what a projection in memory says at the same facts (guarantees 5 and 6).
"""

from __future__ import annotations

import asyncio
import functools
import random
import shutil
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from mnemolog.domain.errors import Unavailable
from mnemolog.domain.reads import Filter
from projections.projector import Projector
from projections.queries import StoreQueries
from projections.rebuild import Rebuild
from projections.store_memory import MemoryStore
from projections.store_redis import RedisStore
from tests.contract.test_store_redis import same_answers, same_store
from tests.histories import Told
from tests.redis_stores import Corner
from tests.servers_redis import RedisServer
from tests.simulation.clients import TENANTS

pytestmark = pytest.mark.system
N = 4


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """Give a server of the test's own."""
    own = RedisServer()
    yield own
    own.remove()


def story(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test's coroutine on a loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))  # type: ignore[arg-type]

    return run


class Deployment:
    """A log that grows, a projector per partition that goes on whatever happens, and a reader of its own."""

    def __init__(self, server: RedisServer, seed: int) -> None:
        """Start with an empty log."""
        self.history = Told(seed, N)
        self.corner = Corner(server.url)
        self.store = self.corner.store()
        self.reader = self.corner.store()
        self.projectors = [Projector(self.history.log, self.store, p) for p in range(N)]
        self.refused = 0

    async def project(self) -> None:
        """Let every projector go to the end of its log, and begin again where it must; Redis must be there."""
        for projector in self.projectors:
            while await projector.step():
                pass

    async def suffer(self, done: asyncio.Event) -> None:
        """Project on and on; Redis may be away."""
        while not done.is_set():
            try:
                await self.project()
            except Unavailable:
                self.refused += 1
            await asyncio.sleep(0.002)

    async def expect(self) -> None:
        """Let the reader expect all that is in the log."""
        for p in range(N):
            self.reader.expect(p, await self.history.log.end(p))

    async def memory(self) -> MemoryStore:
        """Return what a projection of the log in memory holds."""
        memory = MemoryStore()
        for p in range(N):
            projector = Projector(self.history.log, memory, p)
            while await projector.step():
                pass
        return memory

    async def recovered(self) -> None:
        """Project to the end; a connection that Redis's restart has cut may be met once."""
        try:
            await self.project()
        except Unavailable:
            await self.project()

    async def settled(self) -> None:
        """Expect Redis to be what the log says, for every question."""
        await self.recovered()
        await self.expect()
        memory = await self.memory()
        await same_store(self.corner, self.reader, memory, N)
        await same_answers(StoreQueries(self.reader, N), StoreQueries(memory, N))

    async def close(self) -> None:
        """Close every store."""
        await self.corner.close()


async def counted(store: RedisStore | MemoryStore) -> list[int]:
    """Count the memories of every tenant over all partitions."""
    return [await StoreQueries(store, N).count_memories(tenant, Filter()) for tenant in TENANTS]


@story
async def test_guarantee_9_redis_killed_while_batches_are_applied_loses_and_doubles_nothing(
    server: RedisServer,
) -> None:
    """`kill -9` at any moment, six times; projectors go on by themselves."""
    here = Deployment(server, seed=11)
    await here.history.more(40)
    done = asyncio.Event()
    projecting = asyncio.create_task(here.suffer(done))
    dice = random.Random(5)
    for _ in range(6):
        await here.history.more(15)
        await asyncio.sleep(dice.random() * 0.02)
        server.kill()
        await here.history.more(5)
        await asyncio.sleep(0.01)
        await asyncio.to_thread(server.start)
    done.set()
    await projecting
    assert here.refused
    await here.settled()
    await here.close()


@story
async def test_guarantee_5_a_flushed_redis_is_refused_until_it_is_filled_again(server: RedisServer) -> None:
    """Not one read is silently empty, and the projectors fill it by themselves, without a new fact."""
    here = Deployment(server, seed=12)
    await here.history.more(200)
    await here.project()
    await here.expect()
    wanted = await counted(here.reader)
    assert any(wanted)
    assert wanted == await counted(await here.memory())
    server.flush()
    with pytest.raises(Unavailable, match="being refilled"):
        await counted(here.reader)
    fresh = here.corner.store()
    for p in range(N):
        fresh.expect(p, await here.history.log.end(p))
    with pytest.raises(Unavailable, match="being refilled"):
        await counted(fresh)
    done = asyncio.Event()
    projecting = asyncio.create_task(here.suffer(done))
    refused = 0
    for _ in range(500):
        try:
            assert await counted(here.reader) == wanted
            break
        except Unavailable:
            refused += 1
        await asyncio.sleep(0.002)
    done.set()
    await projecting
    assert await counted(fresh) == wanted
    await here.settled()
    await here.close()


@story
async def test_guarantee_5_an_old_dump_is_refused_until_it_has_caught_up(server: RedisServer) -> None:
    """Whoever saw more refuses it; the projectors go on from where the dump ends."""
    here = Deployment(server, seed=13)
    await here.history.more(150)
    await here.project()
    server.kill()
    dump = server.folder.with_name(server.folder.name + "-dump")
    shutil.copytree(server.folder, dump, ignore=shutil.ignore_patterns("s"))
    server.start()
    await here.history.more(100)
    await here.settled()
    wanted = await counted(here.reader)
    server.kill()
    shutil.rmtree(server.folder)
    dump.rename(server.folder)
    server.start()
    with pytest.raises(Unavailable, match="is needed"):
        await counted(here.reader)
    await here.recovered()
    assert await counted(here.reader) == wanted
    await here.settled()
    await here.close()


# ---- rebuilds --------------------------------------------------------------------------------------------------------


def rebuild(here: Deployment, told: Callable[[str, int, int], None] = lambda *_: None) -> Rebuild:
    """Return a rebuild, as an operator's process would run it."""
    return Rebuild(here.history.log, here.corner.versions(), here.corner.store, N, told)


@story
async def test_guarantee_6_a_rebuild_takes_over_while_all_goes_on(server: RedisServer) -> None:
    """Facts come in, projectors project, readers read; no read is refused or goes back; nothing old stays."""
    here = Deployment(server, seed=21)
    await here.history.more(200)
    await here.project()
    await here.expect()
    done = asyncio.Event()
    projecting = asyncio.create_task(here.suffer(done))
    steps: list[str] = []

    async def living() -> int:
        reads = 0
        while not done.is_set():
            await here.history.more(2)
            await counted(here.reader)
            reads += 1
            await asyncio.sleep(0.001)
        return reads

    reading = asyncio.create_task(living())
    result = await rebuild(here, lambda what, *_: steps.append(what)).run()
    done.set()
    await projecting
    assert await reading > 5
    assert (result.version, result.differences, result.flipped) == ("2", (), True)
    assert result.compared > 50
    assert list(dict.fromkeys(steps)) == ["fill", "compare", "hand over", "drop version 1"]
    assert await here.corner.keys("1") == []
    assert await here.corner.versions().live() == "2"
    await here.settled()
    await here.close()


@story
async def test_a_version_that_differs_takes_over_only_when_told_to(server: RedisServer) -> None:
    """A damaged row is found and named; accepted, the rebuild repairs it."""
    here = Deployment(server, seed=22)
    await here.history.more(150)
    await here.project()
    row = next(key for key in await here.corner.keys("1") if ":r:" in key and "/memory/" in key)
    wire = here.corner.wire()
    await wire.ask(("HSET", row, "content", '"forged"'))
    result = await rebuild(here).run()
    assert not result.flipped
    assert any(row.endswith(difference.removeprefix("row ")) for difference in result.differences)
    assert await here.corner.versions().live() == "1"
    result = await rebuild(here).run(accept=True)
    assert result.flipped
    await here.settled()
    await here.close()


@story
async def test_a_rebuild_cut_short_in_its_hand_over_is_taken_up(server: RedisServer) -> None:
    """Two of four partitions had moved: readers and projectors follow each, and the next rebuild moves the rest."""
    here = Deployment(server, seed=23)
    await here.history.more(150)
    await here.project()
    new = here.corner.store("2")
    for p in range(N):
        projector = Projector(here.history.log, new, p)
        while await projector.step():
            pass
    versions = here.corner.versions()
    assert await versions.move(1, "1", "2")
    assert await versions.move(3, "1", "2")
    await here.history.more(50)
    await here.project()
    await here.expect()
    assert await counted(here.reader) == await counted(await here.memory())
    assert not await versions.move(0, "1", "2")
    result = await rebuild(here).run()
    assert result.flipped
    assert await here.corner.keys("1") == []
    await here.settled()
    with pytest.raises(ValueError, match="is live"):
        async for _ in versions.drop("2"):
            pass
    await here.close()


@story
async def test_after_a_flush_everyone_meets_in_the_first_version_again(server: RedisServer) -> None:
    """The name of the live version is lost too: projectors, old readers and new ones find each other."""
    here = Deployment(server, seed=24)
    await here.history.more(100)
    await here.project()
    assert (await rebuild(here).run()).flipped
    await here.settled()
    server.flush()
    await here.settled()
    assert await here.corner.keys("2") == []
    fresh = here.corner.store()
    assert await counted(fresh) == await counted(here.reader)
    await here.close()
