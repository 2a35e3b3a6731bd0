"""The Redis store: facts applied and rebuilt per second, pages and counts of a large index, beside bare pipelines.

A fact here is a memory added: a row of eight fields with a place in five indexes.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence

from redis.asyncio import Redis

from mnemolog.domain.codec import Envelope, encode_command
from mnemolog.domain.memory import AddMemory, NewMemory, Owner
from mnemolog.domain.ops import Op, Put, Rank
from mnemolog.domain.ports import Checkpoint, Match
from mnemolog.domain.record import Position
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import Rules
from projections import memories, names
from projections.projector import Projector
from projections.redis_wire import connect
from projections.store_redis import RedisStore
from workers.log_memory import MemoryLog
from workers.sequencing import Sequencing
from workers.snapshot_memory import MemorySnapshot

_TENANT = "bench"
_TIME = 1_795_003_200_000_000
_BATCH = 500
_FACTS = 20_000
_LARGE = 100_000
_READS = 200
_LOGGED = 8_000


def redis_store(url: str) -> dict[str, float]:
    """Return figures of a server that is empty and will not be afterwards."""
    return asyncio.run(_measure(url))


async def _measure(url: str) -> dict[str, float]:
    figures: dict[str, float] = {}
    client = connect(url)
    figures["bare pipelines, the same rows per second"] = round(await _bare(client))
    await client.flushall()
    store = RedisStore(client)
    figures["facts applied per second, one partition"] = round(_FACTS / await _applied(store, 0, _FACTS))
    start = time.perf_counter()
    await asyncio.gather(*(_applied(store, partition, _FACTS) for partition in (1, 2, 3, 4)))
    figures["facts applied per second, four partitions"] = round(4 * _FACTS / (time.perf_counter() - start))
    figures["facts rebuilt per second (read, decoded, applied)"] = round(
        await _rebuilt(RedisStore(client, app="rebuilt"))
    )
    await _applied(store, 6, _LARGE)
    index = names.index("memories", _TENANT)
    rare = [Match("content", f"number {_LARGE - 5},")]
    reads: dict[str, tuple[int, Callable[[], Awaitable[object]]]] = {
        "a row, ms": (_READS, lambda: store.rows(6, [_key(7)])),
        "a page of 50 of 100,000, ms": (_READS, lambda: store.page(6, index, limit=50)),
        "a page of 50 behind 50,000, ms": (_READS, lambda: store.page(6, index, skip=50_000, limit=50)),
        "the last 50, ms": (_READS, lambda: store.page(6, index, limit=50, newest_first=True)),
        "a count, ms": (_READS, lambda: store.count(6, index)),
        "one row of 100,000 by `contains`, ms": (3, lambda: store.page(6, index, limit=50, matches=rare)),
        "a count of 100,000 by `contains`, ms": (3, lambda: store.count(6, index, [Match("content", "tea")])),
    }
    for name, (times, read) in reads.items():
        figures[name] = round(await _median(times, read), 2)
    await store.close()
    return figures


def _key(n: int) -> str:
    return names.memory(_TENANT, f"01890a5d-ac96-874b-bcce-{n:012d}")


def _fields(n: int) -> dict[str, object]:
    text = f"likes tea, number {n}, and other things that were said in a few words"
    who = {"agent": f"agent-{n % 10}", "invoker": f"user-{n % 100}"}
    return {"id": _key(n)[-36:], **who, "content": text, "metadata": None, "created": _TIME + n, "updated": _TIME + n}


def _ops(n: int) -> list[Op]:
    fields = _fields(n)
    agent, invoker = str(fields["agent"]), str(fields["invoker"])
    return [
        Put(_key(n), fields | {"text_version": 0}),
        *memories.places(_key(n), "memories", _TENANT, agent, invoker, _TIME + n),
        Rank(_key(n), "changed", names.index("changed", _TENANT, agent, invoker), n),
    ]


async def _applied(store: RedisStore, partition: int, facts: int) -> float:
    took = 0.0
    for first in range(0, facts, _BATCH):
        ops = [op for n in range(first, first + _BATCH) for op in _ops(n)]
        checkpoint = Checkpoint(first + _BATCH, Position(0, first + _BATCH))
        start = time.perf_counter()
        assert await store.apply(partition, first, ops, checkpoint) == "applied"
        took += time.perf_counter() - start
    return took


async def _bare(client: Redis) -> float:
    """Write the same rows and places with redis-py's own pipelines: no transaction, no checkpoint, nothing planned."""
    took = 0.0
    for first in range(0, _FACTS, _BATCH):
        start = time.perf_counter()
        async with client.pipeline(transaction=False) as pipeline:
            for n in range(first, first + _BATCH):
                pipeline.hset(_key(n), mapping={name: str(value) for name, value in _fields(n).items()})
                for index in range(5):
                    pipeline.zadd(f"index {index}", {_key(n): _TIME + n})
            await pipeline.execute()
        took += time.perf_counter() - start
    return _FACTS / took


async def _rebuilt(store: RedisStore) -> float:
    log = await _log()
    projector = Projector(log, store)
    start = time.perf_counter()
    while await projector.step():
        pass
    took = time.perf_counter() - start
    assert await store.count(0, names.index("memories", _TENANT)) == _LOGGED
    return _LOGGED / took


async def _log() -> MemoryLog:
    log = MemoryLog(lambda: _TIME)
    sequencing = Sequencing(log, lambda: MemorySnapshot(bytes(32)), Rules())
    await sequencing.start()
    said: Sequence[AddMemory] = [
        AddMemory(target=Owner(agent="bot", invoker=f"user-{n % 100}"), parts=(NewMemory(content=f"likes tea {n}"),))
        for n in range(_LOGGED)
    ]
    records = []
    for n, command in enumerate(said):
        slot = slot_of_command(_TENANT, f"c{n}", command) or 0
        records.append(encode_command(Envelope(f"c{n}", _TENANT, "bench", slot, n.to_bytes(32, "big"), command)))
    await log.append(0, records)
    while await sequencing.step() is not None:
        pass
    return log


async def _median(times: int, read: Callable[[], Awaitable[object]]) -> float:
    took = []
    for _ in range(times):
        start = time.perf_counter()
        await read()
        took.append(time.perf_counter() - start)
    return statistics.median(took) * 1_000
