"""The log on Kafka: the topics of a cluster behind the port `Log` (design §2, §4, §5).

1. Reads are of committed records, from explicit offsets, without a consumer group: positions are the caller's.
2. `take` fences; `commit` is one Kafka transaction; after any error of one, only the next `take` helps.
3. What this hold has committed or told as the end, its reads see: they do not end before it is there.
4. Times are the broker's, in whole milliseconds, and need not rise: `decide` makes them rise in each stream.
5. `forget` is left to the command topic's retention, which is part of the bound of erasure (design §7); null records
   take facts away when Kafka's cleaner runs.

One hold serves one role of a process: its readers keep a place in each partition, which two roles would fight over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from mnemolog.domain.errors import Fenced, Malformed, Unavailable
from mnemolog.domain.record import CommandRecord, FactRecord, OutcomeRecord, Transaction
from mnemolog.domain.topics import COMMANDS, FACTS, OUTCOMES
from workers.kafka_cluster import Cluster, let_go
from workers.kafka_reader import Reader
from workers.kafka_records import (
    Fetched,
    command_of,
    fact_of,
    headers_of,
    outcome_of,
    produced_by,
)
from workers.kafka_transaction import Writer

_Client = TypeVar("_Client", AIOKafkaConsumer, AIOKafkaProducer)
_MARKERS = 30.0
_MARKER_PAUSE = 0.001
"""Seconds to wait for, and between looks at, the markers of a transaction of our own."""


class KafkaLog:
    """A hold on the topics of a cluster; every coroutine belongs to the loop that called `start`."""

    def __init__(self, cluster: Cluster) -> None:
        """Name the cluster."""
        self._cluster = cluster
        self._asking: AIOKafkaConsumer | None = None
        self._appending: AIOKafkaProducer | None = None
        self._opening = asyncio.Lock()
        self._readers: dict[tuple[str, int], Reader] = {}
        self._writers: dict[int, Writer] = {}
        self._ends: dict[tuple[str, int], int] = {}

    async def start(self) -> None:
        """Connect, and make sure that the command topic has the partitions that we count on. Raises Unavailable."""
        topic = self._cluster.topic(COMMANDS)
        try:
            await self._consumer()
            found = len(await (await self._producer()).partitions_for(topic))
        except KafkaError as error:
            message = (
                f"Kafka at {self._cluster.servers} has no topic {topic} for us: {error!r}; see mnemolog topics check"
            )
            raise Unavailable(message) from error
        if found != self._cluster.partitions:
            message = f"{topic} has {found} partitions, not {self._cluster.partitions}; see mnemolog topics check"
            raise Unavailable(message)

    async def close(self) -> None:
        """Close every client; partitions that were taken are free for others."""
        for writer in self._writers.values():
            await writer.close()
        for reader in self._readers.values():
            await reader.close()
        self._writers.clear()
        self._readers.clear()
        for client in (self._asking, self._appending):
            if client is not None:
                await let_go(client.stop)
        self._asking = self._appending = None

    async def release(self, partition: int) -> None:
        """Close what is open for a partition that has gone to another process."""
        if writer := self._writers.pop(partition, None):
            await writer.close()
        for at in [at for at in self._readers if at[1] == partition]:
            await self._readers.pop(at).close()

    # ---- commands ----------------------------------------------------------------------------------------------------

    async def append(self, partition: int, commands: Sequence[CommandRecord]) -> Sequence[int]:
        """Append commands and return their offsets, in order; all replicas in sync have them by then.

        Raises Malformed for one that is too large for the topic, Unavailable if it is not known what was appended:
        a command is safe to append again.
        """
        topic = self._cluster.topic(COMMANDS)
        producer: AIOKafkaProducer | None = None
        try:
            producer = await self._producer()
            sent = [
                await producer.send(
                    topic, c.value, key=c.key.encode(), partition=partition, headers=headers_of(c.headers)
                )
                for c in commands
            ]
            return [answer.offset for answer in await asyncio.gather(*sent)]
        except MessageSizeTooLargeError as error:
            message = f"a command is larger than {topic} takes: {error}"
            raise Malformed(message) from error
        except KafkaError as error:
            if producer is not None:
                await self._drop(producer)
            message = f"{topic} partition {partition} has not taken the commands: {error!r}; send them again"
            raise Unavailable(message) from error

    async def commands(self, partition: int, start: int, limit: int) -> Sequence[CommandRecord]:
        """Return at most `limit` commands from offset `start` on; wait a little if there are none."""
        return [command_of(record) for record in await self._read(COMMANDS, partition, start, limit)]

    async def bounds(self, partition: int) -> tuple[int, int]:
        """Return the first offset that the command topic still has, and the one behind the last committed command."""
        at = TopicPartition(self._cluster.topic(COMMANDS), partition)
        try:
            consumer = await self._consumer()
            first, following = await asyncio.gather(consumer.beginning_offsets([at]), consumer.end_offsets([at]))
        except KafkaError as error:
            raise _silent(at, error) from error
        return first[at], following[at]

    # ---- facts and outcomes ------------------------------------------------------------------------------------------

    async def facts(self, partition: int, start: int, limit: int) -> Sequence[FactRecord]:
        """Return at most `limit` records of the fact topic from `start` on; wait a little if there are none."""
        return [fact_of(record) for record in await self._read(FACTS, partition, start, limit)]

    async def end(self, partition: int) -> int:
        """Return the offset below which every committed record of the fact topic lies.

        Read committed, it stands before the first transaction that is open; after `take`, none is. A transaction of
        our own may be committed and its markers not written yet: they are waited for.
        """
        at = TopicPartition(self._cluster.topic(FACTS), partition)
        deadline = time.monotonic() + _MARKERS
        while True:
            try:
                end = int((await (await self._consumer()).end_offsets([at]))[at])
            except KafkaError as error:
                raise _silent(at, error) from error
            known = self._ends.get((FACTS, partition), 0)
            if end >= known:
                self._ends[FACTS, partition] = end
                return end
            if time.monotonic() > deadline:
                message = f"{at.topic} partition {partition} ends at {end}, but had come to {known}"
                raise Unavailable(message)
            await asyncio.sleep(_MARKER_PAUSE)

    async def outcomes(self, partition: int, start: int, limit: int) -> Sequence[tuple[int, OutcomeRecord]]:
        """Return offset and record of at most `limit` outcomes from `start` on; wait a little if there are none."""
        return [outcome_of(record) for record in await self._read(OUTCOMES, partition, start, limit)]

    # ---- the sequencer -----------------------------------------------------------------------------------------------

    async def take(self, partition: int) -> None:
        """Become the partition's only sequencer: whoever was it before is fenced, what he left open is aborted."""
        if writer := self._writers.pop(partition, None):
            await writer.close()
        writer = Writer(self._cluster, partition)
        await writer.open()
        self._writers[partition] = writer

    async def commit(self, partition: int, transaction: Transaction) -> int:
        """Commit all that a batch leaves behind as one transaction; return the offset behind its last fact record.

        The marker of the transaction lies behind that, and the next fact behind the marker.
        """
        records = produced_by(transaction)
        if partition not in self._writers:
            message = f"partition {partition} has not been taken"
            raise Fenced(message)
        following = await self._writers[partition].commit(records)
        for topic, end in following.items():
            self._ends[topic, partition] = max(end, self._ends.get((topic, partition), 0))
        return following[FACTS]

    # ---- clients -----------------------------------------------------------------------------------------------------

    async def _read(self, topic: str, partition: int, start: int, limit: int) -> Sequence[Fetched]:
        reader = self._readers.get((topic, partition))
        if reader is None:
            reader = self._readers[topic, partition] = Reader(self._cluster, topic, partition)
        return await reader.read(start, limit, self._ends.get((topic, partition), 0))

    async def _consumer(self) -> AIOKafkaConsumer:
        """Return the client that asks for offsets."""
        async with self._opening:
            if self._asking is None:
                self._asking = await _started(self._cluster.consumer())
            return self._asking

    async def _producer(self) -> AIOKafkaProducer:
        """Return the client that appends commands."""
        async with self._opening:
            if self._appending is None:
                self._appending = await _started(self._cluster.producer())
            return self._appending

    async def _drop(self, producer: AIOKafkaProducer) -> None:
        """Let the next append open another: this one's numbering may have a gap, which no later record could pass."""
        if producer == self._appending:
            self._appending = None
            await let_go(producer.stop)


async def _started(client: _Client) -> _Client:
    try:
        await client.start()
    except BaseException:
        await let_go(client.stop)
        raise
    return client


def _silent(at: TopicPartition, error: KafkaError) -> Unavailable:
    return Unavailable(f"{at.topic} partition {at.partition} does not say where it begins and ends: {error!r}")
