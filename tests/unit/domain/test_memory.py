"""What a memory decides: ownership, updates, erasure."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from pydantic import ValidationError

from mnemolog.domain import erasure
from mnemolog.domain.decision import Ended, MemoryState
from mnemolog.domain.ids import slot_of
from mnemolog.domain.memory import MemoryAdded, MemoryDeleted, MemoryErased, MemoryUpdated, owner_mark
from mnemolog.domain.outcomes import Reason
from mnemolog.domain.rules import Rules
from mnemolog.domain.streams import own_id
from tests.given import NOON, given
from tests.wishes import add_memory, delete_memory, erase_range, update_memory

pytestmark = pytest.mark.unit

NEVER_MADE = "01a1ee56-5e7b-82f6-9107-b841a9b0cc2c"


def test_a_memory_is_kept_in_its_owners_slot() -> None:
    """All memories of an agent and invoker have one writer; each has a stream of its own."""
    story = given(add_memory("likes tea", metadata={"b": 1, "a": None}))
    story.then(MemoryAdded(agent="bot", invoker="ann", content="likes tea", metadata={"b": 1, "a": None}))
    assert story.facts[0].slot == slot_of("acme", "bot", "ann")
    assert story.facts[0].subject == story.id("memory")
    story.when(add_memory("likes tea")).then(MemoryAdded)
    assert story.id("memory", 0) != story.id("memory", 1)
    assert [fact.ordinal for fact, _ in story.log] == [0, 1]


def test_a_memory_whose_id_is_made_twice_stands_once_among_its_owners() -> None:
    """A command repeated behind the window, by a clock set back, makes the id that it made before.

    Its former place would outlive its erasure in who saw everything, and not in who folds what is left.
    """
    story = given(rules=Rules(window_size=1))
    story.when(add_memory("a"), key="same", at=NOON)
    stream, mark = story.stream("memory"), owner_mark(story.state, "acme", "bot", "ann")
    story.when(add_memory("b"), key="other")
    story.told = 0  # the same record once more, its secret too
    story.when(add_memory("a"), key="same", at=NOON)
    assert [fact.stream for fact, _ in story.log].count(stream) == 2
    assert [row.ordinal for row in story.state.owned(mark, 9) if row.stream == stream] == [2]
    story.when(delete_memory(own_id(stream)))
    assert not [row for row in story.state.owned(mark, 9) if row.stream == stream]


def test_updates_are_last_writer_wins() -> None:
    """Each says only what changes."""
    story = given(add_memory())
    memory = story.id("memory")
    story.when(update_memory(memory, content="x")).then(MemoryUpdated(content="x"))
    story.when(update_memory(memory, metadata=None)).then(MemoryUpdated(metadata=None))
    assert story.facts[0].version == 2


def test_guarantee_8_a_foreign_memory_does_not_exist() -> None:
    """Another tenant that has the id gets the answer of an id that never was."""
    story = given(add_memory())
    memory = story.id("memory")
    for command in (update_memory(memory, content="x"), delete_memory(memory)):
        story.when(command, tenant="evil").refused(Reason.NOT_FOUND)
    nothing = story.when(update_memory(NEVER_MADE, content="x")).refused(Reason.NOT_FOUND).result
    assert story.when(update_memory(memory, content="x"), tenant="evil").result == nothing
    story.when(update_memory(memory, content="x")).then(MemoryUpdated)


@pytest.mark.parametrize("text", ["", "nonsense", "x" * 129, NEVER_MADE.upper(), NEVER_MADE.replace("-8", "-4", 1)])
def test_guarantee_10_an_impossible_id_names_nothing(text: str) -> None:
    """Texts that no id of ours can be are refused by form or by not being there."""
    try:
        command = delete_memory(text)
    except ValidationError:
        assert not 1 <= len(text) <= 128
    else:
        given().when(command).refused(Reason.NOT_FOUND)


def test_a_deleted_memory_is_erased_at_once() -> None:
    """One fact takes all of them; nothing that the caller wrote is left, in the fact or in the state."""
    story = given(add_memory("a secret"), lambda s: update_memory(s.id("memory"), content="a secret too"))
    memory, taken = story.id("memory"), [fact for fact, _ in story.log]
    story.when(delete_memory(memory)).then(MemoryErased)
    payload = story.only(MemoryErased)
    assert payload.ended
    assert [(t.version, t.ordinal, t.link, t.subject) for t in payload.took] == [
        (f.version, f.ordinal, f.link.hex(), memory) for f in taken
    ]
    value = story.log[-1][1].value
    assert value is not None
    for text in (b"secret", b"bot", b"ann"):
        assert text not in value
    assert story.body(story.stream("memory")) == Ended()
    for command in (update_memory(memory, content="x"), delete_memory(memory)):
        story.when(command).refused(Reason.NOT_FOUND)


def test_a_memory_with_more_facts_than_one_command_may_take_is_hidden_first() -> None:
    """Then ranges take the lowest versions, each with one `Erased`, and the closing one the hiding fact too."""
    with patch.object(erasure, "ERASE_LIMIT", 3):
        story = given(add_memory(), *[lambda s: update_memory(s.id("memory"), content="x")] * 6)
        memory, stream = story.id("memory"), story.stream("memory")
        story.when(delete_memory(memory)).then(MemoryDeleted)
        assert story.state.erasing == {stream}
        story.when(update_memory(memory, content="x")).refused(Reason.NOT_FOUND)
        story.when(delete_memory(memory)).refused(Reason.NOT_FOUND)
        took = []
        while story.state.erasing:
            story.when(erase_range("memory", memory), by="worker/eraser").then(MemoryErased)
            payload = story.only(MemoryErased)
            took.append(([t.version for t in payload.took], payload.ended))
        assert took == [([0, 1, 2], False), ([3, 4, 5], False), ([6, 7], True)]
        assert story.body(stream) == Ended()
        story.when(erase_range("memory", memory), by="worker/eraser").refused(Reason.NOT_FOUND)


def test_what_is_not_hidden_is_not_taken_piecemeal() -> None:
    """`EraseRange` alone erases nothing that readers can see."""
    story = given(add_memory())
    story.when(erase_range("memory", story.id("memory")), by="worker/eraser").refused(Reason.NOT_HIDDEN)
    found = story.state.stream(story.stream("memory"))
    assert found is not None
    assert isinstance(found.body, MemoryState)


@pytest.mark.parametrize(
    ("agent", "invoker", "content"),
    [("", "b", "c"), (" ", "b", "c"), ("a", "\t", "c"), ("a" * 4_097, "b", "c"), ("a", "b", "")],
)
def test_guarantee_10_owner_and_content_are_given(agent: str, invoker: str, content: str) -> None:
    """Blank or endless names and empty contents are refused before anything is decided."""
    with pytest.raises(ValidationError):
        add_memory(content, agent=agent, invoker=invoker)


def test_guarantee_10_an_update_changes_something() -> None:
    """An empty change is refused."""
    with pytest.raises(ValidationError, match="to change"):
        update_memory(NEVER_MADE)


def test_guarantee_10_a_value_beyond_the_limit_is_refused_whole() -> None:
    """A fact's value is at most 1 MiB; a larger one leaves nothing, as if it had never come."""
    story = given().when(add_memory("x" * (1 << 20))).refused(Reason.TOO_LARGE)
    story.when(add_memory("x" * 1_000_000)).then(MemoryAdded)
    assert (story.facts[0].version, story.facts[0].ordinal) == (0, 0)
