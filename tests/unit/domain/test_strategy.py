"""Lifecycle strategies: their form, and when they may be replaced."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mnemolog.domain.chain import start
from mnemolog.domain.codec import seal
from mnemolog.domain.decision import Case, Draft, SessionState
from mnemolog.domain.fold import evolve
from mnemolog.domain.outcomes import Reason
from mnemolog.domain.record import Position
from mnemolog.domain.rules import Rules, count_tokens
from mnemolog.domain.session import SessionCreated, SessionUpdated, StrategyExecuted
from mnemolog.domain.strategy import checked
from tests.given import Story, given
from tests.wishes import create_session, create_space, update_session

pytestmark = pytest.mark.unit

SOFT = {"type": "soft_delete", "trigger": {"ttl": 60}}
NEVER = {"type": "soft_delete", "trigger": {"never": True}}
COUNT = {"type": "extract_memories", "trigger": {"eventCount": 3}, "opts": {"softDelete": True, "agentId": "a"}}


@pytest.mark.parametrize(
    "strategy",
    [
        SOFT,
        COUNT,
        {"type": "soft_delete", "trigger": {"ttl": 63_072_000, "idle": None}, "opts": None},
        {"type": "extract_memories", "trigger": {"tokenCount": 100_000_000}},
        {"type": "extract_memories", "trigger": {"idle": 1}, "opts": {"metadata": {"x": [1]}}},
    ],
)
def test_strategies_are_kept_as_they_were_written(strategy: dict[str, Any]) -> None:
    """A valid strategy stands in the fact exactly as the caller said it."""
    story = given(create_space(), lambda s: create_session(s.id("space"), lifecycle_strategies=[strategy]))
    assert story.only(SessionCreated).lifecycle_strategies == [strategy]


@pytest.mark.parametrize(
    "strategy",
    [
        {},
        {"type": "soft_delete"},
        {"type": "soft_delete", "trigger": {}},
        {"type": "soft_delete", "trigger": {"ttl": 1, "idle": 1}},
        {"type": "soft_delete", "trigger": {"ttl": 0}},
        {"type": "soft_delete", "trigger": {"ttl": 63_072_001}},
        {"type": "soft_delete", "trigger": {"ttl": True}},
        {"type": "soft_delete", "trigger": {"ttl": "60"}},
        {"type": "soft_delete", "trigger": {"never": False}},
        {"type": "soft_delete", "trigger": {"eventCount": 1_000_001}},
        {"type": "soft_delete", "trigger": {"event_count": 1}},
        {"type": "soft_delete", "trigger": {"ttl": 1}, "opts": {}},
        {"type": "extract_memories", "trigger": {"ttl": 1}, "opts": {"x": 1}},
        {"type": "other", "trigger": {"ttl": 1}},
        {"type": "soft_delete", "trigger": {"ttl": 1}, "more": 1},
    ],
)
def test_guarantee_10_what_is_no_strategy_is_refused(strategy: dict[str, Any]) -> None:
    """Not one trigger, wrong numbers, unknown words: refused, alone and within a session."""
    with pytest.raises(ValidationError):
        checked(strategy)
    with pytest.raises(ValidationError):
        create_session("s", lifecycle_strategies=[strategy])


def test_guarantee_10_a_session_has_at_most_five() -> None:
    """And an update has at least one."""
    with pytest.raises(ValidationError):
        create_session("s", lifecycle_strategies=[SOFT] * 6)
    with pytest.raises(ValidationError):
        update_session("s", "t", lifecycle_strategies=[])
    create_session("s", lifecycle_strategies=[SOFT] * 5)


def test_never_is_a_switch_of_the_rules() -> None:
    """Where it is not enabled it is refused; a session that has it may keep it when the switch is turned off."""
    story = given(create_space())
    space = story.id("space")
    story.when(create_session(space, lifecycle_strategies=[NEVER])).refused(Reason.INVALID, "never")
    story.rules = Rules(never_allowed=True)
    story.when(create_session(space, lifecycle_strategies=[NEVER])).then(SessionCreated)
    session = story.id("session")
    story.rules = Rules()
    story.when(update_session(space, session, lifecycle_strategies=[NEVER])).then(SessionUpdated)
    story.when(update_session(space, session, lifecycle_strategies=[SOFT])).then(SessionUpdated)
    story.when(update_session(space, session, lifecycle_strategies=[NEVER])).refused(Reason.INVALID)


def execute(story: Story, kind: str) -> None:
    """Fold the fact that a strategy has run."""
    name = story.stream("session")
    found = story.state.stream(name)
    head = found.head if found else (0, start(name), 0)
    slot = story.log[0][0].slot
    case = Case("run", "acme", "worker/lifecycle", slot, bytes(32), create_space(), story.now, story.rules)
    fact, record = seal(
        Draft(name, story.id("session"), StrategyExecuted(type=kind)), case, time=head[2] + 1, version=head[0],
        ordinal=story.state.slot(slot).ordinal, index=0, count=1, before=head[1], source=Position(0, 99), trace="",
    )  # fmt: skip
    story.state.apply(evolve(story.state, fact))
    story.log.append((fact, record))


def test_a_strategy_that_has_run_stays_as_it_is() -> None:
    """It must come unchanged with every later list, and of another type a new one may come beside it."""
    story = given(create_space(), lambda s: create_session(s.id("space"), lifecycle_strategies=[COUNT]))
    space, session = story.id("space"), story.id("session")
    execute(story, "extract_memories")
    found = story.state.stream(story.stream("session"))
    assert found is not None
    assert isinstance(found.body, SessionState)
    assert found.body.fired == ("extract_memories",)
    other = {**COUNT, "trigger": {"eventCount": 4}}
    for refused in ([SOFT], [other], [COUNT, other]):
        story.when(update_session(space, session, lifecycle_strategies=refused)).refused(
            Reason.STRATEGY_EXECUTED, "extract_memories"
        )
    reordered = {key: COUNT[key] for key in reversed(COUNT)}
    story.when(update_session(space, session, lifecycle_strategies=[SOFT, reordered])).then(SessionUpdated)
    story.when(update_session(space, session, description="x")).then(SessionUpdated)


@pytest.mark.parametrize(("content", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("é" * 2, 1), ("😀", 1)])
def test_the_rule_of_counting_tokens(content: str, tokens: int) -> None:
    """A quarter of the UTF-8 bytes, rounded up; the same for ever."""
    assert count_tokens(content, "utf8-quarter.v1") == tokens


def test_another_rule_of_counting_is_not_guessed() -> None:
    """A rule that this code does not know stops it."""
    with pytest.raises(ValueError, match="no rule"):
        count_tokens("x", "words.v9")


def test_rules_have_a_hash_that_facts_carry() -> None:
    """Other rules, another hash."""
    story = given(create_space())
    assert story.facts[0].rules == Rules().hash != Rules(never_allowed=True).hash
