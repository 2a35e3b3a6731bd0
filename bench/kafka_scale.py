"""The distributed runtime as processes: partitions and workers, writes through a gateway, a start with 1 M facts.

`python -m bench.kafka_scale [FACTS]`; a local broker and Redis are started for it. On a machine with two cores, workers
beyond the second only share them.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.core import record_of
from bench.kafka import quantiles
from bench.line import Line
from deploy.stack.kafka import Broker
from mnemolog.domain.audits import silent
from mnemolog.domain.ids import partition_of
from mnemolog.domain.memory import AddMemory, NewMemory, Owner
from mnemolog.domain.record import CommandRecord
from mnemolog.domain.rules import Rules
from mnemolog.domain.session_commands import (
    AppendEvents,
    CreateSession,
    Emitter,
    InSpace,
    NewEvent,
    NewSession,
    SessionTarget,
)
from mnemolog.domain.space import ByUser, CreateSpace, NewSpace
from mnemolog.runtime import interpreter
from mnemolog.runtime.config import Settings
from mnemolog.runtime.kafka import prepare_client
from mnemolog.runtime.parallel import processes
from mnemolog.runtime.projections import filled
from tests.brokers import Kafka
from tests.killing.processes import Deployment, Node
from tests.servers_redis import RedisServer
from workers.kafka_cluster import Cluster
from workers.log_kafka import KafkaLog
from workers.log_sqlite import connect
from workers.sequencing import BATCH, Sequencing
from workers.snapshot_memory import MemorySnapshot
from workers.snapshot_sqlite import SqliteSnapshot

_COMMANDS = 24_000
_LOOK = 0.1
_REBUILT = 48_000
_PER_SECOND = 100
_EARLY, _WARM, _WRITES = 600, 12_000, 1_800
"""Writes just after the start; those in which the broker still compiles its own code; those behind them."""
_LINES = 16
_FACTS = 1_000_000
_EVENTS = 200


def kafka_scale(folder: Path, facts: int = _FACTS) -> dict[str, float]:
    """Return figures per second and in milliseconds."""
    prepare_client()
    (folder / "broker").mkdir(parents=True)
    broker, redis = Broker(folder / "broker"), RedisServer()
    broker.start()
    kafka = Kafka(broker.servers, broker)
    figures: dict[str, float] = {}
    try:
        for workers in (1, 2, 4):
            (folder / f"spread-{workers}").mkdir()
            rate = asyncio.run(_spread(kafka.topics(workers), redis, folder / f"spread-{workers}"))
            figures[f"commands sequenced per second, {workers} partitions and workers"] = rate
        figures |= asyncio.run(_rebuilt(kafka.topics(4), redis))
        (folder / "gateway").mkdir()
        with Deployment(kafka, redis, folder / "gateway", ("sequencer", "projector")) as deployment:
            figures |= _writes(deployment.gateways[0].url)
        figures |= asyncio.run(_warm(kafka.topics(1), folder, facts))
    finally:
        redis.remove()
        broker.stop()
    return {name: round(value, 2) for name, value in figures.items()}


def main() -> None:
    """Measure and print JSON."""
    interpreter.set_up()
    with tempfile.TemporaryDirectory(prefix="mnemolog-bench-") as base:
        print(json.dumps(kafka_scale(Path(base), *(int(facts) for facts in sys.argv[1:2])), indent=2))


async def _spread(cluster: Cluster, redis: RedisServer, folder: Path) -> float:
    """Start a sequencer for each partition, then put commands into every one, and time all outcomes."""
    log = KafkaLog(cluster)
    await log.start()
    commands = _memories(_COMMANDS, cluster.partitions)
    settings = {
        "MNEMOLOG_KAFKA": cluster.servers,
        "MNEMOLOG_PARTITIONS": str(cluster.partitions),
        "MNEMOLOG_TOPIC_PREFIX": cluster.prefix,
        "MNEMOLOG_REDIS": redis.url,
    }
    nodes = [Node("sequencer", folder / f"{n}", settings) for n in range(cluster.partitions)]
    for node in nodes:
        node.start()
    _shared_out(nodes)
    begun = time.perf_counter()
    for partition, records in enumerate(commands):
        for first in range(0, len(records), BATCH):
            await log.append(partition, records[first : first + BATCH])
    ats, heard = [0] * cluster.partitions, 0
    while heard < _COMMANDS:
        for partition in range(cluster.partitions):
            outcomes = await log.outcomes(partition, ats[partition], 5_000)
            if outcomes:
                ats[partition] = outcomes[-1][0] + 1
                heard += len(outcomes)
    took = time.perf_counter() - begun
    for node in nodes:
        node.stop()
    await log.close()
    return _COMMANDS / took


def _shared_out(nodes: Sequence[Node]) -> None:
    """Wait until each has a partition: what a group takes to share them out is not what is measured."""
    while not all(len(node.partitions() or ()) == 1 for node in nodes):
        time.sleep(_LOOK)


async def _rebuilt(cluster: Cluster, redis: RedisServer) -> dict[str, float]:
    """Fill views in Redis from several partitions: by one process, and by as many as there are cores."""
    log, rules = KafkaLog(cluster), Rules()
    await log.start()
    for partition, records in enumerate(_memories(_REBUILT, cluster.partitions)):
        sequencing = Sequencing(log, lambda: MemorySnapshot(bytes(32)), rules, partition, cluster.partitions)
        await sequencing.start()
        for first in range(0, len(records), BATCH):
            await log.append(partition, records[first : first + BATCH])
            while await sequencing.step() is not None:
                pass
    await log.close()
    settings = Settings(
        runtime="kafka",
        kafka=cluster.servers,
        partitions=cluster.partitions,
        topic_prefix=cluster.prefix,
        redis=redis.url,
    )
    figures = {}
    for jobs, who, versions in ((1, "one process", "23"), (os.cpu_count() or 1, "all cores", "45")):
        with processes(jobs, silent) as several:
            for version in versions:  # the first time, the processes only begin
                begun = time.perf_counter()
                async for _ in several.run(filled, [(settings, version, p) for p in range(cluster.partitions)]):
                    pass
                took = time.perf_counter() - begun
        figures[f"facts from Kafka rebuilt into Redis per second, {who}"] = _REBUILT / took
    return figures


def _memories(count: int, partitions: int) -> list[list[CommandRecord]]:
    """Return commands that add memories of many owners, by partition."""
    found: list[list[CommandRecord]] = [[] for _ in range(partitions)]
    for number in range(count):
        target = Owner(agent=f"agent {number % 997}", invoker="i")
        record = record_of(AddMemory(target=target, parts=(NewMemory(content=f"memory {number}"),)))
        found[partition_of(int(record.key), partitions)].append(record)
    return found


def _writes(url: str) -> dict[str, float]:
    """Write through a gateway at a steady rate: an answer means that every read shows it."""
    line = Line(url, "")

    def write(number: int) -> bytes:
        body = {"agentID": f"a{number % 50}", "invokerID": "i", "content": f"memory {number}"}
        return line.request("POST", "/v1/memories", body)

    early = _steadily(line, write, _EARLY)
    _steadily(line, write, _WARM)
    bare = _steadily(line, lambda _: line.request("GET", "/health/live"), _EARLY)
    written = _steadily(line, write, _WRITES)
    found: dict[str, float] = {}
    for what, took in (
        (f"write to readable at {_PER_SECOND}/s", written),
        ("the same just after the start of everything", early),
        (f"bare request at {_PER_SECOND}/s", bare),
    ):
        found |= {f"{what}, {which}, ms": ms for which, ms in quantiles(took).items()}
    return found


def _steadily(line: Line, prepared: Callable[[int], bytes], count: int) -> list[float]:
    """Send requests when they are due, over as many connections as that takes; return ms from due to answered."""
    took: list[float] = []
    begun = time.perf_counter()

    def some(first: int) -> None:
        mine = line.again()
        for number in range(first, count, _LINES):
            due = begun + number / _PER_SECOND
            time.sleep(max(0.0, due - time.perf_counter()))
            mine.ask(prepared(number))
            took.append((time.perf_counter() - due) * 1_000)

    with ThreadPoolExecutor(_LINES) as threads:
        list(threads.map(some, range(_LINES)))
    return took


async def _warm(cluster: Cluster, folder: Path, facts: int) -> dict[str, float]:
    """Sequence many events of many sessions, then start again with the snapshot, and without one."""
    log, rules = KafkaLog(cluster), Rules()
    await log.start()
    state = connect(folder / "state.db", durable=False)
    sequencing = Sequencing(log, lambda: SqliteSnapshot(state, rules), rules)
    await sequencing.start()

    async def decided(*records: CommandRecord) -> str:
        subject = ""
        for first in range(0, len(records), BATCH):
            await log.append(0, records[first : first + BATCH])
            while (transaction := await sequencing.step()) is not None:
                subject = transaction.facts[-1].headers["ce_subject"]
        return subject

    space = await decided(record_of(CreateSpace(target=ByUser(user="u"), parts=(NewSpace(),))))
    event = NewEvent(body={"content": "hello, this is an event"}, emitter=Emitter(type="user", id="u"))
    begun = time.perf_counter()
    for _ in range(max(1, facts // (100 * _EVENTS))):
        opened = CreateSession(target=InSpace(space=space, user="u"), parts=(NewSession(participants=["u"]),))
        session = await decided(record_of(opened))
        target = SessionTarget(space=space, user="u", session=session)
        await decided(*(record_of(AppendEvents(target=target, parts=(event,) * _EVENTS)) for _ in range(100)))
    figures = {"events sequenced per second, batches of 200": facts / (time.perf_counter() - begun)}
    sequencing.save()
    state.close()
    for name, file in (("warm", "state.db"), ("cold", "empty.db")):
        state = connect(folder / file, durable=False)
        again = Sequencing(log, lambda state=state: SqliteSnapshot(state, rules), rules)  # type: ignore[misc]
        begun = time.perf_counter()
        await again.start()
        figures[f"{name} start with {facts} facts, s"] = time.perf_counter() - begun
        state.close()
    await log.close()
    return figures


if __name__ == "__main__":
    main()
