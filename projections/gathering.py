"""Queries of many searches, embedded together: those that come while the model works go through it as one batch.

A model needs not much longer for eight short texts than for one, so together they are answered sooner than in turn; one
alone waits for nobody.

1. A query waits for work that is under way, never for other queries to come.
2. Two batches may be under way, so that a long query does not hold up all others.
3. A query that the model refuses fails alone.
4. Everything but the model's work belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from mnemolog.domain.ports import Embedder

Vector = Sequence[float]

_AT_ONCE = 2
_MOST = 32
_LONG = 1_000
"""Characters of a query that goes alone."""


class _Waiting(NamedTuple):
    text: str
    vector: asyncio.Future[Vector]


class Gathering:
    """Embeds queries for whoever searches."""

    def __init__(self, embedder: Embedder) -> None:
        """Take the model."""
        self._embedder = embedder
        self._waiting: deque[_Waiting] = deque()
        self._busy = 0
        self._working: set[asyncio.Task[None]] = set()
        # Threads of their own: queries that wait for the model must not hold up the reads of everybody.
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="mnemolog-query")

    async def embed(self, text: str) -> Vector:
        """Return the vector of a query. Raises what the model raises."""
        mine = _Waiting(text, asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        if self._busy < _AT_ONCE:
            self._busy += 1
            task = asyncio.create_task(self._work())
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        return await mine.vector

    async def _work(self) -> None:
        """Embed until nobody waits."""
        try:
            while taken := self._next():
                await self._batch(taken)
        finally:
            self._busy -= 1  # here, with no step between finding nobody and saying so

    async def _batch(self, taken: Sequence[_Waiting]) -> None:
        """Embed together; what fails together is tried one by one."""
        texts = [one.text for one in taken]
        try:
            vectors = await asyncio.get_running_loop().run_in_executor(self._threads, self._embedder.embed, texts)
        except Exception as error:  # noqa: BLE001 -- told to whoever asked
            if len(taken) == 1:
                _settle(taken[0], error)
                return
            for one in taken:
                await self._batch([one])
        else:
            for one, vector in zip(taken, vectors, strict=True):
                _settle(one, vector)

    def _next(self) -> list[_Waiting]:
        """Take who has waited longest, and others with him; a long query goes alone, and nobody waits in vain."""
        taken: list[_Waiting] = []
        while self._waiting and len(taken) < _MOST:
            first = self._waiting[0]
            if first.vector.done():  # whoever asked has gone
                self._waiting.popleft()
                continue
            if taken and len(first.text) > _LONG:
                break
            taken.append(self._waiting.popleft())
            if len(first.text) > _LONG:
                break
        return taken


def _settle(one: _Waiting, result: Vector | Exception) -> None:
    """Answer, unless whoever asked has gone."""
    if one.vector.done():
        return
    if isinstance(result, Exception):
        one.vector.set_exception(result)
    else:
        one.vector.set_result(result)
