"""Vectors that workers share on a Qdrant: workers that vanish, a collection that is dropped, a server that is killed.

The first story is told on qdrant-client's local mode too; what kills a server needs one that a test may start.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Self

import pytest
from qdrant_client import AsyncQdrantClient

from mnemolog.runtime.condition import Condition
from mnemolog.runtime.metrics import Metrics
from mnemolog.runtime.vectors import index
from projections.embedding import HashingEmbedder
from projections.projector import Projector
from projections.qdrant_migration import Migration, Model
from projections.qdrant_wire import Collection, connect, counting, drop_former
from projections.store_memory import MemoryStore
from projections.vectors import Indexer, Room
from projections.vectors_memory import MemoryVectors
from projections.vectors_points import ModelMismatchError
from projections.vectors_qdrant import QdrantVectors
from tests import qdrants
from tests.histories import Told
from tests.system.sequencers import story

pytestmark = pytest.mark.system
N = 4
PATIENCE = 120.0
EMBEDDER = HashingEmbedder()


@pytest.fixture
def server() -> Iterator[qdrants.QdrantServer]:
    """Give a server of the test's own."""
    own = qdrants.QdrantServer()
    yield own
    own.remove()


class Plant:
    """A log that grows, its views, and vectors workers that share its partitions."""

    def __init__(self, client: AsyncQdrantClient, seed: int) -> None:
        """Start with an empty log and no workers."""
        self.history = Told(seed, N)
        self.client = client
        self.where = qdrants.collection(EMBEDDER.model, EMBEDDER.dimension)
        self.store = MemoryStore()
        self.conditions = [Condition(partition) for partition in range(N)]
        self._projectors = [Projector(self.history.log, self.store, partition) for partition in range(N)]
        self._threads = ThreadPoolExecutor(1)
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def more(self, rounds: int) -> None:
        """Let the clients speak, and project what is decided."""
        await self.history.more(rounds)
        for projector in self._projectors:
            while await projector.step():
                pass

    async def take(self, *partitions: int) -> None:
        """Let a worker that has just come up work on partitions; whoever did is gone in the middle of what he did."""
        vectors = QdrantVectors(self.client, self.where)
        for partition in partitions:
            if partition in self._tasks:
                self._tasks.pop(partition).cancel()
            condition = self.conditions[partition] = Condition(partition)
            begun = partial(self._begun, vectors, partition)
            self._tasks[partition] = asyncio.create_task(index(begun, self.store, condition, Metrics()))

    async def _begun(self, vectors: QdrantVectors, partition: int) -> Indexer:
        return Indexer(self.history.log, self.store, vectors, EMBEDDER, partition, Room(self._threads))

    async def settled(self) -> None:
        """Wait until Qdrant holds, point by point, what one indexer makes of the whole log in memory."""
        wanted = await self._wanted()
        assert wanted
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while True:
            found = await qdrants.versions(self.client, self.where)
            if found == wanted:
                return
            assert asyncio.get_running_loop().time() < deadline, (len(found), len(wanted), self.conditions)
            assert not any(task.done() for task in self._tasks.values())
            await asyncio.sleep(0.05)

    async def troubled(self) -> None:
        """Wait until a worker says that it cannot go on."""
        async with asyncio.timeout(PATIENCE):
            while not any(condition.trouble for condition in self.conditions):  # noqa: ASYNC110 -- a plain value
                await asyncio.sleep(0.01)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._threads.shutdown()
        await self.client.delete_collection(self.where.name)
        await self.client.close()

    async def _wanted(self) -> dict[str, int]:
        vectors = MemoryVectors(EMBEDDER.dimension)
        for partition in range(N):
            indexer = Indexer(self.history.log, self.store, vectors, EMBEDDER, partition)
            while await indexer.step():
                pass
        return {identifier: stored.version for identifier, stored in vectors._points.items()}


def client(kind: str) -> AsyncQdrantClient:
    """Return a client of an index that may be dropped."""
    return qdrants.local_client() if kind == "local" else connect(qdrants.shared_server())


@pytest.mark.parametrize("kind", ["local", "server"])
@story
async def test_guarantee_9_workers_that_vanish_and_a_dropped_collection_lose_nothing(kind: str) -> None:
    """Under a log that grows: in the end Qdrant holds what the log says, each memory once, and none that has gone."""
    dice = random.Random(7)
    async with Plant(client(kind), seed=3) as here:
        await here.take(0, 1)
        await here.take(2, 3)
        for turn in range(6):
            await here.more(60)
            await asyncio.sleep(dice.random() * 0.1)
            if turn % 3 == 1:
                await here.client.delete_collection(here.where.name)
            else:
                await here.take(*dice.sample(range(N), 2))
        await here.more(20)
        await here.settled()
        await here.client.delete_collection(here.where.name)
        await here.settled()


@story
async def test_guarantee_9_a_server_killed_under_load_loses_nothing(server: qdrants.QdrantServer) -> None:
    """`kill -9` of Qdrant while batches are written, four times; the workers wait, and go on by themselves."""
    dice = random.Random(1)
    async with Plant(connect(server.url), seed=5) as here:
        await here.take(*range(N))
        for _ in range(4):
            await here.more(60)
            await asyncio.sleep(dice.random() * 0.2)
            server.kill()
            await here.more(20)
            await here.troubled()
            await asyncio.to_thread(server.start)
        await here.settled()


class Other(HashingEmbedder):
    """Another model, of another dimension: the first half of each vector."""

    model = "half@1"
    dimension = 32

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return shorter vectors; the adapter need not have them normalised."""
        return [vector[:32] for vector in super().embed(texts)]


class Blind(Other):
    """A model that tells no text from another."""

    model = "blind@1"

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return nothing that could be found."""
        return [[0.0] * 32 for _ in texts]


def migration(here: Plant, embedder: Other, told: Callable[[str, int, int], None]) -> Migration:
    """Return a migration of the plant to a model."""
    old, new = Model(EMBEDDER, here.where), Model(embedder, Collection(here.where.app, embedder.model, 32))
    return Migration(here.client, here.history.log, here.store, old, new, N, told)


@pytest.mark.parametrize("kind", ["local", "server"])
@story
async def test_a_migration_goes_on_after_a_kill_and_leaves_the_old_index_right_until_it_is_dropped(kind: str) -> None:
    """Filled beside the old one under a log that grows; the alias moves at one moment; no attempt starts anew."""
    shares: list[int] = []

    def killed(what: str, done: int, _: int) -> None:
        shares.append(done)
        if what == "fill" and len(shares) == 2:
            raise KilledError

    async with Plant(client(kind), seed=3) as here:
        await here.take(*range(N))
        await here.more(380)
        await here.settled()
        new = Collection(here.where.app, Other.model, 32)
        with pytest.raises(KilledError):
            await migration(here, Other(), killed).run()
        assert await counting(here.client, new) == here.where.name
        begun = [await QdrantVectors(here.client, new).checkpoint(partition) for partition in range(N)]
        assert any(begun)
        await here.more(20)
        first: list[int] = []
        done = await migration(here, Other(), lambda _what, at, _whole: first.append(at)).run()
        assert first[0] >= sum(at or 0 for at in begun) > 0
        assert done.moved
        assert done.compared.asked > 0
        assert done.compared.found >= (done.compared.found_before or 0) > 0
        assert await counting(here.client, new) == new.name
        await here.settled()
        assert await qdrants.versions(here.client, new) == await qdrants.versions(here.client, here.where)
        assert await drop_former(here.client, new) == here.where.name
        assert await drop_former(here.client, new) is None
        assert not await here.client.collection_exists(here.where.name)
        late = QdrantVectors(here.client, here.where)
        with pytest.raises(ModelMismatchError, match="half"):
            await late.apply(0, [], [], 1)
        await here.client.delete_collection(new.name)


@story
async def test_a_model_that_finds_less_does_not_take_over_by_itself() -> None:
    """It is filled, compared and left beside the old one, until a person says that it is wanted."""
    async with Plant(client("local"), seed=3) as here:
        await here.take(*range(N))
        await here.more(2_000)
        await here.settled()
        new = Collection(here.where.app, Blind.model, 32)
        refused = await migration(here, Blind(), lambda *_: None).run()
        assert not refused.moved
        assert refused.compared.found < (refused.compared.found_before or 0)
        assert await counting(here.client, new) == here.where.name
        accepted = await migration(here, Blind(), lambda *_: None).run(accept=True)
        assert accepted.moved
        assert await counting(here.client, new) == new.name


class KilledError(BaseException):
    """The end of a process, as far as its code can tell."""
