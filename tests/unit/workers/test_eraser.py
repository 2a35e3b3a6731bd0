"""The eraser: it goes on with what was hidden, one range a stream and round, until nothing waits."""

from __future__ import annotations

from typing import TypedDict, Unpack

import pytest

from mnemolog.domain.codec import decode_command
from mnemolog.domain.decision import Ended
from mnemolog.domain.erasure import EraseRange
from mnemolog.domain.ids import slot_in
from mnemolog.domain.memory import MemoryErased
from tests.given import Story, given
from tests.wishes import add_memory, delete_memory, update_memory
from workers.eraser import ACTOR, proposals

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one command take two facts at the most, so that three are too many."""
    monkeypatch.setattr("mnemolog.domain.erasure.ERASE_LIMIT", 2)


class Asked(TypedDict, total=False):
    """How much all ranges together may take, if a test says it."""

    facts: int


def zeros(count: int) -> bytes:
    """Return no entropy at all."""
    return bytes(count)


def hide(story: Story, changes: int = 2) -> str:
    """Add a memory, change it, and delete it: hidden, as it is too large to be erased at once; return its id."""
    memory = story.when(add_memory()).id("memory")
    for n in range(changes):
        story.when(update_memory(memory, content=f"text {n}"))
    story.when(delete_memory(memory))
    return memory


def test_nothing_is_proposed_when_nothing_waits() -> None:
    """Neither a living memory nor one that was erased at once is the eraser's affair."""
    story = given(add_memory(), add_memory("another"))
    story.when(delete_memory(story.id("memory")))
    assert not proposals(story.state, zeros)


def test_one_range_is_proposed_for_each_waiting_stream() -> None:
    """Each proposal is a readable command of the eraser's, routed by the memory's own id, in the memory's tenant."""
    story = given(tenant="acme/labs")
    waiting = {hide(story) for _ in range(3)}
    proposed = [decode_command(record) for record in proposals(story.state, zeros)]
    assert {envelope.command.target.id for envelope in proposed if isinstance(envelope.command, EraseRange)} == waiting
    for envelope in proposed:
        assert isinstance(envelope.command, EraseRange)
        assert (envelope.tenant, envelope.actor) == ("acme/labs", ACTOR)
        assert envelope.slot == slot_in(envelope.command.target.id)
        assert envelope.command.target.kind == "memory"


def test_all_ranges_together_take_as_much_as_is_asked_for() -> None:
    """Shared among the streams that wait, at least one fact each: users' writes come in between."""
    story = given()
    for _ in range(3):
        hide(story)

    def limits(**asked: Unpack[Asked]) -> list[int | None]:
        proposed = [decode_command(record).command for record in proposals(story.state, zeros, **asked)]
        return [command.target.limit for command in proposed if isinstance(command, EraseRange)]

    assert (limits(), limits(facts=15), limits(facts=1)) == ([33] * 3, [5] * 3, [1] * 3)


def test_the_same_range_is_the_same_command() -> None:
    """Ids hang on the stream and its lowest fact alone: proposed twice, it is one command; the next range is new."""
    story = given()
    hide(story)
    (first,) = proposals(story.state, zeros)
    (again,) = proposals(story.state, lambda count: b"\1" * count)
    assert first.headers["ce_id"] == again.headers["ce_id"]
    story.when(decode_command(first).command, by=ACTOR)
    (following,) = proposals(story.state, zeros)
    assert following.headers["ce_id"] != first.headers["ce_id"]


def test_each_proposal_has_a_secret_of_its_own() -> None:
    """Salts of erasures come from fresh entropy, 32 bytes a command."""
    story = given()
    hide(story)
    hide(story)
    drawn = iter(range(1, 10))
    secrets = [decode_command(record).secret for record in proposals(story.state, lambda n: bytes([next(drawn)]) * n)]
    assert secrets == [b"\1" * 32, b"\2" * 32]


def test_at_most_twenty_are_proposed_a_round() -> None:
    """Users' commands come in between; what waits longer has its turn when others are done, so all end."""
    story = given()
    for _ in range(25):
        hide(story)
    assert len(proposals(story.state, zeros)) == 20
    rounds = 0
    while proposed := proposals(story.state, zeros):
        rounds += 1
        for record in proposed:
            story.when(decode_command(record).command, by=ACTOR)
            story.only(MemoryErased)
    assert rounds == 4
    assert {type(story.body(story.stream("memory", n))) for n in range(25)} == {Ended}


def test_ranges_follow_until_the_closing_one() -> None:
    """A stream waits until its closing fact; each range takes the lowest versions that are left, each of them once."""
    story = given()
    hide(story, changes=4)
    taken: list[list[int]] = []
    while proposed := proposals(story.state, zeros):
        (record,) = proposed
        erased = story.when(decode_command(record).command, by=ACTOR).only(MemoryErased)
        taken.append([took.version for took in erased.took])
        assert erased.ended is not bool(story.state.erasing)
    assert taken == [[0, 1], [2, 3], [4, 5]]
