"""A rebuild without downtime: a new version of the projections beside the live one, compared, then made live.

1. The new version is filled from offset 0 while the live one serves and goes on; what an earlier attempt left goes
   first, unless that attempt had begun to hand over: then it is taken up where it stood.
2. Samples (rows, and ends and sizes of indexes, that facts from all over the log name) are compared: a difference
   counts where both versions stand at one checkpoint, as facts go on coming in.
3. A version that differs does not take over by itself: the difference may be the repair that was wanted, and a person
   says so (`accept`).
4. Each partition is handed over when the new version has come as far as the live one, so no reader goes back in time.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from mnemolog.domain.audits import Told, silent
from mnemolog.domain.codec import decode_fact
from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ops import Put, Rank
from mnemolog.domain.ports import Checkpoint, Log, Store
from mnemolog.domain.record import CONTROL_KEY
from projections.projector import Projector, project

_SAMPLES = 20
_NEIGHBOURS = 25
_PAGE = 50
_ATTEMPTS = 100


class Versions(Protocol):
    """Versions side by side in one store."""

    async def live(self) -> str:
        """Return the live version."""
        ...

    async def moved(self, partition: int, version: str) -> str | None:
        """Return the version to which a partition has been handed over."""
        ...

    async def move(self, partition: int, old: str, new: str) -> bool:
        """Hand a partition over; False, and nothing done, while the new version has not come as far as the old."""
        ...

    async def make_live(self, version: str) -> None:
        """Name the version that newcomers begin with."""
        ...

    def drop(self, version: str) -> AsyncIterator[int]:
        """Remove every key of a version that is not live in bounded steps, telling how many are gone."""
        ...


_Side = tuple[Store, Projector]
_Ask = Callable[[Store], Awaitable[object]]

Filling = Callable[[str], Awaitable[None]]
"""(version): fills all its partitions elsewhere, each as `fill` does."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came of it: `differences` name rows and indexes in which the new version is not like the one before."""

    version: str
    compared: int
    differences: tuple[str, ...]
    flipped: bool


async def fill(log: Log, store: Store, partition: int, told: Told) -> None:
    """Fill a partition up to the end that the log has now."""
    projector, end = Projector(log, store, partition), await log.end(partition)
    await _up_to(end, projector, lambda: told(f"fill partition {partition}", projector.checkpoint.offset, end))


class Rebuild:
    """One rebuild of all partitions; `store` opens the store of a version and stays with it."""

    def __init__(
        self,
        log: Log,
        versions: Versions,
        store: Callable[[str], Store],
        partitions: int,
        told: Told = silent,
        *,
        filling: Filling | None = None,
        seed: int = 0,
    ) -> None:
        """Take the log, the versions, whom to tell, and who fills, where that is not to be done here."""
        self._log = log
        self._versions = versions
        self._open = store
        self._partitions = range(partitions)
        self._told = told
        self._filling = filling
        self._random = random.Random(seed)  # noqa: S311 -- it draws samples

    async def run(self, *, accept: bool = False) -> Rebuilt:
        """Rebuild; with differences, and without `accept`, leave the new version beside the live one.

        1. Fill the new version up to the end of the log; where an earlier rebuild got as far as 3, go on there.
        2. Compare samples.
        3. Hand partition after partition over, following the log until each one goes; name the new version live.
        4. Drop the old one.
        """
        old = await self._versions.live()
        new = str(int(old) + 1)
        begun = [await self._versions.moved(partition, old) for partition in self._partitions]
        if new not in begun:
            await self._drop(new)
        theirs, ours = self._open(old), self._open(new)
        if self._filling is not None:
            await self._filling(new)
        projectors = [Projector(self._log, ours, partition) for partition in self._partitions]
        await self._fill(projectors)
        compared, differences = 0, list[str]()
        for partition in self._partitions if new not in begun else ():
            count, found = await self._compare(partition, theirs, ours, projectors[partition])
            compared += count
            differences += found
        if differences and not accept:
            return Rebuilt(new, compared, tuple(differences), flipped=False)
        for done, partition in enumerate(self._partitions):
            self._told("hand over", done, len(self._partitions))
            moved = partial(self._versions.move, partition, old, new)
            await _until(moved, partial(self._log.end, partition), projectors[partition])
        await self._versions.make_live(new)
        await self._drop(old)
        return Rebuilt(new, compared, tuple(differences), flipped=True)

    async def _drop(self, version: str) -> None:
        async for gone in self._versions.drop(version):
            self._told(f"drop version {version}", gone, 0)

    async def _fill(self, projectors: Sequence[Projector]) -> None:
        """Fill up to the ends that the log has now: where somebody writes all the time, a last one never comes."""
        ends = [await self._log.end(partition) for partition in self._partitions]
        filling = set(self._partitions)
        while filling:
            for partition in sorted(filling):
                projector = projectors[partition]
                if not await projector.step() or projector.checkpoint.offset >= ends[partition]:
                    filling.discard(partition)
            done = sum(min(p.checkpoint.offset, end) for p, end in zip(projectors, ends, strict=True))
            self._told("fill", done, sum(ends))

    async def _compare(
        self, partition: int, theirs: Store, ours: Store, projector: Projector
    ) -> tuple[int, Sequence[str]]:
        """Compare the samples of a partition; return how many, and what differs."""
        if await theirs.checkpoint(partition) is None:
            return 0, []  # lost: there is nothing to compare with
        rows, indexes = await self._samples(partition)
        live = Projector(self._log, theirs, partition)  # it may have no projector of its own now
        asked: list[tuple[str, _Ask]] = [(f"row {key}", partial(_row, partition, key)) for key in rows]
        asked += [(f"index {name}", partial(_index, partition, name)) for name in indexes]
        found = [what for what, ask in asked if not await self._same(partition, (theirs, live), (ours, projector), ask)]
        self._told("compare", partition + 1, len(self._partitions))
        return len(asked), found

    async def _same(self, partition: int, there: _Side, here: _Side, ask: _Ask) -> bool:
        """Tell whether both say the same, or differ at one checkpoint; a sample never caught standing still differs."""
        for _ in range(_ATTEMPTS):
            before = await _checkpoints(partition, there, here)
            if await ask(there[0]) == await ask(here[0]):
                return True
            if before[0] == before[1] and before == await _checkpoints(partition, there, here):
                return False
            end = await self._log.end(partition)
            await _up_to(end, there[1])
            await _up_to(end, here[1])
        return False

    async def _samples(self, partition: int) -> tuple[Sequence[str], Sequence[str]]:
        end = await self._log.end(partition)
        rows, indexes = set[str](), set[str]()
        for _ in range(_SAMPLES):
            start = self._random.randrange(end) if end else 0
            for record in await self._log.facts(partition, start, _NEIGHBOURS):
                if record.key == CONTROL_KEY or record.value is None:
                    continue
                for op in project(decode_fact(record, linked=False)):
                    if isinstance(op, Put):
                        rows.add(op.key)
                    elif isinstance(op, Rank):
                        indexes.add(op.into)
        return sorted(rows), sorted(indexes)


async def _checkpoints(partition: int, *sides: _Side) -> list[Checkpoint | None]:
    return [await store.checkpoint(partition) for store, _ in sides]


async def _row(partition: int, key: str, store: Store) -> object:
    return await store.rows(partition, [key])


async def _index(partition: int, name: str, store: Store) -> object:
    ends = [list(await store.page(partition, name, limit=_PAGE, newest_first=newest)) for newest in (False, True)]
    return await store.count(partition, name), ends


async def _up_to(end: int, projector: Projector, stepped: Callable[[], None] = lambda: None) -> None:
    while await projector.step():
        stepped()
        if projector.checkpoint.offset >= end:
            return


async def _until(moved: Callable[[], Awaitable[bool]], end: Callable[[], Awaitable[int]], projector: Projector) -> None:
    for _ in range(_ATTEMPTS):
        if await moved():
            return
        await _up_to(await end(), projector)
    message = "the new version of the projections never caught up with the live one; try again when less is written"
    raise Unavailable(message)
