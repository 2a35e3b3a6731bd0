"""Faust hosts, our own loops deliver: the only module that imports Faust (design §2).

Faust gives a worker its process, supervised services and the handling of signals. Its Kafka client, agents, tables and
web page stay off: each of them was measured to lose or double records, or to say OK whatever happens.

1. Whatever has `run` and `stop` is hosted as a service; all of them start and stop together.
2. A service that raises ends the process with 1; SIGTERM and SIGINT stop the services and end it with 0.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import faust
from faust.app.base import BootStrategy
from mode import Service

_log = logging.getLogger(__name__)


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


class _Hosting(Service):
    """One hosted object as a supervised service."""

    abstract = False

    def __init__(self, hosted: Hosted, **options: Any) -> None:
        self._hosted = hosted
        super().__init__(**options)

    @Service.task
    async def _work(self) -> None:
        try:
            await self._hosted.run()
        except asyncio.CancelledError:
            raise
        except Exception:
            _log.exception("%s has failed; the process ends", type(self._hosted).__name__)
            raise

    async def on_stop(self) -> None:
        """Ask the hosted object to stop."""
        await self._hosted.stop()


def host(name: str, hosted: Sequence[Hosted], data: Path) -> None:
    """Run everything hosted in this process until a signal or a failure ends it. Never returns: raises SystemExit."""
    app = _App(name, broker="kafka://none", datadir=str(data), web_enabled=False, store="memory://", loghandlers=[])
    worker = _Worker(app, *(_Hosting(one) for one in hosted), redirect_stdouts=False, quiet=True)
    worker.execute_from_commandline()
