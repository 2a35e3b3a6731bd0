"""What a message group decides: numbers, names that end with the last message, erasure."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from mnemolog.domain.decision import Ended, GroupState
from mnemolog.domain.ids import slot_of
from mnemolog.domain.message import MessageAdded, MessageErased
from mnemolog.domain.outcomes import Reason
from tests.given import Story, given
from tests.wishes import add_message, delete_message

pytestmark = pytest.mark.unit


def messages(story: Story) -> list[str]:
    """Return the ids of all messages that were added."""
    return [f.subject.removeprefix("message/") for f, _ in story.log if isinstance(f.payload, MessageAdded)]


def test_guarantee_1_messages_are_numbered_in_their_conversation() -> None:
    """A group's stream bears its first message's id, its messages are 0, 1, 2 …; another name is another group."""
    story = given(add_message("a"), add_message("b"), add_message("c", group="other"), add_message("d"))
    numbers = [(f.stream, f.payload.number) for f, _ in story.log if isinstance(f.payload, MessageAdded)]
    first, other = f"acme/group/{messages(story)[0]}", f"acme/group/{messages(story)[2]}"
    assert numbers == [(first, 0), (first, 1), (other, 0), (first, 2)]
    assert [f.version for f, _ in story.log] == [0, 1, 0, 2]
    assert {f.slot for f, _ in story.log} == {slot_of("acme", "bot", "ann")}


@pytest.mark.parametrize("field", ["agent", "invoker", "group"])
def test_a_conversation_is_agent_invoker_and_name(field: str) -> None:
    """Each of the three makes another conversation, and so does the tenant."""
    story = given(add_message())
    story.when(add_message(**{field: "else"})).then(MessageAdded)
    assert story.only(MessageAdded).number == 0
    story.when(add_message(), tenant="other").then(MessageAdded)
    assert story.only(MessageAdded).number == 0


def test_guarantee_1_an_erased_message_leaves_its_number() -> None:
    """With the last of several messages erased, the next one still gets the next number."""
    story = given(add_message("a"), add_message("b"))
    story.when(delete_message(messages(story)[1])).then(MessageErased)
    payload = story.only(MessageErased)
    assert (payload.next, payload.live, payload.ended) == (2, 1, False)
    story.when(add_message("c")).then(MessageAdded)
    assert story.only(MessageAdded).number == 2
    assert story.facts[0].version == 3


def test_guarantee_1_a_group_ends_with_its_last_message() -> None:
    """The next message under that name opens another stream, numbered from 0; the name is not kept in between."""
    story = given(add_message("a"), add_message("b"))
    first = story.stream("group")
    for message in messages(story):
        story.when(delete_message(message)).then(MessageErased)
    assert story.only(MessageErased).ended
    assert story.body(first) == Ended()
    assert story.state.key(story.state.mark("group", "acme", "bot", "ann", "chat")) is None
    story.when(add_message("c")).then(MessageAdded)
    assert story.only(MessageAdded).number == 0
    assert story.stream("group") != first


def test_an_erased_message_is_gone() -> None:
    """It cannot be erased twice, and the fact holds nothing that was written."""
    story = given(add_message("a secret"), add_message("b"))
    gone = messages(story)[0]
    story.when(delete_message(gone)).then(MessageErased)
    value = story.log[-1][1].value
    assert value is not None
    for text in (b"secret", b"bot", b"ann", b"chat"):
        assert text not in value
    story.when(delete_message(gone)).refused(Reason.NOT_FOUND)
    found = story.state.stream(story.stream("group"))
    assert found is not None
    assert isinstance(found.body, GroupState)
    assert found.body.live == 1


def test_guarantee_8_a_foreign_message_does_not_exist() -> None:
    """Another tenant that has the id gets the answer of an id that never was."""
    story = given(add_message())
    story.when(delete_message(messages(story)[0]), tenant="evil").refused(Reason.NOT_FOUND, "no message with this id")
    story.when(delete_message(messages(story)[0])).then(MessageErased)


@pytest.mark.parametrize(
    "fields", [{"role": "user"}, {"role": ""}, {"content": ""}, {"content": 5}, {"x": 1}, {"metadata": []}]
)
def test_guarantee_10_a_message_has_a_role_and_a_content(fields: dict[str, object]) -> None:
    """Other roles, no text, unknown fields: refused before anything is decided."""
    with pytest.raises(ValidationError):
        add_message(**fields)  # type: ignore[arg-type]
