"""The projector: commands arrive whole, nothing is skipped, and a store that was lost is filled again."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from dataclasses import replace

import pytest

from mnemolog.domain.errors import Malformed, Unavailable
from mnemolog.domain.ops import Op
from mnemolog.domain.ports import Applied, Checkpoint
from mnemolog.domain.record import CONTROL_KEY, START, FactRecord, Position
from projections import names
from projections.projector import Projector, whole_commands
from projections.store_memory import MemoryStore
from tests.unit.pipeline import Pipeline
from tests.wishes import add_memory, append_events, create_session, create_space, delete_memory, event, update_memory

pytestmark = pytest.mark.unit


class Watched(MemoryStore):
    """A store that remembers where batches ended."""

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self.ends: list[int] = []

    async def apply(self, partition: int, follows: int, ops: Sequence[Op], checkpoint: Checkpoint) -> Applied:
        """Apply, and remember."""
        self.ends.append(checkpoint.offset)
        return await super().apply(partition, follows, ops, checkpoint)


class Failing(MemoryStore):
    """A store whose n-th batch it does not take at first, after it has waited."""

    def __init__(self, when: int) -> None:
        """Take which."""
        super().__init__()
        self._left = when

    async def apply(self, partition: int, follows: int, ops: Sequence[Op], checkpoint: Checkpoint) -> Applied:
        """Apply, or raise."""
        await asyncio.sleep(0)
        self._left -= 1
        if self._left == 0:
            raise Unavailable
        return await super().apply(partition, follows, ops, checkpoint)


def fact(source: int, index: int, count: int) -> FactRecord:
    """Return as much of a fact's record as batches are cut by."""
    return FactRecord("k", {"source": f"0:{source}", "index": str(index), "count": str(count)}, b"{}")


def step(projector: Projector) -> int:
    """Project one batch."""
    return asyncio.run(projector.step())


def views(store: MemoryStore) -> object:
    """Return all that a store holds."""
    return store.all_rows, store.all_places, store._checkpoints


def rebuilt(pipeline: Pipeline) -> object:
    """Return what a store holds that was filled from the first fact."""
    projector = Projector(pipeline.log, store := MemoryStore())
    while step(projector):
        pass
    return views(store)


def test_a_full_read_leaves_out_the_command_that_it_may_have_cut() -> None:
    """Whatever the limit cuts off, what is kept ends where a command ends; a shorter read is the end of the log."""
    one, two = [fact(0, n, 3) for n in range(3)], [fact(1, n, 2) for n in range(2)]
    records = [*one, *two]
    assert [len(whole_commands(records[:limit], limit)) for limit in range(3, 6)] == [3, 3, 5]
    assert len(whole_commands(records[:4], 5)) == 4
    assert whole_commands([], 5) == []


def test_erased_ends_of_commands_end_them_all_the_same() -> None:
    """Where erasure took a command's last facts, the next command's first fact ends it: none is cut in two."""
    records = [fact(0, 0, 3), fact(1, 0, 3), fact(1, 1, 3)]
    assert len(whole_commands(records, 3)) == 1


def test_what_belongs_to_no_command_ends_a_batch() -> None:
    """Null records and the control record stand behind whole commands."""
    null = FactRecord("k", {}, None)
    assert len(whole_commands([fact(0, 0, 1), null], 2)) == 2
    assert len(whole_commands([fact(0, 0, 1), null, fact(1, 0, 2)], 3)) == 2


def test_one_command_as_large_as_the_read_goes_on() -> None:
    """A read that holds nothing but one command's facts is applied: waiting would be for ever."""
    assert len(whole_commands([fact(0, n, 9) for n in range(3)], 3)) == 3


def test_no_batch_ends_inside_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the smallest reads too, readers see all events of an append or none."""
    pipeline = Pipeline()
    space = pipeline.say(create_space())
    session = pipeline.say(create_session(space))
    for _ in range(4):
        pipeline.say(append_events(space, session, event(), event()))
    monkeypatch.setattr("projections.projector.BATCH", 3)
    projector = Projector(pipeline.log, store := Watched())
    while step(projector):
        count = asyncio.run(store.count(0, names.index("events", "acme", session)))
        assert count % 2 == 0
    assert store.ends == [2, 4, 6, 8, 10]
    assert views(store) == rebuilt(pipeline)


def test_control_records_advance_the_position() -> None:
    """A refusal leaves no fact, and yet who waits for its position need not wait for ever."""
    pipeline = Pipeline()
    pipeline.say(add_memory())
    for _ in range(2):
        pipeline.ask(delete_memory("no-id"))
    pipeline.project()
    assert pipeline.facts()[-1].key == CONTROL_KEY
    assert pipeline.projectors[0].checkpoint == Checkpoint(3, Position(0, 3))
    assert asyncio.run(pipeline.store.checkpoint(0)) == Checkpoint(3, Position(0, 3))


def test_null_records_change_nothing_but_the_offset() -> None:
    """An erasure's null records are read past; the facts that they took are gone from views by `Erased` alone."""
    pipeline = Pipeline()
    memory = pipeline.say(add_memory())
    pipeline.say(update_memory(memory, content="new"), delete_memory(memory))
    assert [record.value for record in pipeline.facts()][-2:] == [None, None]
    pipeline.project()
    assert pipeline.store.all_rows == {0: {}}
    assert pipeline.projectors[0].checkpoint == Checkpoint(5, Position(0, 3))


def test_an_unknown_fact_stops_it() -> None:
    """Nothing of the batch is applied and nothing skipped, however often it is tried."""
    pipeline = Pipeline()
    pipeline.say(add_memory("one"), add_memory("two"))
    facts = pipeline.log._partitions[0].facts
    facts[1] = replace(facts[1], headers={**facts[1].headers, "ce_type": "memory.memory-dreamt.v1"})
    for _ in range(2):
        with pytest.raises(Malformed, match="dreamt"):
            step(pipeline.projectors[0])
    assert asyncio.run(pipeline.store.checkpoint(0)) is None
    assert pipeline.projectors[0].checkpoint == Checkpoint(0, START)
    assert pipeline.store.all_rows == {}


@pytest.mark.parametrize("new", [0, 1])
@pytest.mark.parametrize("kept", [0, 2])
def test_a_store_that_was_lost_or_restored_is_filled_again(kept: int, new: int) -> None:
    """Behind, the projector starts again from the store's own checkpoint; also if nothing new comes."""
    pipeline = Pipeline()
    memory = pipeline.say(add_memory("one"), add_memory("two"))
    pipeline.project()
    backup = copy.deepcopy(pipeline.store) if kept else MemoryStore()
    pipeline.say(update_memory(memory, content="changed"), add_memory("three"))
    pipeline.project()
    vars(pipeline.store).update(vars(backup))
    pipeline.say(add_memory("four") if new else update_memory(memory, content="last"))
    pipeline.project()
    assert views(pipeline.store) == rebuilt(pipeline)
    vars(pipeline.store).update(vars(MemoryStore()))
    pipeline.project()
    assert views(pipeline.store) == rebuilt(pipeline)


def test_nothing_is_claimed_of_a_store_that_was_lost() -> None:
    """A batch that was answered `behind` is not applied: readers are not told that it is, until it is."""
    pipeline = Pipeline()
    pipeline.say(add_memory("one"))
    pipeline.project()
    vars(pipeline.store).update(vars(MemoryStore()))
    pipeline.say(add_memory("two"))
    assert step(pipeline.projectors[0]) == 1
    assert pipeline.projectors[0].checkpoint == Checkpoint(0, START)
    assert step(pipeline.projectors[0]) == 2
    assert pipeline.projectors[0].checkpoint == Checkpoint(2, Position(0, 2))


@pytest.mark.parametrize("when", [1, 2, 3])
def test_what_was_prepared_ahead_is_as_if_it_was_read_anew(when: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that fails, or that is lost, while the next batch is ready: no fact is left out, none applied twice."""
    monkeypatch.setattr("projections.projector.BATCH", 3)
    pipeline = Pipeline()
    pipeline.say(*(add_memory(str(n)) for n in range(12)))
    failing = Failing(when)
    projector = Projector(pipeline.log, failing)
    for _ in range(when - 1):
        assert step(projector) == 3
    with pytest.raises(Unavailable):
        step(projector)
    while step(projector):
        pass
    assert views(failing) == rebuilt(pipeline)
    projector = Projector(pipeline.log, lost := MemoryStore())
    for _ in range(when):
        assert step(projector) == 3
    vars(lost).update(vars(MemoryStore()))
    while step(projector):
        pass
    assert views(lost) == rebuilt(pipeline)


def test_a_new_projector_goes_on_from_the_stores_checkpoint() -> None:
    """A restart reads what is new, not the whole log."""
    pipeline = Pipeline()
    pipeline.say(add_memory("one"), add_memory("two"))
    pipeline.project()
    pipeline.say(add_memory("three"))
    assert step(Projector(pipeline.log, pipeline.store)) == 1
    assert views(pipeline.store) == rebuilt(pipeline)


def test_a_zombie_changes_nothing() -> None:
    """A second projector that is late applies nothing again and sets nothing back; it comes to the same end."""
    pipeline = Pipeline()
    memory = pipeline.say(add_memory("one"))
    zombie = Projector(pipeline.log, pipeline.store)
    assert step(zombie) == 1
    pipeline.say(update_memory(memory, content="two"))
    pipeline.project()
    pipeline.say(delete_memory(memory))
    pipeline.project()
    while step(zombie):
        pass
    assert views(pipeline.store) == rebuilt(pipeline)
    assert zombie.checkpoint == pipeline.projectors[0].checkpoint
