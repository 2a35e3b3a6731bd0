"""Waiting until reads show a position: one look at the store for all who wait on a partition."""

from __future__ import annotations

import asyncio

from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ports import Store
from mnemolog.domain.record import Position

_SHARE = 8
"""Who has waited for so long is told at most an eighth of that late, and a look."""
_SHORTEST_PAUSE = 0.001
_LONGEST_PAUSE = 0.01
_AWAY_PAUSE = 0.1


class Visible:
    """Looks at the checkpoints of the partitions that someone waits for; costs nothing while nobody does."""

    def __init__(self, store: Store) -> None:
        """Take the store; everything here belongs to one event loop."""
        self._store = store
        self._waiting: dict[int, list[tuple[Position, asyncio.Future[None]]]] = {}
        self._looking: dict[int, asyncio.Task[None]] = {}
        self._since: dict[int, float] = {}

    async def wait(self, partition: int, position: Position) -> None:
        """Wait until the views of a partition hold everything below a position; for ever, if they never do."""
        loop = asyncio.get_running_loop()
        one = (position, loop.create_future())
        self._waiting.setdefault(partition, []).append(one)
        self._since[partition] = loop.time()
        if partition not in self._looking:
            self._looking[partition] = asyncio.create_task(self._look(partition), name=f"mnemolog-visible {partition}")
        try:
            await one[1]
        finally:
            self._waiting[partition].remove(one)

    async def stop(self) -> None:
        """End every look."""
        tasks = list(self._looking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, partition: int) -> None:
        """Look while anyone waits: often after a newcomer, then less often."""
        loop = asyncio.get_running_loop()
        try:
            while any(not future.done() for _, future in self._waiting[partition]):
                waited = loop.time() - self._since[partition]
                pause = min(max(waited / _SHARE, _SHORTEST_PAUSE), _LONGEST_PAUSE)
                try:
                    found = await self._store.reached(partition)
                except Unavailable:  # away or being refilled; who waits knows how long he will
                    pause = _AWAY_PAUSE
                else:
                    if found is not None:
                        self._settle(partition, found.position)
                await asyncio.sleep(pause)
        except Exception as error:  # noqa: BLE001 -- a store that contradicts itself: those who wait are told
            for _, future in self._waiting[partition]:
                if not future.done():
                    future.set_exception(error)
        finally:
            del self._looking[partition]

    def _settle(self, partition: int, reached: Position) -> None:
        for position, future in self._waiting[partition]:
            if position <= reached and not future.done():
                future.set_result(None)
