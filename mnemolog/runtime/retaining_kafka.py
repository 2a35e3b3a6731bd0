"""`mnemolog worker retention`: the retention worker's loop on Kafka and Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mnemolog.domain.codec import Envelope
from mnemolog.domain.outcomes import Outcome
from mnemolog.runtime.config import Settings
from mnemolog.runtime.connected import Connected
from mnemolog.runtime.folder import now
from mnemolog.runtime.kafka import cluster, redis_files
from mnemolog.runtime.not_gone import redis
from mnemolog.runtime.retaining import Held, retaining
from mnemolog.runtime.usage_following import UsageFollowing
from mnemolog.runtime.watching import Watch
from workers.usage_kafka import KafkaUsage


class RetainingRole:
    """The loop as a role of a worker process. Hosted."""

    def __init__(self, settings: Settings, watch: Watch) -> None:
        """Name the deployment, and who counts."""
        self._settings = settings
        self._held = Connected(settings)
        self._usage = KafkaUsage(cluster(settings))
        held = self._held
        self._files = redis_files(settings)
        ports = Held(self._propose, held.store, self._usage, held.partitions)
        self._retaining = retaining(settings, ports, now, watch.metrics, [redis(self._files)])
        self._following = UsageFollowing(settings, self._usage)

    async def _propose(self, envelopes: Sequence[Envelope]) -> Sequence[Outcome]:
        return await asyncio.gather(*map(self._held.commands.submit, envelopes))

    async def run(self) -> None:
        """Connect as soon as Kafka is there, and work until stopped."""
        try:
            await self._held.persist()
            async with asyncio.TaskGroup() as group:
                following = group.create_task(self._following.run())
                await self._retaining.run()
                following.cancel()
        finally:
            await self._files.close()
            await self._usage.close()
            await self._held.close()

    async def stop(self) -> None:
        """End soon."""
        await self._retaining.stop()
