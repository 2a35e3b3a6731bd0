"""A small deployment for tests: real Kafka and Redis, workers in a thread of the test, gateways as processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from mnemolog.domain.errors import Unavailable
from mnemolog.domain.rules import Rules
from mnemolog.runtime.process import ServerProcess
from projections.projector import Projector
from projections.redis_wire import connect
from projections.store_redis import RedisStore
from workers.kafka_cluster import Cluster
from workers.log_kafka import KafkaLog
from workers.sequencing import Sequencing
from workers.snapshot_memory import MemorySnapshot

KEY = "5e" * 32
_PATIENCE = 30.0


class Workers:
    """A sequencer and a projector for each partition, on a loop in a thread."""

    def __init__(self, cluster: Cluster, redis: str) -> None:
        """Name the servers."""
        self._cluster, self._redis = cluster, redis
        self._projecting = threading.Event()
        self._projecting.set()
        self._resting: set[int] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="workers")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def pause(self) -> None:
        """Stop projecting, and wait until no batch is under way any more."""
        self._projecting.clear()
        deadline = time.monotonic() + _PATIENCE
        while len(self._resting) < self._cluster.partitions:
            assert time.monotonic() < deadline, "the projectors do not pause"
            time.sleep(0.01)

    def resume(self) -> None:
        """Go on projecting."""
        self._resting.clear()
        self._projecting.set()

    async def _main(self) -> None:
        deciding, projecting = KafkaLog(self._cluster), KafkaLog(self._cluster)
        store = RedisStore(connect(self._redis), app=f"{self._cluster.prefix}mnemolog")
        partitions = range(self._cluster.partitions)
        works = [self._sequence(deciding, p) for p in partitions] + [
            self._project(projecting, store, p) for p in partitions
        ]
        try:
            await asyncio.gather(*works)
        finally:
            for one in (deciding, projecting, store):
                await one.close()

    async def _sequence(self, log: KafkaLog, partition: int) -> None:
        sequencing = Sequencing(log, lambda: MemorySnapshot(bytes(32)), Rules(), partition, self._cluster.partitions)
        started = False
        while not self._stopping.is_set():
            try:
                if not started:
                    await sequencing.start()
                    started = True
                await sequencing.step()
            except Unavailable:
                started = False
                await asyncio.sleep(0.2)

    async def _project(self, log: KafkaLog, store: RedisStore, partition: int) -> None:
        projector = Projector(log, store, partition)
        while not self._stopping.is_set():
            try:
                if not self._projecting.is_set():
                    self._resting.add(partition)
                    await asyncio.sleep(0.02)
                else:
                    await projector.step()
            except Unavailable:
                await asyncio.sleep(0.2)


@contextlib.contextmanager
def gateway(folder: Path, cluster: Cluster, redis: str, *options: str, **more: str) -> Iterator[ServerProcess]:
    """Start a gateway on a folder of its own, and stop it at the end; the caller waits until it is ready."""
    folder.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        surround(patch, cluster, redis, **more)
        process = ServerProcess(folder / "data", "--runtime", "kafka", *options)
    try:
        yield process
    finally:
        code = process.stop()
        assert code == 0, (folder / "server.log").read_text()[-3_000:]


def surround(patch: pytest.MonkeyPatch, cluster: Cluster, redis: str, **more: str) -> None:
    """Set the variables of the distributed runtime, and none that a developer has set."""
    for name in [name for name in os.environ if name.startswith("MNEMOLOG_") and "_TEST_" not in name]:
        patch.delenv(name)
    settings = {
        "runtime": "kafka",
        "kafka": cluster.servers,
        "partitions": str(cluster.partitions),
        "topic_prefix": cluster.prefix,
        "redis": redis,
        "token_key": KEY,
        "model": "hashing",
    }
    for name, value in {**settings, **more}.items():
        patch.setenv(f"MNEMOLOG_{name.upper()}", value)
