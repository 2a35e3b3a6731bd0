"""What retention and operators take: records past their window, what was hidden for the grace, owners, whole spaces."""

from __future__ import annotations

import pytest

from mnemolog.domain.codec import decode_command
from mnemolog.domain.decision import Ended
from mnemolog.domain.erasure import Erased
from mnemolog.domain.memory import MemoryErased
from mnemolog.domain.message import MessageAdded, MessageErased
from mnemolog.domain.outcomes import Reason
from mnemolog.domain.owner import OwnerClosed, OwnerErased
from mnemolog.domain.rules import ERASE_LIMIT, Rules
from mnemolog.domain.schema import Payload
from mnemolog.domain.session import EventDeleted, SessionDeleted, SessionErased
from mnemolog.domain.space import SpaceDeleted, SpaceErased
from mnemolog.domain.times import DAY, SECOND
from tests.given import Story, given
from tests.wishes import (
    add_memory,
    add_message,
    append_events,
    create_session,
    create_space,
    delete_event,
    delete_memory,
    delete_message,
    delete_session,
    delete_space,
    erase,
    erase_owner,
    erase_range,
    event,
    expire,
    hide,
    update_memory,
)
from workers.eraser import ACTOR, proposals

pytestmark = pytest.mark.unit
WORKER = "worker/retention"


def finish(story: Story) -> list[int]:
    """Let the eraser go on until nothing waits; return how many facts each of its commands took."""
    sizes = []
    while proposed := proposals(story.state, bytes):
        for record in proposed:
            story.when(decode_command(record).command, by=ACTOR, tenant=record.headers["tenant"])
            sizes.append(sum(len(f.payload.took) for f in story.facts if isinstance(f.payload, Erased)))
    return sizes


def kinds(story: Story) -> set[type[Payload]]:
    """Return the types of the facts that are left."""
    gone = {(f.stream, t.version) for f, _ in story.log if isinstance(f.payload, Erased) for t in f.payload.took}
    return {type(f.payload) for f, _ in story.log if (f.stream, f.version) not in gone}


# ---- expiry ----------------------------------------------------------------------------------------------------------


def test_a_record_goes_if_it_was_created_before_the_cutoff() -> None:
    """Not by its last change, and not one that was created at the cutoff itself; a re-run changes nothing."""
    story = given(add_memory(), add_message())
    memory, message = story.log[0][0], story.log[1][0]
    story.when(update_memory(memory.subject, content="new"), at=memory.time + 5 * DAY)
    message_id = message.subject.removeprefix("message/")
    story.when(expire("memory", memory.subject, memory.time), by=WORKER).refused(Reason.NOT_DUE)
    story.when(expire("message", message_id, message.time), by=WORKER).refused(Reason.NOT_DUE)
    story.when(expire("memory", memory.subject, memory.time + 1), by=WORKER).then(MemoryErased)
    story.when(expire("message", message_id, message.time + 1), by=WORKER).then(MessageErased)
    story.when(expire("memory", memory.subject, memory.time + 1), by=WORKER).refused(Reason.NOT_FOUND)
    story.when(expire("message", message_id, message.time + 1), by=WORKER).refused(Reason.NOT_FOUND)


def test_a_cutoff_that_has_not_come_takes_nothing() -> None:
    """No proposal of a worker whose clock is wrong takes what is being written now."""
    story = given(add_memory())
    story.when(expire("memory", story.id("memory"), story.now + DAY), by=WORKER).refused(Reason.NOT_DUE)


def test_guarantee_8_nothing_of_another_tenant_expires() -> None:
    """A foreign id names nothing."""
    story = given(add_memory(), add_message())
    message = story.log[1][0].subject.removeprefix("message/")
    cutoff = story.now + 1
    for command in (expire("memory", story.id("memory"), cutoff), expire("message", message, cutoff)):
        story.when(command, at=cutoff, by=WORKER, tenant="evil").refused(Reason.NOT_FOUND)


# ---- the grace -------------------------------------------------------------------------------------------------------


def test_what_was_soft_deleted_is_kept_for_the_grace() -> None:
    """A proposal with a cutoff takes what was hidden by then, and the grace of the rules bounds every cutoff."""
    story = given(create_space(), rules=Rules(grace=60))
    space = story.id("space")
    story.when(create_session(space)).when(append_events(space, story.id("session"), event(), event()))
    session = story.id("session")
    event_gone = story.when(delete_event(space, session, 0)).facts[0].time
    gone = story.when(delete_session(space, session)).facts[0].time
    due = gone + 60 * SECOND
    for entry, since in (("event/0", event_gone), (None, gone)):
        story.when(erase_range("session", session, entry, cutoff=since - 1), at=due, by=WORKER).refused(Reason.NOT_DUE)
        at = since + 60 * SECOND
        story.when(erase_range("session", session, entry, cutoff=since), at=at - 1, by=WORKER).refused(Reason.NOT_DUE)
        story.when(erase_range("session", session, entry, cutoff=since), at=at, by=WORKER).then(SessionErased)
    assert story.body(story.stream("session")) == Ended()
    gone = story.when(delete_space(space)).facts[0].time
    story.when(erase_range("contents", space, cutoff=gone), by=WORKER).refused(Reason.NOT_DUE)
    story.when(erase_range("contents", space, cutoff=gone), at=gone + 60 * SECOND, by=WORKER).then(SpaceErased)


def test_what_has_been_begun_goes_on_without_a_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first range the state no longer says since when, and the eraser goes on at once."""
    monkeypatch.setattr("mnemolog.domain.erasure.ERASE_LIMIT", 2)
    story = given(create_space(), rules=Rules(grace=60))
    space = story.id("space")
    story.when(create_session(space)).when(append_events(space, story.id("session"), event(), event()))
    gone = story.when(delete_session(space, story.id("session"))).facts[0].time
    assert finish(story) == []
    later = gone + 60 * SECOND
    story.when(erase_range("session", story.id("session"), cutoff=gone), at=later, by=WORKER).then(SessionErased)
    assert finish(story) == [2]
    assert kinds(story) == {type(story.log[0][0].payload), SessionErased}


# ---- at once ---------------------------------------------------------------------------------------------------------


def test_a_small_session_or_space_is_erased_by_one_fact() -> None:
    """Without hiding first; its deduplication key is free again."""
    story = given(create_space(deduplication_key="K"))
    space = story.id("space")
    story.when(create_session(space, deduplication_key="S")).when(append_events(space, story.id("session")))
    story.when(erase("session", story.id("session"))).then(SessionErased)
    story.when(create_session(space, deduplication_key="S")).when(erase("session", story.id("session")))
    story.when(erase("space", space)).then(SpaceErased)
    assert kinds(story) == {SessionErased, SpaceErased}
    assert story.when(create_space(deduplication_key="K")).facts


def test_what_was_soft_deleted_can_be_erased_at_once() -> None:
    """The grace is for those who do not ask."""
    story = given(create_space())
    space = story.id("space")
    story.when(create_session(space)).when(delete_session(space, story.id("session")))
    story.when(erase("session", story.id("session"))).then(SessionErased)
    story.when(delete_space(space)).when(erase("space", space)).then(SpaceErased)


def test_memories_and_messages_are_erased_as_their_deletion_does() -> None:
    """The same fact, by their id."""
    story = given(add_memory(), add_message())
    message = story.log[1][0].subject.removeprefix("message/")
    story.when(erase("memory", story.id("memory")), key="k").then(MemoryErased)
    story.when(erase("memory", story.id("memory")), key="k").repeated([story.log[-1][0]])
    story.when(erase("message", message)).then(MessageErased)
    for kind in ("memory", "message", "session", "space"):
        story.when(erase(kind, story.id("memory"))).refused(Reason.NOT_FOUND)


def test_a_large_session_is_hidden_and_goes_in_ranges() -> None:
    """Twice what one command may take: one command hides it and takes a few facts, the eraser the rest."""
    story = given(create_space())
    space = story.id("space")
    story.when(create_session(space))
    session = story.id("session")
    for _ in range(5):
        story.when(append_events(space, session, *[event()] * 200))
    story.when(erase("session", session)).then(SessionDeleted, SessionErased)
    story.when(append_events(space, session)).refused(Reason.NOT_FOUND)
    sizes = finish(story)
    assert max(sizes) < ERASE_LIMIT
    assert sum(sizes) == 992
    assert story.body(story.stream("session")) == Ended()
    assert kinds(story) == {type(story.log[0][0].payload), SessionErased}


@pytest.mark.parametrize("limit", [1, 2, 3, 500])
def test_a_space_goes_with_its_sessions(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Its own facts first, then sessions in bounded steps, some hidden before, then what hid it."""
    monkeypatch.setattr("mnemolog.domain.erasure.ERASE_LIMIT", limit)
    story = given(create_space())
    space = story.id("space")
    sessions = [story.when(create_session(space)).id("session") for _ in range(4)]
    for session in sessions:
        story.when(append_events(space, session, event("a"), event("b")))
    story.when(delete_event(space, sessions[1], 0)).then(EventDeleted)
    story.when(delete_session(space, sessions[0]))
    story.when(erase("space", space)).then(SpaceDeleted, SpaceErased)
    story.when(append_events(space, sessions[2])).refused(Reason.NOT_FOUND)
    sizes = finish(story)
    assert max(sizes) <= limit
    assert {type(story.body(f.stream)) for f, _ in story.log} == {Ended}
    assert kinds(story) == {SpaceErased, SessionErased}
    assert not story.state.erasing


# ---- owners ----------------------------------------------------------------------------------------------------------


def owner(memories: int = 3, messages: int = 3) -> Story:
    """Give ann some memories and messages with the bot, and bob one of each."""
    story = given()
    for n in range(memories):
        story.when(add_memory(f"text {n}"))
    for n in range(messages):
        story.when(add_message(f"text {n}", group=f"chat {n % 2}"))
    return story.when(add_memory(invoker="bob")).when(add_message(invoker="bob"))


def test_an_owner_is_hidden_by_one_fact() -> None:
    """At once nothing of before can be read or changed by a decision; what comes after is untouched."""
    story = owner()
    memory = story.stream("memory", 0)
    message = next(f.subject for f, _ in story.log if isinstance(f.payload, MessageAdded)).removeprefix("message/")
    story.when(erase_owner()).then(OwnerErased(agent="bot", invoker="ann"))
    memory_id = memory.rpartition("/")[2]
    story.when(update_memory(memory_id, content="x")).refused(Reason.NOT_FOUND)
    story.when(delete_memory(memory_id)).refused(Reason.NOT_FOUND)
    story.when(expire("memory", memory_id, story.now), by=WORKER).refused(Reason.NOT_FOUND)
    story.when(delete_message(message)).refused(Reason.NOT_FOUND)
    new = story.when(add_memory("since")).facts[0].subject
    assert story.when(update_memory(new, content="changed")).facts


@pytest.mark.parametrize("limit", [1, 2, 3, 500])
def test_guarantee_7_an_owner_goes_in_bounded_steps(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Everything of before, also what has many facts, and the fact that named him; nothing of since or of others."""
    monkeypatch.setattr("mnemolog.domain.erasure.ERASE_LIMIT", limit)
    story = owner()
    for n in range(4):
        story.when(update_memory(story.id("memory", 1), content=f"text {n}"))
    story.when(erase_owner())
    since = [story.when(command).facts[0] for command in (add_memory("since"), add_message("since", group="chat 0"))]
    assert max(finish(story)) <= limit
    left = [f for f, record in story.log if isinstance(f.payload, OwnerErased | OwnerClosed) or record.value]
    gone = {(f.stream, t.version) for f in left if isinstance(f.payload, Erased) for t in f.payload.took}
    alive = [f for f in left if (f.stream, f.version) not in gone and not isinstance(f.payload, Erased)]
    assert [f.tenant for f in alive] == ["acme"] * 4
    assert {getattr(f.payload, "invoker", "") for f in alive} == {"ann", "bob"}
    assert alive[2:] == since
    assert since[1].payload.number == 2  # type: ignore[attr-defined]
    assert not story.state.erasing


def test_an_owner_without_anything_has_nothing_to_erase() -> None:
    """Neither one who never was, nor one who has been erased."""
    story = owner()
    story.when(erase_owner(invoker="carl")).refused(Reason.NOT_FOUND)
    story.when(erase_owner(), tenant="evil").refused(Reason.NOT_FOUND)
    story.when(erase_owner())
    finish(story)
    story.when(erase_owner()).refused(Reason.NOT_FOUND)


def test_two_erasures_of_an_owner_both_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second hides what came since the first; each closes when nothing below it is left."""
    monkeypatch.setattr("mnemolog.domain.erasure.ERASE_LIMIT", 2)
    story = owner().when(erase_owner()).when(add_memory("since")).when(erase_owner())
    between = story.id("memory")
    story.when(update_memory(between, content="x")).refused(Reason.NOT_FOUND)
    finish(story)
    assert not story.state.erasing
    assert story.body(story.stream("memory")) == Ended()


def test_guarantee_3_a_repeated_erasure_of_an_owner_is_recognised() -> None:
    """While it goes on and when it has ended."""
    story = owner()
    first = story.when(erase_owner(), key="k").facts
    story.when(erase_owner(), key="k").repeated(first)
    finish(story)
    story.when(erase_owner(), key="k").repeated(first)


# ---- hiding again ----------------------------------------------------------------------------------------------------


def test_what_a_restored_log_shows_again_is_hidden_by_its_id_alone() -> None:
    """`Hide` needs no user; what is hidden already, by itself or with its space, is not there to be hidden."""
    story = given(create_space("u1"))
    story.when(lambda s: create_session(s.id("space"), "u1"))
    story.when(lambda s: append_events(s.id("space"), s.id("session"), event("a"), event("b"), user="u1"))
    session, space = story.id("session"), story.id("space")
    story.when(hide("session", session, "event/0"), by="worker/restore").then(EventDeleted())
    story.when(hide("session", session, "event/0"), by="worker/restore").refused(Reason.NOT_FOUND)
    story.when(hide("session", session, "event/7"), by="worker/restore").refused(Reason.NOT_FOUND)
    story.when(hide("session", session), by="worker/restore").then(SessionDeleted())
    story.when(hide("session", session), by="worker/restore").refused(Reason.NOT_FOUND)
    story.when(hide("space", space), by="worker/restore").then(SpaceDeleted())
    story.when(hide("space", space), by="worker/restore").refused(Reason.NOT_FOUND)
    story.when(hide("session", session), by="worker/restore", tenant="other").refused(Reason.NOT_FOUND)
