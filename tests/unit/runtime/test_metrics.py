"""The figures of a process: what is counted, that labels are of known sets, and how partitions stand."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemolog.domain.codec import Envelope, encode_command
from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ids import make_id
from mnemolog.domain.record import CommandRecord, Transaction
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command
from mnemolog.runtime.condition import Condition
from mnemolog.runtime.metrics import Metrics, kind_of
from mnemolog.runtime.standing import Part, page
from tests import wishes
from workers.sequencer import Sequencer
from workers.snapshot_memory import MemorySnapshot
from workers.state import State

pytestmark = pytest.mark.unit


def record(command: Command, offset: int) -> CommandRecord:
    """Return a command's record at an offset."""
    slot = slot_of_command("acme", "id", command) or 0
    sound = encode_command(Envelope(f"id-{offset}", "acme", "agent/x", slot, bytes([offset] * 32), command))
    return CommandRecord(sound.key, sound.headers, sound.value, offset, 1_795_000_000_000_000 + offset)


def batch() -> tuple[list[CommandRecord], Transaction]:
    """Return commands of every fate, decided: accepted, repeated, refused, unreadable with a name and without one."""
    gone = make_id(1_795_000_000_000_000, 7, bytes(32), 0)
    sound = record(wishes.add_memory(), 0)
    records = [
        sound,
        CommandRecord(sound.key, sound.headers, sound.value, 1, sound.time + 1),
        record(wishes.delete_memory(gone), 2),
        CommandRecord(sound.key, {**sound.headers, "ce_id": "named"}, b"{", 3),
        CommandRecord("", {}, b"\xff", 4),
        CommandRecord(sound.key, {**sound.headers, "ce_id": "other", "ce_type": "what a stranger wrote"}, b"{}", 5),
    ]
    return records, Sequencer(State(MemorySnapshot(bytes(32))), Rules()).sequence(records)


def shown(metrics: Metrics, roles: Sequence[Part] = ()) -> str:
    """Return the page."""
    return asyncio.run(page(metrics, roles)).decode()


def test_commands_are_counted_by_kind_and_what_became_of_them() -> None:
    """Accepted, repeated, rejected with a reason, dead letters; a type that does not exist is `unknown`."""
    metrics = Metrics()
    metrics.committed(*batch(), 0.002)
    lines = shown(metrics).splitlines()
    assert 'mnemolog_commands_total{kind="memory.add-memory.v1",result="accepted"} 1.0' in lines
    assert 'mnemolog_commands_total{kind="memory.add-memory.v1",result="repeated"} 1.0' in lines
    assert 'mnemolog_commands_total{kind="memory.add-memory.v1",result="rejected"} 1.0' in lines
    assert 'mnemolog_commands_total{kind="memory.delete-memory.v1",result="rejected"} 1.0' in lines
    assert 'mnemolog_commands_total{kind="unknown",result="rejected"} 1.0' in lines
    assert 'mnemolog_rejections_total{kind="memory.delete-memory.v1",reason="not-found"} 1.0' in lines
    assert 'mnemolog_rejections_total{kind="unknown",reason="malformed"} 1.0' in lines
    assert "mnemolog_dead_letters_total 3.0" in lines
    assert "mnemolog_facts_total 1.0" in lines
    assert "mnemolog_transaction_seconds_count 1.0" in lines


@given(st.text())
def test_what_a_stranger_writes_is_no_label(kind: str) -> None:
    """Whatever stands in a command's type, a label is a type that exists, or `unknown`."""
    assert re.fullmatch(r"[a-z-]+\.[a-z-]+\.v[0-9]+|unknown", kind_of(CommandRecord("", {"ce_type": kind}, None)))


def test_the_page_shows_how_each_partition_stands() -> None:
    """In its share, at work or not, how many records behind, how long behind; erasures that go on."""

    async def end(partition: int) -> int:
        if partition == 2:
            message = "Kafka is away"
            raise Unavailable(message)
        return 12

    works, waits, silent = Condition(0, erasing=3), Condition(1), Condition(2)
    works.took()
    works.works(10)
    waits.waits("Redis is away")
    silent.works(4)
    text = shown(Metrics(), [Part("projector", [works, waits, silent], end)])
    assert 'mnemolog_partitions{role="projector"} 3.0' in text
    assert 'mnemolog_partition_works{partition="0",role="projector"} 1.0' in text
    assert 'mnemolog_partition_works{partition="1",role="projector"} 0.0' in text
    assert 'mnemolog_gap_records{partition="0",role="projector"} 2.0' in text
    assert 'mnemolog_gap_records{partition="2"' not in text
    assert re.search(r'mnemolog_lag_seconds\{partition="0",role="projector"\} 0\.0', text)
    assert 'mnemolog_lag_seconds{partition="1"' not in text
    assert 'mnemolog_erased_not_gone{place="erasing"} 3.0' in text


def test_a_lag_is_how_old_what_is_shown_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of the topic it is nothing, and grows while nobody works; behind it, the age of the newest taken."""
    assert Condition(0).behind is None
    condition = Condition(0)
    monkeypatch.setattr("time.time", lambda: 1_000.0)
    condition.took()
    monkeypatch.setattr("time.time", lambda: 1_005.0)
    assert condition.behind == 5.0
    condition.took(newest=400_000_000)
    assert condition.behind == 605.0
    condition.took(newest=2_000_000_000)  # another machine's clock is ahead
    assert condition.behind == 0.0
