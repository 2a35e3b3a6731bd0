"""A real Kafka for tests: servers named in the environment, else a container, else a local broker, else none.

What of it a run has used is said at its end, and what could not be had is skipped with the reason.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.stack.kafka import Broker, CannotStart
from mnemolog.runtime import topics
from mnemolog.runtime.config import Settings
from mnemolog.runtime.kafka import cluster
from tests import containers
from workers.kafka_cluster import Cluster

NAMED = "MNEMOLOG_TEST_KAFKA"
_SETTINGS = {
    "log.cleaner.backoff.ms": "500",
    "log.retention.check.interval.ms": "1000",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}
used: dict[str, str] = {}
"""What the run has used, or why it could not: said at its end."""


@dataclass(frozen=True)
class Kafka:
    """Servers that tests share; `broker` is None if they were named in the environment. `settings` open them."""

    servers: str
    broker: Broker | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def topics(self, partitions: int = 4, other: Mapping[str, Mapping[str, str]] | None = None) -> Cluster:
        """Create topics under a prefix that nobody has used, some with other settings than the declared ones."""
        prefix = f"t{uuid.uuid4().hex[:8]}."
        if other:
            asyncio.run(
                self._create(
                    [
                        NewTopic(prefix + n, partitions, 1, None, {"cleanup.policy": "compact", **s})
                        for n, s in other.items()
                    ]
                )
            )
        self.command("create", partitions=partitions, prefix=prefix)
        return cluster(self._settings(partitions, prefix))

    async def _create(self, new: list[NewTopic]) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.servers)
        await admin.start()
        response = await admin.create_topics(new)
        await admin.close()
        assert not any(code for _, code, *_ in response.topic_errors), response

    def command(self, verb: str, *, partitions: int, prefix: str, **options: Any) -> tuple[int, str]:
        """Run `mnemolog topics`; return its exit code and what it printed."""
        settings = self._settings(partitions, prefix)
        said: list[str] = []
        given = argparse.Namespace(**{"verb": verb, "replication": 0, "min_insync": 0, "json": False, **options})
        code = asyncio.run(topics.run(settings, given, said.append))
        return code, "".join(said)

    def _settings(self, partitions: int, prefix: str) -> Settings:
        return Settings(kafka=self.servers, partitions=partitions, topic_prefix=prefix, **self.settings)


def mortal(folder: Path) -> Iterator[Broker]:
    """Give a broker of its own to a test that kills it; skip with the reason if it cannot be had."""
    try:
        broker = Broker(folder)
        broker.start()
    except CannotStart as error:
        pytest.skip(f"no local Kafka: {error}")
    yield broker
    broker.stop()


def kafka(folder: Path) -> Iterator[Kafka]:
    """Give Kafka to a whole run; skip with the reason if it cannot be had."""
    if named := os.environ.get(NAMED):
        used["Kafka"] = f"{named}, named by {NAMED}"
        yield Kafka(named)
        return
    try:
        servers, stop = containers.kafka(_SETTINGS)
    except containers.NotHad as error:
        not_had = str(error)
    else:
        used["Kafka"] = f"a container of {containers.KAFKA_IMAGE} at {servers}"
        yield Kafka(servers)
        stop()
        return
    try:
        broker = Broker(folder, settings=_SETTINGS)
        broker.start()
    except CannotStart as error:
        used["Kafka"] = f"none: {not_had}, and {error}"
        pytest.skip(f"no Kafka: {not_had}, and {error}; name one in {NAMED}")
    used["Kafka"] = f"a local broker at {broker.servers} ({not_had})"
    try:
        yield Kafka(broker.servers, broker)
    finally:
        broker.stop()
