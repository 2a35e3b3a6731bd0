"""When the nightly sweep is: a time of day in a zone, and up to when it was done, kept in a small file.

A worker that was down at that time sweeps when it starts again, as of the instant that it missed; the first time it
starts, it waits for the next one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mnemolog.domain.times import SECOND, from_datetime, from_text, to_text


class Nightly:
    """A time of day, `HH:MM`, in a time zone. Raises ValueError for what is none."""

    def __init__(self, at: str, zone: str) -> None:
        """Read both."""
        self._at = datetime.strptime(at, "%H:%M").replace(tzinfo=UTC).time()
        try:
            self._zone = UTC if zone == "UTC" else ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            message = f"there is no time zone named {zone!r} on this machine"
            raise ValueError(message) from None

    def last(self, now: int) -> int:
        """Return the latest such instant (µs) that is not after `now`."""
        local = datetime.fromtimestamp(now / SECOND, self._zone)
        tonight = from_datetime(datetime.combine(local.date(), self._at, self._zone))
        if tonight <= now:
            return tonight
        return from_datetime(datetime.combine(local.date() - timedelta(days=1), self._at, self._zone))


class Done:
    """Up to when sweeps are done, in a file."""

    def __init__(self, path: Path) -> None:
        """Name the file."""
        self._path = path

    def read(self) -> int | None:
        """Return the instant (µs) of the last sweep that was done; None if there was none."""
        try:
            return from_text(self._path.read_text("ascii").strip())
        except (OSError, ValueError):
            return None

    def write(self, as_of: int) -> None:
        """Keep the instant of a sweep that is done; the file is replaced whole."""
        new = self._path.with_suffix(".new")
        new.write_text(to_text(as_of) + "\n", "ascii")
        new.replace(self._path)
