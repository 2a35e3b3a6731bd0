"""Work that is shared out among processes of this program, which say how far they have come."""

from __future__ import annotations

import asyncio
import multiprocessing
import queue
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from mnemolog.domain.audits import Told
from mnemolog.domain.errors import Unavailable
from mnemolog.runtime import interpreter

SHARED_FROM = 20_000
"""Records from which on their work is shared out: processes take a second to start."""
_POLL = 0.1
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Telling:
    """What a process tells its progress to."""

    said: Any

    def __call__(self, what: str, done: int, whole: int) -> None:
        """Tell the process that waits."""
        self.said.put((what, done, whole))


@dataclass(frozen=True, slots=True)
class Processes:
    """Processes that are there already."""

    pool: ProcessPoolExecutor
    said: Any
    told: Told

    async def run(self, work: Callable[..., T], each: Iterable[tuple[Any, ...]]) -> AsyncIterator[T]:
        """Call a function of a module with each of these arguments, and whom to tell; yield results as they come."""
        going = {self.pool.submit(work, *arguments, _Telling(self.said)) for arguments in each}
        while going:
            await asyncio.sleep(_POLL)
            ready = {future for future in going if future.done()}
            self._hear()
            for future in ready:
                yield future.result()
            going -= ready

    def _hear(self) -> None:
        try:
            while True:
                self.told(*self.said.get_nowait())
        except queue.Empty:
            return


@contextmanager
def processes(jobs: int, told: Told) -> Iterator[Processes]:
    """Start processes at once. Raises Unavailable if one is killed."""
    context = multiprocessing.get_context("spawn")
    try:
        with context.Manager() as manager, ProcessPoolExecutor(jobs, context, interpreter.set_up) as pool:
            for _ in range(jobs):
                pool.submit(begin)
            yield Processes(pool, manager.Queue(), told)
    except BrokenProcessPool as error:
        message = "one of its processes was killed, perhaps for want of memory; try again with --jobs 1"
        raise Unavailable(message) from error


def begin() -> None:
    """Do nothing: a process imports what it needs to do so."""
