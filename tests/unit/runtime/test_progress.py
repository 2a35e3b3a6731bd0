"""Progress: one thread advances, others wait on loops of their own; nobody polls, nobody is forgotten."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mnemolog.runtime.progress import Progress

pytestmark = pytest.mark.unit


def test_what_has_been_reached_is_answered_at_once() -> None:
    """Also by something further on; and progress never goes back."""
    progress = Progress()
    assert progress.at == -1
    progress.advance(5)
    progress.advance(3)
    assert progress.at == 5
    for target in (0, 5):
        assert asyncio.run(progress.reached(target, 0))


def test_what_takes_too_long_is_false_and_leaves_nobody_behind() -> None:
    """The waiter is gone from the list."""
    progress = Progress()
    assert not asyncio.run(progress.reached(1, 0.01))
    assert progress._waiters == []
    progress.advance(1)


def test_waiters_are_woken_from_another_thread() -> None:
    """Each when its own target is reached, all who wait for it, and nobody before."""
    progress = Progress()

    async def told() -> None:
        waiting = [(n, asyncio.create_task(progress.reached(n, 60))) for n in (3, 1, 2, 1)]
        await asyncio.sleep(0)
        assert len(progress._waiters) == len(waiting)
        for at in (1, 2, 3):
            await asyncio.to_thread(progress.advance, at)
            assert all(await asyncio.gather(*(task for target, task in waiting if target <= at)))
            assert not any(task.done() for target, task in waiting if target > at)

    asyncio.run(told())
    assert progress._waiters == []


def test_a_waiter_whose_loop_has_ended_disturbs_nobody() -> None:
    """Its loop is closed when its turn comes: the next ones are woken all the same."""
    progress = Progress()
    loop = asyncio.new_event_loop()
    task = loop.create_task(progress.reached(1, 60))
    loop.run_until_complete(asyncio.sleep(0))
    waiting = list(progress._waiters)
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    progress._waiters = waiting

    async def told() -> bool:
        threading.Timer(0.02, progress.advance, [1]).start()
        return await progress.reached(1, 5)

    assert asyncio.run(told())


def test_a_cancelled_waiter_is_forgotten() -> None:
    """A client that hangs up leaves nothing."""
    progress = Progress()

    async def told() -> None:
        task = asyncio.create_task(progress.reached(1, 60))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(told())
    assert progress._waiters == []
