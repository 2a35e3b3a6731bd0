"""What timers and agents ask of a session's lifecycle (wire contract §3.4).

1. A timer only proposes to look; `decide` finds the deadline: a stored anchor and the trigger as it is now.
2. Due, the strategy is executed; each type at most once. Before that, or with nothing left to wait for, the timer is
   put off or switched off by a fact, so that it is not looked at again before.
3. A due `extract_memories` is work for an agent; `CompleteExtraction` says that it is done, and hides the session
   unless the strategy says `softDelete: false`. Nothing is deleted by it before that.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from mnemolog.domain.decision import Case, Decision, Draft, Seen, SessionState
from mnemolog.domain.outcomes import Reason, Rejected
from mnemolog.domain.schema import Command, Id, Target
from mnemolog.domain.session import SessionDeleted, executed, no_session, readable
from mnemolog.domain.session_commands import SessionTarget
from mnemolog.domain.strategy import ExtractionCompleted, Kind, StrategyRearmed, deadline, hides
from mnemolog.domain.streams import stream
from mnemolog.domain.times import to_text

EXTRACTION = "extract_memories"


class TimerTarget(Target):
    """A session's timer of one type, as it stood when (µs) it was looked at."""

    session: Id
    type: Kind
    as_of: Annotated[int, Field(ge=0)]


class ExecuteStrategy(Command):
    """Execute a strategy if it is due. Proposed by the retention worker."""

    TYPE: ClassVar[str] = "session.execute-strategy.v1"
    target: TimerTarget
    parts: Annotated[tuple[()], Field(strict=False)] = ()


class CompleteExtraction(Command):
    """Say that the memories of a session have been extracted."""

    TYPE: ClassVar[str] = "session.complete-extraction.v1"
    target: SessionTarget
    parts: Annotated[tuple[()], Field(strict=False)] = ()


def execute(seen: Seen, case: Case, command: ExecuteStrategy) -> Decision:
    """Execute what is due, by the log's own time and not before the proposal's."""
    kind = command.target.type
    name = stream(case.tenant, "session", command.target.session)
    found = seen.stream(name)
    if found is None or not isinstance(found.body, SessionState) or found.body.deleted:
        return no_session()
    state = found.body
    timer = None if kind in state.fired else deadline(state, kind)
    due = timer[0] if timer else 0
    if due and due <= min(command.target.as_of, case.at):
        return executed(name, [kind])
    if (kind, due) in state.timers:
        return Rejected(Reason.NOT_DUE, f"the strategy {kind} is not due, and its timer says so")
    payload = StrategyRearmed(type=kind, due=to_text(due) if due else None)
    return [Draft(name, command.target.session, payload)]


def complete(seen: Seen, case: Case, command: CompleteExtraction) -> Decision:
    """Record that due work is done, once."""
    state = readable(seen, case, command.target)
    if isinstance(state, Rejected):
        return state
    if EXTRACTION not in state.fired or state.extracted:
        return Rejected(Reason.NOT_FOUND, "no extraction of memories is waiting in this session")
    name = stream(case.tenant, "session", command.target.session)
    drafts = [Draft(name, command.target.session, ExtractionCompleted())]
    if hides(state, EXTRACTION):
        drafts.append(Draft(name, command.target.session, SessionDeleted()))
    return drafts
