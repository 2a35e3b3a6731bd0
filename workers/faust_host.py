"""Faust hosts, our own loops deliver: the only module that imports Faust (design §2).

Faust gives a worker its process, supervised services and the handling of signals. Its Kafka client, agents, tables and
web page stay off: each of them was measured to lose or double records, or to say OK whatever happens.

1. Whatever has `run` and `stop` is hosted as a service; all of them start and stop together.
2. A service that raises ends the process with 1; SIGTERM and SIGINT stop the services and end it with 0.
3. A service that does not let itself be stopped is left behind: the process ends with 1 all the same, soon enough for
   who supervises it. One that neither works nor ends would be taken for a worker for ever.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import faust
from faust.app.base import BootStrategy
from mode import Service

_log = logging.getLogger(__name__)
_PATIENCE = 45.0
"""Seconds that ending may take: those who supervise workers give them 60 (`deploy`)."""


class Hosted(Protocol):
    """What a worker process runs."""

    async def run(self) -> None:
        """Work until stopped; raise on what cannot be mended here."""
        ...

    async def stop(self) -> None:
        """End `run` soon, handing over what must be handed over."""
        ...


class _NoKafka(BootStrategy):
    """Faust without a Kafka client of its own: with one it joins groups and makes topics (measured)."""

    enable_kafka = False
    enable_web = False
    enable_sensors = False


class _App(faust.App):
    BootStrategy = _NoKafka


class _Worker(faust.Worker):
    """Faust's worker, its logging and banner left out: the composition root has set up ours."""

    def _setup_logging(self) -> None:
        """Leave logging as it is."""

    async def maybe_start_blockdetection(self) -> None:
        """Leave asyncio as it is."""


class _Ending:
    """Ends the process if it does not end by itself in time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True  # it holds nothing up itself

    def begin(self) -> None:
        """Count from now on, unless that has begun already."""
        if self._timer.ident is None:
            self._timer.start()

    def _end(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            _log.critical("this does not end: %r", task)
        _log.critical("the process has not ended within %g s and ends now", self._seconds)
        os._exit(1)


class _Hosting(Service):
    """One hosted object as a supervised service."""

    abstract = False

    def __init__(self, hosted: Hosted, ending: _Ending, **options: Any) -> None:
        self._hosted = hosted
        self._ending = ending
        super().__init__(**options)

    @Service.task
    async def _work(self) -> None:
        try:
            await self._hosted.run()
        except asyncio.CancelledError:
            raise
        except Exception:
            _log.exception("%s has failed; the process ends", type(self._hosted).__name__)
            self._ending.begin()
            raise

    async def on_stop(self) -> None:
        """Ask the hosted object to stop."""
        self._ending.begin()
        await self._hosted.stop()


def host(name: str, hosted: Sequence[Hosted], data: Path, patience: float = _PATIENCE) -> None:
    """Run everything hosted in this process until a signal or a failure ends it. Never returns: raises SystemExit.

    From then on it takes no longer than `patience`, in seconds.
    """
    app = _App(name, broker="kafka://none", datadir=str(data), web_enabled=False, store="memory://", loghandlers=[])
    ending = _Ending(app.loop, patience)
    worker = _Worker(app, *(_Hosting(one, ending) for one in hosted), redirect_stdouts=False, quiet=True)
    worker.spinner = None  # its control characters would stand in every log
    worker.execute_from_commandline()
