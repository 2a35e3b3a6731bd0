"""The one writer of a partition's facts: a transactional producer that lives from `take` to its first error.

1. Opening it fences whoever had the partition, aborts what he left open, and waits until what he had committed is
   marked: the end of the facts is a safe target for the replay from then on.
2. A batch is committed only after every one of its records is acknowledged: the client would commit without those
   that were refused.
3. After any error it is closed and stays closed. Whoever fenced it is the rightful owner, and a refused record leaves
   a gap in the producer's numbering that no later record could pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    IllegalOperation,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    KafkaError,
    ProducerFenced,
)
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from mnemolog.domain.errors import Fenced, Unavailable
from workers.kafka_cluster import Cluster, let_go
from workers.kafka_records import Produced

_FENCES = (ProducerFenced, InvalidProducerEpoch, InvalidProducerIdMapping, InvalidTxnState)
_REFUSALS = (KafkaError, IllegalOperation, AssertionError)
"""What a transaction fails with; the last two say that the producer had failed before it was called."""
_TIMEOUT = 30_000
"""Milliseconds after which the broker aborts a transaction whose producer is gone: until then, readers wait there."""


class Writer:
    """Commits the transactions of one partition."""

    def __init__(self, cluster: Cluster, partition: int) -> None:
        """Name the partition."""
        self._cluster = cluster
        self._partition = partition
        self._producer: AIOKafkaProducer | None = None

    async def open(self) -> None:
        """Fence whoever sequenced before. Raises Unavailable."""
        producer = self._cluster.producer(
            transactional_id=self._cluster.transactional_id(self._partition), transaction_timeout_ms=_TIMEOUT
        )
        try:
            await producer.start()
        except BaseException as error:
            await let_go(producer.stop)
            if isinstance(error, KafkaError):
                message = f"partition {self._partition} cannot be taken: {error!r}"
                raise Unavailable(message) from error
            raise
        self._producer = producer

    async def close(self) -> None:
        """Close the producer; what is open is aborted by the broker or by whoever opens the next one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await let_go(producer.stop)

    async def commit(self, records: Mapping[str, Sequence[Produced]]) -> Mapping[str, int]:
        """Commit records as one transaction; return the offset behind the last one of each topic.

        1. Pack them into batches, before anything is begun.
        2. Begin, send all, and wait for every acknowledgement.
        3. Commit; on any error abort, close, and raise Fenced or Unavailable.
        """
        producer = self._producer
        if producer is None:
            message = f"partition {self._partition} is not this sequencer's, or its last transaction failed"
            raise Fenced(message)
        batches = [(topic, batch) for topic, part in records.items() for batch in _packed(producer, part)]
        try:
            await producer.begin_transaction()
            following = await self._send(producer, batches)
            await producer.commit_transaction()
        except BaseException as error:
            told = _told(producer)
            await asyncio.shield(self._give_up(producer))
            if _fenced(error) or _fenced(told):
                message = f"another process sequences partition {self._partition} now"
                raise Fenced(message) from (told or error)
            if isinstance(error, _REFUSALS):
                message = f"a transaction of partition {self._partition} failed: {error!r}"
                raise Unavailable(message) from (told or error)
            raise
        return following

    async def _send(self, producer: AIOKafkaProducer, batches: Sequence[tuple[str, BatchBuilder]]) -> Mapping[str, int]:
        """Send all batches and wait for all answers; return the offset behind each topic's last record."""
        following: dict[str, int] = {}
        sent: list[asyncio.Future[RecordMetadata]] = []
        try:
            for topic, batch in batches:
                sent.append(await producer.send_batch(batch, self._cluster.topic(topic), partition=self._partition))
        except _REFUSALS as error:
            # A producer that has failed meanwhile refuses to send: what it was told may be with the batches before.
            answers = [a for a in await asyncio.gather(*sent, return_exceptions=True) if isinstance(a, Exception)]
            if answers:
                raise answers[0] from error
            raise
        answers = await asyncio.gather(*sent, return_exceptions=True)
        for (topic, batch), answer in zip(batches, answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            if answer.offset < 0:  # a repeated batch whose place the broker has forgotten: it is there, but where?
                message = f"partition {self._partition} does not say where it has put a batch"
                raise Unavailable(message)
            following[topic] = answer.offset + batch.record_count()
        return following

    async def _give_up(self, producer: AIOKafkaProducer) -> None:
        self._producer = None
        await let_go(producer.abort_transaction)
        await let_go(producer.stop)
        _told(producer)  # whatever ended the abort: left unread, it would be logged when it is collected


def _told(producer: AIOKafkaProducer) -> BaseException | None:
    """Return what the broker told the producer of its transaction, if that was an error.

    A producer that has failed in the background answers the next call with no more than that it cannot be made.
    """
    waiter = producer._txn_manager.wait_for_transaction_end()  # noqa: SLF001 -- failed, it offers no other way
    return waiter.exception() if waiter is not None and waiter.done() and not waiter.cancelled() else None


def _fenced(error: BaseException | None) -> bool:
    """Tell whether the broker no longer knows the producer; the client may have wrapped what it was told."""
    while error is not None and not isinstance(error, _FENCES):
        error = error.__cause__
    return error is not None


def _packed(producer: AIOKafkaProducer, records: Sequence[Produced]) -> list[BatchBuilder]:
    """Return batches that hold the records in their order; one alone may be larger than a batch should be."""
    batches: list[BatchBuilder] = []
    for key, value, headers in records:
        if batches and batches[-1].append(timestamp=None, key=key, value=value, headers=headers) is not None:
            continue
        batches.append(producer.create_batch())
        batches[-1].append(timestamp=None, key=key, value=value, headers=headers)
    return batches
