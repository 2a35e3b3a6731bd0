"""Who has which partition: membership of a consumer group, and a task for each partition that is ours (design §2).

Kafka's group protocol only spreads the partitions; positions are the workers' own, so nothing is committed to it.

1. A rebalance keeps the tasks of partitions that stay; replay runs inside a task, never inside the rebalance.
2. Whatever a task or the rebalance raises ends `run` with it: the process must not say it works while it does not.
3. A partition that goes away has its task cancelled; its successor fences it, so nothing hangs on how fast that is.
4. Once it ends nothing new is begun, also if a rebalance that was under way gives out shares: who works on after having
   handed over would fence the rightful owner.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from workers.kafka_cluster import Cluster, let_go

_log = logging.getLogger(__name__)
_SESSION = 6_000
_HEARTBEAT = 1_500
_POLL = 200

Work = Callable[[int], Awaitable[None]]
"""Works on a partition until it is cancelled."""


class Assignment:
    """One role's share of the partitions of a topic. Hosted: `run` until `stop`."""

    def __init__(self, cluster: Cluster, topic: str, role: str, work: Work) -> None:
        """Take the topic whose partitions are shared out, the role that shares them, and what to do with one."""
        self._cluster = cluster
        self._topic = cluster.topic(topic)
        self._group = f"{cluster.prefix}mnemolog.{role}"
        self._work = work
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._failure: BaseException | None = None
        self._stopping = asyncio.Event()
        self._settled = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions that are worked on."""
        return frozenset(self._tasks)

    @property
    def joined(self) -> bool:
        """Whether the group has given this process its share, and is not about to give it another."""
        return self._settled.is_set()

    async def settled(self) -> None:
        """Wait until no rebalance is under way: until then, what is worked on may have gone to another."""
        await self._settled.wait()

    async def run(self) -> None:
        """Join the group and work on what is assigned, until stopped. Raises what a task or the rebalance raised."""
        consumer = self._consumer()
        consumer.subscribe([self._topic], listener=_Listener(self))
        await consumer.start()
        try:
            while not self._stopping.is_set() and self._failure is None:
                consumer.pause(*consumer.assignment())  # the group's records are not ours to read here
                await consumer.getmany(timeout_ms=_POLL)
        finally:
            self._stopping.set()
            await self._settle(frozenset())
            await let_go(consumer.stop)
        if self._failure is not None:
            raise self._failure

    async def stop(self) -> None:
        """End `run`: hand the partitions over and leave the group."""
        self._stopping.set()

    def give_up(self) -> None:
        """Note that the shares are being given out anew."""
        self._settled.clear()

    async def take_over(self, partitions: Iterable[TopicPartition]) -> None:
        """Start tasks for what is new, cancel those of what has gone, leave the others."""
        try:
            await self._settle(frozenset(p.partition for p in partitions))
            self._settled.set()
        except Exception as error:  # noqa: BLE001 -- the client would only log it, and nobody would work
            self._failure = error

    async def _settle(self, wanted: frozenset[int]) -> None:
        """Work on these partitions and no others; at the end, on none."""
        async with self._one_at_a_time:
            wanted = frozenset() if self._stopping.is_set() else wanted
            gone = [self._tasks.pop(partition) for partition in self._tasks.keys() - wanted]
            for task in gone:
                task.cancel()
            await asyncio.gather(*gone, return_exceptions=True)
            for partition in sorted(frozenset() if self._stopping.is_set() else wanted - self._tasks.keys()):
                task = asyncio.create_task(self._worked(partition), name=f"{self._group} {partition}")
                task.add_done_callback(self._ended)
                self._tasks[partition] = task
            _log.info("%s works on partitions %s", self._group, sorted(self._tasks))

    async def _worked(self, partition: int) -> None:
        await self._work(partition)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error

    def _consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._cluster.servers,
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            partition_assignment_strategy=[StickyPartitionAssignor],
            session_timeout_ms=_SESSION,
            heartbeat_interval_ms=_HEARTBEAT,
            **self._cluster.options,
        )


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships no types
    """Hears of rebalances; what stays is only known once the new share has come."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Wait for the new share: most of it will stay, and a successor fences what does not."""
        del revoked
        self._assignment.give_up()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Take the new share over."""
        await self._assignment.take_over(assigned)
