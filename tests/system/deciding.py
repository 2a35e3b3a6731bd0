"""Sequencers in a thread of the test, as a worker runs them: for tests that publish from outside."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

from mnemolog.domain.errors import Fenced, Unavailable
from mnemolog.domain.record import CONTROL_KEY, FactRecord
from mnemolog.domain.rules import Rules
from tests.system.sequencers import RULES, Sequencers, everything
from workers.kafka_cluster import Cluster
from workers.log_kafka import KafkaLog
from workers.sequencing import Sequencing

_PAUSE = 0.1


class Deciding:
    """A sequencer for each partition, for as long as the test is inside; an error of it is the test's."""

    def __init__(self, cluster: Cluster, folder: Path, rules: Rules = RULES) -> None:
        """Name the topics, a folder for the snapshots, and the rules."""
        self._cluster, self._folder, self._rules = cluster, folder, rules
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="deciding")
        self.holes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error

    def facts(self) -> list[FactRecord]:
        """Return every fact that there is now, partition by partition."""
        return [record for record in asyncio.run(self._all("facts")) if record.key != CONTROL_KEY]

    async def _all(self, topic: str) -> list[FactRecord]:
        log = KafkaLog(self._cluster)
        await log.start()
        try:
            found = []
            for partition in range(self._cluster.partitions):
                await log.end(partition)
                found += await everything(log, topic, partition)
            return found
        finally:
            await log.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 -- the test hears of it at its end
            self._error = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        async with Sequencers(self._cluster, self._folder, self._rules) as running:
            self._ready.set()
            await asyncio.gather(*map(self._keep, running.each))
            self.holes = sum(one._intake.holes for one in running.each)

    async def _keep(self, sequencing: Sequencing) -> None:
        while not self._stopping.is_set():
            try:
                await sequencing.step()
            except (Unavailable, Fenced):
                while not self._stopping.is_set():
                    await asyncio.sleep(_PAUSE)
                    with suppress(Unavailable):
                        await sequencing.start()
                        break
