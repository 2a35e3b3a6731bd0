"""Shares that are given out while a process ends: it hands over, and begins nothing new."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import TopicPartition

from workers.assignment import Assignment
from workers.kafka_cluster import Cluster

pytestmark = pytest.mark.unit


def test_a_share_that_comes_while_handing_over_is_not_taken() -> None:
    """A rebalance that ends in the middle of the end starts no task, and leaves none running."""
    running = set[int]()

    async def work(partition: int) -> None:
        running.add(partition)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # closing takes a moment, in which the other share comes
            running.discard(partition)

    async def story() -> None:
        assignment = Assignment(Cluster("nowhere:1", 4), "memory.commands", "sequencer", work)
        share = [TopicPartition("memory.commands", number) for number in range(4)]
        await assignment.take_over(share)
        await asyncio.sleep(0)
        assert assignment.partitions == running == {0, 1, 2, 3}
        await assignment.take_over(share[:2])
        assert assignment.partitions == running == {0, 1}
        coming = asyncio.create_task(assignment.take_over(share))
        await asyncio.sleep(0)
        await assignment.stop()
        await assignment.take_over(share)
        await coming
        await asyncio.sleep(0)
        assert not assignment.partitions
        assert not running

    asyncio.run(story())
