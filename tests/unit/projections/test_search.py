"""Search and indexing over fakes: waits, the threshold, hydration, and what a lost or late index may never do."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from mnemolog.domain.errors import Unavailable
from mnemolog.domain.memory import MemoryAdded
from mnemolog.domain.ops import Put
from mnemolog.domain.ports import Checkpoint, Hit, Point, Scope
from mnemolog.domain.record import START, FactRecord
from projections import names
from projections.search import ScopedSearch
from projections.store_memory import MemoryStore
from projections.vectors import Indexer, Room
from projections.vectors_memory import MemoryVectors
from tests import wishes
from tests.given import Story, given

pytestmark = pytest.mark.unit

SCOPE = Scope("acme", "bot", "ann")


class Directions:
    """An embedder whose texts say their angle to the x axis, in degrees."""

    model = "angles@1"
    dimension = 2

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return unit vectors."""
        angles = [math.radians(float(text.split()[0])) for text in texts]
        return [(math.cos(angle), math.sin(angle)) for angle in angles]


@dataclass
class Bench:
    """Memories in views and vectors, and a search over them; `at` is how far the index has come."""

    store: MemoryStore = field(default_factory=MemoryStore)
    vectors: MemoryVectors = field(default_factory=lambda: MemoryVectors(2))
    waits: list[tuple[int, int]] = field(default_factory=list)
    at: int = 1_000_000
    offset: int = 0

    async def add(self, angle: float, scope: Scope = SCOPE, *, row: bool = True, version: int = 0) -> str:
        """Keep a memory at an angle; without `row`, only its vector, as of one that has gone since."""
        n, self.offset = self.offset, self.offset + 1
        identifier = f"01990000-0000-8000-8000-{n:012}"
        await self.vectors.apply(0, [Point(identifier, 0, scope, Directions().embed([str(angle)])[0])], [], n + 1)
        ops: list[Any] = []
        if row:
            from mnemolog.domain.ops import Rank

            key = names.memory(scope.tenant, identifier)
            fields = {"id": identifier, "agent": scope.agent, "invoker": scope.invoker, "text_version": version}
            ops = [Put(key, fields), Rank(key, "changed", names.index("changed", *scope), n)]
        await self.store.apply(0, n, ops, Checkpoint(n + 1, START))
        return identifier

    async def search(self, threshold: float = 0.0, top: int = 10, scope: Scope = SCOPE, wait: float = 1) -> list[str]:
        """Search along the x axis; return the ids found."""

        async def indexed(partition: int, offset: int, _: float) -> bool:
            self.waits.append((partition, offset))
            return self.at >= offset

        made = ScopedSearch(self.store, self.vectors, Directions(), indexed, wait=wait)
        found = await made.search(scope, "0 degrees", threshold, top)
        assert [f.similarity for f in found] == sorted((f.similarity for f in found), reverse=True)
        return [f.memory["id"] for f in found]


def told(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Run a test's coroutine."""

    def run() -> None:
        asyncio.run(test())  # type: ignore[arg-type]

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


# ---- search ----------------------------------------------------------------------------------------------------------


@told
async def test_the_best_come_first_and_the_threshold_is_inclusive() -> None:
    """60 degrees are a similarity of one half, what points away has none; the scope is exact."""
    bench = Bench()
    far, near, right, back = [await bench.add(angle) for angle in (60, 10, 90, 180)]
    await bench.add(0, Scope("acme", "bot", "bob"))
    await bench.add(0, Scope("bolt", "bot", "ann"))
    assert (await bench.search())[:2] == [near, far]
    assert set(await bench.search()) == {near, far, right, back}
    (hit,) = [h for h in await bench.vectors.search(SCOPE, (1, 0), 9) if h.id == far]
    assert hit.similarity == pytest.approx(0.5)
    assert await bench.search(hit.similarity) == [near, far]
    assert await bench.search(math.nextafter(hit.similarity, 1)) == [near]
    assert await bench.search(top=1) == [near]


@told
async def test_a_hit_whose_memory_has_gone_or_has_another_text_is_dropped() -> None:
    """Neither erased nor old content leaks through an index that lags."""
    bench = Bench()
    await bench.add(0, row=False)
    await bench.add(1, version=3)
    kept = await bench.add(2)
    assert await bench.search() == [kept]


@told
async def test_what_is_dropped_is_made_up_for_from_further_down() -> None:
    """However many hits have gone: the page is not short, and the search ends."""
    bench = Bench()
    for n in range(60):
        await bench.add(n / 100, row=False)
    kept = [await bench.add(10 + n) for n in range(3)]
    assert await bench.search(top=2) == kept[:2]
    assert await bench.search(top=3) == kept
    assert await bench.search(top=50) == kept
    assert await bench.search(threshold=0.99, top=2) == []


@told
async def test_guarantee_5_a_search_waits_for_the_last_change_of_its_own_scope() -> None:
    """For no other tenant's; where the index is further behind than the wait, it is refused, never short."""
    bench = Bench()
    mine = await bench.add(1)
    bench.at = bench.offset
    await bench.add(1, Scope("bolt", "bot", "ann"))
    assert await bench.search() == [mine]
    assert set(bench.waits) == {(0, 1)}
    await bench.add(2)
    with pytest.raises(Unavailable, match="behind this scope's last change"):
        await bench.search()


@told
async def test_guarantee_5_an_index_that_is_lost_during_a_search_is_not_believed() -> None:
    """It had come far enough before; what it answered afterwards is short, and is refused."""
    bench = Bench()
    await bench.add(1)
    search = bench.vectors.search

    async def lost(scope: Scope, vector: Sequence[float], top: int) -> Sequence[Hit]:
        bench.vectors._forget()
        bench.at = 0
        return await search(scope, vector, top)

    bench.vectors.search = lost  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="lost during the search"):
        await bench.search()


@told
async def test_a_scope_without_memories_waits_for_nothing() -> None:
    """The answer is known to be empty."""
    bench = Bench(at=0)
    assert await bench.search() == []
    assert bench.waits == []


@told
async def test_a_model_that_takes_longer_than_the_wait_is_unavailable() -> None:
    """The caller is told so in time."""

    class Slow(Directions):
        def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
            time.sleep(0.5)
            return super().embed(texts)

    bench = Bench()
    await bench.add(1)

    async def indexed(*_: object) -> bool:
        return True

    made = ScopedSearch(bench.store, bench.vectors, Slow(), indexed, wait=0.05)
    began = time.monotonic()
    with pytest.raises(Unavailable):
        await made.search(SCOPE, "0", 0.0, 5)
    assert time.monotonic() - began < 0.4


# ---- indexing --------------------------------------------------------------------------------------------------------


class Facts:
    """A log of facts that tests write down."""

    def __init__(self) -> None:
        """Start empty."""
        self.records: list[FactRecord] = []

    def tell(self, story: Story) -> None:
        """Take the facts of a story's last command."""
        assert isinstance(story.result, list)
        for _, record in story.result:
            self.records.append(FactRecord(record.key, record.headers, record.value, len(self.records)))

    async def facts(self, partition: int, start: int, limit: int) -> Sequence[FactRecord]:
        """Return facts."""
        del partition
        return self.records[start : start + limit]

    async def end(self, partition: int) -> int:
        """Return the end."""
        del partition
        return len(self.records)


@dataclass
class Plant:
    """An indexer, what it follows and what it fills."""

    embedder: Any = field(default_factory=Directions)
    log: Any = field(default_factory=Facts)
    store: MemoryStore = field(default_factory=MemoryStore)
    vectors: MemoryVectors = field(default_factory=lambda: MemoryVectors(2))

    def __post_init__(self) -> None:
        """Put the indexer to work."""
        self.indexer = Indexer(self.log, self.store, self.vectors, self.embedder)

    async def projected(self) -> None:
        """Bring the views to the end of the log."""
        from projections.projector import Projector

        projector = Projector(self.log, self.store)
        while await projector.step():
            pass

    async def indexed(self) -> dict[str, int]:
        """Let the indexer finish; return the versions that it holds."""
        await self.projected()
        while await self.indexer.step():
            pass
        return {hit.id: hit.version for hit in await self.vectors.search(SCOPE, (1, 0), 99)}


@told
async def test_the_newest_text_of_a_batch_is_indexed_with_its_version() -> None:
    """A change of metadata alone changes no vector; a memory that the batch takes away gets none."""
    plant = Plant()
    story = given()
    for wish in (
        wishes.add_memory("10"),
        wishes.add_memory("20"),
        lambda s: wishes.update_memory(s.id("memory", 0), content="30"),
        lambda s: wishes.update_memory(s.id("memory", 0), metadata={"n": 1}),
        lambda s: wishes.delete_memory(s.id("memory", 1)),
    ):
        plant.log.tell(story.when(wish))
    assert isinstance(story.log[0][0].payload, MemoryAdded)
    assert await plant.indexed() == {story.id("memory", 0): 1}
    (hit,) = await plant.vectors.search(SCOPE, Directions().embed(["30"])[0], 1)
    assert hit.similarity == pytest.approx(1)


@told
async def test_the_indexer_stays_behind_the_projector() -> None:
    """An update does not say whose memory it is; the row does."""
    plant = Plant()
    story = given()
    plant.log.tell(story.when(wishes.add_memory("10")))
    assert await plant.indexer.step() == 0
    assert await plant.vectors.checkpoint(0) is None
    await plant.projected()
    plant.log.tell(story.when(lambda s: wishes.update_memory(s.id("memory"), content="20")))
    assert await plant.indexer.step() == 1
    assert await plant.indexer.step() == 0
    assert plant.indexer.offset == 1
    assert await plant.indexed() == {story.id("memory"): 1}


@told
async def test_a_text_that_cannot_be_embedded_is_counted_and_blocks_nothing() -> None:
    """The others of its batch are found."""
    plant = Plant()
    story = given()
    for text in ("10", "no angle", "20"):
        plant.log.tell(story.when(wishes.add_memory(text)))
    assert await plant.indexed() == {story.id("memory", 0): 0, story.id("memory", 2): 0}
    assert plant.indexer.failed == 1


@told
async def test_a_change_that_leaves_no_vector_moves_the_stored_checkpoint() -> None:
    """A search in its scope waits for exactly that, and would wait for ever."""
    plant = Plant()
    story = given()
    plant.log.tell(story.when(wishes.add_memory("no angle")))
    assert await plant.indexed() == {}
    assert await plant.vectors.checkpoint(0) == 1


@told
async def test_an_index_that_is_lost_is_filled_again_whenever_that_happens() -> None:
    """While nothing comes, and before a batch that would hide it."""
    plant = Plant()
    story = given()
    plant.log.tell(story.when(wishes.add_memory("10")))
    plant.log.tell(story.when(wishes.add_memory("20")))
    whole = await plant.indexed()
    assert len(whole) == 2
    plant.vectors._forget()
    assert await plant.indexed() == whole
    plant.vectors._forget()
    plant.log.tell(story.when(wishes.add_memory("30")))
    assert len(await plant.indexed()) == 3


@told
async def test_a_store_lost_between_two_reads_leaves_no_memory_out() -> None:
    """Its rows are missing because it is empty, not because the memories have gone."""
    plant = Plant()
    story = given()
    plant.log.tell(story.when(wishes.add_memory("10")))
    await plant.projected()
    rows = plant.store.rows

    async def flushed(partition: int, keys: Sequence[str]) -> Any:
        plant.store.__init__()  # type: ignore[misc]
        return await rows(partition, keys)

    plant.store.rows = flushed  # type: ignore[method-assign]
    assert await plant.indexer.step() == 0
    assert await plant.vectors.checkpoint(0) is None
    plant.store.rows = rows  # type: ignore[method-assign]
    assert await plant.indexed() == {story.id("memory"): 0}


class Counting(Directions):
    """Notes how many texts it is given at a time, and how long they are."""

    def __init__(self) -> None:
        """Start with nothing noted."""
        self.given: list[list[int]] = []

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return unit vectors."""
        self.given.append([len(text) for text in texts])
        return super().embed(texts)


@told
async def test_while_others_want_the_cores_few_texts_are_embedded_at_a_time() -> None:
    """It is asked before each lot; texts of similar length go together, and none is left out."""
    plant, story = Plant(embedder=Counting()), given()
    for n in range(150):
        plant.log.tell(story.when(wishes.add_memory(f"{n} {'x' * (n % 3)}")))
    room = Room(texts=partial(next, iter([16, 16, 64, 16, 64])))
    plant.indexer = Indexer(plant.log, plant.store, plant.vectors, plant.embedder, 0, room)
    assert len(await plant.indexed()) == 99  # as many as a search returns at the most
    assert await plant.vectors.count() == 150
    assert [len(lot) for lot in plant.embedder.given] == [16, 16, 64, 16, 38]
    lengths = [length for lot in plant.embedder.given for length in lot]
    assert lengths == sorted(lengths, reverse=True)


def test_hits_are_what_the_port_says() -> None:
    """Three fields, in this order: adapters build them by position."""
    assert Hit._fields == ("id", "version", "similarity")
