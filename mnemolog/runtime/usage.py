"""The usage log in a process: what the recorder has counted is written every few seconds, and auditors ask for it.

Nobody who reads waits for either: writing has a thread or a task of its own, and so has each question.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

from mnemolog.domain.errors import Unavailable
from mnemolog.domain.usage import Usage, UsageRecord, UsageWanted
from mnemolog.gateway.usage import Recorder
from mnemolog.runtime.config import Settings
from mnemolog.runtime.folder import Folder
from mnemolog.runtime.metrics import Metrics

_log = logging.getLogger(__name__)
_PAUSE = 5.0
_BATCH = 500
_PATIENCE = 3.0
"""Seconds that the last write may take when the process is stopped."""

Opened = Callable[[], AbstractAsyncContextManager[Usage]]


@asynccontextmanager
async def usage_log(settings: Settings) -> AsyncIterator[Usage]:
    """Open the usage log of the settings, for the loop that asks. Raises Unavailable."""
    usage: Usage
    if settings.runtime == "kafka":
        from mnemolog.runtime.kafka import cluster
        from workers.usage_kafka import KafkaUsage

        usage = KafkaUsage(cluster(settings))
    else:
        usage = Folder(settings.data).usage()
    try:
        yield usage
    finally:
        await usage.close()


def recorder(settings: Settings, clock: Callable[[], int], entropy: Callable[[int], bytes]) -> Recorder | None:
    """Return what counts reads; None if the settings want no usage log."""
    if settings.usage == "off":
        return None
    return Recorder(clock, entropy, queries=settings.usage == "queries")


class Asking:
    """Answers an auditor's question: opens the log for it, on a thread of its own."""

    def __init__(self, opened: Opened) -> None:
        """Take how to open it."""
        self._opened = opened

    async def __call__(self, wanted: UsageWanted, limit: int) -> tuple[int, Sequence[UsageRecord]]:
        """Return how many there are, and the newest."""
        return await asyncio.to_thread(lambda: asyncio.run(self._asked(wanted, limit)))

    async def _asked(self, wanted: UsageWanted, limit: int) -> tuple[int, Sequence[UsageRecord]]:
        async with self._opened() as usage:
            records = await usage.records(wanted, limit)
            return (len(records) if len(records) < limit else await usage.count(wanted)), records


class Flushing:
    """Writes what a recorder has counted, until it is stopped, and the rest then."""

    def __init__(self, counted: Recorder, opened: Opened, pause: float = _PAUSE) -> None:
        """Take what counts, where it goes, and seconds between two writes."""
        self._recorder = counted
        self._opened = opened
        self._pause = pause
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Write, again and again; what cannot be written is kept for the next time, within the recorder's bounds."""
        async with self._opened() as usage:
            while not self._stopping.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._pause):
                        await self._stopping.wait()
                with self._recorder.writing:
                    await self._flush(usage, _PATIENCE if self._stopping.is_set() else None)

    async def stop(self) -> None:
        """End soon."""
        self._stopping.set()

    async def _flush(self, usage: Usage, seconds: float | None) -> None:
        taken = self._recorder.take()
        try:
            async with asyncio.timeout(seconds):
                for start in range(0, len(taken), _BATCH):
                    await usage.write(taken[start : start + _BATCH])
        except (Unavailable, TimeoutError) as error:
            self._recorder.unwritten()
            _log.warning("the usage log waits: %s", str(error) or "it did not take the last records in time")
        else:
            self._recorder.written()


class FlushingThread:
    """A `Flushing` on a thread of its own: writing to a file would hold up the loop that answers."""

    def __init__(self, counted: Recorder | None, opened: Opened) -> None:
        """Take what counts; None is nothing to do."""
        self._loop = asyncio.new_event_loop()
        self._flushing = None if counted is None else Flushing(counted, opened)
        self._thread = threading.Thread(target=self._run, name="mnemolog-usage")

    def start(self) -> None:
        """Begin."""
        if self._flushing is not None:
            self._thread.start()

    def stop(self) -> None:
        """Write what is left, and wait for that."""
        if self._flushing is not None and self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._flushing.stop(), self._loop)
            self._thread.join()
        elif not self._loop.is_running():
            self._loop.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            if self._flushing is not None:
                runner.run(self._flushing.run())


def show_usage(metrics: Metrics, counted: Recorder) -> None:
    """Bring what a recorder has counted and dropped up to now onto the page of figures."""
    for counter, value in ((metrics.used, counted.recorded), (metrics.unused, counted.dropped)):
        counter.reset()
        counter.inc(value)
