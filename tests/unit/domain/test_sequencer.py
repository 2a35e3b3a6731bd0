"""The sequencer's core: a batch of command records in, one transaction out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

import workers.sequencer
from mnemolog.domain import canonical
from mnemolog.domain.codec import Envelope, decode_fact, decode_outcome, encode_command
from mnemolog.domain.ids import make_id, slot_of
from mnemolog.domain.outcomes import Accepted, Outcome, Reason, Rejected
from mnemolog.domain.record import CommandRecord, Position, Transaction
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command
from tests.given import KEY, NOON
from tests.wishes import (
    add_memory,
    add_message,
    append_events,
    create_session,
    create_space,
    delete_event,
    delete_memory,
    erase_range,
    event,
    update_memory,
)
from workers.sequencer import Sequencer
from workers.snapshot_memory import MemorySnapshot
from workers.state import State

pytestmark = pytest.mark.unit


class Partition:
    """A sequencer with its command log."""

    def __init__(self, rules: Rules | None = None, *, partition: int = 0, partitions: int = 1) -> None:
        """Begin empty."""
        state = State(MemorySnapshot(KEY))
        self.sequencer = Sequencer(state, rules or Rules(), partition=partition, partitions=partitions)
        self.said = 0
        self.now = NOON

    def record(self, command: Command, *, key: str = "", by: str = "client/sb", at: int = 0) -> CommandRecord:
        """Return the record of a command at the log's next offset."""
        identifier = key or f"command-{self.said}"
        slot = slot_of_command("acme", identifier, command) or 0
        secret = hashlib.sha256(identifier.encode()).digest()
        return self.placed(encode_command(Envelope(identifier, "acme", by, slot, secret, command)), at)

    def placed(self, record: CommandRecord, at: int = 0) -> CommandRecord:
        """Return a record at the log's next offset."""
        self.said, self.now = self.said + 1, self.now + 1_000
        return replace(record, offset=self.said - 1, time=at or self.now)

    def run(self, *said: CommandRecord | Command) -> Transaction:
        """Decide a batch."""
        return self.sequencer.sequence([self.record(c) if isinstance(c, Command) else c for c in said])


def results(done: Transaction) -> list[Outcome]:
    """Return the outcomes of a transaction."""
    return [decode_outcome(record) for record in done.outcomes]


def subjects(done: Transaction) -> list[str]:
    """Return the subjects of a transaction's facts."""
    return [record.headers["ce_subject"] for record in done.facts]


# ---- poison ----------------------------------------------------------------------------------------------------------

GOOD = encode_command(
    Envelope("c", "acme", "client/sb", slot_of("acme", "bot", "ann"), bytes(32), add_memory("a secret"))
)


def body(**fields: Any) -> bytes:
    """Return the good command's value with fields replaced."""
    return canonical.dumps(canonical.loads(GOOD.value or b"") | fields)


def headers(**fields: str | None) -> Mapping[str, str]:
    """Return the good command's headers with some replaced, or left out where None."""
    return {name: value for name, value in (dict(GOOD.headers) | fields).items() if value is not None}


POISON = {
    "no value": replace(GOOD, value=None),
    "no bytes": replace(GOOD, value=b""),
    "no JSON": replace(GOOD, value=b"a secret"),
    "no UTF-8": replace(GOOD, value=b"\xff\xfe"),
    "half a JSON": replace(GOOD, value=(GOOD.value or b"")[:-9]),
    "another JSON": replace(GOOD, value=b"[1]"),
    "a number": replace(GOOD, value=b"7"),
    "NaN": replace(GOOD, value=b'{"secret": NaN}'),
    "half a surrogate": replace(GOOD, value=b'{"secret":"\\ud800"}'),
    "endless nesting": replace(GOOD, value=b"[" * 100_000),
    "no secret": replace(GOOD, value=b'{"target":{},"parts":[]}'),
    "a short secret": replace(GOOD, value=body(secret="00")),
    "a secret of text": replace(GOOD, value=body(secret="zz" * 32)),
    "a secret of numbers": replace(GOOD, value=body(secret=[1])),
    "no parts": replace(GOOD, value=body(parts=[])),
    "too many parts": replace(GOOD, value=body(parts=[{"content": "a secret"}] * 2)),
    "parts of text": replace(GOOD, value=body(parts="a secret")),
    "a wrong part": replace(GOOD, value=body(parts=[{"content": 5}])),
    "an unknown field": replace(GOOD, value=body(parts=[{"content": "x", "a secret": 1}])),
    "an unknown target": replace(GOOD, value=body(target={"agent": "a", "invoker": "b", "a secret": "c"})),
    "a blank owner": replace(GOOD, value=body(target={"agent": " ", "invoker": "b"})),
    "an unknown type": replace(GOOD, headers=headers(ce_type="memory.forget-everything.v9")),
    "no type": replace(GOOD, headers=headers(ce_type=None)),
    "no tenant": replace(GOOD, headers=headers(tenant=None)),
    "an empty tenant": replace(GOOD, headers=headers(tenant="")),
    "an endless tenant": replace(GOOD, headers=headers(tenant="x" * 257)),
    "an empty actor": replace(GOOD, headers=headers(actor="")),
    "an endless id": replace(GOOD, headers=headers(ce_id="x" * 129)),
    "no key": replace(GOOD, key=""),
    "a key that is no slot": replace(GOOD, key="a-slot"),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
def test_guarantee_10_a_poison_record_never_blocks(poison: CommandRecord) -> None:
    """It gets an outcome and a dead letter, neither with its text; what stands around it is decided."""
    partition = Partition()
    done = partition.run(partition.record(add_memory("x")), partition.placed(poison), partition.record(add_memory("y")))
    first, refused, last = results(done)
    assert isinstance(first.result, Accepted)
    assert isinstance(last.result, Accepted)
    assert isinstance(refused.result, Rejected)
    assert refused.result.reason is Reason.MALFORMED
    assert refused.command == poison.headers["ce_id"]
    (letter,) = done.dead_letters
    assert letter.key == "memory.commands@0@0:1"
    assert "secret" not in (letter.reason + refused.result.detail).replace("secret of 32 bytes", "").replace(
        "'secret'", ""
    )
    assert done.position == Position(0, 3)
    assert len(done.facts) == 2


@pytest.mark.parametrize("name", [None, ""])
def test_guarantee_10_a_record_without_an_id_is_a_dead_letter_alone(name: str | None) -> None:
    """There is nobody to answer; the position goes on."""
    partition = Partition()
    done = partition.run(partition.placed(replace(GOOD, headers=headers(ce_id=name))))
    assert (len(done.dead_letters), done.outcomes, done.facts) == (1, (), ())
    assert done.position == Position(0, 1)


def test_guarantee_10_what_nobody_foresaw_is_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision that fails is refused, its record a dead letter with the kind of failure only."""

    def broken(*_: object) -> None:
        message = "about a secret"
        raise ZeroDivisionError(message)

    partition = Partition()
    with monkeypatch.context() as patch:
        patch.setattr(workers.sequencer, "decide", broken)
        done = partition.run(add_memory("x"))
    (outcome,) = results(done)
    assert isinstance(outcome.result, Rejected)
    assert "secret" not in outcome.result.detail
    assert done.dead_letters[0].reason == "ZeroDivisionError"
    assert len(partition.run(add_memory("y")).facts) == 1


def test_guarantee_10_a_command_for_another_partition_is_refused() -> None:
    """Its slot is not this sequencer's, so its state is not either."""
    slot = slot_of("acme", "bot", "ann")
    for number in range(8):
        (outcome,) = results(Partition(partition=number, partitions=8).run(add_memory()))
        if number == slot % 8:
            assert isinstance(outcome.result, Accepted)
        else:
            assert isinstance(outcome.result, Rejected)
            assert outcome.result.reason is Reason.MISROUTED


# ---- what a transaction holds ----------------------------------------------------------------------------------------


def test_guarantee_2_a_batch_of_commands_is_one_transaction() -> None:
    """Each command's facts once and in order, each with its source, and one outcome each."""
    partition = Partition()
    done = partition.run(add_memory("a"), add_memory(agent="other"), add_message())
    assert [record.headers["source"] for record in done.facts] == ["0:0", "0:1", "0:2"]
    assert [outcome.command for outcome in results(done)] == ["command-0", "command-1", "command-2"]
    for outcome, record in zip(results(done), done.facts, strict=True):
        assert isinstance(outcome.result, Accepted)
        fact = decode_fact(record)
        assert [tuple(f) for f in outcome.result.facts] == [(fact.stream, fact.version, fact.subject, fact.time)]
        assert outcome.position == Position(0, fact.source.offset + 1)
    assert (done.position, done.last) == (Position(0, 3), "command-2")


def test_a_command_sees_what_the_one_before_it_left() -> None:
    """Within one batch too: of two spaces with one key the second is refused."""
    partition = Partition()
    first, second = results(partition.run(create_space(deduplication_key="K"), create_space(deduplication_key="K")))
    assert isinstance(first.result, Accepted)
    assert isinstance(second.result, Rejected)
    assert second.result.existing == first.result.facts[0].subject


def test_the_control_record_stands_in_a_transaction_without_facts_only() -> None:
    """Where facts say how far it is, no record of its own is needed; refusals and repeats leave none."""
    partition = Partition()
    accepted = partition.record(add_memory(), key="K")
    assert not partition.run(accepted).control
    assert partition.run(partition.record(add_memory(), key="K")).control
    refused = partition.run(delete_memory("x"))
    assert refused.control
    assert (refused.position, refused.last) == (Position(0, 3), "command-2")
    assert not partition.run(delete_memory("x"), add_memory()).control


def test_guarantee_3_a_repeat_in_one_batch_is_a_repeat() -> None:
    """The same record twice in one delivery leaves one fact, and two equal answers."""
    partition = Partition()
    done = partition.run(partition.record(add_memory(), key="K"), partition.record(add_memory(), key="K"))
    first, second = (outcome.result for outcome in results(done))
    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert len(done.facts) == 1
    assert (first.facts, first.repeated, second.repeated) == (second.facts, False, True)


def test_outcomes_hold_no_text_of_a_caller() -> None:
    """Accepted or refused: positions and our own words."""
    partition = Partition()
    partition.run(create_space(deduplication_key="a-key"))
    done = partition.run(
        add_memory("a-text", metadata={"a-meta": 1}),
        create_space(deduplication_key="a-key", description="a-desc"),
        add_message("a-text", group="a-group"),
    )
    written = b"".join(record.value for record in done.outcomes)
    for text in (b"a-key", b"a-text", b"a-meta", b"a-desc", b"a-group"):
        assert text not in written


def test_erasure_brings_null_records_and_names_the_commands_to_forget() -> None:
    """A null record for each key, and the commands that brought the content; also within one batch."""
    partition = Partition()
    first = partition.run(add_memory("x"))
    memory = subjects(first)[0]
    done = partition.run(update_memory(memory, content="y"), delete_memory(memory))
    stream = f"acme/memory/{memory}"
    assert done.tombstones == (f"{stream}@0", f"{stream}@1")
    assert done.forget == ("command-0", "command-1")
    assert [record.headers["version"] for record in done.facts] == ["1", "2"]


def test_erasing_one_event_forgets_its_command_alone() -> None:
    """What is still to be read keeps its facts."""
    partition = Partition()
    space = subjects(partition.run(create_space()))[0]
    session = subjects(partition.run(create_session(space)))[0]
    partition.run(append_events(space, session, event("a")), append_events(space, session, event("b")))
    partition.run(delete_event(space, session, 0))
    done = partition.run(partition.record(erase_range("session", session, "event/0"), by="worker/eraser"))
    assert done.tombstones == tuple(f"acme/session/{session}@{version}" for version in (1, 3))
    assert done.forget == ("command-2", "command-4")


def test_bounded_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """One command leaves at most 1,000 facts and null records."""
    partition = Partition()
    memory = subjects(partition.run(add_memory()))[0]
    partition.run(*[update_memory(memory, content="x") for _ in range(700)])
    done = partition.run(delete_memory(memory))
    assert (len(done.facts), len(done.tombstones)) == (1, 0)
    sizes = []
    while partition.sequencer.state.erasing:
        done = partition.run(partition.record(erase_range("memory", memory), by="worker/eraser"))
        sizes.append(len(done.facts) + len(done.tombstones))
    assert sizes == [501, 203]


# ---- numbers and times -----------------------------------------------------------------------------------------------


def test_guarantee_1_times_rise_within_a_stream_when_the_clock_is_set_back() -> None:
    """Strictly, by a microsecond at least; a batch's facts too; and never fall within a slot."""
    partition = Partition()
    space = subjects(partition.run(create_space()))[0]
    session = subjects(partition.run(create_session(space)))[0]
    times: dict[str, list[int]] = {}
    order: list[int] = []
    for at in (NOON + 50_000, NOON + 50_000, NOON - 10**12, NOON + 49_999, NOON + 50_001, NOON + 90_000):
        for command in (append_events(space, session, *[event()] * 3), create_session(space)):
            done = partition.run(partition.record(command, at=at))
            for record in done.facts:
                fact = decode_fact(record)
                times.setdefault(fact.stream, []).append(fact.time)
                order.append(fact.time)
                assert fact.time >= at
    for stream in times.values():
        assert stream == sorted(set(stream))
    assert order == sorted(order)
    assert times[f"acme/session/{session}"][-1] == NOON + 90_002


def test_guarantee_1_ordinals_are_gapless_in_each_slot() -> None:
    """Whatever is accepted, refused, repeated, poison or erased in between, over several slots and batch sizes."""
    partition = Partition()
    records = []
    for n in range(60):
        command = add_memory(agent=f"bot-{n % 3}") if n % 7 else delete_memory(make_id(NOON, 5, bytes(32), n))
        records.append(
            partition.placed(POISON["no JSON"]) if n % 11 == 5 else partition.record(command, key=f"K{n % 40}")
        )
    ordinals: dict[str, list[int]] = {}
    versions: dict[str, list[int]] = {}
    for batch in (records[:1], records[1:20], records[20:21], records[21:]):
        for record in partition.run(*batch).facts:
            ordinals.setdefault(record.headers["slot"], []).append(int(record.headers["ordinal"]))
            versions.setdefault(record.headers["stream"], []).append(int(record.headers["version"]))
    assert len(ordinals) == 3
    for numbers in (*ordinals.values(), *versions.values()):
        assert numbers == list(range(len(numbers)))


def test_offsets_with_holes_are_kept_as_sources() -> None:
    """A fact's source is its command's own offset; the position is the one after it."""
    partition = Partition()
    records: Sequence[CommandRecord] = [replace(partition.record(add_memory()), offset=offset) for offset in (3, 9)]
    done = partition.run(*records)
    assert [record.headers["source"] for record in done.facts] == ["0:3", "0:9"]
    assert done.position == Position(0, 10)


def test_nothing_to_decide_leaves_nothing() -> None:
    """An empty batch says the position, and no more."""
    done = Partition().run()
    assert (done.position, done.last, done.facts, done.outcomes, done.control) == (Position(0, 0), "", (), (), True)
