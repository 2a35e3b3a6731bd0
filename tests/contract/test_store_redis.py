"""What the Redis store promises beyond the port: partitions apart, one slot a call, no answer that may be untrue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis.crc import key_slot

from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ops import Drop, Op, Put, Rank, Rescore, Unrank
from mnemolog.domain.ports import Checkpoint, Match
from mnemolog.domain.reads import EventFilter, Filter, SessionFilter
from mnemolog.domain.record import Position
from projections.projector import Projector
from projections.queries import StoreQueries
from projections.redis_plan import MARK
from projections.store_memory import MemoryStore
from projections.store_redis import RedisStore
from tests.contract.test_store import at, story, write
from tests.histories import Told
from tests.redis_stores import Corner
from tests.servers_redis import RedisServer, free_port
from tests.simulation.clients import TENANTS

pytestmark = pytest.mark.contract


@pytest.fixture
def corner() -> Iterator[Corner]:
    """Give a corner of the shared server, cleared afterwards."""
    given_one = Corner()
    yield given_one
    asyncio.run(given_one.clear())


async def with_store(corner: Corner, test: Callable[[RedisStore], Awaitable[None]]) -> None:
    """Run a test on a store that expects an empty log."""
    store = corner.store()
    for partition in range(4):
        store.expect(partition, 0)
    try:
        await test(store)
    finally:
        await store.close()


# ---- partitions ------------------------------------------------------------------------------------------------------


@story
async def test_partitions_do_not_see_each_other(corner: Corner) -> None:
    """The same keys, indexes and offsets in four of them are four things."""

    async def told(store: RedisStore) -> None:
        for p in range(4):
            ops: list[Op] = [Put("a", {"p": p}), Rank("a", "f", "i", p)]
            if p == 2:
                ops += [Put("b", {}), Rank("b", "f", "i", 9)]
            assert await store.apply(p, 0, ops, at(p + 1)) == "applied"
        for p in range(4):
            assert await store.rows(p, ["a"]) == [{"p": p}]
            assert await store.page(p, "i", limit=1) == [(p, "a", {"p": p})]
            assert await store.count(p, "i") == (2 if p == 2 else 1)
            assert await store.reached(p) == at(p + 1)
        assert await store.apply(1, 2, [Drop("a")], at(9)) == "applied"
        assert [await store.count(p, "i") for p in range(4)] == [1, 0, 2, 1]

    await with_store(corner, told)


async def every_call(store: RedisStore) -> None:
    """Do everything that a store can do, in partitions 5 and 6."""
    for p in (5, 6):
        store.expect(p, 0)
        ops: list[Op] = [
            op for n in range(30) for op in (Put(f"k{n}", {"t": f"text {n}"}), Rank(f"k{n}", "f", f"i{n % 2}", n))
        ]
        assert await store.apply(p, 0, ops, at(1)) == "applied"
        assert await store.apply(p, 0, ops, at(1)) == "duplicate"
        assert await store.apply(p, 7, ops, at(9)) == "behind"
        ops = [Drop("k0"), Rescore("k1", "f", 99), Unrank("k2", "f"), Rank("k3", "g", "other", 1), Put("k4", {})]
        assert await store.apply(p, 1, ops, at(2)) == "applied"
        assert len(await store.rows(p, ["k0", "k1"])) == 2
        assert len(await store.page(p, "i1", skip=1, limit=5, newest_first=True)) == 5
        assert len(await store.page(p, "i1", matches=[Match("t", "text 1")], limit=3)) == 3
        assert await store.count(p, "i1") == 15
        assert await store.count(p, "i1", [Match("t", "text 1")]) == 6
        assert await store.checkpoint(p) == await store.reached(p) == at(2)


@story
async def test_every_call_stays_in_one_slot(corner: Corner) -> None:
    """Of all that Redis was told, scripts' own calls included: each partition's keys hash to one slot, its tag's."""
    store = corner.store()
    reader, writer = await _watching(corner.url)
    await every_call(store)
    await store.close()
    wire = corner.wire()
    await wire.ask(("ECHO", "the end"))
    await wire.close()
    slots: dict[str, set[int]] = {}
    seen = set()
    async for words in _heard(reader, "the end"):
        seen.add(words[0].upper())
        for word in words[1:]:
            if word.startswith(f"{corner.app}:1:"):
                slots.setdefault(word.split(":")[2], set()).add(key_slot(word.encode()))
    writer.close()
    await writer.wait_closed()
    assert {"HSET", "ZADD", "ZREM", "UNLINK", "WATCH", "EXEC", "HGET", "HGETALL", "ZRANGE"} <= seen
    assert slots == {"{p5}": {key_slot(b"{p5}")}, "{p6}": {key_slot(b"{p6}")}}
    assert slots["{p5}"] != slots["{p6}"]


async def _watching(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if not url.startswith("unix://"):
        pytest.skip("MONITOR is read on the local server only")
    reader, writer = await asyncio.open_unix_connection(url.removeprefix("unix://"), limit=1 << 24)
    writer.write(b"MONITOR\r\n")
    assert await reader.readline() == b"+OK\r\n"
    return reader, writer


async def _heard(reader: asyncio.StreamReader, last: str) -> Any:
    while True:
        async with asyncio.timeout(10):
            line = (await reader.readline()).decode()
        words = [word.strip('"') for word in line.rstrip().split('" "')]
        words[0] = words[0].rpartition('"')[2]
        if last in words:
            return
        yield words


@story
async def test_a_server_in_cluster_mode_takes_every_call() -> None:
    """It refuses calls over several slots by itself, those inside scripts too."""
    port = free_port()
    server = RedisServer("--cluster-enabled", "yes", "--cluster-require-full-coverage", "no", port=port)
    try:
        for first in range(0, 16_384, 1024):
            assert server.ask("CLUSTER", "ADDSLOTS", *map(str, range(first, first + 1024))) == "+OK"
        for _ in range(100):
            if server.ask("SET", "up", "1") == "+OK":
                break
            await asyncio.sleep(0.05)
        assert server.ask("MSET", "a", "1", "b", "2").startswith("-CROSSSLOT")
        store = Corner(server.url).store()
        await every_call(store)
        await store.close()
    finally:
        server.remove()


# ---- what a reader may be told ---------------------------------------------------------------------------------------


@story
async def test_a_reader_who_was_told_nothing_is_not_told_that_nothing_is_there(corner: Corner) -> None:
    """Without a checkpoint, only an empty log makes an empty answer true."""
    store = corner.store()
    for ask in (store.rows(0, ["a"]), store.page(0, "i"), store.count(0, "i"), store.reached(0)):
        with pytest.raises(Unavailable, match="being refilled"):
            await ask
    store.expect(0, 0)
    assert await store.count(0, "i") == 0
    assert await store.checkpoint(0) is None
    await store.close()


@story
async def test_a_reader_waits_for_what_he_expects(corner: Corner) -> None:
    """At a gateway's start that is the end of the facts; each partition has its own."""
    writer, reader = corner.store(), corner.store()
    await writer.apply(0, 0, [Put("a", {"n": 1})], at(5))
    reader.expect(0, 6)
    with pytest.raises(Unavailable, match=r"below offset 5.*offset 6 is needed"):
        await reader.rows(0, ["a"])
    await writer.apply(0, 5, [], at(6))
    assert await reader.rows(0, ["a"]) == [{"n": 1}]
    await writer.close()
    await reader.close()


@story
async def test_what_has_been_seen_is_never_unseen(corner: Corner) -> None:
    """Keys that vanish, and a checkpoint that goes back, are noticed by every kind of read."""
    writer, reader = corner.store(), corner.store()
    await writer.apply(0, 0, [Put("a", {"t": "x"}), Rank("a", "f", "i", 1)], at(5))
    assert await reader.count(0, "i") == 1
    wire = corner.wire()
    for damage in (("SET", f"{corner.app}:1:{{p0}}:at", "4 0:2"), ("DEL", f"{corner.app}:1:{{p0}}:at")):
        await wire.ask(damage)
        match = [Match("t", "x")]
        for ask in (reader.rows(0, ["a"]), reader.page(0, "i"), reader.count(0, "i"), reader.reached(0)):
            with pytest.raises(Unavailable):
                await ask
        for ask in (reader.page(0, "i", matches=match), reader.count(0, "i", match)):
            with pytest.raises(Unavailable):
                await ask
        assert (await reader.checkpoint(0) or at(0)).offset < 5
    await wire.close()
    await writer.close()
    await reader.close()


@story
async def test_a_read_is_not_refused_for_what_another_saw_after_it_was_asked(corner: Corner) -> None:
    """Of two reads at once, the later may be answered first: the earlier one is as true as when it was asked."""
    writer, reader = corner.store(), corner.store()
    await write(writer, Put("a", {"n": 1}))
    asked, answered = asyncio.Event(), asyncio.Event()
    ask = reader._wire.ask

    async def slow(*commands: Any) -> Any:
        answer = await ask(*commands)
        asked.set()
        await answered.wait()
        return answer

    assert await reader.reached(0) == at(1)
    reader._wire.ask = slow  # type: ignore[method-assign]
    early = asyncio.create_task(reader.reached(0))
    await asked.wait()
    reader._wire.ask = ask  # type: ignore[method-assign]
    await writer.apply(0, 1, [], at(2))
    assert await reader.reached(0) == at(2)
    answered.set()
    assert await early == at(1)
    await writer.close()
    await reader.close()


@story
async def test_no_redis_is_unavailable_and_says_why() -> None:
    """Nobody there, too late, read-only, full, loading: all of it is one error, with Redis's own words."""
    server = RedisServer()
    store = Corner(server.url).store()
    await write(store, Put("a", {"n": 1}))
    try:
        server.ask("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(Unavailable, match=r"READONLY|read only"):
            await store.apply(0, 1, [Put("a", {"n": 2})], at(2))
        server.ask("REPLICAOF", "NO", "ONE")
        server.ask("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(Unavailable, match=r"(?i)oom|maxmemory|discarded"):
            await store.apply(0, 1, [Put("a", {"n": 2}), Rank("a", "f", "i", 1)], at(2))
        server.ask("CONFIG", "SET", "maxmemory", "0")
        assert await store.rows(0, ["a"]) == [{"n": 1}]
        assert await store.checkpoint(0) == at(1)
        server.kill()
        for ask in (store.rows(0, ["a"]), store.apply(0, 1, [], at(2)), store.checkpoint(0)):
            with pytest.raises(Unavailable, match="Redis"):
                await ask
        server.start()
        assert await store.rows(0, ["a"]) == [{"n": 1}]
        assert await store.apply(0, 1, [], at(2)) == "applied"
    finally:
        await store.close()
        server.remove()


# ---- projectors ------------------------------------------------------------------------------------------------------


@story
async def test_of_two_projectors_on_one_partition_each_batch_is_applied_by_one(corner: Corner) -> None:
    """Whoever loses a race is told `duplicate`; nobody skips, nobody doubles."""
    stores = [corner.store() for _ in range(3)]

    async def project(store: RedisStore) -> list[str]:
        return [
            await store.apply(0, n, [Put("a", {"n": n}), Rank(f"k{n}", "f", "i", n)], at(n + 1)) for n in range(100)
        ]

    answers = await asyncio.gather(*map(project, stores))
    for batch in zip(*answers, strict=True):
        assert sorted(batch) == ["applied", "duplicate", "duplicate"]
    assert await stores[0].count(0, "i") == 100
    assert await stores[0].rows(0, ["a"]) == [{"n": 99}]
    for store in stores:
        await store.close()


@story
async def test_readers_see_whole_batches_only(corner: Corner) -> None:
    """Rows of one call are of one batch; pages are never short while rows move and go."""
    writer, reader = corner.store(), corner.store()
    rows = [op for n in range(60) for op in (Put(f"k{n:02}", {"t": "x"}), Rank(f"k{n:02}", "f", "i", n))]
    await writer.apply(0, 0, [*rows, Put("a", {"n": 0}), Put("b", {"n": 0})], at(1))
    done = asyncio.Event()

    async def reading() -> int:
        reads = 0
        while not done.is_set():
            a, b = await reader.rows(0, ["a", "b"])
            assert a == b
            page = await reader.page(0, "i", limit=50, matches=[Match("t", "x")] if reads % 2 else [])
            assert len(page) == 50
            assert await reader.count(0, "i") == 60
            reads += 1
        return reads

    async def writing() -> None:
        for n in range(1, 150):
            gone, new = f"k{n % 60:02}", f"k{n % 60:02}"
            ops: list[Op] = [
                Put("b", {"n": n}),
                Drop(gone),
                Put(new, {"t": "x"}),
                Rank(new, "f", "i", n),
                Put("a", {"n": n}),
            ]
            await writer.apply(0, n, ops, at(n + 1))
        done.set()

    counts = await asyncio.gather(reading(), writing())
    assert counts[0]
    await writer.close()
    await reader.close()


@story
async def test_a_dropped_row_leaves_no_key_behind(corner: Corner) -> None:
    """Neither the row, nor its places, nor the names of its indexes: only the checkpoint stays."""
    store = corner.store()
    await write(
        store,
        Put("a", {"t": "x"}),
        Rank("a", "f", "i", 1),
        Rank("a", "g", "j", 1),
        Put("b", {}),
        Rank("c", "f", "k", 2),
    )
    assert len(await corner.keys()) == 7
    await write(store, Drop("a"), Drop("b"), Drop("c"))
    assert await corner.keys() == [f"{corner.app}:1:{{p0}}:at"]
    await store.close()


@story
async def test_the_keys_of_a_row_are_only_its_fields_and_its_mark(corner: Corner) -> None:
    """A row that has neither fields nor places is still a row; `Put` of nothing keeps what is there."""
    store = corner.store()
    await write(store, Put("a", {}), Put("b", {"x": 1}), Rank("b", "f", "i", 1))
    await write(store, Put("a", {}), Put("b", {}), Unrank("b", "f"))
    await write(store, Put("b", {"": 2}))
    assert await store.rows(0, ["a", "b"]) == [{}, {"x": 1, "": 2}]
    wire = corner.wire()
    (fields,) = await wire.ask(("HKEYS", f"{corner.app}:1:{{p0}}:r:a"))
    assert fields == [MARK]
    await wire.close()
    await store.close()


@story
async def test_a_batch_larger_than_any_buffer_is_still_one(corner: Corner) -> None:
    """3,000 rows, some of a megabyte: applied whole, read in steps, counted exactly."""
    store = corner.store()
    big = "long \n" * 170_000
    ops = [
        op
        for n in range(3_000)
        for op in (Put(f"k{n:04}", {"t": big if n % 500 == 7 else "s"}), Rank(f"k{n:04}", "f", "i", n))
    ]
    assert await store.apply(0, 0, ops, at(3_000)) == "applied"
    page = await store.page(0, "i")
    assert [key for _, key, _ in page] == [f"k{n:04}" for n in range(3_000)]
    assert page[::-1] == await store.page(0, "i", newest_first=True)
    assert await store.count(0, "i", [Match("t", "\nlong")]) == 6
    assert await store.count(0, "i", [Match("t", "nlong")]) == 0
    assert await store.count(0, "i", [Match("t", "s")]) == 2_994
    assert [score for score, _, _ in await store.page(0, "i", matches=[Match("t", "long")], skip=2, limit=2)] == [
        1007,
        1507,
    ]
    await store.close()


# ---- the whole right side --------------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(seed=3718)  # one partition has no facts at all
@given(seed=st.integers(0, 1 << 32))
def test_guarantee_6_any_history_projected_into_redis_reads_as_in_memory(seed: int) -> None:
    """Four partitions: every row, index and count, every list that is merged over partitions, and not one key more."""

    async def told() -> None:
        history = await Told(seed).more(120)
        corner = Corner()
        redis, memory = corner.store(), MemoryStore()
        for p in range(history.partitions):
            for store in (redis, memory):
                projector = Projector(history.log, store, p)
                while await projector.step():
                    pass
            redis.expect(p, await history.log.end(p))
        await same_store(corner, redis, memory, history.partitions)
        await same_answers(StoreQueries(redis, 4), StoreQueries(memory, 4))
        await redis.close()
        await corner.clear()

    asyncio.run(told())


async def same_store(corner: Corner, redis: RedisStore, memory: MemoryStore, partitions: int) -> None:
    """Expect the same rows, pages, counts and checkpoints, and nothing else in Redis."""
    keys = 0
    for p in range(partitions):
        rows, places = memory.all_rows.get(p, {}), memory.all_places.get(p, {})
        indexes = {index for index, _ in places.values()}
        assert await redis.checkpoint(p) == await memory.checkpoint(p)
        assert await redis.rows(p, list(rows)) == list(rows.values())
        for index in indexes:
            assert await redis.page(p, index) == list(await memory.page(p, index))
            assert await redis.count(p, index) == await memory.count(p, index)
        keys += (await memory.checkpoint(p) is not None) + len(rows) + len(indexes)  # none without a fact
    assert len(await corner.keys()) == keys > partitions


async def same_answers(redis: StoreQueries, memory: StoreQueries) -> None:
    """Expect the same answers to what the faces ask."""
    for tenant in TENANTS:
        for wanted in (Filter(), Filter(agent="bot"), Filter(invoker="ann"), Filter(contains=(Match("content", "e"),))):
            for skip, limit in ((0, None), (0, 3), (2, 5)):
                assert await redis.memories(tenant, wanted, skip, limit) == await memory.memories(
                    tenant, wanted, skip, limit
                )
                assert await redis.messages(tenant, wanted, skip, limit) == await memory.messages(
                    tenant, wanted, skip, limit
                )
            assert await redis.count_memories(tenant, wanted) == await memory.count_memories(tenant, wanted)
            assert await redis.count_messages(tenant, wanted) == await memory.count_messages(tenant, wanted)
        assert await redis.policy(tenant) == await memory.policy(tenant)
        for user in ("u0", "u1"):
            spaces = await memory.spaces(tenant, user, None, 0, 100)
            assert await redis.spaces(tenant, user, None, 0, 100) == spaces
            for space in spaces.items:
                sessions = await memory.sessions(tenant, space["id"], SessionFilter(), 0, 100)
                assert await redis.sessions(tenant, space["id"], SessionFilter(), 0, 100) == sessions
                for session in sessions.items:
                    for events in (EventFilter(), EventFilter(type="user"), EventFilter(last=2)):
                        found = await redis.events(tenant, session["id"], events)
                        assert found == await memory.events(tenant, session["id"], events)
    assert await redis.all_clients() == await memory.all_clients()


@story
async def test_an_idle_projector_notices_a_store_that_went_back(corner: Corner) -> None:
    """Flushed or restored, without a new fact: the next step begins again at what the store has."""
    history = await Told(1).more(60)
    p = max(range(4), key=lambda n: len(history.log._partitions[n].facts))
    store = corner.store()
    projector = Projector(history.log, store, p)
    while await projector.step():
        pass
    whole = await store.reached(p)
    assert whole is not None
    assert whole.offset == await history.log.end(p)
    await corner.clear()
    with pytest.raises(Unavailable):
        await store.count(p, "i")
    while await projector.step():
        pass
    assert await store.reached(p) == Checkpoint(whole.offset, Position(*whole.position))
    await store.close()
