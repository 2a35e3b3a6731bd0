"""What an owner's erasure hides, and the rows of what waits for erasure and of what is due."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mnemolog.domain.codec import decode_command
from mnemolog.domain.ports import Match
from mnemolog.domain.reads import Filter
from mnemolog.domain.times import SECOND, to_text
from projections import names
from projections.projector import project
from projections.queries import StoreQueries
from projections.store_memory import MemoryStore
from tests.given import Story, given
from tests.wishes import (
    add_memory,
    add_message,
    append_events,
    change,
    complete_extraction,
    create_session,
    create_space,
    delete_event,
    delete_memory,
    delete_session,
    delete_space,
    erase,
    erase_owner,
    erase_range,
    execute,
    set_retention,
    update_events,
    update_memory,
    update_session,
)
from workers.eraser import ACTOR, proposals

pytestmark = pytest.mark.unit
IDLE = {"type": "soft_delete", "trigger": {"idle": 60}}


def views(story: Story) -> MemoryStore:
    """Return the views of a story so far."""
    store = MemoryStore()
    checkpoint: Any = (1, (0, 1))
    ops = [op for fact, _ in story.log for op in project(fact)]
    asyncio.run(store.apply(0, 0, ops, checkpoint))
    return store


def index(story: Story, name: str) -> list[tuple[int, dict[str, Any]]]:
    """Return score and row of an index."""
    return [(score, dict(row)) for score, _, row in asyncio.run(views(story).page(0, name))]


def test_guarantee_7_an_erasure_hides_an_owner_in_every_read() -> None:
    """By id, in lists, counts and filters, whole pages of what is left, at once; others and what came since stay."""
    story = given(add_memory("mine"), add_message("mine"), add_memory("theirs", invoker="bob"))
    story.when(erase_owner()).when(add_memory("since"))
    queries = StoreQueries(views(story))
    memories = [fact.subject for fact, _ in story.log if fact.stream.startswith("acme/memory/")]
    message = story.log[1][0].subject.removeprefix("message/")

    async def reads() -> None:
        assert await queries.memory("acme", memories[0]) is None
        assert await queries.message("acme", message) is None
        for wanted in (Filter(), Filter(agent="bot"), Filter(contains=(Match("content", "i"),))):
            rows = await queries.memories("acme", wanted, 0, None)
            assert [row["content"] for row in rows] == ["theirs", "since"]
            assert [row["content"] for row in await queries.memories("acme", wanted, 1, 1)] == ["since"]
            assert await queries.count_memories("acme", wanted) == 2
        mine = Filter(agent="bot", invoker="ann")
        assert [row["content"] for row in await queries.memories("acme", mine, 0, 5)] == ["since"]
        assert await queries.count_memories("acme", mine) == 1
        assert await queries.messages("acme", mine, 0, 5) == []
        assert await queries.count_messages("acme", Filter()) == 0
        assert await queries.count_memories("acme", Filter(invoker="bob")) == 1

    asyncio.run(reads())


def test_what_is_hidden_waits_by_since_when_until_it_has_ended() -> None:
    """Sessions, events, spaces, owners, large memories; nothing of it is left when all is erased."""
    story = given(create_space(), add_memory("small"))
    space = story.id("space")
    story.when(create_session(space)).when(append_events(space, story.id("session")))
    session = story.id("session")
    when = [
        story.when(command).facts[-1].time
        for command in (delete_event(space, session, 0), delete_session(space, session), delete_space(space))
    ]
    when.append(story.when(erase_owner()).facts[0].time)
    rows = index(story, names.HIDDEN)
    assert [score for score, _ in rows] == when == [row["since"] for _, row in rows]
    assert [(row["kind"], row["id"], row["entry"], row["tenant"]) for _, row in rows[:3]] == [
        ("event", session, "0", "acme"),
        ("session", session, "", "acme"),
        ("space", space, "", "acme"),
    ]
    story.when(erase("session", session)).when(erase("space", space))
    while proposed := proposals(story.state, bytes):
        for record in proposed:
            story.when(decode_command(record).command, by=ACTOR)
    assert index(story, names.HIDDEN) == []
    assert views(story).all_rows[0] == {}


def test_a_large_memory_and_a_large_event_wait_until_their_last_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first range is not the end."""
    monkeypatch.setattr("mnemolog.domain.erasure.ERASE_LIMIT", 2)
    story = given(create_space(), add_memory())
    memory, space = story.id("memory"), story.id("space")
    story.when(update_memory(memory, content="a")).when(update_memory(memory, content="b")).when(delete_memory(memory))
    story.when(create_session(space)).when(append_events(space, story.id("session")))
    session = story.id("session")
    story.when(update_events(space, session, change(0, "x"))).when(delete_event(space, session, 0))
    left = []
    for command in [erase_range("memory", memory)] * 2 + [erase_range("session", session, "event/0")] * 2:
        left.append(len(index(story, names.HIDDEN)))
        story.when(command, by=ACTOR)
    assert left == [2, 2, 1, 1]
    assert index(story, names.HIDDEN) == []


def test_a_session_is_due_at_its_first_deadline_and_again_when_it_was_put_off() -> None:
    """Events do not move it, a timer that was put off does; new strategies are looked at at once; fired, it is out."""
    due = names.due("soft_delete")
    story = given(create_space())
    created = story.when(create_session(story.id("space"), lifecycle_strategies=[IDLE])).facts[0].time
    session = story.id("session")
    story.when(append_events(story.id("space"), session))
    assert [score for score, _ in index(story, due)] == [created + 60 * SECOND]
    put_off = story.when(execute(session, "soft_delete", story.now), by="worker/retention").facts[0].payload
    assert [to_text(score) for score, _ in index(story, due)] == [put_off.due]  # type: ignore[attr-defined]
    fields: Any = {"lifecycle_strategies": [IDLE]}
    changed = story.when(update_session(story.id("space"), session, **fields)).facts[0].time
    assert [score for score, _ in index(story, due)] == [changed]
    story.when(execute(session, "soft_delete", 2 * story.now), at=changed + 90 * SECOND, by="worker/retention")
    assert index(story, due) == []


def test_a_due_extraction_is_listed_until_it_is_completed() -> None:
    """By when it became due."""
    strategy = {"type": "extract_memories", "trigger": {"eventCount": 1}, "opts": {"softDelete": False}}
    story = given(create_space())
    story.when(create_session(story.id("space"), lifecycle_strategies=[strategy]))
    assert index(story, names.index("extractions", "acme")) == []
    due = story.when(append_events(story.id("space"), story.id("session"))).facts[-1].time
    assert [(s, row["id"]) for s, row in index(story, names.index("extractions", "acme"))] == [
        (due, story.id("session"))
    ]
    story.when(complete_extraction(story.id("space"), story.id("session")))
    assert index(story, names.index("extractions", "acme")) == []


def test_the_tenants_with_a_policy_are_listed_with_its_version() -> None:
    """The retention worker goes from tenant to tenant."""
    story = given(set_retention(memory_days=3), set_retention(message_days=None))
    ((_, row),) = index(story, names.POLICIES)
    assert (row["tenant"], row["version"], row["memory_days"], row["message_days"]) == ("acme", 1, 3, None)
