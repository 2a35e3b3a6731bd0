"""The usage log on Kafka: `memory.usage`, compacted, a rolling record under each key (design §4).

1. Several gateways write, each its own keys; what is removed gets a null record under its key.
2. A question reads the partitions that may hold an answer from their beginning to their end: asked seldom, by auditors.
3. Kafka rolls a segment, and with it cleans, only when something is appended: `mark` does so where nobody reads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from mnemolog.domain.errors import Malformed, Unavailable
from mnemolog.domain.ids import partition_of, slot_in
from mnemolog.domain.topics import USAGE
from mnemolog.domain.usage import UsageRecord, UsageWanted, decode_usage, encode_usage, in_order
from workers.kafka_cluster import Cluster, let_go

_log = logging.getLogger(__name__)
_MARK = b"mark"
_POLL = 500
_SILENCE = 30.0
"""Seconds without any record, short of the end, after which a question gives up."""


class KafkaUsage:
    """The port `Usage`; every coroutine belongs to one loop. Clients are opened by the first use."""

    def __init__(self, cluster: Cluster) -> None:
        """Name the cluster."""
        self._cluster = cluster
        self._topic = cluster.topic(USAGE)
        self._producer: AIOKafkaProducer | None = None
        self._opening = asyncio.Lock()

    async def write(self, records: Sequence[UsageRecord]) -> None:
        """Keep records, under one key the newest. Raises Unavailable."""
        await self._send([(self._partition(r.key), r.key.encode(), encode_usage(r)) for r in records])

    async def records(self, wanted: UsageWanted, limit: int | None = None) -> Sequence[UsageRecord]:
        """Return the newest records, the oldest of them first. Raises Unavailable."""
        found: dict[bytes, UsageRecord] = {}
        slot, all_of_them = wanted.slot, range(self._cluster.partitions)
        for partition in all_of_them if slot is None else [partition_of(slot, self._cluster.partitions)]:
            await self._read(partition, wanted, found)
        return in_order(found.values(), limit)

    async def count(self, wanted: UsageWanted) -> int:
        """Count records. Raises Unavailable."""
        return len(await self.records(wanted))

    async def remove(self, wanted: UsageWanted) -> int:
        """Write a null record for each. Raises Unavailable."""
        gone = await self.records(wanted)
        await self._send([(self._partition(record.key), record.key.encode(), None) for record in gone])
        return len(gone)

    async def mark(self) -> None:
        """Append a record that says nothing to every partition, so that the quiet ones are cleaned too."""
        await self._send([(partition, _MARK, b"{}") for partition in range(self._cluster.partitions)])

    async def close(self) -> None:
        """Close the client."""
        if self._producer is not None:
            await let_go(self._producer.stop)
            self._producer = None

    def _partition(self, key: str) -> int:
        return partition_of(slot_in(key), self._cluster.partitions)

    async def _send(self, records: Sequence[tuple[int, bytes, bytes | None]]) -> None:
        if not records:
            return
        producer: AIOKafkaProducer | None = None
        try:
            producer = await self._opened()
            sent = [await producer.send(self._topic, value, key=key, partition=at) for at, key, value in records]
            await asyncio.gather(*sent)
        except KafkaError as error:
            if producer is not None:
                await self._drop(producer)
            message = f"{self._topic} has not taken what was used: {error!r}; see mnemolog topics check"
            raise Unavailable(message) from error

    async def _drop(self, producer: AIOKafkaProducer) -> None:
        """Let the next write open another."""
        if producer == self._producer:
            self._producer = None
            await let_go(producer.stop)

    async def _opened(self) -> AIOKafkaProducer:
        async with self._opening:
            if self._producer is None:
                producer = self._cluster.producer()
                try:
                    await producer.start()
                except BaseException:
                    await let_go(producer.stop)
                    raise
                self._producer = producer
            return self._producer

    async def _read(self, partition: int, wanted: UsageWanted, found: dict[bytes, UsageRecord]) -> None:
        """Read a partition to the end that it has now; keep of each key the newest record that fits."""
        at = TopicPartition(self._topic, partition)
        consumer = self._cluster.consumer()
        try:
            await consumer.start()
            consumer.assign([at])
            await consumer.seek_to_beginning(at)
            end = (await consumer.end_offsets([at]))[at]
            silent = 0.0
            while await consumer.position(at) < end:
                records = (await consumer.getmany(at, timeout_ms=_POLL)).get(at, ())
                silent = 0.0 if records else silent + _POLL / 1_000
                if silent > _SILENCE:
                    message = f"{self._topic} partition {partition} has not answered for {_SILENCE:.0f} s"
                    raise Unavailable(message)
                for record in records:
                    _take(record.key, record.value, wanted, found)
        except KafkaError as error:
            message = f"{self._topic} partition {partition} cannot be read: {error!r}; see mnemolog topics check"
            raise Unavailable(message) from error
        finally:
            await let_go(consumer.stop)


def _take(key: bytes | None, value: bytes | None, wanted: UsageWanted, found: dict[bytes, UsageRecord]) -> None:
    if key is None or key == _MARK:
        return
    found.pop(key, None)
    if value is None:
        return
    try:
        record = decode_usage(key.decode(), value)
    except (Malformed, UnicodeError) as error:
        _log.warning("passed over: %s", error)
        return
    if wanted.fits(record):
        found[key] = record
