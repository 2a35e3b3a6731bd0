"""Who waits for a command on its way: on a loop of his own, while another thread decides it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from mnemolog.domain.errors import Unavailable
from mnemolog.domain.outcomes import Outcome
from mnemolog.domain.record import CommandRecord

Settled = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", object]
"""A future, the loop that it is of, and what it gets; Unavailable is raised there."""


class Waiting(NamedTuple):
    """A command on its way, and who waits for its offset and its outcome."""

    record: CommandRecord
    loop: asyncio.AbstractEventLoop
    appended: asyncio.Future[int] | None
    outcome: asyncio.Future[Outcome]


def tell(several: Iterable[Waiting], what: str) -> None:
    """Say to everyone who waits what is wrong."""
    futures = ((one.loop, future) for one in several for future in (one.appended, one.outcome) if future is not None)
    settle((loop, future, Unavailable(what)) for loop, future in futures)


def settle(several: Iterable[Settled]) -> None:
    """Settle futures on their loops, each of which is woken once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Settled]] = {}
    for one in several:
        by_loop.setdefault(one[0], []).append(one)
    for loop, its in by_loop.items():
        # Where the loop has ended, nobody waits there any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_settled, its)


def _settled(several: Iterable[Settled]) -> None:
    for _, future, result in several:
        if future.done():
            continue
        if isinstance(result, Unavailable):
            future.set_exception(result)
        else:
            future.set_result(result)
