"""Usage records go with what was erased: the facts are followed, and what names the erased is removed (design §7).

1. Removing what is gone already changes nothing, so facts may come twice: after a kill, or to two workers.
2. Where the recorder is in another process, a record that it still counts in would be written again: it is removed once
   more when its hour is over. Until then the place that is kept is before that fact, so a restart does not forget it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from mnemolog.domain.ports import Log
from mnemolog.domain.record import FactRecord
from mnemolog.domain.times import SECOND
from mnemolog.domain.usage import HOUR, Usage, UsageWanted
from mnemolog.domain.usage_erasure import usage_gone

_BATCH = 1_000
_SLACK = 300 * SECOND
"""How far gateways' clocks may be off, and their writes be late."""


class _Again(NamedTuple):
    """What is to be removed once more, and when; `offset` is its fact's."""

    due: int
    partition: int
    offset: int
    wanted: UsageWanted


class Places:
    """How far the facts of each partition have been followed, in a file."""

    def __init__(self, path: Path) -> None:
        """Name the file."""
        self._path = path

    def read(self) -> dict[int, int]:
        """Return the next offset of each partition; nothing where nothing is kept."""
        try:
            found = json.loads(self._path.read_text("ascii"))
            return {int(partition): int(offset) for partition, offset in found.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def write(self, places: dict[int, int]) -> None:
        """Keep them; the file is replaced whole."""
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(places), "ascii")
        new.replace(self._path)


class UsageErasing:
    """Follows the facts of a deployment; owned by one task or thread."""

    def __init__(
        self,
        log: Log,
        usage: Usage,
        places: Places,
        partitions: int = 1,
        *,
        forget: Callable[[UsageWanted], None] | None = None,
        clock: Callable[[], int] = lambda: 0,
    ) -> None:
        """Take what to follow and where records are; `forget` tells the only recorder, if it is in this process."""
        self._log = log
        self._usage = usage
        self._places = places
        self._partitions = partitions
        self._forget = forget
        self._clock = clock
        self._at: dict[int, int] | None = None
        self._again: list[_Again] = []
        self._kept: dict[int, int] = {}

    async def step(self) -> None:
        """Follow every partition to its end, remove once more what is due for that, and keep the places."""
        at = await self._begun()
        for partition in range(self._partitions):
            end = await self._log.end(partition)
            while at[partition] < end and (records := await self._log.facts(partition, at[partition], _BATCH)):
                await self.take(records, partition)
                at[partition] = records[-1].offset + 1
        now = self._clock()
        for one in [one for one in self._again if one.due <= now]:
            await self._usage.remove(one.wanted)
            self._again.remove(one)
        self.keep()

    async def take(self, records: Iterable[FactRecord], partition: int = 0) -> None:
        """Remove what these facts take with them."""
        for record in records:
            wanted = usage_gone(record)
            if wanted is None:
                continue
            if self._forget is not None:
                self._forget(wanted)
            await self._usage.remove(wanted)
            if self._forget is None:
                due = (wanted.before or 0) + HOUR + _SLACK
                self._again.append(_Again(due, partition, record.offset, wanted))

    def reached(self, offset: int) -> None:
        """Say that the facts of the only partition have been taken up to an offset."""
        self._at = {0: offset}

    def keep(self) -> None:
        """Keep the places; one that waits to be removed once more is kept from before."""
        places = dict(self._at or {})
        for one in self._again:
            places[one.partition] = min(places.get(one.partition, one.offset), one.offset)
        if places != self._kept:
            self._places.write(places)
            self._kept = places

    async def _begun(self) -> dict[int, int]:
        if self._at is None:
            at = self._places.read()
            if not at and not await self._usage.count(UsageWanted()):  # nothing that could be removed
                at = {partition: await self._log.end(partition) for partition in range(self._partitions)}
            self._at = {partition: at.get(partition, 0) for partition in range(self._partitions)}
        return self._at
