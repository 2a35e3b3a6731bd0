"""The usage log in memory: for tests, and as the shortest description of the port."""

from __future__ import annotations

from collections.abc import Sequence

from mnemolog.domain.usage import UsageRecord, UsageWanted, in_order


class MemoryUsage:
    """The port `Usage`."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._kept: dict[str, UsageRecord] = {}

    async def write(self, records: Sequence[UsageRecord]) -> None:
        """Keep records."""
        self._kept |= {record.key: record for record in records}

    async def records(self, wanted: UsageWanted, limit: int | None = None) -> Sequence[UsageRecord]:
        """Return the newest records, the oldest of them first."""
        return in_order(filter(wanted.fits, self._kept.values()), limit)

    async def count(self, wanted: UsageWanted) -> int:
        """Count records."""
        return len(await self.records(wanted))

    async def remove(self, wanted: UsageWanted) -> int:
        """Remove records."""
        gone = await self.records(wanted)
        for record in gone:
            del self._kept[record.key]
        return len(gone)

    async def close(self) -> None:
        """Do nothing."""
