"""The retention worker's loop: timers and graces every few seconds, the tenants' policies every night.

Hosted by a thread of the embedded server, and by `mnemolog worker retention`; two of them at once only propose twice.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from mnemolog.domain.errors import MnemologError
from mnemolog.domain.ports import Store
from mnemolog.domain.times import SECOND
from mnemolog.domain.usage import Usage
from mnemolog.runtime.config import Settings
from mnemolog.runtime.metrics import Metrics
from mnemolog.runtime.nightly import Done, Nightly
from mnemolog.runtime.not_gone import Place, hidden, show
from projections.due import StoreDue
from workers.retention import Propose, Report, Retention

_log = logging.getLogger(__name__)
_PAUSE = 5.0
_SAID = {"timers": "timers and graces", "sweep": "the nightly sweep"}


class Retaining:
    """Runs a `Retention` by the clock until it is told to stop."""

    def __init__(
        self,
        retention: Retention,
        nightly: Nightly,
        done: Done,
        clock: Callable[[], int],
        metrics: Metrics,
        pause: float = _PAUSE,
        places: Sequence[Place] = (),
    ) -> None:
        """Take what to run and when, and who counts; `pause` is in seconds, between two looks.

        `places` tell what is erased and not gone.
        """
        self._retention = retention
        self._nightly = nightly
        self._done = done
        self._clock = clock
        self._metrics = metrics
        self._pause = pause
        self._places = places
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Look, again and again, until stopped: what is in the middle then is proposed again another time."""
        looking = asyncio.ensure_future(self._forever())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({looking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking

    async def stop(self) -> None:
        """End soon."""
        self._stopping.set()

    async def _forever(self) -> None:
        if self._done.read() is None:
            self._done.write(self._nightly.last(self._clock()))
        while True:
            try:
                await self._look()
            except MnemologError as error:
                _log.warning("retention waits: %s", error)
            await asyncio.sleep(self._pause)

    async def _look(self) -> None:
        self._tell("timers", await self._counted("timers", self._retention.tick(self._clock())))
        night = self._nightly.last(self._clock())
        if night > (self._done.read() or 0):
            self._tell("sweep", await self._counted("sweep", self._retention.sweep(night)))
            self._done.write(night)
        self._metrics.swept.set((self._done.read() or 0) / SECOND)
        await show(self._metrics, self._places, self._clock)

    async def _counted(self, what: str, run: Awaitable[Report]) -> Report:
        try:
            report = await run
        except Exception:
            self._metrics.retention_runs.labels(what, "failed").inc()
            raise
        self._metrics.retention_runs.labels(what, "done").inc()
        return report

    def _tell(self, what: str, report: Report) -> None:
        for (tenant, category), count in sorted(report.done.items()):
            _log.info("%s: %d %s of the tenant %s", _SAID[what], count, category, tenant)
            self._metrics.retained.labels(category, "done").inc(count)
        for (_, category), count in report.refused.items():
            self._metrics.retained.labels(category, "refused").inc(count)


class Held(NamedTuple):
    """The ports of a deployment that retention needs."""

    propose: Propose
    store: Store
    usage: Usage
    partitions: int = 1


class RetainingThread:
    """The loop on a thread of its own, which proposes to the embedded server as its face does."""

    def __init__(
        self,
        settings: Settings,
        held: Held,
        clock: Callable[[], int],
        metrics: Metrics,
        places: Sequence[Place] = (),
    ) -> None:
        """Take the server's ports, who counts, and what tells what is not gone; the usage log is closed in the end."""
        self._loop = asyncio.new_event_loop()
        self._usage = held.usage
        self._retaining = retaining(settings, held, clock, metrics, places)
        self._thread = threading.Thread(target=self._run, name="mnemolog-retention")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for that."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._retaining.stop(), self._loop)
            self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._retaining.run())
            runner.run(self._usage.close())


def retaining(
    settings: Settings, held: Held, clock: Callable[[], int], metrics: Metrics, places: Sequence[Place] = ()
) -> Retaining:
    """Return the loop over a deployment's ports, with the night's mark in the data folder."""
    rate = float(settings.retention_rate)
    due = StoreDue(held.store, held.partitions)
    retention = Retention(due, held.propose, settings.rules(), secrets.token_bytes, rate=rate, usage=held.usage)
    nightly = Nightly(settings.retention_at, settings.retention_zone)
    done = Done(settings.data / "last-sweep")
    return Retaining(retention, nightly, done, clock, metrics, places=[hidden(due, clock), *places])
