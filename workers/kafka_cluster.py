"""Which Kafka, and under which names: what every client of ours is opened with."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from mnemolog.domain.topics import LARGEST_REQUEST

_PATIENCE = 5.0
"""Seconds that a client may take to be closed: with its broker away, it would otherwise wait for it."""
_BATCH = 1 << 20


@dataclass(frozen=True, slots=True)
class Cluster:
    """`servers` are host:port, separated by commas; `prefix` stands before every topic and transactional id.

    `fetch_wait` (ms) is how long a broker may hold an empty fetch, `poll` (seconds) how long a read at the end of a
    topic waits for more. What comes is sent at once, so neither delays who waits; they are what being idle costs: with
    fetches of 20 ms a whole deployment took half a core for nothing, with 200 a fifth. `options` go to every client:
    who logs in, and what is trusted.
    """

    servers: str
    partitions: int = 1
    prefix: str = ""
    fetch_wait: int = 200
    poll: float = 0.05
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def topic(self, name: str) -> str:
        """Return the name of a topic in this cluster."""
        return self.prefix + name

    def transactional_id(self, partition: int) -> str:
        """Return the id that only a partition's newest sequencer can use (design §5)."""
        return f"{self.prefix}mnemolog.sequencer.{partition}"

    def consumer(self) -> AIOKafkaConsumer:
        """Return a consumer of committed records that joins no group and never chooses an offset itself."""
        return AIOKafkaConsumer(
            bootstrap_servers=self.servers,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_wait_ms=self.fetch_wait,
            max_partition_fetch_bytes=_BATCH,
            **self.options,
        )

    def producer(self, **settings: Any) -> AIOKafkaProducer:
        """Return an idempotent producer that waits for all replicas and never lingers."""
        return AIOKafkaProducer(
            bootstrap_servers=self.servers,
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            max_batch_size=_BATCH,
            max_request_size=LARGEST_REQUEST,
            **self.options,
            **settings,
        )


async def let_go(act: Callable[[], Awaitable[object]]) -> None:
    """Close or abort something that may be broken already: a few seconds, whatever it raises.

    It has a task of its own: while they close, the clients swallow a cancellation, and one of the caller's must reach
    the caller, or a worker that is told to end works on.
    """
    closing = asyncio.create_task(_quietly(act))
    try:
        await asyncio.wait([closing], timeout=_PATIENCE)
    finally:
        closing.cancel()


async def _quietly(act: Callable[[], Awaitable[object]]) -> None:
    with contextlib.suppress(Exception):
        await act()
