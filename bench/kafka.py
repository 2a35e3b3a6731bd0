"""The core on a real Kafka: transactions, commands sequenced per second, latency, replay, beside a bare loop.

`python -m bench.kafka [SERVERS]`; without servers, a local broker is started for it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.core import record_of
from deploy.stack.kafka import Broker
from mnemolog.domain.record import START, CommandRecord, FactRecord, OutcomeRecord, Position, Transaction
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
from mnemolog.runtime import interpreter, topics
from mnemolog.runtime.config import Settings
from mnemolog.runtime.kafka import cluster, prepare_client
from workers.kafka_cluster import Cluster
from workers.log_kafka import KafkaLog
from workers.log_sqlite import connect
from workers.sequencing import BATCH, Sequencing
from workers.snapshot_sqlite import SqliteSnapshot

_TRANSACTIONS = 200
_COMMANDS = 20_000
_SINGLE = 200
_USER = "u"
_BARE = "bare transactional loop, commands per second"
_SEQUENCED = "single-event commands sequenced per second"


async def measure(servers: str, folder: Path) -> dict[str, float]:
    """Return figures by name."""
    prepare_client()
    settings = Settings(kafka=servers, topic_prefix=f"bench-{uuid.uuid4().hex[:8]}.")
    make = argparse.Namespace(verb="create", replication=0, min_insync=0, json=False)
    await topics.run(settings, make, sys.stderr.write)
    where = cluster(settings)
    log = KafkaLog(where)
    await log.start()
    found = await _transactions(log)
    await log.close()
    other = replace(settings, topic_prefix=f"bench-{uuid.uuid4().hex[:8]}.")
    await topics.run(other, make, lambda _: None)
    return found | await _sequencing(cluster(other), folder)


async def _transactions(log: KafkaLog) -> dict[str, float]:
    """Commit small and large transactions one after the other; consume, decide nothing, produce."""
    await log.take(0)
    headers = {f"header-{n}": "a value of some length" for n in range(16)}
    fact = FactRecord("bench/stream@0", headers, b"x" * 300)
    one = Transaction(START, "", control=False, facts=(fact,), outcomes=(OutcomeRecord("c", b"{}"),))
    batch = replace(one, facts=(fact,) * BATCH, outcomes=one.outcomes * BATCH)
    figures: dict[str, float] = {}
    for name, transaction in (("1 record", one), (f"{BATCH} records", batch)):
        took = []
        for _ in range(_TRANSACTIONS):
            begun = time.perf_counter()
            await log.commit(0, transaction)
            took.append((time.perf_counter() - begun) * 1_000)
        figures |= {f"transaction of {name}, {which}, ms": value for which, value in quantiles(took).items()}
    commands = [CommandRecord("0", {}, b"x" * 300)] * _COMMANDS
    await _append(log, commands)
    begun, at = time.perf_counter(), 0
    while at < _COMMANDS:
        records = await log.commands(0, at, BATCH)
        at += len(records)
        end = replace(batch, facts=batch.facts[: len(records)], outcomes=batch.outcomes[: len(records)])
        await log.commit(0, replace(end, position=Position(0, at)))
    figures[_BARE] = _COMMANDS / (time.perf_counter() - begun)
    return figures


async def _append(log: KafkaLog, commands: Sequence[CommandRecord]) -> float:
    begun = time.perf_counter()
    for start in range(0, len(commands), BATCH):
        await log.append(0, commands[start : start + BATCH])
    return len(commands) / (time.perf_counter() - begun)


async def _sequencing(where: Cluster, folder: Path) -> dict[str, float]:
    log, rules = KafkaLog(where), Rules()
    await log.start()
    state = connect(folder / "state.db", durable=False)
    sequencing = Sequencing(log, lambda: SqliteSnapshot(state, rules), rules)
    await sequencing.start()

    async def decided() -> str:
        subject = ""
        while (transaction := await sequencing.step()) is not None:
            subject = transaction.facts[-1].headers["ce_subject"]
        return subject

    await log.append(0, [record_of(CreateSpace(target=ByUser(user=_USER), parts=(NewSpace(),)))])
    space = await decided()
    opened = CreateSession(target=InSpace(space=space, user=_USER), parts=(NewSession(participants=[_USER]),))
    await log.append(0, [record_of(opened)])
    session = await decided()
    target = SessionTarget(space=space, user=_USER, session=session)
    event = NewEvent(body={"content": "hello, this is an event"}, emitter=Emitter(type="user", id=_USER))
    commands = [record_of(AppendEvents(target=target, parts=(event,))) for _ in range(_COMMANDS)]
    figures = {"commands appended per second": await _append(log, commands)}
    begun = time.perf_counter()
    await decided()
    figures[_SEQUENCED] = _COMMANDS / (time.perf_counter() - begun)
    figures |= await _latency(log, sequencing, commands[:_SINGLE])
    await log.end(0)
    state.close()
    state = connect(folder / "empty.db", durable=False)
    sequencing = Sequencing(log, lambda: SqliteSnapshot(state, rules), rules)
    begun = time.perf_counter()
    read = await sequencing.start()
    figures["facts replayed per second, cold start"] = read / (time.perf_counter() - begun)
    sequencing.save()
    begun = time.perf_counter()
    await sequencing.start()
    figures["warm start with nothing new, ms"] = (time.perf_counter() - begun) * 1_000
    await log.close()
    state.close()
    return figures


async def _latency(log: KafkaLog, sequencing: Sequencing, commands: Sequence[CommandRecord]) -> dict[str, float]:
    """Append one command every 10 ms while a sequencer runs, until its outcome is read by a hold of its own."""
    reader = KafkaLog(log._cluster)  # noqa: SLF001 -- the same cluster
    await reader.start()
    at = 0
    while found := await reader.outcomes(0, at, 10_000):
        at = found[-1][0] + 1
    stop = asyncio.Event()

    async def sequence() -> None:
        while not stop.is_set():
            await sequencing.step()

    async def publish() -> None:
        for n, command in enumerate(commands):
            await asyncio.sleep(max(0.0, begun + n * 0.01 - time.perf_counter()))
            named = replace(command, headers={**command.headers, "ce_id": f"latency-{n}"})
            sent[f"latency-{n}"] = time.perf_counter()
            tasks.append(asyncio.create_task(log.append(0, [named])))

    sent: dict[str, float] = {}
    took: list[float] = []
    tasks: list[asyncio.Task[object]] = []
    begun = time.perf_counter()
    both = [asyncio.create_task(sequence()), asyncio.create_task(publish())]
    while len(took) < len(commands):
        for offset, outcome in await reader.outcomes(0, at, 1_000):
            at = offset + 1
            took.append((time.perf_counter() - sent[outcome.key]) * 1_000)
    stop.set()
    await asyncio.gather(*both, *tasks)
    await reader.close()
    return {f"command to its outcome at 100/s, {which}, ms": value for which, value in quantiles(took).items()}


def quantiles(took: Sequence[float]) -> dict[str, float]:
    """Return the 50th, 95th and 99th percentile by name."""
    ordered = sorted(took)
    return {f"p{q}": ordered[min(len(ordered) - 1, len(ordered) * q // 100)] for q in (50, 95, 99)}


def kafka(folder: Path, servers: str | None = None) -> dict[str, float]:
    """Return figures of a broker that is started for it, or of the one that is named."""
    folder.mkdir(exist_ok=True)
    broker = None if servers else Broker(folder / "kafka")
    if broker is not None:
        broker.start()
    try:
        figures = asyncio.run(measure(servers or (broker.servers if broker else ""), folder))
    finally:
        if broker is not None:
            broker.stop()
    ratio = figures[_SEQUENCED] / figures[_BARE]
    return {
        name: round(value, 2) for name, value in (figures | {"ratio to the bare transactional loop": ratio}).items()
    }


def main() -> None:
    """Measure and print JSON."""
    interpreter.set_up()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(kafka(Path(folder), *sys.argv[1:2]), indent=2))


if __name__ == "__main__":
    main()
