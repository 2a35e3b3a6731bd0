"""When the nightly sweep is, and that one which was missed is made up for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mnemolog.domain.errors import Unavailable
from mnemolog.domain.times import DAY, SECOND, from_text, to_text
from mnemolog.runtime.metrics import Metrics
from mnemolog.runtime.nightly import Done, Nightly
from mnemolog.runtime.retaining import Retaining
from workers.retention import Report

pytestmark = pytest.mark.unit
NOON = from_text("2026-11-21T12:00:00Z")


@pytest.mark.parametrize(
    ("at", "now", "last"),
    [
        ("02:00", "2026-11-21T02:00:00Z", "2026-11-21T02:00:00Z"),
        ("02:00", "2026-11-21T01:59:59Z", "2026-11-20T02:00:00Z"),
        ("23:30", "2026-11-21T12:00:00Z", "2026-11-20T23:30:00Z"),
    ],
)
def test_the_last_night_is_the_latest_such_time(at: str, now: str, last: str) -> None:
    """The instant itself counts."""
    assert Nightly(at, "UTC").last(from_text(now)) == from_text(last)


def test_a_night_is_local(tmp_path: Path) -> None:
    """Through the change of the clocks, too: 02:30 in Berlin is 01:30 UTC in winter and 00:30 in summer."""
    del tmp_path
    berlin = Nightly("02:30", "Europe/Berlin")
    assert to_text(berlin.last(from_text("2026-01-05T12:00:00Z"))) == "2026-01-05T01:30:00.000000Z"
    assert to_text(berlin.last(from_text("2026-07-05T12:00:00Z"))) == "2026-07-05T00:30:00.000000Z"


@pytest.mark.parametrize(("at", "zone"), [("25:00", "UTC"), ("noon", "UTC"), ("02:00", "Mars/Base"), ("02:00", "../x")])
def test_what_is_no_time_or_zone_is_refused(at: str, zone: str) -> None:
    """When it is read, not at night."""
    with pytest.raises(ValueError, match="time"):
        Nightly(at, zone)


class Recorded:
    """A retention that notes its runs."""

    def __init__(self) -> None:
        """Begin with none."""
        self.sweeps: list[int] = []
        self.ticks = 0
        self.away = 0

    async def tick(self, as_of: int) -> Report:
        """Note it, or be away."""
        del as_of
        self.ticks += 1
        if self.ticks <= self.away:
            raise Unavailable
        return Report()

    async def sweep(self, as_of: int) -> Report:
        """Note it."""
        self.sweeps.append(as_of)
        return Report({("acme", "memories"): 1})


def lived(retention: Any, folder: Path, *times: int) -> Metrics:
    """Let the loop look at each of these times, once, then stop it; return what it counted."""
    metrics = Metrics()
    moments = iter([t for t in times for _ in range(2)])
    loop: list[Retaining] = []

    def clock() -> int:
        try:
            return next(moments)
        except StopIteration:
            loop[0]._stopping.set()
            return times[-1]

    async def live() -> None:
        done = Done(folder / "last-sweep")
        loop.append(Retaining(retention, Nightly("02:00", "UTC"), done, clock, metrics, pause=0))
        await loop[0].run()

    asyncio.run(live())
    return metrics


def test_the_first_start_waits_for_the_next_night(tmp_path: Path) -> None:
    """Nothing is swept because a server was started."""
    retention = Recorded()
    lived(retention, tmp_path, NOON, NOON + SECOND)
    assert retention.sweeps == []


def test_each_night_is_swept_once_also_when_it_was_missed(tmp_path: Path) -> None:
    """As of the time that it was to be, by whoever starts next."""
    Done(tmp_path / "last-sweep").write(NOON - 10 * SECOND)
    retention = Recorded()
    night = from_text("2026-11-22T02:00:00Z")
    lived(retention, tmp_path, NOON, night + SECOND, night + 2 * SECOND)
    assert retention.sweeps == [night]
    again = Recorded()
    lived(again, tmp_path, night + 3 * DAY, night + 3 * DAY + SECOND)
    assert again.sweeps == [night + 3 * DAY]
    assert Done(tmp_path / "last-sweep").read() == night + 3 * DAY


def test_what_is_away_is_waited_for(tmp_path: Path) -> None:
    """The loop goes on."""
    retention = Recorded()
    retention.away = 2
    lived(retention, tmp_path, *[NOON] * 6)
    assert retention.ticks > 2


def test_runs_are_counted(tmp_path: Path) -> None:
    """What was done, what was proposed, what failed, and as of when the last sweep was."""
    Done(tmp_path / "last-sweep").write(NOON - 10 * SECOND)
    retention, night = Recorded(), from_text("2026-11-22T02:00:00Z")
    retention.away = 1
    value = lived(retention, tmp_path, NOON, night + SECOND, night + 2 * SECOND).registry.get_sample_value
    assert value("mnemolog_retention_runs_total", {"what": "timers", "result": "failed"}) == 1
    assert (value("mnemolog_retention_runs_total", {"what": "timers", "result": "done"}) or 0) >= 1
    assert value("mnemolog_retention_runs_total", {"what": "sweep", "result": "done"}) == 1
    assert value("mnemolog_retention_proposals_total", {"category": "memories", "result": "done"}) == 1
    assert value("mnemolog_retention_swept_as_of_seconds") == night / SECOND
