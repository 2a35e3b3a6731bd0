"""What must be true after any kill: nothing lost, nothing doubled, no gap, and views that equal a fold of the log."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict

from mnemolog.domain.codec import decode_fact
from mnemolog.domain.fact import Fact
from mnemolog.domain.record import CONTROL_KEY, FactRecord
from projections.embedding import HashingEmbedder
from projections.projector import Projector
from projections.qdrant_wire import Collection
from projections.qdrant_wire import connect as connect_qdrant
from projections.redis_wire import connect
from projections.store_memory import MemoryStore
from projections.store_redis import RedisStore
from tests.killing.load import Load
from tests.killing.processes import Deployment
from tests.qdrants import versions
from tests.system.sequencers import everything
from workers.log_kafka import KafkaLog

_PATIENCE = 60.0


async def verdict(deployment: Deployment, load: Load) -> int:
    """Return how many facts there are, all of them right. Raises AssertionError."""
    assert not load.failures, load.failures
    assert not load.refused, list(load.refused.items())[:3]
    log = KafkaLog(deployment.cluster)
    store = RedisStore(connect(deployment.redis.url), app=deployment.app)
    facts: list[Fact] = []
    texts: dict[str, int] = {}
    try:
        await log.start()
        for partition in range(deployment.cluster.partitions):
            facts += _decoded(await everything(log, "facts", partition))
            texts |= await _same_views(log, store, partition)
    finally:
        await store.close()
        await log.close()
    _whole(facts)
    _kept(facts, load)
    if deployment.qdrant is not None:
        await _same_vectors(deployment.qdrant.url, deployment.app, texts)
    return len(facts)


def _decoded(records: list[FactRecord]) -> list[Fact]:
    kept = [record for record in records if record.key != CONTROL_KEY]
    assert len({record.key for record in kept}) == len(kept), "a fact stands there twice"
    return [decode_fact(record) for record in kept]


def _whole(facts: list[Fact]) -> None:
    """No gap in the versions of a stream, the ordinals of a slot, the sequence ids of a session; nothing twice."""
    versions, ordinals, events = (defaultdict[object, list[int]](list) for _ in range(3))
    commands = defaultdict[tuple[str, int], list[int]](list)
    for fact in facts:
        versions[fact.stream].append(fact.version)
        ordinals[fact.slot].append(fact.ordinal)
        commands[fact.command, fact.of].append(fact.nth)
        if fact.subject.startswith("event/"):
            events[fact.stream].append(int(fact.subject.removeprefix("event/")))
    for numbers in (versions, ordinals, events):
        for where, found in numbers.items():
            assert found == list(range(len(found))), f"{where}: {found[:50]}"
    for (command, count), indexes in commands.items():
        assert indexes == list(range(count)), f"command {command} has the facts {indexes} of {count}"
    assert len(commands) == len({command for command, _ in commands}), "a command was decided twice"


def _kept(facts: list[Fact], load: Load) -> None:
    """Whatever was acknowledged is there, as it was said."""
    there = defaultdict[str, list[tuple[str, str]]](list)
    texts: dict[str, str] = {}
    for fact in facts:
        there[fact.command].append((fact.stream, fact.subject))
        text = getattr(fact.payload, "content", None)
        if isinstance(text, str):
            texts[fact.stream.rpartition("/")[2]] = text
    for command, landed in load.acknowledged.items():
        assert tuple(there[command]) == landed, f"{command}, acknowledged as {landed}, has {there[command]}"
    for memory, text in load.memories.items():
        assert texts.get(memory) == text, f"memory {memory} holds {texts.get(memory)!r}, not {text!r}"


async def _same_views(log: KafkaLog, store: RedisStore, partition: int) -> dict[str, int]:
    """Redis, once it has come to the end, holds what a fold of the log gives (guarantee 6).

    Returns the versions of the texts of all memories, by id.
    """
    memory = MemoryStore()
    projector = Projector(log, memory, partition)
    while await projector.step():
        pass
    store.expect(partition, await log.end(partition))
    deadline = time.monotonic() + _PATIENCE
    while (at := await store.checkpoint(partition)) is None or at.offset < await log.end(partition):
        assert time.monotonic() < deadline, f"the views of partition {partition} stay at {at}"
        await asyncio.sleep(0.05)
    rows, places = memory.all_rows.get(partition, {}), memory.all_places.get(partition, {})
    keys = list(rows)
    for first in range(0, len(keys), 500):
        part = keys[first : first + 500]
        assert await store.rows(partition, part) == [rows[key] for key in part]
    for index in {index for index, _ in places.values()}:
        assert await store.count(partition, index) == await memory.count(partition, index), index
    return {str(row["id"]): int(row["text_version"]) for row in rows.values() if "text_version" in row}


async def _same_vectors(url: str, app: str, texts: dict[str, int]) -> None:
    """Qdrant, once it has come to the end, holds a vector of each text, and no other."""
    client, where = connect_qdrant(url), Collection(app, HashingEmbedder.model, HashingEmbedder.dimension)
    deadline = time.monotonic() + _PATIENCE
    while (found := await versions(client, where)) != texts:
        assert time.monotonic() < deadline, f"Qdrant has {len(found)} points of {len(texts)}"
        await asyncio.sleep(0.1)
    await client.close()
