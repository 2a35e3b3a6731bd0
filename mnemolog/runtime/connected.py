"""A hold on the distributed runtime, as a gateway or an operator's command has it: commands in, reads out."""

from __future__ import annotations

import asyncio
import logging
from typing import Self

from mnemolog.domain.errors import Unavailable
from mnemolog.runtime.config import Settings
from mnemolog.runtime.kafka import cluster, store
from mnemolog.runtime.kafka_commands import KafkaCommands
from mnemolog.runtime.signing import Signatory
from projections.queries import StoreQueries
from workers.log_kafka import KafkaLog

_log = logging.getLogger(__name__)
_RETRY = 1.0
_LOOK = 0.02
_STORE_SECONDS = 2.0


class Connected:
    """Kafka and Redis together; everything here belongs to the loop that called `start`."""

    def __init__(self, settings: Settings) -> None:
        """Name the servers. Raises BadConfiguration."""
        where = cluster(settings)
        self.partitions = where.partitions
        self.connected = False
        self.store = store(settings)
        self._log = KafkaLog(where)
        self.signatory = Signatory(settings)
        encode, wait = self.signatory.encode, settings.write_wait
        self.commands = KafkaCommands(where, self._log, self.store, write_wait=wait, encode=encode)
        self.queries = StoreQueries(self.store, where.partitions)

    async def __aenter__(self) -> Self:
        """Connect. Raises Unavailable, with everything closed."""
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every client."""
        await self.close()

    async def start(self) -> None:
        """Connect, and refuse reads from now on until they show all that the log holds now. Raises Unavailable."""
        await self._log.start()
        for partition in range(self.partitions):
            self.store.expect(partition, await self._log.end(partition))
        self.commands.start()
        self.connected = True

    async def persist(self) -> None:
        """Start as soon as Kafka is there."""
        while not self.connected:
            try:
                await self.start()
            except Unavailable as error:
                _log.warning("waiting for Kafka: %s", error)
                await self._log.close()
                await asyncio.sleep(_RETRY)

    async def close(self) -> None:
        """Close every client."""
        await self.commands.stop()
        await self._log.close()
        await self.store.close()

    async def end(self, partition: int) -> int:
        """Return where a partition's facts end now. Raises Unavailable."""
        return await self._log.end(partition)

    async def trouble(self) -> dict[str, str]:
        """Return what stands in the way of true answers now: a reason for each server."""
        if not self.connected:
            return {"kafka": "it has not been reached yet"}
        reasons = {}
        if said := self.commands.trouble():
            reasons["kafka"] = said
        try:
            async with asyncio.timeout(_STORE_SECONDS):
                await asyncio.gather(*map(self.store.reached, range(self.partitions)))
        except Unavailable as error:
            reasons["store"] = str(error)
        except TimeoutError:
            reasons["store"] = "Redis does not answer"
        return reasons

    async def caught_up(self, seconds: float) -> None:
        """Wait until reads show what the log held at the start. Raises Unavailable with the reason."""
        deadline = asyncio.get_running_loop().time() + seconds
        for partition in range(self.partitions):
            while True:
                try:
                    await self.store.reached(partition)
                    break
                except Unavailable:
                    if asyncio.get_running_loop().time() > deadline:
                        raise
                await asyncio.sleep(_LOOK)
