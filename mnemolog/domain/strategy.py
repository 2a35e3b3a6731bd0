"""Lifecycle strategies of a session: what should happen to it, and when (wire contract §3.4).

They are stored and returned as the caller wrote them; `Strategy` marks in the state are all that decisions compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mnemolog.domain import canonical
from mnemolog.domain.decision import Seen, SessionState, Strategy
from mnemolog.domain.outcomes import Reason, Rejected
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Json, Payload
from mnemolog.domain.times import SECOND

_MAX_SECONDS = 63_072_000
_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)

Kind = Literal["soft_delete", "extract_memories"]
"""What a strategy does; each fires at most once."""
KINDS: tuple[Kind, ...] = ("extract_memories", "soft_delete")
"""In the order in which timers are looked at: what is to be extracted must not be hidden before."""
Seconds = Annotated[int, Field(ge=1, le=_MAX_SECONDS)]


class Trigger(BaseModel):
    """When: exactly one of five."""

    model_config = _STRICT
    ttl: Seconds | None = None
    event_count: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(default=None, alias="eventCount")
    token_count: Annotated[int, Field(ge=1, le=100_000_000)] | None = Field(default=None, alias="tokenCount")
    idle: Seconds | None = None
    never: Literal[True] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self.model_dump(exclude_none=True)) != 1:
            message = "a trigger has exactly one of ttl, eventCount, tokenCount, idle, never"
            raise ValueError(message)
        return self


class Options(BaseModel):
    """How memories are to be extracted."""

    model_config = _STRICT
    soft_delete: bool | None = Field(default=None, alias="softDelete")
    agent_id: str | None = Field(default=None, alias="agentId")
    metadata: Json | None = None


class LifecycleStrategy(BaseModel):
    """One strategy; only `extract_memories` has options."""

    model_config = _STRICT
    type: Kind
    trigger: Trigger
    opts: Options | None = None

    @model_validator(mode="after")
    def _fitting_options(self) -> Self:
        if self.type == "soft_delete" and self.opts is not None:
            message = "soft_delete takes no opts"
            raise ValueError(message)
        return self


class StrategyRearmed(Payload):
    """A timer of this type was looked at and put off to `due` (ISO-8601), or switched off: `due` is null."""

    TYPE: ClassVar[str] = "session.strategy-rearmed.v1"
    type: str
    due: str | None = None


class ExtractionCompleted(Payload):
    """The extraction of memories that was due has been done by an agent."""

    TYPE: ClassVar[str] = "session.extraction-completed.v1"


def checked(strategy: dict[str, Any]) -> dict[str, Any]:
    """Return a strategy as it was given. Raises pydantic's ValidationError if it is none."""
    LifecycleStrategy.model_validate(strategy)
    return strategy


def default(rules: Rules) -> dict[str, Any]:
    """Return the strategy of a session that was given none: 180 days unless the rules differ."""
    return {"type": "soft_delete", "trigger": {"ttl": rules.default_ttl}}


def folded(seen: Seen, strategies: Sequence[dict[str, Any]]) -> tuple[Strategy, ...]:
    """Return what the state keeps of these strategies."""
    out = []
    for strategy in strategies:
        ((trigger, limit),) = ((k, v) for k, v in strategy["trigger"].items() if v is not None)
        mark = seen.mark("strategy", canonical.canonical(strategy).decode())
        hides = (strategy.get("opts") or {}).get("softDelete") is not False
        out.append(Strategy(strategy["type"], trigger, int(limit), mark, hides))
    return tuple(out)


def counted(state: SessionState, events: int, tokens: int) -> tuple[str, ...]:
    """Return the types that a session of so many readable events and tokens has come to, extraction first.

    The counts are those that the facts hold, so another rule of counting changes no decision.
    """
    come = {"eventCount": events, "tokenCount": tokens}
    reached = {s.type for s in state.strategies if s.trigger in come and come[s.trigger] >= s.limit}
    return tuple(sorted(reached - set(state.fired)))


def deadline(state: SessionState, kind: str) -> tuple[int, bool] | None:
    """Return when (µs) the next timer of a type is due, and whether it hangs on the last event; None without timers.

    A deadline is a stored anchor and the trigger as it is now: `ttl` from the creation, `idle` from the last event.
    """
    anchors = {"ttl": state.created, "idle": max(state.last_event, state.created)}
    timers = [
        (anchors[s.trigger] + s.limit * SECOND, s.trigger == "idle")
        for s in state.strategies
        if s.type == kind and s.trigger in anchors
    ]
    return min(timers, default=None)


def hides(state: SessionState, kind: str) -> bool:
    """Tell whether a strategy of this type hides the session in the end."""
    return any(s.hides for s in state.strategies if s.type == kind)


def refusal(seen: Seen, state: SessionState | None, new: Sequence[dict[str, Any]], rules: Rules) -> Rejected | None:
    """Tell why these strategies cannot replace the session's: `never` switched off, or a type already executed."""
    wanted = folded(seen, new)
    had = state.strategies if state else ()
    unending = {s.type for s in had if s.trigger == "never"}
    if not rules.never_allowed and any(s.trigger == "never" and s.type not in unending for s in wanted):
        return Rejected(Reason.INVALID, "the trigger 'never' is not enabled on this server; use ttl, idle or a count")
    for fired in state.fired if state else ():
        if {s.mark for s in had if s.type == fired} != {s.mark for s in wanted if s.type == fired}:
            detail = f"the lifecycle strategy {fired} has been executed and cannot be changed; send it unchanged"
            return Rejected(Reason.STRATEGY_EXECUTED, detail)
    return None
