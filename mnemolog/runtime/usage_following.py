"""The usage log's share of the retention worker on Kafka: it follows erasures, and keeps quiet partitions cleaned."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from mnemolog.domain.errors import Unavailable
from mnemolog.runtime.config import Settings
from mnemolog.runtime.folder import now
from mnemolog.runtime.kafka import cluster
from mnemolog.runtime.usage_erasing import Places, UsageErasing
from workers.log_kafka import KafkaLog
from workers.usage_kafka import KafkaUsage

_log = logging.getLogger(__name__)
_PAUSE = 5.0
_MARK_SECONDS = 3_600.0


class UsageFollowing:
    """Looks every few seconds, with a hold of its own on the log."""

    def __init__(self, settings: Settings, usage: KafkaUsage, pause: float = _PAUSE) -> None:
        """Name the deployment; the usage log is the caller's."""
        self._cluster = cluster(settings)
        self._places = Places(_file(settings))
        self._usage = usage
        self._pause = pause

    async def run(self) -> None:
        """Look again and again until cancelled; whatever is away is waited for."""
        log = KafkaLog(self._cluster)
        erasing = UsageErasing(log, self._usage, self._places, self._cluster.partitions, clock=now)
        marked = time.monotonic()
        try:
            while True:
                try:
                    await erasing.step()
                    if time.monotonic() - marked > _MARK_SECONDS:
                        await self._usage.mark()
                        marked = time.monotonic()
                except Unavailable as error:
                    _log.warning("usage records of what was erased wait: %s", error)
                await asyncio.sleep(self._pause)
        finally:
            await log.close()


def _file(settings: Settings) -> Path:
    return settings.data / f"{settings.topic_prefix}usage-erasures"
