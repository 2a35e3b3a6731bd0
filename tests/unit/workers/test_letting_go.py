"""Closing a client of Kafka never costs its caller a cancellation: a worker that is told to end, ends."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from workers import kafka_cluster
from workers.kafka_cluster import let_go


def test_a_cancellation_that_comes_as_the_closing_ends_reaches_the_caller() -> None:
    """The two fall together when one role of a worker fails and another, failing too, waits to try again."""

    async def story() -> None:
        async def close() -> None:
            caller.cancel()

        caller = asyncio.create_task(let_go(close))
        with pytest.raises(asyncio.CancelledError):
            await caller

    asyncio.run(story())


def test_a_cancellation_that_the_client_swallows_reaches_the_caller() -> None:
    """The clients of aiokafka suppress what comes while they wait for their own tasks to end."""

    async def story() -> None:
        closing = asyncio.Event()

        async def close() -> None:
            closing.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

        caller = asyncio.create_task(let_go(close))
        await closing.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller

    asyncio.run(story())


def test_whatever_closing_raises_is_left_with_the_client() -> None:
    """What is let go may be broken already."""

    async def close() -> None:
        raise OSError

    asyncio.run(let_go(close))


def test_closing_that_does_not_end_is_waited_for_so_long_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its broker away, a client would wait for it."""
    monkeypatch.setattr(kafka_cluster, "_PATIENCE", 0.01)
    asyncio.run(let_go(asyncio.Event().wait))
