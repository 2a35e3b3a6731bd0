"""Lifecycle strategies that act: counts inside a decision, timers by proposals, extraction as work for an agent."""

from __future__ import annotations

from typing import Any

import pytest

from mnemolog.domain.outcomes import Reason
from mnemolog.domain.session import EventAppended, EventUpdated, SessionDeleted, SessionUpdated, StrategyExecuted
from mnemolog.domain.strategy import ExtractionCompleted, StrategyRearmed
from mnemolog.domain.times import SECOND, to_text
from tests.given import NOON, Story, given
from tests.wishes import (
    append_events,
    change,
    complete_extraction,
    create_session,
    create_space,
    event,
    execute,
    update_events,
    update_session,
)

pytestmark = pytest.mark.unit

WORKER = "worker/retention"
FAR = 2 * NOON


def strategy(kind: str, **trigger: Any) -> dict[str, Any]:
    """Return a strategy of this type with one trigger."""
    return {"type": kind, "trigger": trigger}


def session(*strategies: dict[str, Any]) -> Story:
    """Open a session with these strategies."""
    story = given(create_space())
    return story.when(create_session(story.id("space"), lifecycle_strategies=list(strategies)))


def where(story: Story) -> tuple[str, str]:
    """Return the ids of the last space and session."""
    return story.id("space"), story.id("session")


def test_the_event_that_reaches_the_count_hides_the_session() -> None:
    """`eventCount` is decided with the append that reaches it, which is accepted whole; nothing comes after."""
    story = session(strategy("soft_delete", eventCount=3))
    story.when(append_events(*where(story))).then(EventAppended)
    story.when(append_events(*where(story), event("a"), event("b"), event("c")))
    story.then(EventAppended, EventAppended, EventAppended, StrategyExecuted(type="soft_delete"), SessionDeleted)
    story.when(append_events(*where(story))).refused(Reason.NOT_FOUND)


def test_guarantee_3_an_append_that_hid_its_session_is_still_recognised_when_repeated() -> None:
    """What the strategy left behind came from no part of the command."""
    story = session(strategy("soft_delete", eventCount=1))
    first = story.when(append_events(*where(story)), key="k").facts
    story.when(append_events(*where(story)), key="k").repeated(first)


def test_tokens_count_by_what_the_facts_hold() -> None:
    """`tokenCount` looks at readable content: an update may reach it as well as an append."""
    story = session(strategy("soft_delete", tokenCount=4))
    story.when(append_events(*where(story), event("x" * 12))).then(EventAppended)
    story.when(update_events(*where(story), change(0, "x" * 13)))
    story.then(EventUpdated, StrategyExecuted(type="soft_delete"), SessionDeleted)


def test_a_count_that_was_reached_before_it_was_set_is_reached_when_it_is_set() -> None:
    """The anchor is what is stored, the trigger what is new."""
    story = session(strategy("soft_delete", eventCount=5))
    story.when(append_events(*where(story), event(), event()))
    story.when(update_session(*where(story), lifecycle_strategies=[strategy("soft_delete", eventCount=2)]))
    story.then(SessionUpdated, StrategyExecuted(type="soft_delete"), SessionDeleted)


def test_a_timer_fires_at_its_deadline_and_not_before() -> None:
    """A proposal that comes too early, or was made for an earlier time, puts the timer off to the deadline."""
    story = session(strategy("soft_delete", ttl=60))
    created = story.facts[0].time
    due = created + 60 * SECOND
    put_off = StrategyRearmed(type="soft_delete", due=to_text(due))
    name = story.id("session")
    story.when(execute(name, "soft_delete", due), at=due - 1, by=WORKER).then(put_off)
    story.when(execute(name, "soft_delete", due - 1), at=due, by=WORKER).refused(Reason.NOT_DUE)
    story.when(execute(name, "soft_delete", due), at=due, by=WORKER)
    story.then(StrategyExecuted(type="soft_delete"), SessionDeleted)
    story.when(execute(name, "soft_delete", due), at=due, by=WORKER).refused(Reason.NOT_FOUND)


def test_an_idle_timer_is_put_off_to_the_last_event() -> None:
    """It is not moved with every event: whoever looks finds the last one."""
    story = session(strategy("soft_delete", idle=60))
    name = story.id("session")
    later = NOON + 50 * SECOND
    last = story.when(append_events(*where(story)), at=later).facts[0].time
    story.when(execute(name, "soft_delete", FAR), at=NOON + 61 * SECOND, by=WORKER)
    story.then(StrategyRearmed(type="soft_delete", due=to_text(last + 60 * SECOND)))
    story.when(execute(name, "soft_delete", FAR), at=last + 60 * SECOND, by=WORKER)
    story.then(StrategyExecuted, SessionDeleted)


def test_a_new_trigger_counts_from_the_stored_anchor() -> None:
    """Deadline = creation + new ttl, whenever it was set."""
    story = session(strategy("soft_delete", ttl=60))
    created = story.facts[0].time
    story.when(
        update_session(*where(story), lifecycle_strategies=[strategy("soft_delete", ttl=30)]), at=NOON + 40 * SECOND
    )
    due = created + 30 * SECOND
    story.when(execute(story.id("session"), "soft_delete", FAR), at=due + 11 * SECOND, by=WORKER)
    story.then(StrategyExecuted, SessionDeleted)


def test_of_several_timers_of_a_type_the_first_counts() -> None:
    """A type is executed once, by whichever strategy comes first."""
    story = session(strategy("soft_delete", ttl=60), strategy("soft_delete", ttl=30))
    due = story.facts[0].time + 30 * SECOND
    story.when(execute(story.id("session"), "soft_delete", FAR), at=due, by=WORKER).then(
        StrategyExecuted, SessionDeleted
    )


def test_a_timer_without_anything_to_wait_for_is_switched_off_once() -> None:
    """An executed type, or one without timers: a fact says so, and a second proposal changes nothing."""
    story = session(strategy("extract_memories", eventCount=1))
    story.when(append_events(*where(story))).then(EventAppended, StrategyExecuted(type="extract_memories"))
    name = story.id("session")
    story.when(execute(name, "extract_memories", FAR), by=WORKER)
    story.then(StrategyRearmed(type="extract_memories", due=None))
    story.when(execute(name, "extract_memories", FAR), by=WORKER).refused(Reason.NOT_DUE)


@pytest.mark.parametrize("trigger", [{"eventCount": 1}, {"ttl": 1}])
def test_a_due_extraction_deletes_nothing_until_it_is_completed(trigger: dict[str, int]) -> None:
    """It is work for an agent; done, the session is hidden, as `softDelete` is the default; it is done once."""
    story = session(strategy("extract_memories", **trigger))
    story.when(append_events(*where(story)))
    if "ttl" in trigger:
        story.when(complete_extraction(*where(story))).refused(Reason.NOT_FOUND)
        story.when(execute(story.id("session"), "extract_memories", FAR), at=NOON + 5 * SECOND, by=WORKER)
        story.then(StrategyExecuted(type="extract_memories"))
    story.when(append_events(*where(story))).then(EventAppended)
    story.when(complete_extraction(*where(story))).then(ExtractionCompleted, SessionDeleted)
    story.when(complete_extraction(*where(story))).refused(Reason.NOT_FOUND)


def test_an_extraction_may_keep_its_session() -> None:
    """`softDelete: false` is the caller's word."""
    story = session(strategy("extract_memories", eventCount=1) | {"opts": {"softDelete": False}})
    story.when(append_events(*where(story)))
    story.when(complete_extraction(*where(story))).then(ExtractionCompleted)
    story.when(append_events(*where(story))).then(EventAppended)
    story.when(complete_extraction(*where(story))).refused(Reason.NOT_FOUND)


def test_an_executed_type_cannot_be_changed_and_does_not_run_again() -> None:
    """Sent unchanged it is inert: neither the counts of the next events nor a timer execute it again."""
    done = strategy("extract_memories", eventCount=1)
    story = session(done)
    story.when(append_events(*where(story)))
    story.when(
        update_session(*where(story), lifecycle_strategies=[strategy("extract_memories", eventCount=9)])
    ).refused(Reason.STRATEGY_EXECUTED)
    story.when(update_session(*where(story), lifecycle_strategies=[done])).then(SessionUpdated)
    story.when(append_events(*where(story))).then(EventAppended)


def test_without_strategies_a_session_is_hidden_after_180_days() -> None:
    """The default is a timer like any other."""
    story = given(create_space())
    story.when(create_session(story.id("space")))
    due = story.facts[0].time + 180 * 86_400 * SECOND
    story.when(execute(story.id("session"), "soft_delete", due), at=due, by=WORKER)
    story.then(StrategyExecuted(type="soft_delete"), SessionDeleted)


def test_guarantee_8_a_foreign_tenant_executes_and_completes_nothing() -> None:
    """His proposals and agents find no session."""
    story = session(strategy("extract_memories", eventCount=1))
    story.when(append_events(*where(story)))
    story.when(execute(story.id("session"), "extract_memories", FAR), by=WORKER, tenant="evil")
    story.refused(Reason.NOT_FOUND)
    story.when(complete_extraction(*where(story)), tenant="evil").refused(Reason.NOT_FOUND)
    story.when(complete_extraction(*where(story), user="u2")).refused(Reason.NOT_FOUND)
