"""Instants: microseconds since 1970 UTC inside, ISO-8601 text with exactly six decimals and `Z` outside.

Microseconds are the finest that both SDKs carry without loss (wire contract §3, timestamps).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

SECOND = 1_000_000
DAY = 86_400 * SECOND
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BEGINNING = _EPOCH.replace(tzinfo=None)


def to_text(at: int) -> str:
    """Return an instant as `2026-11-18T12:26:40.123000Z`."""
    seconds, micros = divmod(at, SECOND)
    return f"{_second(seconds)}.{micros:06d}Z"


@lru_cache(1_024)  # many facts are written in one second, and each time is told in headers, outcome and answer
def _second(seconds: int) -> str:
    return (_BEGINNING + timedelta(seconds=seconds)).isoformat(timespec="seconds")


def from_datetime(moment: datetime) -> int:
    """Return the instant of a datetime; one without a zone is taken as UTC (wire contract §3.3)."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)


def from_text(text: str) -> int:
    """Return the instant of an ISO-8601 text. Raises ValueError if it is none."""
    return from_datetime(datetime.fromisoformat(text))
