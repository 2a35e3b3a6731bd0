"""What a session decides: numbers, versions, tokens, batches, participants, keys."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from mnemolog.domain.decision import SessionState, Token
from mnemolog.domain.ids import slot_in, slot_of
from mnemolog.domain.outcomes import Reason
from mnemolog.domain.rules import Rules
from mnemolog.domain.session import (
    EventAppended,
    EventDeleted,
    EventUpdated,
    SessionCreated,
    SessionDeleted,
    SessionErased,
    SessionUpdated,
)
from mnemolog.domain.space import SpaceCreated
from mnemolog.domain.times import to_text
from tests.given import NOON, Story, given
from tests.wishes import (
    append_events,
    change,
    create_session,
    create_space,
    delete_event,
    delete_session,
    delete_space,
    erase_range,
    event,
    update_events,
    update_session,
)

pytestmark = pytest.mark.unit


def opened(rules: Rules | None = None) -> Story:
    """Begin with a space and a session."""
    return given(create_space(), lambda s: create_session(s.id("space")), rules=rules)


def ids(story: Story) -> tuple[str, str]:
    """Return the ids of the newest space and session."""
    return story.id("space"), story.id("session")


def state(story: Story) -> SessionState:
    """Return the session's state."""
    found = story.state.stream(story.stream("session"))
    assert found is not None
    assert isinstance(found.body, SessionState)
    return found.body


# ---- opening ---------------------------------------------------------------------------------------------------------


def test_a_session_is_opened_at_version_1_with_the_default_strategy() -> None:
    """Without strategies it gets the rules' soft deletion; what the caller said stands in the fact."""
    story = given(create_space()).when(
        lambda s: create_session(s.id("space"), description="d", metadata={"b": 1, "a": None})
    )
    story.then(
        SessionCreated(
            space=story.id("space"),
            participants=["p1"],
            lifecycle_strategies=[{"type": "soft_delete", "trigger": {"ttl": 15_552_000}}],
            description="d",
            metadata={"b": 1, "a": None},
        )
    )
    assert state(story).version == 1
    assert state(story).created == story.now


def test_a_session_lives_in_the_slot_of_its_space() -> None:
    """One writer decides a space and everything in it."""
    story = opened()
    assert len({fact.slot for fact, _ in story.log}) == 1


def test_a_deduplication_key_is_taken_within_its_space_and_freed_by_deletion() -> None:
    """The second session with a key is refused with the first one's id; another space has keys of its own."""
    story = given(create_space(), lambda s: create_session(s.id("space"), deduplication_key="K"))
    space, first = ids(story)
    story.when(create_session(space, deduplication_key="K")).refused(Reason.KEY_TAKEN)
    assert story.result.existing == first  # type: ignore[union-attr]
    story.when(create_space()).then(SpaceCreated)
    story.when(create_session(story.id("space"), deduplication_key="K")).then(SessionCreated)
    story.when(delete_session(space, first)).then(SessionDeleted)
    story.when(create_session(space, deduplication_key="K")).then(SessionCreated)
    story.when(erase_range("session", first), by="worker/eraser").then(SessionErased)
    story.when(create_session(space, deduplication_key="K")).refused(Reason.KEY_TAKEN)


@pytest.mark.parametrize(("user", "tenant"), [("u2", "acme"), ("u1", "evil")])
def test_guarantee_8_a_foreign_space_does_not_exist(user: str, tenant: str) -> None:
    """Another user's or tenant's commands get the answer of an id that never was."""
    story = opened()
    space, session = ids(story)
    commands = [
        create_session(space, user),
        update_session(space, session, user=user, description="x"),
        delete_session(space, session, user),
        append_events(space, session, user=user),
        update_events(space, session, change(0, "x"), user=user),
        delete_event(space, session, 0, user),
    ]
    for command in commands:
        story.when(command, tenant=tenant).refused(Reason.NOT_FOUND, "no memory space with this id")


def test_a_session_is_found_in_its_own_space_only() -> None:
    """A session's id under another space of the same user, even in the same slot, names nothing."""
    keys: dict[int, str] = {}
    twins = next(
        (keys[slot], key)
        for key in map(str, range(4_096))
        if (slot := slot_of("acme", "u1", key)) in keys or keys.update({slot: key})
    )
    story = given(
        create_space(deduplication_key=twins[0]),
        lambda s: create_session(s.id("space")),
        create_space(deduplication_key=twins[1]),
    )
    own, other, session = story.id("space", 0), story.id("space", 1), story.id("session")
    assert slot_in(own) == slot_in(other)
    story.when(append_events(other, session)).refused(Reason.NOT_FOUND, "no session")
    story.when(append_events(own, session)).then(EventAppended)


def test_a_hidden_session_or_space_takes_nothing() -> None:
    """Decisions check the session and its parent."""
    story = opened()
    space, session = ids(story)
    story.when(append_events(space, session)).then(EventAppended)
    story.when(delete_session(space, session)).then(SessionDeleted)
    for command in (
        append_events(space, session),
        update_events(space, session, change(0, "x")),
        delete_event(space, session, 0),
        update_session(space, session, description="x"),
        delete_session(space, session),
    ):
        story.when(command).refused(Reason.NOT_FOUND, "no session")
    story.when(create_session(space)).then(SessionCreated)
    story.when(delete_space(space))
    story.when(append_events(space, story.id("session"))).refused(Reason.NOT_FOUND, "no memory space")


# ---- events ----------------------------------------------------------------------------------------------------------


def test_guarantee_1_events_are_numbered_in_log_order() -> None:
    """Sequence ids are 0, 1, 2 … over single events and batches, and the stream's versions are gapless."""
    story = opened()
    space, session = ids(story)
    for count in (1, 3, 1, 200, 2):
        story.when(append_events(space, session, *[event(f"e{n}") for n in range(count)])).then(
            *[EventAppended] * count
        )
    facts = [fact for fact, _ in story.log if fact.stream == story.stream("session")]
    assert [fact.version for fact in facts] == list(range(208))
    assert [fact.subject for fact in facts[1:]] == [f"event/{n}" for n in range(207)]
    assert [fact.time for fact in facts] == sorted({fact.time for fact in facts})
    assert [fact.ordinal for fact, _ in story.log] == list(range(209))


def test_guarantee_1_a_sequence_id_is_not_used_again_after_deletion_and_erasure() -> None:
    """With the last event deleted and erased, the next one still gets the next number."""
    story = opened()
    space, session = ids(story)
    story.when(append_events(space, session, event("a"), event("b")))
    story.when(delete_event(space, session, 1)).then(EventDeleted)
    story.when(erase_range("session", session, "event/1"), by="worker/eraser").then(SessionErased)
    story.when(append_events(space, session)).then(EventAppended)
    assert story.facts[0].subject == "event/2"


def test_guarantee_2_a_batch_has_all_of_its_facts_or_none() -> None:
    """One foreign emitter, one stale token or one missing event refuses the whole batch."""
    story = opened()
    space, session = ids(story)
    story.when(append_events(space, session, event("a"), event("b"), event("c")))
    before = len(story.log)
    story.when(append_events(space, session, event("d"), event("e", by="stranger"))).refused(Reason.NOT_PARTICIPANT)
    story.when(update_events(space, session, change(0, "x"), change(9, "x"))).refused(Reason.NOT_FOUND, "event 9")
    stale = change(1, "x", created_at=to_text(NOON))
    story.when(update_events(space, session, change(0, "x"), stale)).refused(Reason.STALE_EVENT)
    assert len(story.log) == before
    story.when(update_events(space, session, change(2, "x"), change(0, "y"))).then(EventUpdated, EventUpdated)
    assert [(f.nth, f.of, f.subject) for f in story.facts] == [(0, 2, "event/2"), (1, 2, "event/0")]


def test_an_event_of_a_user_comes_from_a_participant() -> None:
    """Emitters of type user need a participant's id; others may be anyone, also no one."""
    story = opened()
    space, session = ids(story)
    for stranger in (event(by="stranger"), event(by=None)):
        story.when(append_events(space, session, stranger)).refused(Reason.NOT_PARTICIPANT)
    story.when(append_events(space, session, event(kind="agent", by="anyone"), event(kind="agent", by=None)))
    story.then(
        EventAppended(body={"content": "hi"}, type="message", emitter={"type": "agent", "id": "anyone"}, tokens=1),
        EventAppended(body={"content": "hi"}, type="message", emitter={"type": "agent"}, tokens=1),
    )
    foreign = change(0, emitter={"type": "user", "id": "stranger"})
    story.when(update_events(space, session, foreign)).refused(Reason.NOT_PARTICIPANT)


def test_tokens_are_counted_once_by_the_rule_and_kept_absolute() -> None:
    """Appending adds, changing replaces, deleting takes away; a change without a body leaves the count."""
    story = opened()
    space, session = ids(story)
    story.when(append_events(space, session, event("abcde"), event("é" * 8)))
    assert [f.payload.tokens for f in story.facts if isinstance(f.payload, EventAppended)] == [2, 4]
    story.when(update_events(space, session, change(0, "x" * 40))).then(
        EventUpdated(body={"content": "x" * 40}, tokens=10)
    )
    story.when(update_events(space, session, change(1, type="note"))).then(EventUpdated(type="note"))
    assert (state(story).events, state(story).tokens) == (2, 14)
    story.when(delete_event(space, session, 0))
    assert (state(story).events, state(story).tokens, state(story).next) == (1, 4, 2)


def test_a_deleted_event_is_gone_for_decisions() -> None:
    """It can be neither changed nor deleted again, and the session's version did not move."""
    story = opened()
    space, session = ids(story)
    story.when(append_events(space, session)).when(delete_event(space, session, 0)).then(EventDeleted)
    story.when(delete_event(space, session, 0)).refused(Reason.NOT_FOUND)
    story.when(update_events(space, session, change(0, "x"))).refused(Reason.NOT_FOUND)
    assert state(story).version == 1


# ---- concurrency -----------------------------------------------------------------------------------------------------


def test_guarantee_4_of_many_updates_with_one_version_one_wins() -> None:
    """Eight updates that saw version 1: the first is accepted as version 2, the others are told."""
    story = opened()
    space, session = ids(story)
    answers = []
    for n in range(8):
        story.when(update_session(space, session, 1, description=f"writer {n}"))
        answers.append(isinstance(story.result, list))
        if n:
            story.refused(Reason.VERSION_MISMATCH, "Session version mismatch: expected 1, current 2")
    assert answers == [True] + [False] * 7
    assert state(story).version == 2


def test_guarantee_4_of_many_updates_with_one_event_token_one_wins() -> None:
    """Eight changes that saw the same time of writing: one wins, and its time is the next token."""
    story = opened()
    space, session = ids(story)
    story.when(append_events(space, session))
    token = to_text(story.facts[0].time)
    story.when(update_events(space, session, change(0, "x", created_at=token))).then(EventUpdated)
    following = to_text(story.facts[0].time)
    for _ in range(7):
        story.when(update_events(space, session, change(0, "x", created_at=token))).refused(Reason.STALE_EVENT)
    story.when(update_events(space, session, change(0, "x", created_at=following))).then(EventUpdated)


def test_guarantee_4_a_clock_set_back_still_gives_a_new_token() -> None:
    """Times rise strictly within a stream, so a token never comes back."""
    story = opened()
    space, session = ids(story)
    story.when(append_events(space, session), at=NOON + 500)
    tokens = [story.facts[0].time]
    for _ in range(3):
        story.when(update_events(space, session, change(0, "x")), at=NOON - 10**9)
        tokens.append(story.facts[0].time)
    assert tokens == [tokens[0] + n for n in range(4)]


def test_guarantee_4_eight_writers_of_25_appends_keep_200() -> None:
    """Appends never conflict: interleaved writers leave sequence ids 0..199."""
    story = opened()
    space, session = ids(story)
    seen = [story.when(append_events(space, session)).facts[0].subject for _ in range(25) for _ in range(8)]
    assert seen == [f"event/{n}" for n in range(200)]


@pytest.mark.parametrize("zone", ["Z", "+00:00", ""])
def test_a_token_is_an_instant_in_any_spelling(zone: str) -> None:
    """Tokens are compared as instants; a time without a zone is UTC."""
    story = opened()
    space, session = ids(story)
    story.when(append_events(space, session))
    token = to_text(story.facts[0].time).removesuffix("Z") + zone
    story.when(update_events(space, session, change(0, "x", created_at=token))).then(EventUpdated)


def test_a_token_that_is_no_time_is_invalid() -> None:
    """It is told apart from a stale one."""
    story = opened()
    space, session = ids(story)
    story.when(append_events(space, session))
    story.when(update_events(space, session, change(0, "x", created_at="yesterday"))).refused(Reason.INVALID)


def test_events_do_not_move_the_version_and_updates_do() -> None:
    """`If-Match` compares session updates only; without a version the last writer wins."""
    story = opened()
    space, session = ids(story)
    story.when(append_events(space, session)).when(update_events(space, session, change(0, "x")))
    story.when(update_session(space, session, 1, metadata=None)).then(SessionUpdated(version=2, metadata=None))
    story.when(update_session(space, session, description="y")).then(SessionUpdated(version=3, description="y"))


# ---- form ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 201])
def test_guarantee_10_a_batch_has_1_to_200_items(count: int) -> None:
    """More, or none, is refused before anything is decided."""
    with pytest.raises(ValidationError):
        append_events("s", "t", *[event()] * count) if count else append_events("s", "t").model_validate(
            {"target": {"space": "s", "session": "t", "user": "u"}, "parts": []}
        )


def test_guarantee_10_an_event_is_changed_once_in_a_batch() -> None:
    """Two changes of one event in a batch have no order that a caller could mean."""
    with pytest.raises(ValidationError, match="twice"):
        update_events("s", "t", change(1, "x"), change(1, "y"))


@pytest.mark.parametrize("content", [None, 5, "", "x" * 100_001, ["x"]])
def test_guarantee_10_an_event_has_a_content(content: object) -> None:
    """`body.content` is a string of 1 to 100,000 characters."""
    with pytest.raises(ValidationError, match=r"body\.content"):
        event(content)  # type: ignore[arg-type]


def test_guarantee_10_a_change_changes_something() -> None:
    """A token alone is no change, and an emitter cannot be taken away."""
    with pytest.raises(ValidationError, match="to change"):
        change(0, created_at=to_text(NOON))
    with pytest.raises(ValidationError, match="replaced, not removed"):
        change(0, emitter=None)


def test_the_state_holds_no_text() -> None:
    """What a caller wrote stands in the state only as 16-byte marks."""
    story = given(create_space("a-user"), lambda s: create_session(s.id("space"), "a-user", deduplication_key="a-key"))
    space, session = ids(story)
    story.when(append_events(space, session, event("a-content", type="a-type"), user="a-user"))
    found = repr(story.state._new.streams) + repr(story.state._new.keys) + repr(story.state._new.acceptances)
    for text in ("a-user", "a-key", "p1", "a-content", "a-type"):
        assert text not in found
    assert story.state.token(story.stream("session"), 0) == Token(story.facts[0].time, 3, live=True)
