"""Commands of the operator on the distributed runtime: published and awaited as a gateway does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Self

from mnemolog.domain.codec import Envelope
from mnemolog.domain.outcomes import Accepted, Outcome
from mnemolog.domain.schema import Command
from mnemolog.runtime.config import Settings
from mnemolog.runtime.connected import Connected
from mnemolog.runtime.kafka import cluster
from mnemolog.runtime.operator import accepted, envelope_of
from projections.due import StoreDue
from projections.queries import StoreQueries
from workers.usage_kafka import KafkaUsage


class RemoteOperator:
    """The port `Operator` on Kafka and Redis."""

    def __init__(self, settings: Settings) -> None:
        """Name the deployment; entering connects."""
        self._settings = settings

    async def __aenter__(self) -> Self:
        """Connect, and wait until reads show what the log holds. Raises Unavailable."""
        self._held = await Connected(self._settings).__aenter__()
        try:
            await self._held.caught_up(self._settings.write_wait)
        except BaseException:
            await self._held.close()
            raise
        self.usage = KafkaUsage(cluster(self._settings))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every client."""
        await self.usage.close()
        await self._held.close()

    @property
    def queries(self) -> StoreQueries:
        """The views in Redis."""
        return self._held.queries

    @property
    def due(self) -> StoreDue:
        """What is due and what waits for erasure."""
        return StoreDue(self._held.store, self._held.partitions)

    async def propose(self, envelopes: Sequence[Envelope]) -> Sequence[Outcome]:
        """Send commands and return their outcomes in order, once reads show them. Raises Unavailable."""
        return await asyncio.gather(*map(self._held.commands.submit, envelopes))

    async def submit(self, tenant: str, command: Command) -> Accepted:
        """Send a tenant's command and return its acceptance, once reads show it. Raises Refused or Unavailable."""
        return accepted(await self._held.commands.submit(envelope_of(tenant, command)))
