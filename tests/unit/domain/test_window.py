"""The idempotency window: what a repeat gets, and for how long (guarantee 3)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mnemolog.domain.access import ClientRevoked
from mnemolog.domain.ids import slot_of
from mnemolog.domain.memory import MemoryAdded, MemoryErased, MemoryUpdated
from mnemolog.domain.message import MessageAdded
from mnemolog.domain.outcomes import Accepted, Reason
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command
from mnemolog.domain.session import EventAppended, EventDeleted, SessionErased
from mnemolog.domain.times import DAY
from tests.given import NOON, Story, given
from tests.wishes import (
    add_memory,
    add_message,
    append_events,
    change,
    create_client,
    create_key,
    create_session,
    create_space,
    create_token,
    delete_event,
    delete_memory,
    delete_message,
    delete_session,
    delete_space,
    erase_range,
    event,
    revoke_client,
    revoke_key,
    revoke_token,
    set_retention,
    update_events,
    update_memory,
    update_session,
    update_space,
)

pytestmark = pytest.mark.unit

Wish = Callable[[Story], Command]


def everything() -> Story:
    """Begin with one of each."""
    return given(
        add_memory(),
        add_message(),
        create_space(deduplication_key="K"),
        lambda s: create_session(s.id("space"), deduplication_key="K"),
        lambda s: append_events(s.id("space"), s.id("session"), event("a"), event("b")),
        create_client(),
        create_token(),
        create_key(),
    )


def inside(make: Callable[..., Command], *rest: object, **fields: object) -> Wish:
    """Say a command to the newest session."""
    return lambda s: make(s.id("space"), s.id("session"), *rest, **fields)


WISHES: dict[str, Wish] = {
    "add memory": lambda _: add_memory("x"),
    "update memory": lambda s: update_memory(s.id("memory"), content="x"),
    "delete memory": lambda s: delete_memory(s.id("memory")),
    "add message": lambda _: add_message("x"),
    "delete message": lambda s: delete_message(s.id("group")),
    "create space": lambda _: create_space(deduplication_key="L"),
    "update space": lambda s: update_space(s.id("space"), description="x"),
    "delete space": lambda s: delete_space(s.id("space")),
    "create session": lambda s: create_session(s.id("space")),
    "update session": inside(update_session, description="x"),
    "delete session": inside(delete_session),
    "append": inside(append_events, event("x"), event("y")),
    "update events": inside(update_events, change(0, "x"), change(1, "y")),
    "delete event": inside(delete_event, 0),
    "set retention": lambda _: set_retention(memory_days=1),
    "create client": lambda _: create_client("c2"),
    "revoke client": lambda _: revoke_client(),
    "create token": lambda _: create_token("t2"),
    "revoke token": lambda _: revoke_token(),
    "create key": lambda _: create_key("k2"),
    "revoke key": lambda _: revoke_key(),
}


@pytest.mark.parametrize("wish", WISHES.values(), ids=WISHES.keys())
def test_guarantee_3_a_repeat_gets_the_first_acceptance(wish: Wish) -> None:
    """Whatever was accepted: the same again gets stream, version, subject, time of each fact, and changes nothing."""
    story = everything()
    command = wish(story)
    first = story.when(command, key="K").facts
    before = len(story.log)
    for _ in range(2):
        story.when(command, key="K").repeated(first)
    assert len(story.log) == before


@pytest.mark.parametrize("wish", WISHES.values(), ids=WISHES.keys())
@pytest.mark.parametrize("other", WISHES.values(), ids=WISHES.keys())
def test_guarantee_3_a_key_stands_for_one_request(wish: Wish, other: Wish) -> None:
    """Another kind of command under the same key is refused, or another slot's; it is never taken for the first."""
    story = everything()
    command, reuse = wish(story), other(story)
    if type(command) is type(reuse):
        return
    first = story.when(command, key="K").facts
    story.when(reuse, key="K")
    if isinstance(story.result, list):
        assert story.facts[0].slot != first[0].slot
    else:
        story.refused(Reason.KEY_REUSED)


@pytest.mark.parametrize(
    ("wish", "reuse"),
    [
        (lambda _: add_memory("x"), lambda _: add_memory("y")),
        (lambda _: add_memory("x"), lambda _: add_memory("x", metadata=None)),
        (lambda _: add_memory("x", metadata={"a": 1}), lambda _: add_memory("x", metadata={"a": 1.5})),
        (lambda s: update_memory(s.id("memory"), content="x"), lambda s: update_memory(s.id("memory"), metadata=None)),
        (inside(append_events, event("x"), event("y")), inside(append_events, event("x"))),
        (inside(append_events, event("x")), inside(append_events, event("x"), event("y"))),
        (inside(append_events, event("x"), event("y")), inside(append_events, event("y"), event("x"))),
        (inside(update_events, change(0, "x")), inside(update_events, change(1, "x"))),
        (lambda _: set_retention(memory_days=1), lambda _: set_retention(memory_days=2)),
    ],
)
def test_guarantee_3_a_key_with_other_parts_is_refused(wish: Wish, reuse: Wish) -> None:
    """Another body, order, number of items: refused, and nothing is stored."""
    story = everything()
    story.when(wish(story), key="K")
    assert story.facts
    story.when(reuse(story), key="K").refused(Reason.KEY_REUSED)


def test_the_order_of_keys_in_json_is_not_another_body() -> None:
    """Digests are over canonical JSON."""
    story = given()
    first = story.when(add_memory("x", metadata={"a": 1, "b": 2}), key="K").facts
    story.when(add_memory("x", metadata={"b": 2, "a": 1}), key="K").repeated(first)


@pytest.mark.parametrize(
    "make",
    [
        lambda memory: update_memory(memory, content="x"),
        delete_memory,
    ],
    ids=["update", "delete"],
)
def test_guarantee_3_a_key_with_another_memory_is_refused(make: Callable[[str], Command]) -> None:
    """The body alone does not make the request: so does what it is about."""
    story = given(add_memory(), add_memory())
    story.when(make(story.id("memory", 0)), key="K")
    assert story.facts
    story.when(make(story.id("memory", 1)), key="K").refused(Reason.KEY_REUSED)


def test_guarantee_3_a_key_with_another_conversation_is_refused() -> None:
    """Groups of one owner share a slot, and are told apart."""
    story = given()
    story.when(add_message("x", group="one"), key="K").then(MessageAdded)
    story.when(add_message("x", group="two"), key="K").refused(Reason.KEY_REUSED)


def test_guarantee_3_a_key_with_another_event_or_session_is_refused() -> None:
    """Sessions of one space share a slot, and are told apart, as are their events."""
    story = everything()
    space, one = story.id("space"), story.id("session")
    story.when(create_session(space))
    two = story.id("session")
    story.when(append_events(space, one), key="A").then(EventAppended)
    story.when(append_events(space, two), key="A").refused(Reason.KEY_REUSED)
    story.when(delete_event(space, one, 0), key="B").then(EventDeleted)
    story.when(delete_event(space, one, 1), key="B").refused(Reason.KEY_REUSED)
    story.when(delete_session(space, one), key="C")
    story.when(delete_session(space, two), key="C").refused(Reason.KEY_REUSED)


def test_guarantee_3_a_key_with_another_credential_is_refused() -> None:
    """A second revocation under the first one's key must not look done."""
    story = given(create_client("a"), create_client("b"))
    first = story.when(revoke_client("a"), key="K").then(ClientRevoked(client="a")).facts
    story.when(revoke_client("b"), key="K").refused(Reason.KEY_REUSED)
    story.when(create_client("a")).when(revoke_client("a"), key="K").repeated(first)


def test_guarantee_8_another_tenants_command_with_the_same_id_learns_nothing() -> None:
    """Even if a writer of the topics uses a foreign command id in the same slot, no foreign acceptance is told."""
    story = given()
    story.when(add_memory(), key="K")
    slot = story.facts[0].slot
    twin = next(n for n in range(100_000) if slot_of_memory("evil", f"bot{n}") == slot)
    story.when(lambda s: delete_memory(s.id("memory")))
    story.when(add_memory(agent=f"bot{twin}"), key="K", tenant="evil").refused(Reason.KEY_REUSED)


def slot_of_memory(tenant: str, agent: str) -> int:
    """Return the slot of a tenant's agent's memories of ann."""
    return slot_of(tenant, agent, "ann")


# ---- erased parts ----------------------------------------------------------------------------------------------------


def test_guarantee_3_an_erased_part_is_not_compared() -> None:
    """No surviving fact answers for an erased one: the repeat still gets its acceptance, whatever it says now."""
    story = given()
    first = story.when(add_memory("x"), key="K").facts
    story.when(lambda s: delete_memory(s.id("memory"))).then(MemoryErased)
    for content in ("x", "anything"):
        story.when(add_memory(content), key="K").repeated(first)


def test_guarantee_3_what_remains_of_a_batch_is_compared() -> None:
    """With one event of three erased, the other two still have to match one to one."""
    story = given(create_space(), lambda s: create_session(s.id("space")))
    space, session = story.id("space"), story.id("session")
    a, b, c = event("a"), event("b"), event("c")
    first = story.when(append_events(space, session, a, b, c), key="K").facts
    story.when(delete_event(space, session, 1))
    story.when(erase_range("session", session, "event/1"), by="worker/eraser").then(SessionErased)
    story.when(append_events(space, session, a, event("anything"), c), key="K").repeated(first)
    for wrong in ((a, b, b), (b, b, c), (a, c), (a, b, c, c), (a,)):
        story.when(append_events(space, session, *wrong), key="K").refused(Reason.KEY_REUSED)


def test_the_window_forgets_salt_and_digest_with_the_fact() -> None:
    """What could prove a guess of an erased text goes with it."""
    story = given()
    (fact,) = story.when(add_memory("x"), key="K").facts
    story.when(lambda s: delete_memory(s.id("memory")))
    acceptance = story.state.acceptance(fact.slot, "K-")
    assert acceptance is not None
    assert [(f.salt, f.digest, f.of) for f in acceptance.facts] == [(b"", b"", 0)]


def test_guarantee_3_a_repeated_delete_is_answered_although_nothing_is_there() -> None:
    """The first acceptance, not a missing memory."""
    story = given(add_memory())
    command = delete_memory(story.id("memory"))
    first = story.when(command, key="K").facts
    story.when(command, key="K").repeated(first)
    story.when(command, key="L").refused(Reason.NOT_FOUND)


# ---- how long --------------------------------------------------------------------------------------------------------


def test_guarantee_3_the_window_is_24_hours_of_fact_time() -> None:
    """A quiet slot remembers, however late it is; 24 h of its own facts make it forget."""
    story = given()
    first = story.when(add_memory("x"), key="K").facts
    story.when(add_memory("x"), key="K", at=NOON + 100 * DAY).repeated(first)
    story.when(add_memory("y"), at=first[0].time + DAY - 1).then(MemoryAdded)
    story.when(add_memory("x"), key="K").repeated(first)
    story.when(add_memory("z"), at=first[0].time + DAY).then(MemoryAdded)
    story.when(add_memory("other"), key="K").then(MemoryAdded)


@pytest.mark.parametrize("saving", [False, True])
def test_guarantee_3_the_window_is_the_newest_ids(saving: bool) -> None:
    """Of more commands than the window holds, the oldest is decided anew; a snapshot in between changes nothing."""
    story = given(rules=Rules(window_size=3))
    firsts = []
    for n in range(4):
        firsts.append(story.when(add_memory(f"m{n}"), key=f"K{n}").facts)
        if saving:
            story.state.save()
    for n in (1, 2, 3):
        story.when(add_memory(f"m{n}"), key=f"K{n}").repeated(firsts[n])
    story.when(add_memory("m0"), key="K0").then(MemoryAdded)
    story.when(add_memory("m1"), key="K1").then(MemoryAdded)
    story.when(add_memory("m3"), key="K3").repeated(firsts[3])


def test_guarantee_3_a_batch_is_one_id() -> None:
    """A batch's many facts take one place in the window."""
    story = given(create_space(), lambda s: create_session(s.id("space")), rules=Rules(window_size=2))
    space, session = story.id("space"), story.id("session")
    first = story.when(append_events(space, session, event("a")), key="K").facts
    story.when(append_events(space, session, *[event("x")] * 50))
    story.when(append_events(space, session, event("a")), key="K").repeated(first)
    story.when(append_events(space, session))
    story.when(append_events(space, session, event("b")), key="K").then(EventAppended)


def test_repeats_and_refusals_take_no_place() -> None:
    """Only what left facts is remembered."""
    story = given(rules=Rules(window_size=1))
    first = story.when(add_memory("x"), key="K").facts
    for _ in range(3):
        story.when(add_memory("x"), key="K").repeated(first)
        story.when(add_memory("y"), key="K").refused(Reason.KEY_REUSED)


def test_guarantee_3_a_refused_command_is_decided_anew() -> None:
    """Its key was never used up."""
    story = given(create_space(deduplication_key="K"))
    space = story.id("space")
    story.when(create_space(deduplication_key="K"), key="A").refused(Reason.KEY_TAKEN)
    story.when(delete_space(space))
    story.when(create_space(deduplication_key="K"), key="A")
    assert story.facts


def test_workers_are_not_remembered() -> None:
    """A proposal takes no place in the window, and a repeated one finds its work done."""
    story = given(rules=Rules(window_size=1))
    first = story.when(add_memory("x"), key="K").facts
    story.when(add_memory("y"), by="worker/import").then(MemoryAdded)
    other = story.id("memory")
    story.when(add_memory("x"), key="K").repeated(first)
    story.when(delete_memory(other), by="worker/retention", key="W").then(MemoryErased)
    story.when(delete_memory(other), by="worker/retention", key="W").refused(Reason.NOT_FOUND)
    story.when(add_memory("x"), key="K").repeated(first)


# ---- an id that comes back -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("saving", [False, True])
def test_guarantee_3_an_id_accepted_anew_stands_for_its_new_facts_only(saving: bool) -> None:
    """After it left the window, a shorter batch under the same id is not mixed with the longer one of before."""
    story = given(create_space(), lambda s: create_session(s.id("space")), rules=Rules(window_size=1))
    space, session = story.id("space"), story.id("session")
    story.when(append_events(space, session, event("a"), event("b"), event("c")), key="K")
    story.when(append_events(space, session, event("d")))
    if saving:
        story.state.save()
    second = story.when(append_events(space, session, event("e")), key="K").then(EventAppended).facts
    story.when(append_events(space, session, event("e")), key="K").repeated(second)
    story.when(append_events(space, session, event("f")), key="K").refused(Reason.KEY_REUSED)


def test_guarantee_3_erasing_what_an_id_did_before_does_not_touch_what_it_did_since() -> None:
    """The newer acceptance is still compared, and `Erased` does not bring back the older one."""
    story = given(rules=Rules(window_size=1))
    story.when(add_memory("old"), key="K").then(MemoryAdded)
    old = story.id("memory")
    story.when(add_memory("between"))
    second = story.when(add_memory("new"), key="K").then(MemoryAdded).facts
    story.rules = Rules(window_size=10)
    story.when(delete_memory(old)).then(MemoryErased)
    (took,) = story.only(MemoryErased).took
    assert (took.command, took.index, took.time) == (None, None, None)
    story.when(add_memory("old"), key="K").refused(Reason.KEY_REUSED)
    story.when(add_memory("new"), key="K").repeated(second)


@pytest.mark.parametrize("saving", [False, True])
def test_an_id_accepted_anew_takes_one_place(saving: bool) -> None:
    """Whether its former place is in the snapshot or not: the window holds as many others."""
    story = given(rules=Rules(window_time=100, window_size=3))
    story.when(add_memory("x"), key="A", at=NOON)
    if saving:
        story.state.save()
    first = story.when(add_memory("x"), key="B", at=NOON + 200).facts
    story.when(add_memory("y"), key="A", at=NOON + 210).then(MemoryAdded)
    story.when(add_memory("z"), key="C", at=NOON + 220).then(MemoryAdded)
    story.when(add_memory("x"), key="B", at=NOON + 230).repeated(first)


def test_what_left_the_window_stays_out_when_the_clock_is_set_back() -> None:
    """Time never falls within a slot, so an older acceptance cannot look younger than a newer one."""
    story = given(rules=Rules(window_time=100))
    story.when(add_memory("x"), key="K", at=NOON)
    story.when(add_memory("y"), at=NOON - 10 * DAY)
    assert story.facts[0].time == NOON
    story.when(lambda s: update_memory(s.id("memory"), content="z"), at=NOON - 10 * DAY).then(MemoryUpdated)
    assert story.facts[0].time == NOON + 1
    story.when(add_memory("z"), at=NOON + 100)
    story.when(add_memory("x"), key="K")
    assert not isinstance(story.result, Accepted)
