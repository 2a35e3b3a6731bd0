"""Sequencers of all partitions of a Kafka, as one worker process has them: for tests that run them in one coroutine."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import itertools
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from mnemolog.domain.codec import Envelope, decode_outcome, encode_command
from mnemolog.domain.ids import partition_of
from mnemolog.domain.outcomes import Outcome
from mnemolog.domain.record import CommandRecord, FactRecord
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command
from workers.kafka_cluster import Cluster
from workers.log_kafka import KafkaLog
from workers.log_sqlite import connect
from workers.sequencing import Sequencing
from workers.snapshot_sqlite import SqliteSnapshot

RULES = Rules()
_numbers = itertools.count(1)


def story(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test's coroutine on a loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))  # type: ignore[arg-type]

    return run


def envelope(command: Command, *, identifier: str = "", tenant: str = "acme") -> Envelope:
    """Surround a command; the same number gives the same secret."""
    number = next(_numbers)
    identifier = identifier or f"command-{number}"
    slot = slot_of_command(tenant, identifier, command)
    secret = hashlib.sha256(identifier.encode()).digest()
    return Envelope(identifier, tenant, "client/sb", slot or 0, secret, command)


@dataclass
class Sequencers:
    """One hold, and a sequencer and a snapshot in a file of its own for each partition."""

    cluster: Cluster
    folder: Path
    rules: Rules = RULES
    log: KafkaLog = field(init=False)
    each: list[Sequencing] = field(default_factory=list)
    read: list[int] = field(default_factory=list)
    connections: list[sqlite3.Connection] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self.log = KafkaLog(self.cluster)
        await self.log.start()
        for partition in range(self.cluster.partitions):
            state = connect(self.folder / f"state-{partition}.db", durable=False)
            self.connections.append(state)
            snapshot = _snapshot(state, self.rules)
            self.each.append(Sequencing(self.log, snapshot, self.rules, partition, self.cluster.partitions))
            self.read.append(await self.each[-1].start())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.log.close()
        for state in self.connections:
            state.close()

    def save(self) -> None:
        """Hand every state to its snapshot."""
        for sequencing in self.each:
            sequencing.save()

    def partition(self, spoken: Envelope) -> int:
        """Return where a command belongs."""
        return partition_of(spoken.slot, self.cluster.partitions)

    async def append(self, *spoken: Envelope) -> None:
        """Append commands to their partitions."""
        for one in spoken:
            await self.log.append(self.partition(one), [encode_command(one)])

    async def drain(self, *partitions: int) -> list[Outcome]:
        """Decide everything that is there, or there in some partitions; return the outcomes."""
        outcomes = []
        for partition in partitions or range(len(self.each)):
            sequencing = self.each[partition]
            while (transaction := await sequencing.step()) is not None:
                outcomes += [decode_outcome(record) for record in transaction.outcomes]
        return outcomes

    async def tell(self, command: Command, identifier: str = "") -> Outcome:
        """Append a command, decide it, and return its outcome."""
        spoken = envelope(command, identifier=identifier)
        await self.append(spoken)
        (outcome,) = await self.drain(self.partition(spoken))
        return outcome

    async def facts(self) -> list[FactRecord]:
        """Read all facts of all partitions."""
        return [r for p in range(self.cluster.partitions) for r in await everything(self.log, "facts", p)]

    async def commands(self) -> list[CommandRecord]:
        """Read all commands of all partitions, by time; those of one slot in their order."""
        read = [r for p in range(self.cluster.partitions) for r in await everything(self.log, "commands", p)]
        return sorted(read, key=lambda record: record.time)


async def everything(log: KafkaLog, topic: str, partition: int) -> list[Any]:
    """Read one partition of a topic from its start."""
    at, read = 0, []
    while records := await getattr(log, topic)(partition, at, 1_000):
        read.extend(records)
        at = records[-1].offset + 1
    return read


def _snapshot(state: sqlite3.Connection, rules: Rules) -> Any:
    return lambda: SqliteSnapshot(state, rules)
