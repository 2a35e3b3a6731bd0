"""`mnemolog worker ROLE`: a process of the distributed runtime, hosted by Faust.

Each role is one hosted object with its own hold on the log, as its readers keep a place in each partition.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

from mnemolog.domain.errors import Unavailable
from mnemolog.domain.topics import COMMANDS, FACTS
from mnemolog.runtime.condition import Condition
from mnemolog.runtime.config import BadConfiguration, Settings
from mnemolog.runtime.health import Health
from mnemolog.runtime.kafka import cluster, prepare_client, redis_files, store
from mnemolog.runtime.retaining_kafka import RetainingRole
from mnemolog.runtime.roles import project, sequence
from mnemolog.runtime.signing import Signatory
from mnemolog.runtime.tracing import tracing
from mnemolog.runtime.watching import Watch
from workers.assignment import Assignment
from workers.faust_host import Hosted, host
from workers.log_kafka import KafkaLog
from workers.sequencing import Sequencing
from workers.snapshot_sqlite import SqliteSnapshot, opened


def run(settings: Settings, role: str) -> None:
    """Run a role, or all of them, until a signal or a failure. Never returns: raises SystemExit."""
    prepare_client()
    watch = Watch(tracing(role))
    roles = {
        "sequencer": Role(settings, "sequencer", COMMANDS, partial(_sequencing, watch)),
        "projector": Role(settings, "projector", FACTS, partial(_projecting, watch)),
    }
    if settings.qdrant:
        from mnemolog.runtime.vectors import group, indexing

        roles["vectors"] = Role(settings, "vectors", FACTS, partial(indexing, watch), group(settings))
    elif role == "vectors":
        message = "MNEMOLOG_QDRANT must name the Qdrant server that this worker fills, like http://127.0.0.1:6333"
        raise BadConfiguration(message)
    if role in {"sequencer", "retention", "all"}:
        Signatory(settings).ready()
    chosen = list(roles.values()) if role == "all" else [roles[role]] if role in roles else []
    hosted: list[Hosted] = [*chosen]
    if role in {"retention", "all"}:
        hosted.append(RetainingRole(settings, watch))
    if settings.health_port:
        hosted.append(Health(settings, chosen, watch.metrics))
    try:
        host(f"mnemolog-{role}", hosted, _folder(settings.data / "faust"))
    finally:
        watch.tracing.close()


Work = Callable[[Condition], Awaitable[None]]
"""Works on the partition of a condition, and tells it how that goes, until cancelled."""
Opened = Callable[[Settings, KafkaLog, Assignment], AbstractAsyncContextManager[Work]]
"""Opens what a role needs besides the log, and gives the work that it does on a partition."""


class Role:
    """One role of this process: a hold on the log, and work on the partitions that it is assigned. Hosted."""

    def __init__(self, settings: Settings, name: str, topic: str, opened: Opened, group: str = "") -> None:
        """Take the settings, the role's name, the topic whose partitions it shares, what it does, and with whom.

        Processes of one group share the partitions; it is named like the role where nothing is said.
        """
        self.name = name
        self._settings = settings
        self._topic = topic
        self._opened = opened
        self._log = KafkaLog(cluster(settings))
        self._assignment = Assignment(cluster(settings), topic, group or name, self._work)
        self._doing: Work | None = None
        self._conditions: dict[int, Condition] = {}

    async def run(self) -> None:
        """Join the others of this role and work."""
        await self._log.start()
        try:
            async with self._opened(self._settings, self._log, self._assignment) as self._doing:
                await self._assignment.run()
        finally:
            await self._log.close()

    async def stop(self) -> None:
        """Hand the partitions over."""
        await self._assignment.stop()

    @property
    def joined(self) -> bool:
        """Whether the group of this role has given this process its share."""
        return self._assignment.joined

    def conditions(self) -> Sequence[Condition]:
        """Return how it stands with each partition of the share."""
        return sorted(self._conditions.values(), key=lambda condition: condition.partition)

    async def lag(self, condition: Condition) -> int:
        """Return how many offsets of its topic the work on a partition is behind. Raises Unavailable."""
        if self._topic == COMMANDS:
            _, end = await self._log.bounds(condition.partition)
        else:
            end = await self._log.end(condition.partition)
        return max(end - condition.at, 0)

    async def _work(self, partition: int) -> None:
        if self._doing is None:
            return
        condition = self._conditions[partition] = Condition(partition)
        try:
            await self._doing(condition)
        finally:
            del self._conditions[partition]
            await self._log.release(partition)


@asynccontextmanager
async def _sequencing(watch: Watch, settings: Settings, log: KafkaLog, assignment: Assignment) -> AsyncIterator[Work]:
    """Sequence; each partition has a snapshot file of its own."""
    signatory = Signatory(settings)

    async def work(condition: Condition) -> None:
        file = f"{settings.topic_prefix}{condition.partition}.db"
        database = opened(_folder(settings.data / "snapshots") / file)
        try:
            begun = partial(_begun, settings, log, database, condition, watch)
            await sequence(log, begun, condition, assignment.settled, encode=signatory.encode)
        finally:
            database.close()

    yield work


@asynccontextmanager
async def _projecting(watch: Watch, settings: Settings, log: KafkaLog, assignment: Assignment) -> AsyncIterator[Work]:
    """Project into Redis."""
    del assignment
    files = redis_files(settings)
    views = store(settings, files.dropping)
    rewriting = asyncio.create_task(files.run(), name="mnemolog-redis-files")
    try:
        yield lambda condition: project(log, views, condition, watch)
    finally:
        rewriting.cancel()
        await views.close()
        await files.close()


def _begun(
    settings: Settings, log: KafkaLog, database: sqlite3.Connection, condition: Condition, watch: Watch
) -> Sequencing:
    rules = settings.rules()
    return Sequencing(
        log,
        lambda: SqliteSnapshot(database, rules),
        rules,
        condition.partition,
        settings.partitions,
        committed=partial(watch.committed, condition),
        replayed=partial(watch.replayed, condition),
    )


def _folder(path: Path) -> Path:
    """Make a folder. Raises Unavailable if that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"the data folder {path} cannot be written: {error.strerror}; choose another with --data"
        raise Unavailable(message) from error
    return path
