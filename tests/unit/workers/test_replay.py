"""Replay: the snapshot's tail is folded, and a log that contradicts its facts is refused with words."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mnemolog.domain.errors import Corrupt, Malformed
from mnemolog.domain.record import Position
from mnemolog.domain.rules import Rules
from tests.given import KEY
from tests.unit.pipeline import Pipeline
from tests.wishes import add_memory, add_message, delete_memory, update_memory
from workers.replay import replay
from workers.sequencing import Sequencing
from workers.snapshot_memory import MemorySnapshot
from workers.state import State

pytestmark = pytest.mark.unit


def replayed(pipeline: Pipeline, state: State | None = None) -> tuple[State, int]:
    """Replay into a state, a fresh one if none is given; return it and how many records that read."""
    state = state or pipeline.fresh_state()
    return state, asyncio.run(replay(pipeline.log, 0, state))


def knowledge(state: State) -> object:
    """Return what a state knows, wherever it holds it."""
    state.save()
    snapshot = state._snapshot
    assert isinstance(snapshot, MemorySnapshot)
    return snapshot._all, snapshot._stand


def a_past() -> Pipeline:
    """Return a log with creations, a change, an erasure with its null records, and a refusal."""
    pipeline = Pipeline()
    memory = pipeline.say(add_memory("one"))
    pipeline.say(update_memory(memory, content="two"), add_message(), add_memory("three"), delete_memory(memory))
    pipeline.ask(delete_memory(memory))
    return pipeline


def test_a_replay_gives_the_state_that_was_there() -> None:
    """A fresh fold of all facts ends with exactly what the live sequencer knows."""
    pipeline = a_past()
    state, read = replayed(pipeline)
    live = pipeline.sequencings[0].state
    assert read == len(pipeline.facts())
    assert (state.position, state.last_command) == (Position(0, 6), "command-6")
    assert knowledge(state) == knowledge(live)


def test_only_what_the_snapshot_does_not_know_is_read() -> None:
    """Up to the saved offset nothing is folded again, and the state is the same as after a whole replay."""
    pipeline = a_past()
    pipeline.sequencings[0].save()
    known = pipeline.snapshots[0].start()[1]
    pipeline.say(add_memory("four"), add_memory("five"))
    state, read = replayed(pipeline, State(pipeline.snapshots[0]))
    assert (known, read) == (len(pipeline.facts()) - 2, 2)
    assert knowledge(state) == knowledge(replayed(pipeline)[0])
    assert replayed(pipeline, state)[1] == 0


def test_a_long_replay_goes_page_by_page_and_is_saved_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages change nothing about what is known, and what has been folded need not be folded again after a crash."""
    monkeypatch.setattr("workers.replay._PAGE", 2)
    monkeypatch.setattr("workers.replay._SAVE_EVERY", 0)
    pipeline = a_past()
    pipeline.say(add_memory("a page of its own"))
    snapshot = MemorySnapshot(KEY)
    state, read = replayed(pipeline, State(snapshot))
    assert read == len(pipeline.facts()) == 9
    assert snapshot.start()[1:] == (read, Position(0, 7), "command-7")
    assert knowledge(state) == knowledge(pipeline.sequencings[0].state)


def test_a_compacted_log_ends_at_the_same_place() -> None:
    """Holes are no end: also a control record or the whole tail that is gone leaves the offset behind it."""
    pipeline = a_past()
    pipeline.log.compact(0, nulls=True)
    state, read = replayed(pipeline)
    assert read == len(pipeline.facts())
    assert state.offset == asyncio.run(pipeline.log.end(0))
    assert state.position == Position(0, 6)
    pipeline.log._partitions[0].facts.clear()
    asked = pipeline.fresh_state()
    asked.position, asked.last_command = Position(0, 6), "command-6"
    assert replayed(pipeline, asked)[0].offset == asyncio.run(pipeline.log.end(0))


def test_commands_of_another_origin_are_refused() -> None:
    """Facts that speak of more commands than there ever were came from another log."""
    pipeline, other = a_past(), Pipeline()
    other.say(add_memory())
    pipeline.log._partitions[0].commands = other.log._partitions[0].commands
    pipeline.log._partitions[0].following_command = 1
    with pytest.raises(Corrupt, match=r"up to offset 6 are decided, but the command log ends at 1: .*not the log that"):
        replayed(pipeline)


def test_another_command_at_the_last_place_is_refused() -> None:
    """The id of the last decided command must be the one that the facts name, if the log still has it."""
    pipeline = a_past()
    commands = pipeline.log._partitions[0].commands
    commands[-1] = replace(commands[-1], headers={**commands[-1].headers, "ce_id": "somebody-elses"})
    with pytest.raises(Corrupt, match="the command at offset 5 is not the one that was decided there"):
        replayed(pipeline)


def test_undecided_commands_that_are_gone_are_refused() -> None:
    """What retention has deleted undecided cannot be made up for: both offsets are named."""
    pipeline = a_past()
    asyncio.run(pipeline.log.append(0, [pipeline.record(add_memory()) for _ in range(3)]))
    pipeline.log.expire(0, 8)
    with pytest.raises(Corrupt, match="the command log starts at 8, but commands from 6 on are undecided and gone"):
        replayed(pipeline)


def test_decided_commands_may_go() -> None:
    """Retention up to the position, and a hole where the last command was, are no contradiction."""
    pipeline = a_past()
    del pipeline.log._partitions[0].commands[-1]
    assert replayed(pipeline)[0].position == Position(0, 6)
    pipeline.log.expire(0, 6)
    assert replayed(pipeline)[0].position == Position(0, 6)


def test_an_unknown_fact_stops_the_replay() -> None:
    """A fact of a type that this code does not know is never skipped, and the state stays before it."""
    pipeline = a_past()
    facts = pipeline.log._partitions[0].facts
    facts[2] = replace(facts[2], headers={**facts[2].headers, "ce_type": "memory.memory-dreamt.v1"})
    state = pipeline.fresh_state()
    with pytest.raises(Malformed, match=r"offset 2 .*memory-dreamt"):
        asyncio.run(replay(pipeline.log, 0, state))
    assert state.offset == 2


def test_a_snapshot_ahead_of_the_log_is_thrown_away() -> None:
    """It is of another log: the sequencer starts from the facts alone."""
    pipeline, other = a_past(), Pipeline()
    pipeline.sequencings[0].save()
    other.say(add_memory())
    sequencing = Sequencing(other.log, lambda: pipeline.snapshots[0], Rules())
    assert asyncio.run(sequencing.start()) == 1
    assert knowledge(sequencing.state) == knowledge(other.sequencings[0].state)
