"""An audit reads a partition to an end that is fixed when it begins."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from mnemolog.audit.reading import pages
from mnemolog.domain.record import FactRecord
from workers.log_memory import MemoryLog

pytestmark = pytest.mark.unit


class Busy(MemoryLog):
    """A log that somebody writes to with each look at it; a marker, which nobody is given, stands at its end."""

    def __init__(self, there: int) -> None:
        """Hold so many facts at the beginning."""
        super().__init__(lambda: 0)
        self.there = there

    async def end(self, partition: int) -> int:
        """Return the offset behind the marker."""
        del partition
        return self.there + 1

    async def facts(self, partition: int, start: int, limit: int) -> Sequence[FactRecord]:
        """Return what is there, and let two more come."""
        del partition
        found = [FactRecord(f"s@{n}", {}, b"{}", n) for n in range(start, min(self.there, start + min(limit, 3)))]
        self.there += 2
        return found


@pytest.mark.parametrize(
    ("start", "below", "wanted"), [(0, None, 8), (5, None, 8), (0, 4, 4), (0, 99, 8), (8, None, 8)]
)
def test_it_ends_where_the_log_ended_when_it_began(start: int, below: int | None, wanted: int) -> None:
    """However much comes meanwhile: on a busy log, a reader who waits for a pause would never be done."""

    async def read() -> list[int]:
        return [record.offset async for page in pages(Busy(7), 0, start, below) for record in page]

    assert asyncio.run(read()) == list(range(start, wanted))
