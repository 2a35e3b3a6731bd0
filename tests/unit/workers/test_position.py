"""Intake of commands: each is taken once, in order, whatever the log delivers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from mnemolog.domain.errors import Corrupt
from mnemolog.domain.record import CommandRecord, Position
from tests.unit.pipeline import Pipeline
from tests.wishes import add_memory
from workers.position import Intake

pytestmark = pytest.mark.unit


def records(*offsets: int) -> list[CommandRecord]:
    """Return records at these offsets."""
    return [CommandRecord("0", {}, None, offset) for offset in offsets]


def offsets(taken: Iterable[CommandRecord] | None) -> list[int] | None:
    """Return where the records lie; None if the log is to be read again."""
    return None if taken is None else [record.offset for record in taken]


def test_what_follows_is_taken_and_duplicates_are_dropped() -> None:
    """A record below the position has been decided: it is neither taken again nor sought."""
    intake = Intake()
    assert offsets(intake.admit(0, 0, records(0, 1))) == [0, 1]
    assert offsets(intake.admit(2, 0, records(0, 1, 2, 3))) == [2, 3]
    assert offsets(intake.admit(4, 0, records(2, 3))) == []
    assert offsets(intake.admit(4, 0, records(4, 4, 3, 5))) == [4, 5]
    assert intake.holes == 0


def test_a_record_beyond_the_position_is_sought_once() -> None:
    """The log is read again from the position; what it missed the first time is taken then, and no hole is counted."""
    intake = Intake()
    assert intake.admit(3, 0, records(5)) is None
    assert offsets(intake.admit(3, 0, records(3, 4, 5))) == [3, 4, 5]
    assert intake.holes == 0


def test_holes_are_counted_only_when_the_same_record_comes_again() -> None:
    """Another record than the one sought for is sought for itself; the same one proves that nothing lies between."""
    intake = Intake()
    assert intake.admit(3, 0, records(9)) is None
    assert intake.admit(3, 0, records(5, 6)) is None
    assert intake.holes == 0
    assert offsets(intake.admit(3, 0, records(5, 6))) == [5, 6]
    assert intake.holes == 2


def test_each_hole_is_sought_for_itself() -> None:
    """What comes before a hole is taken at once, also when that hole was found before, and the holes add up."""
    intake = Intake()
    assert offsets(intake.admit(0, 0, records(0, 1, 4, 5, 7))) == [0, 1]
    assert intake.admit(2, 0, records(4, 5, 7)) is None
    assert offsets(intake.admit(2, 0, records(4, 5, 7))) == [4, 5]
    assert intake.admit(6, 0, records(7)) is None
    assert offsets(intake.admit(6, 0, records(7))) == [7]
    assert intake.holes == 3


def test_deleted_unread_commands_stop_the_partition() -> None:
    """A log that starts beyond the position has lost commands: that is said with both offsets, time and again."""
    intake = Intake()
    for _ in range(2):
        with pytest.raises(
            Corrupt, match=r"starts at offset 8, but everything from 3 on is undecided.*restore"
        ) as caught:
            intake.admit(3, 8, records(8))
        assert "resetting the position" in str(caught.value)
    assert intake.holes == 0


def test_deleted_decided_commands_are_nobodys_loss() -> None:
    """A log that starts exactly at the position has all that is needed, and one that starts before it too."""
    assert offsets(Intake().admit(8, 8, records(8))) == [8]
    assert offsets(Intake().admit(8, 7, records(7, 8))) == [8]


def test_a_log_full_of_markers_is_decided_whole() -> None:
    """Publishers' transaction markers between commands cost a second reading each, and no command."""
    pipeline = Pipeline(marker=lambda: 2)
    for n in range(4):
        pipeline.say(add_memory(f"text {n}"))
    sequencing = pipeline.sequencings[0]
    assert [record.headers["command"] for record in pipeline.facts()] == [f"command-{n}" for n in range(1, 5)]
    assert sequencing.state.position == Position(0, 10)
    assert sequencing._intake.holes == 6


def test_the_sequencer_stops_where_unread_commands_are_gone() -> None:
    """Nothing is decided behind a loss: the state stays where it was."""
    pipeline = Pipeline()
    pipeline.say(add_memory())
    asyncio.run(pipeline.log.append(0, [pipeline.record(add_memory()) for _ in range(3)]))
    pipeline.log.expire(0, 3)
    with pytest.raises(Corrupt, match="unread commands have been deleted"):
        asyncio.run(pipeline.sequencings[0].step())
    assert pipeline.sequencings[0].state.position == Position(0, 1)
    assert len(pipeline.facts()) == 1
