"""History: what happened to a stream, by whom and when, told as differences; erased facts as such."""

from __future__ import annotations

import pytest

from mnemolog.audit.history import Change, history, owned
from mnemolog.audit.telling import lines
from mnemolog.domain.record import FactRecord
from tests.given import NOON, TICK, Story, given
from tests.wishes import (
    add_memory,
    add_message,
    append_events,
    change,
    create_client,
    create_key,
    create_session,
    create_space,
    delete_event,
    delete_memory,
    erase_range,
    revoke_client,
    update_events,
    update_memory,
)

pytestmark = pytest.mark.unit


def compacted(story: Story) -> list[FactRecord]:
    """Return the story's records without those that an `Erased` has taken."""
    gone = {(fact.stream, took.version) for fact, _ in story.log for took in getattr(fact.payload, "took", ())}
    return [record for fact, record in story.log if (fact.stream, fact.version) not in gone]


def test_an_update_is_told_as_a_difference() -> None:
    """The field, what it was, what it is; what stayed the same is not repeated."""
    story = given(add_memory("likes tea", metadata={"a": 1, "b": {"c": 2}}))
    memory = story.id("memory")
    story.when(update_memory(memory, content="likes coffee", metadata={"a": 1, "b": {"c": 3}}), by="client/other")
    first, second = history([record for _, record in story.log])
    assert first.what == "memory-added"
    assert Change("content", None, "likes tea", new=True) in first.changes
    assert second.changes == (
        Change("content", "likes tea", "likes coffee", new=False),
        Change("metadata.b.c", 2, 3, new=False),
    )
    assert (second.time, second.actor, second.position) == (NOON + 2 * TICK, "client/other", "0:1")


def test_a_field_that_went_with_its_object_is_told() -> None:
    """Metadata is replaced whole: what it holds no more has gone."""
    story = given(add_memory(metadata={"a": 1, "b": 2}))
    story.when(update_memory(story.id("memory"), metadata={"a": 1}))
    entry = history([record for _, record in story.log])[1]
    assert entry.changes == (Change("metadata.b", 2, None, new=False, gone=True),)


def test_events_of_a_session_have_each_their_own_differences() -> None:
    """An event's update is compared with that event, and its deletion says which one."""
    story = given(create_space(), lambda s: create_session(s.id("space")))
    space, session = story.id("space"), story.id("session")
    story.when(append_events(space, session)).when(append_events(space, session))
    story.when(update_events(space, session, change(1, "bye"))).when(delete_event(space, session, 0))
    entries = history([r for f, r in story.log if f.stream == story.stream("session")])
    assert [(e.what, e.subject) for e in entries[-2:]] == [("event-updated", "event/1"), ("event-deleted", "event/0")]
    assert Change("body.content", "hi", "bye", new=False) in entries[-2].changes


def test_an_erased_fact_is_told_as_erased_by_whom_and_when() -> None:
    """Text and metadata are gone; version, subject and, within the window, time and command are not."""
    story = given(add_memory("a secret"))
    memory = story.id("memory")
    story.when(delete_memory(memory), by="client/eraser")
    gone, erased = history(compacted(story))
    assert (gone.version, gone.what, gone.time, gone.command) == (0, "erased-fact", NOON + TICK, "command-1")
    assert gone.erased is not None
    assert (gone.erased.actor, gone.erased.command) == ("client/eraser", "command-2")
    assert (erased.what, erased.took) == ("erased", 1)
    text = "\n".join(line for entry in (gone, erased) for line in lines(entry))
    assert "erased 2026-11-18T12:00:00.002000Z by client/eraser (command command-2)" in text
    assert "secret" not in text


def test_an_erased_event_stands_in_its_place() -> None:
    """Between the entries before and after it, in the order in which all happened."""
    story = given(create_space(), lambda s: create_session(s.id("space")))
    space, session = story.id("space"), story.id("session")
    story.when(append_events(space, session)).when(append_events(space, session))
    story.when(delete_event(space, session, 0)).when(erase_range("session", session, "event/0"))
    entries = history([r for r in compacted(story) if r.headers["stream"] == story.stream("session")])
    told = [(e.version, e.what, e.subject) for e in entries]
    assert told == [
        (0, "session-created", session),
        (1, "erased-fact", "event/0"),
        (2, "event-appended", "event/1"),
        (3, "erased-fact", "event/0"),
        (4, "erased", "event/0"),
    ]


def test_credentials_are_compared_each_with_itself() -> None:
    """All of a tenant share one stream; no hash of a secret is shown."""
    story = given(create_client("a"), create_client("b", admin=False), revoke_client("a"), create_client("a"))
    entries = history([record for _, record in story.log])
    assert [c.field for c in entries[1].changes] == ["client", "admin"]
    assert all("sha256" not in c.field for entry in entries for c in entry.changes)
    story = given(create_key("a", "agent/x"), create_key("b", "agent/x"))
    entries = history([record for _, record in story.log])
    assert [c.field for c in entries[1].changes] == ["key", "public_key", "actor"]


def test_an_owner_has_his_own_streams_only() -> None:
    """Of a slot's facts those of this agent and invoker; of what is erased to its end nobody can tell whose it was."""
    story = given(
        add_memory("mine"), add_message("mine too"), add_memory("not mine", invoker="bob"), add_memory("gone")
    )
    story.when(delete_memory(story.id("memory")))
    mine, unknown = owned(compacted(story), "bot", "ann")
    assert [entry.what for entry in history(mine)] == ["memory-added", "message-added"]
    assert unknown == 1


def test_of_two_long_texts_only_the_difference_is_shown() -> None:
    """A line a change, however long the text."""
    long = "word " * 100
    story = given(add_memory(long + "tea" + long))
    story.when(update_memory(story.id("memory"), content=long + "milk" + long))
    _, line = lines(history([record for _, record in story.log])[1])
    assert "tea" in line
    assert "milk" in line
    assert len(line) < 160
