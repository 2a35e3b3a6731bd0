"""What an audit looks at, in either runtime: opened for reading, closed afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mnemolog.audit.answers import LogAudits
from mnemolog.audit.reading import Facts
from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ports import Embedder
from mnemolog.runtime.config import Settings
from mnemolog.runtime.folder import Folder
from projections.projector import project


@dataclass(frozen=True, slots=True)
class Audited:
    """A deployment's log and the number of its partitions."""

    log: Facts
    partitions: int


@asynccontextmanager
async def audited(settings: Settings) -> AsyncIterator[Audited]:
    """Open the log of the settings. Raises Unavailable if there is none."""
    if settings.runtime == "kafka":
        from mnemolog.runtime.kafka import cluster
        from workers.log_kafka import KafkaLog

        where = cluster(settings)
        remote = KafkaLog(where)
        try:
            yield Audited(remote, where.partitions)
        finally:
            await remote.close()
        return
    local = existing(settings).log()
    try:
        yield Audited(local, 1)
    finally:
        await local.close()


def answers(settings: Settings, embedder: Embedder) -> LogAudits:
    """Return what a gateway answers `/audit` with: each question opens the log for itself."""
    partitions = settings.partitions if settings.runtime == "kafka" else 1

    @asynccontextmanager
    async def opened() -> AsyncIterator[Facts]:
        async with audited(settings) as here:
            yield here.log

    return LogAudits(opened, partitions, project, embedder)


def existing(settings: Settings) -> Folder:
    """Return the data folder of the settings. Raises Unavailable if nothing was ever written there."""
    if not (settings.data / "mnemolog.db").is_file():
        message = f"there is no mnemolog.db in {settings.data}; name the data folder with --data"
        raise Unavailable(message)
    return Folder(settings.data)
