"""Outcomes for those who wait: one consumer a gateway, of every partition, without a group (design §10).

1. It listens before the first command is published: an outcome that comes early is kept until its command's offset is
   known.
2. One command id may be sent twice, here or through another gateway: an outcome belongs to the command at its source,
   and to nobody else.
3. After an error it begins again where it was; nobody's outcome is passed over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from mnemolog.domain.codec import decode_outcome
from mnemolog.domain.outcomes import Outcome
from mnemolog.domain.topics import OUTCOMES
from workers.kafka_cluster import Cluster, let_go
from workers.kafka_records import Fetched, outcome_of

_log = logging.getLogger(__name__)
_POLL = 500
_RETRY = 0.5
_SILENT = 5.0
"""Seconds without an answer of Kafka after which it counts as away."""


class Awaited:
    """The outcome of one command, in the future; `told` may come before `sent`."""

    def __init__(self) -> None:
        """Wait for everything at first."""
        self._future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._offset: int | None = None
        self._early: list[Outcome] = []

    def sent(self, offset: int) -> None:
        """Say where the command stands in its partition."""
        self._offset = offset
        for outcome in self._early:
            self.told(outcome)

    def told(self, outcome: Outcome) -> None:
        """Take an outcome with this command's id."""
        if self._offset is None:
            self._early.append(outcome)
        elif outcome.source is not None and outcome.source.offset == self._offset and not self._future.done():
            self._future.set_result(outcome)

    async def outcome(self) -> Outcome:
        """Wait for the outcome."""
        return await self._future


class Outcomes:
    """Reads `memory.outcomes` in a task of its own and tells whoever awaits."""

    def __init__(self, cluster: Cluster) -> None:
        """Name the cluster."""
        self._cluster = cluster
        self._topic = cluster.topic(OUTCOMES)
        self._next: dict[TopicPartition, int] = {}
        self._awaited: dict[str, list[Awaited]] = {}
        self._listening = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._consumer: AIOKafkaConsumer | None = None

    def start(self) -> None:
        """Start to read, from the ends that the topic has now."""
        self._task = asyncio.create_task(self._run(), name="mnemolog-outcomes")

    async def stop(self) -> None:
        """Stop to read."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def listening(self) -> None:
        """Wait until outcomes of what is published from now on are heard."""
        await self._listening.wait()

    def trouble(self) -> str | None:
        """Say what is wrong now, if anything is."""
        consumer = self._consumer
        if consumer is None or not self._listening.is_set():
            return "outcomes are not heard yet: Kafka does not answer"
        heard = [consumer.last_poll_timestamp(at) or 0 for at in self._next]
        silent = time.time() - min(heard) / 1_000
        return f"Kafka has not answered for {silent:.0f} s" if all(heard) and silent > _SILENT else None

    @contextlib.contextmanager
    def awaiting(self, command: str) -> Iterator[Awaited]:
        """Listen for the outcome of a command that will be published inside."""
        one = Awaited()
        several = self._awaited.setdefault(command, [])
        several.append(one)
        try:
            yield one
        finally:
            several.remove(one)
            if not several:
                del self._awaited[command]

    async def _run(self) -> None:
        """Read for ever: whatever breaks the client, a new one goes on where this one was."""
        while True:
            consumer = self._cluster.consumer()
            try:
                await self._open(consumer)
                while True:
                    await self._read(consumer)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 -- whatever it is, those who wait need the next outcome
                _log.warning("outcomes cannot be read, trying again: %r", error)
                await asyncio.sleep(_RETRY)
            finally:
                self._consumer = None
                await let_go(consumer.stop)

    async def _open(self, consumer: AIOKafkaConsumer) -> None:
        """Connect; the first time, take the ends, and from then on only go on."""
        await consumer.start()
        partitions = [TopicPartition(self._topic, p) for p in range(self._cluster.partitions)]
        consumer.assign(partitions)
        if not self._next:
            self._next = dict(await consumer.end_offsets(partitions))
        for at, offset in self._next.items():
            consumer.seek(at, offset)
        self._consumer = consumer
        self._listening.set()

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        try:
            found = await consumer.getmany(timeout_ms=_POLL)
        except OffsetOutOfRangeError as error:  # retention has passed us, or the topic was made anew
            lost = [at for at in self._next if at in error.args[0]]
            _log.warning("outcomes of %s are gone from where they were read; going on with the oldest", lost)
            self._next |= await consumer.beginning_offsets(lost)
            for at in lost:
                consumer.seek(at, self._next[at])
            return
        for at, records in found.items():
            for record in records:
                self._tell(record)
            self._next[at] = records[-1].offset + 1

    def _tell(self, record: Fetched) -> None:
        several = self._awaited.get((record.key or b"").decode("utf-8", "replace"))
        if several is None:
            return
        try:
            outcome = decode_outcome(outcome_of(record)[1])
        except (ValueError, KeyError, TypeError) as error:
            _log.error("the outcome at offset %s cannot be read: %r", record.offset, error)
            return
        for one in list(several):
            one.told(outcome)
