"""What readers do not see any more and what still holds it: a place, how much, and since when (docs/erasure.md).

1. Asked by the retention worker every few seconds for its figures, and by `mnemolog retention status`.
2. Only what can be told in some milliseconds stands here; what Kafka's cleaner has not taken yet is told by a scan
   (`not_cleaned`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mnemolog.domain.times import SECOND
from mnemolog.runtime.metrics import Metrics
from projections.due import StoreDue
from projections.redis_files import RedisFiles

HIDDEN, VECTORS, REDIS = "hidden", "vectors", "redis files"


class NotGone(NamedTuple):
    """Something that waits in a place; `since` in µs, None where nothing waits."""

    place: str
    amount: int
    since: int | None

    def age(self, now: int) -> float:
        """Return how many seconds the oldest has been waiting."""
        return 0.0 if self.since is None else max(0, now - self.since) / SECOND


Place = Callable[[], Awaitable[NotGone]]


def hidden(due: StoreDue, now: Callable[[], int]) -> Place:
    """Tell what is hidden and not yet erased: while its grace lasts, or while ranges take it."""

    async def told() -> NotGone:
        count, since = 0, None
        for partition in range(due.partitions):
            count += await due.waiting(partition)
            for first in await due.hidden(partition, now(), 0, 1):
                since = first.since if since is None else min(since, first.since)
        return NotGone(HIDDEN, count, since)

    return told


def vectors(folder: Path) -> Place:
    """Tell whether the in-process engine's log may hold erased vectors: it has marked that in its folder."""

    async def told() -> NotGone:
        soiled = _soiled(folder)
        return NotGone(VECTORS, len(soiled), min(soiled, default=None))

    return told


def redis(files: RedisFiles) -> Place:
    """Tell whether Redis' files may hold what was dropped."""

    async def told() -> NotGone:
        since = await files.waiting()
        return NotGone(REDIS, 0 if since is None else 1, since)

    return told


async def show(metrics: Metrics, places: Sequence[Place], now: Callable[[], int]) -> None:
    """Put it on the page of figures."""
    for place in places:
        found = await place()
        metrics.not_gone.labels(found.place).set(found.amount)
        metrics.not_gone_age.labels(found.place).set(found.age(now()))


def _soiled(folder: Path) -> list[int]:
    """Return since when (µs) each of the engine's logs is marked; a mark may go at any moment."""
    found = []
    for path in folder.rglob("soiled"):
        with suppress(FileNotFoundError):
            found.append(path.stat().st_mtime_ns // 1_000)
    return found
