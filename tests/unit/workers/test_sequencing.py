"""The sequencer at work: what a start checks, an error leaves, a repeat brings again, the eraser proposes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from mnemolog.domain import erasure
from mnemolog.domain.codec import Envelope, decode_command, decode_fact, decode_outcome, encode_command
from mnemolog.domain.erasure import EraseRange
from mnemolog.domain.errors import Corrupt, Malformed, Unavailable
from mnemolog.domain.outcomes import Accepted, Outcome
from mnemolog.domain.record import CONTROL_KEY, CommandRecord, Position, Transaction
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command
from mnemolog.domain.streams import own_id
from tests import wishes
from workers import replay, sequencing
from workers.eraser import ACTOR, proposals
from workers.log_memory import MemoryLog
from workers.log_sqlite import SqliteLog
from workers.sequencing import Sequencing
from workers.snapshot_memory import MemorySnapshot

pytestmark = pytest.mark.unit

NOON = 1_795_003_200_000_000


@dataclass
class Partition:
    """One partition of a log, and whoever sequences it."""

    log: Any
    snapshot: MemorySnapshot = field(default_factory=lambda: MemorySnapshot(b"k" * 32))
    said: Any = field(default_factory=itertools.count)
    sequencing: Sequencing = field(init=False)

    def __post_init__(self) -> None:
        """Put somebody in office, not started yet."""
        self.sequencing = Sequencing(self.log, lambda: self.snapshot, Rules())

    def record(self, command: Command, identifier: str = "") -> CommandRecord:
        """Return a command's record."""
        n = next(self.said)
        name = identifier or f"c{n}"
        slot = slot_of_command("acme", name, command) or 0
        return encode_command(Envelope(name, "acme", "client/x", slot, bytes([n]) * 32, command))

    async def say(self, *commands: Command | CommandRecord) -> Transaction:
        """Append commands and have them decided as one batch."""
        await self.log.append(0, [c if isinstance(c, CommandRecord) else self.record(c) for c in commands])
        done = await self.sequencing.step()
        assert done is not None
        return done

    async def told(self, identifier: str) -> Outcome:
        """Return a command's outcome."""
        return decode_outcome(await self.log.outcome(0, identifier))


def partition(marker: Sequence[int] = (0,)) -> Partition:
    """Return an empty partition whose transactions take these numbers of offsets more, in turn."""
    markers = itertools.cycle(marker)
    return Partition(MemoryLog(lambda: NOON, marker=lambda: next(markers)))


def memory_of(done: Transaction) -> str:
    """Return the id of the memory that a transaction's first fact is about."""
    return own_id(done.facts[0].headers["stream"])


# ---- start -----------------------------------------------------------------------------------------------------------


def test_a_start_on_an_empty_log_has_nothing_to_read_and_nothing_to_decide() -> None:
    """And can be asked so any number of times."""

    async def told() -> None:
        here = partition()
        assert await here.sequencing.start() == 0
        assert await here.sequencing.step() is None
        assert await here.sequencing.step() is None

    asyncio.run(told())


def test_before_the_start_nothing_can_be_decided() -> None:
    """There is no state to decide on."""
    with pytest.raises(RuntimeError, match="has not been started"):
        asyncio.run(partition().sequencing.step())


def test_a_start_reads_what_the_snapshot_does_not_have() -> None:
    """All without one, the tail with one, nothing right after a save."""

    async def told() -> None:
        here = partition([0, 2])
        await here.sequencing.start()
        for _ in range(3):
            await here.say(wishes.add_memory())
        here.sequencing.save()
        await here.say(wishes.add_memory())
        again = Partition(here.log.again(), here.snapshot)
        assert await again.sequencing.start() == 1
        again.sequencing.save()
        assert await Partition(here.log.again(), here.snapshot).sequencing.start() == 0
        assert await Partition(here.log.again()).sequencing.start() == 4

    asyncio.run(told())


def test_a_snapshot_of_a_longer_log_is_thrown_away() -> None:
    """A log restored from before proves the snapshot wrong, not the other way round."""

    async def told() -> None:
        long = partition()
        await long.sequencing.start()
        for _ in range(5):
            await long.say(wishes.add_memory())
        long.sequencing.save()
        short = Partition(MemoryLog(lambda: NOON), long.snapshot)
        assert await short.sequencing.start() == 0
        assert (short.sequencing.state.offset, short.sequencing.state.position) == (0, Position(0, 0))
        done = await short.say(wishes.add_memory())
        assert done.facts[0].headers["ordinal"] == "0"

    asyncio.run(told())


def test_facts_of_another_command_log_are_refused() -> None:
    """A command log that ends before the position: the facts did not come from it."""

    async def told() -> None:
        here = partition()
        await here.sequencing.start()
        await here.say(wishes.add_memory(), wishes.add_memory())
        other = MemoryLog(lambda: NOON)
        other._partitions[0].facts = here.log._partitions[0].facts
        other._partitions[0].following_fact = here.log._partitions[0].following_fact
        with pytest.raises(Corrupt, match="up to offset 2 are decided, but the command log ends at 0"):
            await Partition(other).sequencing.start()
        await other.append(0, [here.record(wishes.add_memory(), f"other{n}") for n in range(2)])
        with pytest.raises(Corrupt, match="the command at offset 1 is not the one that was decided there"):
            await Partition(other).sequencing.start()

    asyncio.run(told())


def test_undecided_commands_that_are_gone_stop_the_start() -> None:
    """Loudly, with both offsets; decided ones may be gone."""

    async def told() -> None:
        here = partition()
        await here.sequencing.start()
        await here.say(wishes.add_memory())
        await here.log.append(0, [here.record(wishes.add_memory()) for _ in range(3)])
        here.log.expire(0, 1)
        await Partition(here.log.again()).sequencing.start()
        here.log.expire(0, 3)
        with pytest.raises(Corrupt, match="starts at 3, but commands from 1 on are undecided"):
            await Partition(here.log.again()).sequencing.start()

    asyncio.run(told())


def test_a_fact_that_this_code_does_not_know_stops_the_start() -> None:
    """It is never skipped: decisions without it would be others."""

    async def told() -> None:
        here = partition()
        await here.sequencing.start()
        done = await here.say(wishes.add_memory())
        strange = replace(done.facts[0], key="x@0", headers={**done.facts[0].headers, "ce_type": "memory.sung.v1"})
        here.log._partitions[0].facts.append(replace(strange, offset=1))
        here.log._partitions[0].following_fact = 2
        with pytest.raises(Malformed, match="x@0 at offset 1"):
            await Partition(here.log.again()).sequencing.start()

    asyncio.run(told())


def test_the_position_is_the_furthest_that_facts_and_control_record_say() -> None:
    """Whatever compaction has left of either, and in whatever batches the commands were decided."""

    async def told() -> None:
        here = partition([1])
        await here.sequencing.start()
        kept = memory_of(await here.say(wishes.add_memory()))
        await here.say(wishes.delete_memory("w"))
        await here.say(wishes.update_memory(kept, content="new"), wishes.delete_memory("y"), wishes.delete_memory("z"))
        position = here.sequencing.state.position
        for _ in range(2):
            again = Partition(here.log.again())
            await again.sequencing.start()
            assert again.sequencing.state.position == position
            assert again.sequencing.state.last_command == here.sequencing.state.last_command
            here.log.compact(0, nulls=True)
        here.log.expire(0, position.offset - 1)  # all that is decided may go: nothing is decided twice
        await Partition(here.log.again()).sequencing.start()

    asyncio.run(told())


def test_a_long_replay_saves_as_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that dies half-way does not begin at nothing again."""
    monkeypatch.setattr(replay, "_SAVE_EVERY", 4)
    monkeypatch.setattr(replay, "_PAGE", 2)

    async def told() -> None:
        here = partition()
        await here.sequencing.start()
        for _ in range(9):
            await here.say(wishes.add_memory())
        again = Partition(here.log.again())
        assert await again.sequencing.start() == 9
        _, offset, _, _ = again.snapshot.start()
        assert offset >= 4

    asyncio.run(told())


# ---- step ------------------------------------------------------------------------------------------------------------


def test_after_a_failed_transaction_only_a_start_helps() -> None:
    """The state had gone ahead of the log: it is dropped, and the same commands decided again from the facts."""

    async def told() -> None:
        here = partition()
        await here.sequencing.start()
        await here.log.append(0, [here.record(wishes.add_memory("kept"), "c")])
        commit = here.log.commit

        async def failing(*_: object) -> int:
            message = "disk full"
            raise OSError(message)

        here.log.commit = failing
        with pytest.raises(OSError, match="disk full"):
            await here.sequencing.step()
        here.sequencing.save()
        assert here.snapshot.start()[1] == 0
        with pytest.raises(RuntimeError, match="transaction failed"):
            await here.sequencing.step()
        here.log.commit = commit
        await here.sequencing.start()
        assert await here.sequencing.step() is not None
        (record,) = await here.log.facts(0, 0, 9)
        assert (record.headers["version"], record.headers["ordinal"]) == ("0", "0")

    asyncio.run(told())


@pytest.mark.parametrize("error", [Unavailable("the disk does not answer"), Corrupt("the file is damaged")])
@pytest.mark.parametrize("read", ["acceptances", "stream"])
def test_a_state_that_cannot_be_read_decides_nothing(
    read: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is neither refused nor set aside, as it is not at fault: it is decided when the state is back."""

    async def told() -> None:
        here = partition()
        await here.sequencing.start()
        await here.log.append(0, [here.record(wishes.add_memory("kept"), "c")])
        with monkeypatch.context() as patch:
            patch.setattr(here.snapshot, read, Mock(side_effect=error))
            with pytest.raises(type(error), match=str(error)):
                await here.sequencing.step()
        assert await here.log.facts(0, 0, 9) == []
        await here.sequencing.start()
        decided = await here.sequencing.step()
        assert decided is not None
        assert isinstance(decode_outcome(decided.outcomes[0]).result, Accepted)

    asyncio.run(told())


def test_holes_between_commands_are_passed_and_counted() -> None:
    """Every publisher's transaction leaves a marker; every command is decided once, in order."""

    async def told() -> None:
        here = partition([1, 2, 0])
        await here.sequencing.start()
        for n in range(7):
            await here.log.append(0, [here.record(wishes.add_memory(), f"c{n}")])
        while await here.sequencing.step() is not None:
            pass
        facts = [decode_fact(r) for r in await here.log.facts(0, 0, 99)]
        assert [fact.command for fact in facts] == [f"c{n}" for n in range(7)]
        assert here.sequencing._intake.holes == sum([1, 2, 0, 1, 2, 0])

    asyncio.run(told())


def test_a_batch_of_large_commands_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """One transaction takes so many bytes at the most, and at least one command."""
    monkeypatch.setattr(sequencing, "_BATCH_BYTES", 2_000)

    async def told() -> None:
        here = partition()
        await here.sequencing.start()
        sizes = [100, 100, 3_000, 900, 900, 900]
        await here.log.append(0, [here.record(wishes.add_memory("x" * size)) for size in sizes])
        batches = []
        while (done := await here.sequencing.step()) is not None:
            batches.append(len(done.facts))
        assert sum(batches) == len(sizes)
        assert batches[0] == 2
        assert batches[1] == 1

    asyncio.run(told())


@pytest.mark.parametrize("batch", [("reject",), ("accept", "reject"), ("accept", "repeat"), ("reject", "accept")])
def test_the_last_command_of_a_batch_is_never_decided_twice(batch: tuple[str, ...]) -> None:
    """Where the last one left no fact, the control record says so: else retention would seem to delete it unread."""

    async def told() -> None:
        here = partition()
        await here.sequencing.start()
        await here.say(here.record(wishes.add_memory(), "first"))
        kinds = {
            "accept": wishes.add_memory(),
            "reject": wishes.delete_memory("x"),
        }
        records = [
            here.record(wishes.add_memory(), "first") if kind == "repeat" else here.record(kinds[kind])
            for kind in batch
        ]
        done = await here.say(*records)
        assert done.control == (batch[-1] != "accept")
        again = Partition(here.log.again())
        await again.sequencing.start()
        assert await again.sequencing.step() is None

    asyncio.run(told())


# ---- erasure ---------------------------------------------------------------------------------------------------------


def test_guarantee_3_a_repeat_that_waited_behind_the_erasure_is_still_answered(tmp_path: Path) -> None:
    """Its first acceptance again; and what it brought once more is in no file afterwards."""

    async def told() -> None:
        here = Partition(SqliteLog(tmp_path / "m.db", lambda: NOON))
        await here.sequencing.start()
        add = here.record(wishes.add_memory("top-secret"), "add")
        memory = memory_of(await here.say(add))
        await here.log.append(0, [here.record(wishes.delete_memory(memory)), replace(add), replace(add)])
        monkey = pytest.MonkeyPatch()
        monkey.setattr(sequencing, "BATCH", 1)
        with monkey.context():
            while await here.sequencing.step() is not None:
                pass
        monkey.undo()
        result = (await here.told("add")).result
        assert isinstance(result, Accepted)
        assert result.repeated
        await here.say(replace(add))
        assert [r.value for r in await here.log.commands(0, 0, 9) if r.headers["ce_id"] == "add"] == [None] * 4
        await here.log.scrub()
        await here.log.close()

    asyncio.run(told())
    assert [p.name for p in tmp_path.iterdir() if b"top-secret" in p.read_bytes()] == []


def test_the_eraser_goes_on_until_the_closing_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    """One range of each waiting stream a round, users' commands in between, and then nothing more."""
    monkeypatch.setattr(erasure, "ERASE_LIMIT", 3)

    async def told() -> None:
        here = partition()
        await here.sequencing.start()
        memories = [memory_of(await here.say(wishes.add_memory())) for _ in range(2)]
        for n in range(7):
            await here.say(*(wishes.update_memory(memory, content=f"{n}") for memory in memories))
        state = here.sequencing.state
        assert proposals(state, bytes) == []
        await here.say(*(wishes.delete_memory(memory) for memory in memories))
        rounds = 0
        while proposed := proposals(state, bytes):
            assert len(proposed) == len(state.erasing)
            await here.say(*proposed, wishes.add_memory("in between"))
            rounds += 1
        assert rounds == 3
        gone = {f"acme/memory/{memory}@{n}" for memory in memories for n in range(9)}
        assert {r.key for r in await here.log.facts(0, 0, 999) if r.value is None} == gone
        assert state.erasing == set()

    asyncio.run(told())


def test_a_proposal_made_twice_is_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same range has the same id; the second finds its work done and takes the next, or nothing."""
    monkeypatch.setattr(erasure, "ERASE_LIMIT", 2)

    async def told() -> None:
        here = partition()
        await here.sequencing.start()
        memory = memory_of(await here.say(wishes.add_memory()))
        await here.say(*(wishes.update_memory(memory, content=f"{n}") for n in range(3)))
        await here.say(wishes.delete_memory(memory))
        (first,), (second,) = (proposals(here.sequencing.state, bytes) for _ in range(2))
        assert first.headers["ce_id"] == second.headers["ce_id"]
        envelope = decode_command(first)
        assert envelope.actor == ACTOR
        assert isinstance(envelope.command, EraseRange)
        await here.say(first, second, first, second)
        assert here.sequencing.state.erasing == set()
        nulls = [r.key for r in await here.log.facts(0, 0, 999) if r.value is None]
        assert sorted(nulls) == sorted(set(nulls))

    asyncio.run(told())


def test_a_restart_knows_what_waits_for_the_eraser(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the facts alone, and from a snapshot."""
    monkeypatch.setattr(erasure, "ERASE_LIMIT", 2)

    async def told() -> None:
        here = partition()
        await here.sequencing.start()
        memory = memory_of(await here.say(wishes.add_memory()))
        await here.say(*(wishes.update_memory(memory, content=f"{n}") for n in range(5)))
        await here.say(wishes.delete_memory(memory))
        here.sequencing.save()
        for snapshot in (here.snapshot, MemorySnapshot(b"z" * 32)):
            again = Partition(here.log.again(), snapshot)
            await again.sequencing.start()
            assert again.sequencing.state.erasing == {f"acme/memory/{memory}"}
            assert proposals(again.sequencing.state, bytes)

    asyncio.run(told())


def test_control_records_and_null_records_are_no_facts() -> None:
    """A replay passes over them and ends at the log's end."""

    async def told() -> None:
        here = partition([1])
        await here.sequencing.start()
        memory = memory_of(await here.say(wishes.add_memory()))
        await here.say(wishes.delete_memory(memory), wishes.delete_memory("x"))
        kinds = [(r.key == CONTROL_KEY, r.value is None) for r in await here.log.facts(0, 0, 9)]
        assert kinds == [(False, False), (False, False), (False, True), (True, False)]
        again = Partition(here.log.again())
        assert await again.sequencing.start() == 4
        assert again.sequencing.state.offset == await here.log.end(0)

    asyncio.run(told())
