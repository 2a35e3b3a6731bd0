"""A Kafka that dies under load, and comes back on its folder: the same holds go on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.stack.kafka import Broker
from mnemolog.domain.codec import encode_command
from mnemolog.domain.errors import Fenced, Unavailable
from mnemolog.domain.ids import partition_of
from tests import brokers, wishes
from tests.brokers import Kafka
from tests.system.sequencers import Sequencers, envelope, story
from workers.kafka_cluster import Cluster
from workers.log_kafka import KafkaLog

pytestmark = pytest.mark.system


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """Start a broker that may be killed."""
    yield from brokers.mortal(tmp_path / "kafka")


@pytest.fixture
def mortal(broker: Broker) -> Cluster:
    """Return topics of two partitions on it."""
    return replace(Kafka(broker.servers, broker).topics(2), poll=0.02, fetch_wait=20)


async def keep_sequencing(running: Sequencers, partition: int, stop: asyncio.Event) -> int:
    """Sequence as a worker does: after any error, from the fence again. Return how often that was."""
    again, sequencing = 0, running.each[partition]
    while not stop.is_set():
        try:
            await sequencing.step()
        except (Unavailable, Fenced):
            again += 1
            while not stop.is_set():
                with suppress(Unavailable):
                    await sequencing.start()
                    break
    return again


@story
async def test_guarantee_9_a_broker_killed_under_load_loses_and_doubles_nothing(
    broker: Broker, mortal: Cluster, tmp_path: Path
) -> None:
    """`kill -9` and up again on its folder, twice: the same holds go on; who got no answer sends again."""
    acknowledged: list[str] = []
    stop = asyncio.Event()

    async def speak(log: KafkaLog, agent: str) -> None:
        while not stop.is_set():
            spoken = envelope(wishes.add_memory("text", agent=agent))
            while True:
                with suppress(Unavailable):
                    await log.append(partition_of(spoken.slot, 2), [encode_command(spoken)])
                    break
            acknowledged.append(spoken.id)
            await asyncio.sleep(0.005)

    async with Sequencers(mortal, tmp_path) as running:
        publisher = KafkaLog(mortal)
        await publisher.start()
        tasks = [asyncio.create_task(speak(publisher, f"agent {n}")) for n in range(4)]
        work = [asyncio.create_task(keep_sequencing(running, n, stop)) for n in range(2)]
        for _ in range(2):
            await asyncio.sleep(1)
            broker.kill()
            before = len(acknowledged)
            await asyncio.to_thread(broker.start)
            while len(acknowledged) < before + 50:  # noqa: ASYNC110 -- no event says that others' work goes on
                await asyncio.sleep(0.05)
        stop.set()
        await asyncio.gather(*tasks, *work)
        for sequencing in running.each:
            await sequencing.start()
        await running.drain()
        commands = [fact.headers["command"] for fact in await running.facts() if "command" in fact.headers]
        decided = [c for c in commands if c.startswith("command-")]
        assert len(decided) == len(set(decided))
        assert set(acknowledged) == set(decided)
        await publisher.close()
