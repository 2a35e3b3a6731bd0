"""A session that was soft-deleted comes back under no race: replayed, restored, rebuilt, late or repeated.

Its events go by their session: the face reads that first, and `tests/system/test_soft_deleted.py` tries every route.
"""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from mnemolog.domain.codec import decode_outcome
from mnemolog.domain.outcomes import Accepted, Reason, Rejected
from mnemolog.domain.reads import EventFilter, SessionFilter
from mnemolog.domain.rules import Rules
from projections.projector import Projector
from projections.queries import StoreQueries
from projections.store_memory import MemoryStore
from tests.given import KEY
from tests.unit.pipeline import Pipeline
from tests.wishes import (
    append_events,
    change,
    create_session,
    create_space,
    delete_event,
    delete_session,
    event,
    update_events,
    update_session,
)
from workers.sequencing import Sequencing
from workers.snapshot_memory import MemorySnapshot

pytestmark = pytest.mark.unit


class Scene:
    """A session of two events in a space, projected; then deleted, and not yet projected."""

    def __init__(self) -> None:
        self.line = Pipeline()
        self.space = self.line.say(create_space("u1"))
        self.session = self.line.say(create_session(self.space, deduplication_key="k"))
        self.append = append_events(self.space, self.session, event("one"), event("two"))
        self.line.say(self.append)
        self.line.project()
        self.snapshot = copy.deepcopy(self.line.snapshots[0])
        self.line.sequencings[0].save()
        self.saved = copy.deepcopy(self.line.snapshots[0])
        self.views = copy.deepcopy(self.line.store)
        self.zombie = Projector(self.line.log, self.line.store)
        self.line.say(delete_session(self.space, self.session))

    def hidden(self, store: MemoryStore) -> bool:
        """Tell whether no read of the views shows it."""

        async def read() -> list[Any]:
            queries = StoreQueries(store)
            sessions = await queries.sessions("acme", self.space, SessionFilter(), 0, 100)
            keyed = await queries.sessions("acme", self.space, SessionFilter(deduplication_key="k"), 0, 100)
            waiting = await queries.extractions("acme", self.space, 0, 100)
            pages = [sessions, keyed, waiting]
            alone = await queries.session("acme", self.space, self.session)
            return [alone, *(page.total for page in pages), *(len(page.items) for page in pages)]

        return not any(asyncio.run(read()))

    def refused(self) -> None:
        """Expect that nothing can be written to it."""
        for command in (
            append_events(self.space, self.session, event("three")),
            update_events(self.space, self.session, change(0, "else")),
            delete_event(self.space, self.session, 0),
            update_session(self.space, self.session, description="else"),
            delete_session(self.space, self.session),
        ):
            assert self.line.ask(command).reason is Reason.NOT_FOUND


@pytest.fixture
def scene() -> Scene:
    """Give a scene of its own to each test."""
    return Scene()


def projected(scene: Scene, store: MemoryStore) -> MemoryStore:
    """Bring a store up to the log's end with a projector of its own."""
    projector = Projector(scene.line.log, store)

    async def whole() -> None:
        while await projector.step():
            pass

    asyncio.run(whole())
    return store


def test_it_is_hidden_in_every_read_and_takes_no_write(scene: Scene) -> None:
    """As soon as the fact is projected; before, the face does not answer."""
    assert not scene.hidden(scene.line.store)
    scene.line.project()
    assert scene.hidden(scene.line.store)
    scene.refused()


def test_a_rebuild_does_not_show_it(scene: Scene) -> None:
    """Of the whole log, and of the compacted one."""
    assert scene.hidden(projected(scene, MemoryStore()))
    scene.line.log.compact(0)
    assert scene.hidden(projected(scene, MemoryStore()))


def test_views_of_before_do_not_bring_it_back(scene: Scene) -> None:
    """A store that was restored catches up; it is asked only then, as its checkpoint is behind."""
    assert not scene.hidden(scene.views)
    assert scene.hidden(projected(scene, scene.views))


def test_a_projector_that_was_thought_dead_changes_nothing(scene: Scene) -> None:
    """It applies the facts from before once more, and is told that they are there."""
    scene.line.project()
    asyncio.run(scene.zombie.step())
    assert scene.hidden(scene.line.store)


@pytest.mark.parametrize("state", ["none", "of the beginning", "of before"])
def test_a_sequencer_that_starts_again_still_refuses(scene: Scene, state: str) -> None:
    """With a snapshot of before the deletion, an older one, or none: it replays to the end first."""
    found = {"none": MemorySnapshot(KEY), "of the beginning": scene.snapshot, "of before": scene.saved}[state]
    sequencing = Sequencing(scene.line.log, lambda: found, Rules())
    asyncio.run(sequencing.start())
    scene.line.sequencings[0] = sequencing
    scene.refused()
    scene.line.project()
    assert scene.hidden(scene.line.store)


def test_a_retried_write_gets_its_answer_and_brings_nothing_back(scene: Scene) -> None:
    """The first acceptance again, under its command's id: no fact, nothing to see."""
    line = scene.line
    records = asyncio.run(line.log.commands(0, 0, 100))
    before = len(line.facts())
    results = []
    for record in records[1:3]:
        asyncio.run(line.log.append(0, [record]))
        transaction = asyncio.run(line.sequencings[0].step())
        assert transaction is not None
        results.append(decode_outcome(transaction.outcomes[-1]).result)
    assert all(isinstance(result, Accepted) and result.repeated for result in results)
    assert [record for record in line.facts()[before:] if record.key != "position"] == []
    line.project()
    assert scene.hidden(line.store)


def test_its_key_is_free_for_another(scene: Scene) -> None:
    """Which is another session, empty, and does not show the old one's events."""
    new = scene.line.say(create_session(scene.space, deduplication_key="k"))
    scene.line.project()
    assert new != scene.session
    events = asyncio.run(StoreQueries(scene.line.store).events("acme", new, EventFilter()))
    assert events.total == 0
    again = scene.line.ask(create_session(scene.space, deduplication_key="k"))
    assert isinstance(again, Rejected)
    assert again.existing == new
