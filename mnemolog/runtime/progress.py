"""How far a thread has come, for those on other threads and loops who wait for it."""

from __future__ import annotations

import asyncio
import threading


class Progress:
    """A number that only rises; waiting is woken, not polled."""

    def __init__(self) -> None:
        """Start at nothing."""
        self._at = -1
        self._lock = threading.Lock()
        self._waiters: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    @property
    def at(self) -> int:
        """Return how far it has come."""
        return self._at

    def advance(self, to: int) -> None:
        """Say that everything below `to` is done; from any thread."""
        with self._lock:
            self._at = max(self._at, to)
            due = [w for w in self._waiters if w[0] <= self._at]
            self._waiters = [w for w in self._waiters if w[0] > self._at]
        for _, loop, future in due:
            try:
                loop.call_soon_threadsafe(_settle, future)
            except RuntimeError:  # the waiter's loop has ended, and nobody waits there any more
                continue

    async def reached(self, target: int, seconds: float) -> bool:
        """Wait until everything below `target` is done; False if that takes longer."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._at >= target:
                return True
            future = loop.create_future()
            self._waiters.append((target, loop, future))
        try:
            async with asyncio.timeout(seconds):
                await future
        except TimeoutError:
            return False
        finally:
            with self._lock:
                self._waiters = [w for w in self._waiters if w[2] is not future]
        return True


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
