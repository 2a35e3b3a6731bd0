"""Erasure: what goes, what stays, and that a verifier walks across the hole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mnemolog.domain import chain
from mnemolog.domain.codec import decode_fact, link_of
from mnemolog.domain.decision import Ended, MemoryState, SessionState, SpaceState
from mnemolog.domain.erasure import Erased, Took
from mnemolog.domain.fold import evolve
from mnemolog.domain.memory import MemoryDeleted, MemoryErased
from mnemolog.domain.outcomes import Reason
from mnemolog.domain.record import FactRecord
from mnemolog.domain.rules import ERASE_LIMIT
from mnemolog.domain.session import EventDeleted, SessionDeleted, SessionErased
from mnemolog.domain.space import SpaceDeleted
from mnemolog.domain.streams import fact_key, own_id
from tests.given import KEY, Story, given
from tests.wishes import (
    add_memory,
    add_message,
    append_events,
    change,
    create_session,
    create_space,
    delete_event,
    delete_memory,
    delete_message,
    delete_session,
    delete_space,
    erase_range,
    event,
    update_events,
    update_memory,
    update_session,
)
from workers.snapshot_memory import MemorySnapshot
from workers.state import State

pytestmark = pytest.mark.unit


def left(story: Story) -> list[FactRecord]:
    """Return the records that compaction leaves: those without a null record."""
    gone = {
        fact_key(fact.stream, took.version)
        for fact, _ in story.log
        if isinstance(fact.payload, Erased)
        for took in fact.payload.took
    }
    assert gone <= {record.key for _, record in story.log}
    return [record for _, record in story.log if record.key not in gone]


def taken(records: list[FactRecord]) -> Iterator[tuple[str, Took]]:
    """Yield what the erasures in these records took."""
    for record in records:
        fact = decode_fact(record)
        if isinstance(fact.payload, Erased):
            for took in fact.payload.took:
                yield fact.stream, took


def walk(story: Story) -> None:
    """Walk every stream's chain, and the ordinals of every slot, over what compaction leaves."""
    records = left(story)
    links: dict[str, dict[int, bytes]] = {}
    chains: dict[str, dict[int, str]] = {}
    ordinals: dict[int, list[int]] = {}
    slots = {fact.stream: fact.slot for fact, _ in story.log}
    for record in records:
        stream, version = record.headers["stream"], int(record.headers["version"])
        links.setdefault(stream, {})[version] = link_of(record)
        chains.setdefault(stream, {})[version] = record.headers["chain"]
        ordinals.setdefault(slots[stream], []).append(int(record.headers["ordinal"]))
    for stream, took in taken(records):
        assert took.version not in links[stream], "a fact is taken once"
        links[stream][took.version] = bytes.fromhex(took.link)
        ordinals[slots[stream]].append(took.ordinal)
    for stream, known in links.items():
        assert sorted(known) == list(range(len(known))), "versions are gapless"
        head = chain.start(stream)
        for version in range(len(known)):
            head = chain.extend(head, known[version])
            assert chains[stream].get(version, head.hex()) == head.hex()
    for numbers in ordinals.values():
        assert sorted(numbers) == list(range(len(numbers)))


def session(*, events: int = 3) -> Story:
    """Begin with a session with events."""
    story = given(create_space(), lambda s: create_session(s.id("space"), deduplication_key="K", description="d"))
    return story.when(append_events(*where(story), *[event(f"text {n}") for n in range(events)]))


def where(story: Story) -> tuple[str, str]:
    """Return the ids of the newest space and session."""
    return story.id("space"), story.id("session")


def erase(story: Story, kind: str, identifier: str, entry: str | None = None) -> Erased:
    """Have the eraser take a range."""
    story.when(erase_range(kind, identifier, entry), by="worker/eraser")  # type: ignore[arg-type]
    (fact,) = story.facts
    assert isinstance(fact.payload, Erased)
    return fact.payload


def test_guarantee_7_the_chain_is_walked_across_every_kind_of_hole() -> None:
    """Memories, messages, events, sessions, spaces: what `Erased` keeps closes versions, links and ordinals."""
    story = session()
    space, identifier = where(story)
    story.when(add_memory()).when(add_message("a")).when(add_message("b")).when(add_memory("kept"))
    story.when(update_memory(story.id("memory", 0), content="x"))
    walk(story)
    story.when(delete_memory(story.id("memory", 0))).when(delete_message(story.id("group")))
    story.when(update_events(space, identifier, change(1, "y"))).when(delete_event(space, identifier, 1))
    erase(story, "session", identifier, "event/1")
    walk(story)
    story.when(append_events(space, identifier)).when(delete_session(space, identifier))
    erase(story, "session", identifier)
    story.when(delete_space(space))
    erase(story, "space", space)
    walk(story)
    assert len(left(story)) < len(story.log) - 10


def test_guarantee_1_after_erasure_versions_and_ordinals_go_on() -> None:
    """`Erased` is itself a fact of the stream: nothing is numbered twice."""
    story = given(add_memory(), add_memory())
    story.when(delete_memory(story.id("memory", 0))).when(add_memory())
    assert [fact.ordinal for fact, _ in story.log] == [0, 1, 2, 3]
    assert [fact.version for fact, _ in story.log] == [0, 0, 1, 0]


def test_what_erased_keeps_of_a_fact() -> None:
    """Version, ordinal, link, subject; while the command is in the window also its id, the index and the time."""
    story = session(events=2)
    space, identifier = where(story)
    fact = story.facts[1]
    story.when(delete_event(space, identifier, 1)).then(EventDeleted)
    took = erase(story, "session", identifier, "event/1").took
    assert [t.version for t in took] == [2, 3]
    assert took[0].ordinal == fact.ordinal
    assert took[0].link == fact.link.hex()
    assert took[0].subject == "event/1"
    assert (took[0].command, took[0].index) == (fact.command, 1)


def test_what_workers_wrote_is_not_remembered_by_erased() -> None:
    """Their commands are not in the window."""
    story = given(add_memory()).when(lambda s: update_memory(s.id("memory"), content="x"), by="worker/import")
    story.when(lambda s: delete_memory(s.id("memory")))
    assert [t.command for t in story.only(MemoryErased).took] == ["command-1", None]


def test_the_worst_memory_is_erased_in_bounded_steps() -> None:
    """At most 500 facts a command: the hiding fact, then ranges from the lowest version up, until a closing one."""
    count = 2 * ERASE_LIMIT + 1
    story = given(add_memory(), *[lambda s: update_memory(s.id("memory"), content="x")] * count)
    memory = story.id("memory")
    story.when(delete_memory(memory)).then(MemoryDeleted)
    sizes = []
    while not isinstance(story.body(story.stream("memory")), Ended):
        payload = erase(story, "memory", memory)
        assert isinstance(payload, MemoryErased)
        sizes.append(len(payload.took))
        assert len(story.log[-1][1].value or b"") < 1 << 18
    assert sizes == [ERASE_LIMIT, ERASE_LIMIT, 3]
    assert len(left(story)) == len(sizes)
    walk(story)


def test_a_memory_of_exactly_the_limit_goes_at_once() -> None:
    """500 facts and their null records are bounded work."""
    story = given(add_memory(), *[lambda s: update_memory(s.id("memory"), content="x")] * (ERASE_LIMIT - 1))
    story.when(lambda s: delete_memory(s.id("memory"))).then(MemoryErased)
    assert story.only(MemoryErased).ended


# ---- sessions --------------------------------------------------------------------------------------------------------


def test_an_event_is_erased_only_when_hidden() -> None:
    """What readers see is not taken; what never was is not there."""
    story = session()
    _, identifier = where(story)
    story.when(erase_range("session", identifier, "event/0"), by="worker/eraser").refused(Reason.NOT_HIDDEN)
    story.when(erase_range("session", identifier, identifier), by="worker/eraser").refused(Reason.NOT_HIDDEN)
    story.when(erase_range("session", identifier), by="worker/eraser").refused(Reason.NOT_HIDDEN)
    for entry in ("event/7", "event/x", "event/00", "nonsense"):
        story.when(erase_range("session", identifier, entry), by="worker/eraser").refused(Reason.NOT_FOUND)


def test_an_erased_event_leaves_the_session_as_it_was() -> None:
    """Counts, tokens, next number and version are absolute values in `Erased`, and the rest is not touched."""
    story = session()
    space, identifier = where(story)
    story.when(update_session(space, identifier, metadata={})).when(delete_event(space, identifier, 1))
    before = story.body(story.stream("session"))
    payload = erase(story, "session", identifier, "event/1")
    assert isinstance(payload, SessionErased)
    assert (payload.version, payload.next, payload.events, payload.tokens) == (2, 3, 2, 4)
    assert not payload.ended
    assert story.body(story.stream("session")) == before
    assert story.state.token(story.stream("session"), 1) is None
    assert story.state.token(story.stream("session"), 2) is not None
    story.when(delete_event(space, identifier, 1)).refused(Reason.NOT_FOUND)
    story.when(erase_range("session", identifier, "event/1"), by="worker/eraser").refused(Reason.NOT_FOUND)


def test_an_event_with_more_facts_than_one_command_may_take_goes_in_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first range takes its token too, and the next one still goes on."""
    monkeypatch.setattr("mnemolog.domain.erasure.ERASE_LIMIT", 2)
    story = session(events=2)
    space, identifier = where(story)
    for _ in range(3):
        story.when(update_events(space, identifier, change(0, "x")))
    story.when(delete_event(space, identifier, 0))
    sizes = [len(erase(story, "session", identifier, "event/0").took) for _ in range(3)]
    assert sizes == [2, 2, 1]
    story.when(erase_range("session", identifier, "event/0"), by="worker/eraser").refused(Reason.NOT_FOUND)
    story.when(append_events(space, identifier))
    assert story.facts[0].subject == "event/2"
    walk(story)


def test_a_session_goes_in_ranges_until_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """In between nothing about it can be decided; at the end only its name is left."""
    monkeypatch.setattr("mnemolog.domain.erasure.ERASE_LIMIT", 3)
    story = session(events=5)
    space, identifier = where(story)
    story.when(delete_session(space, identifier)).then(SessionDeleted)
    ended = [False]
    while not ended[-1]:
        ended.append(erase(story, "session", identifier).ended)
        story.when(append_events(space, identifier)).refused(Reason.NOT_FOUND)
    assert ended == [False, False, False, True]
    stream = story.stream("session")
    assert story.body(stream) == Ended()
    assert [story.state.token(stream, n) for n in range(5)] == [None] * 5
    assert story.state.written(stream, None, 9) == []
    story.when(create_session(space, deduplication_key="K"))
    assert story.facts
    walk(story)


def test_a_session_whose_last_fact_goes_as_an_events_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep and the eraser meet: the event's erasure leaves nothing to take, and the next range closes the session.

    Refused, it would be proposed for ever, and the log would never forget that there was something to do.
    """
    monkeypatch.setattr("mnemolog.domain.erasure.ERASE_LIMIT", 4)
    story = session(events=3)
    space, identifier = where(story)
    stream = story.stream("session")
    story.when(delete_session(space, identifier))
    assert not erase(story, "session", identifier).ended
    while len(story.state.written(stream, None, 9)) > 1:
        (last,) = {fact.subject for fact in story.state.written(stream, None, 9)[-1:]}
        story.when(erase_range("session", identifier, last), by="worker/eraser")
    (last,) = {fact.subject for fact in story.state.written(stream, None, 9)}
    story.when(erase_range("session", identifier, last), by="worker/eraser")
    assert story.state.written(stream, None, 9) == []
    assert story.state.erasing == {stream}
    closing = erase(story, "session", identifier)
    assert (closing.took, closing.ended) == ((), True)
    assert story.body(stream) == Ended()
    assert not story.state.erasing
    story.when(erase_range("session", identifier), by="worker/eraser").refused(Reason.NOT_FOUND)
    walk(story)


def test_a_session_in_between_holds_nothing_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who folds only what is left knows no more than who saw everything."""
    monkeypatch.setattr("mnemolog.domain.erasure.ERASE_LIMIT", 2)
    story = session()
    space, identifier = where(story)
    story.when(delete_session(space, identifier))
    payload = erase(story, "session", identifier)
    assert isinstance(payload, SessionErased)
    body = story.body(story.stream("session"))
    assert isinstance(body, SessionState)
    assert (body.space, body.participants, body.key, body.strategies, body.deleted) == ("", (), b"", (), True)
    assert (body.next, body.events, body.tokens, body.version) == (3, 3, 6, 1)


def test_a_memory_or_space_in_between_holds_nothing_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The marks of owner and key go with the first range."""
    monkeypatch.setattr("mnemolog.domain.erasure.ERASE_LIMIT", 1)
    story = given(create_space(deduplication_key="K"), add_memory())
    memory, space = story.id("memory"), story.id("space")
    story.when(update_memory(memory, content="x")).when(delete_memory(memory)).when(delete_space(space))
    assert not erase(story, "memory", memory).ended
    assert story.body(story.stream("memory")) == MemoryState(deleted=True)
    assert not erase(story, "space", space).ended
    assert story.body(story.stream("space")) == SpaceState(deleted=True)


@pytest.mark.parametrize("limit", [1, 500])
def test_a_key_that_was_freed_by_a_hole_is_free(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Where the cleaner has taken the deletion, not yet the creation, `Erased` frees a key that none has taken."""
    monkeypatch.setattr("mnemolog.domain.erasure.ERASE_LIMIT", limit)
    story = given(create_space(deduplication_key="K"))
    space = story.id("space")
    story.when(delete_space(space)).when(create_space(deduplication_key="K")).when(
        erase_range("space", space), by="worker/eraser"
    )
    created, deleted, taken_again, erased = (fact for fact, _ in story.log)
    assert isinstance(deleted.payload, SpaceDeleted)
    for facts, holder in (
        ((created, erased), None),
        ((created, taken_again, erased), own_id(taken_again.stream)),
        ((taken_again, erased), own_id(taken_again.stream)),
    ):
        state = State(MemorySnapshot(KEY))
        for fact in facts:
            state.apply(evolve(state, fact))
        assert state.key(state.mark("space", "acme", "u1", "K")) == holder


def test_guarantee_7_erased_facts_hold_nothing_that_a_caller_wrote() -> None:
    """After everything has been erased, no text of the story is left in any record."""
    story = given(create_space("a-user", description="a-desc", deduplication_key="a-key"))
    space = story.id("space")
    story.when(create_session(space, "a-user", participants=["a-person"], metadata={"m": "a-meta"}))
    identifier = story.id("session")
    story.when(append_events(space, identifier, event("a-text", by="a-person", type="a-type"), user="a-user"))
    story.when(delete_session(space, identifier, "a-user")).when(delete_space(space, "a-user"))
    erase(story, "session", identifier)
    erase(story, "space", space)
    remains = b"".join((record.value or b"") + repr(record.headers).encode() for record in left(story))
    for text in (b"a-user", b"a-desc", b"a-key", b"a-person", b"a-meta", b"a-text", b"a-type"):
        assert text not in remains
