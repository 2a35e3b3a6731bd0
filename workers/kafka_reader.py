"""Reads one partition of one topic from any offset on: committed records only, none left out, none twice.

1. A read shorter than its limit has come to the end of what was committed at some moment of the read; so a command's
   facts, which are committed together, are read together unless the limit parts them.
2. A read returns nothing only if the broker has said that nothing is there, and nothing can lie below the end that its
   caller knows of: a slow broker is no end. The position passes markers and aborted records, so the end is reached.
3. Between reads at the end, fetching is paused: an idle partition costs nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from mnemolog.domain.errors import Unavailable
from workers.kafka_cluster import Cluster, let_go
from workers.kafka_records import Fetched

_SILENCE = 30.0
"""Seconds without any answer of the broker that a read waits."""


class Reader:
    """One consumer on one partition; reads of several tasks queue."""

    def __init__(self, cluster: Cluster, topic: str, partition: int) -> None:
        """Name the partition; the consumer is opened by the first read."""
        self._cluster = cluster
        self._at = TopicPartition(cluster.topic(topic), partition)
        self._consumer: AIOKafkaConsumer | None = None
        self._lock = asyncio.Lock()
        self._next = -1

    async def read(self, start: int, limit: int, known_end: int = 0) -> Sequence[Fetched]:
        """Return at most `limit` records from `start` on; wait a little if there are none.

        1. Seek, unless the read before ended here.
        2. Take what comes until the limit, or until the position has reached both `known_end` and the end that the
           broker told with its newest answer.
        3. At the end without a record, wait for one as long as `poll` says, and for an answer in any case.
        """
        async with self._lock:
            try:
                return await self._read(start, limit, known_end)
            except OffsetOutOfRangeError:
                self._next = -1
                return await self._from_another(start, limit, known_end)
            except KafkaError as error:
                self._next = -1
                message = f"{self._at.topic} partition {self._at.partition} cannot be read: {error!r}"
                raise Unavailable(message) from error
            except BaseException:
                self._next = -1
                raise

    async def close(self) -> None:
        """Close the consumer."""
        if self._consumer is not None:
            await let_go(self._consumer.stop)
            self._consumer = None

    async def _open(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = self._cluster.consumer()
            try:
                await consumer.start()
            except BaseException:
                await let_go(consumer.stop)
                raise
            consumer.assign([self._at])
            self._consumer = consumer
        return self._consumer

    async def _read(self, start: int, limit: int, known_end: int) -> Sequence[Fetched]:
        consumer = await self._open()
        if start != self._next:
            consumer.seek(self._at, start)
        consumer.resume(self._at)
        begun = time.monotonic()
        before = consumer.last_poll_timestamp(self._at)
        records: list[Fetched] = []
        while len(records) < limit:
            wait = round(self._cluster.poll * 1_000)
            found = await consumer.getmany(self._at, timeout_ms=wait, max_records=limit - len(records))
            records += found.get(self._at, ())
            waited = time.monotonic() - begun
            if records or (waited >= self._cluster.poll and consumer.last_poll_timestamp(self._at) != before):
                end = max(known_end, consumer.last_stable_offset(self._at) or 0)
                if await consumer.position(self._at) >= end:
                    consumer.pause(self._at)
                    break
            if found:
                begun = time.monotonic()
            elif waited > _SILENCE:
                message = f"{self._at.topic} partition {self._at.partition} has not answered for {_SILENCE:.0f} s"
                raise Unavailable(message)
        self._next = records[-1].offset + 1 if records else start
        return records

    async def _from_another(self, start: int, limit: int, known_end: int) -> Sequence[Fetched]:
        """Read from the log's start if that has passed `start`; nothing if its end has not come there yet."""
        consumer = await self._open()
        consumer.pause(self._at)
        first = (await consumer.beginning_offsets([self._at]))[self._at]
        if first <= start:
            await asyncio.sleep(self._cluster.poll)
            return []
        return await self._read(first, limit, known_end)
