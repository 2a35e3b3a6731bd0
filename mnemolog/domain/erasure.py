"""Erasure: one fact that says what was taken, and holds nothing that a caller wrote (design §7).

1. `Erased` takes every fact about an entry (append, updates, soft deletion), never another `Erased`.
2. Of each it keeps version, ordinal, link and subject, so that the chain can be walked across the hole; while the
   command is in the idempotency window also command id, index and time, so that a repeat is still recognised.
3. Of the stream it keeps, as absolute values, what decisions still need.
4. More than `ERASE_LIMIT` facts are first hidden by one fact, then taken in `EraseRange`s, lowest versions first; the
   hiding fact is the newest and goes with the closing one (design §5, bounded work).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from mnemolog.domain.decision import Acceptance, Case, Seen, Written
from mnemolog.domain.outcomes import Reason, Rejected
from mnemolog.domain.rules import ERASE_LIMIT, Rules
from mnemolog.domain.schema import Command, Id, Payload, Target
from mnemolog.domain.times import SECOND, to_text

_ERASURES = 1_000
"""Erasures of one owner that are under way at once: far more than anybody asks for."""


class Took(BaseModel):
    """What is left of an erased fact; `link` is hex, `time` ISO-8601."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    version: int
    ordinal: int
    link: str
    subject: str
    command: str | None = None
    index: int | None = None
    time: str | None = None


class Erased(Payload):
    """The facts in `took` are gone; `ended` if the stream has none left that could be taken."""

    took: tuple[Took, ...]
    ended: bool


class EraseTarget(Target):
    """What to erase: a stream of the tenant, or of it the one entry named; `contents` is a space and all that is in it.

    With `cutoff` (µs) only if it had been hidden by then: the grace of soft deletion. `limit` is how many facts to take
    at the most, where that is fewer than one command may: users' writes come in between.
    """

    kind: Literal["memory", "session", "space", "contents", "owner"]
    id: Id
    entry: Id | None = None
    cutoff: Annotated[int, Field(ge=0)] | None = None
    limit: Annotated[int, Field(ge=1)] | None = None


class ThingTarget(Target):
    """Something of the tenant, by its id alone."""

    kind: Literal["memory", "message", "session", "space"]
    id: Id


class Erase(Command):
    """Hide something at once, without a grace, and erase it: now if it is small, else by the eraser in ranges."""

    TYPE: ClassVar[str] = "erasure.erase.v1"
    target: ThingTarget
    parts: Annotated[tuple[()], Field(strict=False)] = ()


class EraseRange(Command):
    """Take at most `ERASE_LIMIT` facts of something already hidden. Proposed by the eraser, repeated until closed."""

    TYPE: ClassVar[str] = "erasure.erase-range.v1"
    target: EraseTarget
    parts: Annotated[tuple[()], Field(strict=False)] = ()


def in_window(seen: Seen, slot: int, acceptance: Acceptance, rules: Rules) -> bool:
    """Tell whether an acceptance is still remembered: 24 h of fact time or the newest 10,000, whichever is smaller.

    Every acceptance has an ordinal of its own, so one that is fewer than `window_size` ordinals old needs no counting.
    """
    known = seen.slot(slot)
    if acceptance.time <= known.last - rules.window_time:
        return False
    if acceptance.ordinal >= known.ordinal - rules.window_size:
        return True
    return not seen.outside(slot, acceptance.ordinal, rules.window_size)


def took(seen: Seen, case: Case, written: Sequence[Written]) -> tuple[Took, ...]:
    """Return what `Erased` keeps of these facts."""
    remembered: dict[str, int | None] = {}
    kept = []
    for fact in written:
        if fact.command not in remembered:
            acceptance = seen.acceptance(case.slot, fact.command)
            inside = acceptance is not None and in_window(seen, case.slot, acceptance, case.rules)
            remembered[fact.command] = acceptance.ordinal if acceptance and inside else None
        known: dict[str, Any] = {"version": fact.version, "ordinal": fact.ordinal}
        known |= {"link": fact.link.hex(), "subject": fact.subject}
        # An id that left the window may have been accepted anew: only the newest acceptance is remembered.
        if remembered[fact.command] == fact.ordinal - fact.nth:
            known |= {"command": fact.command, "index": fact.nth, "time": to_text(fact.time)}
        kept.append(Took(**known))
    return tuple(kept)


def too_early(case: Case, target: EraseTarget, hidden: int) -> Rejected | None:
    """Refuse what has not been hidden for the grace; what has once been begun (`hidden` is 0) goes on."""
    if target.cutoff is None or hidden <= min(target.cutoff, case.at - case.rules.grace * SECOND):
        return None
    return Rejected(Reason.NOT_DUE, f"this was deleted at {to_text(hidden)}; the grace has not passed by the cutoff")


def hiding(seen: Seen, owner: bytes) -> bytes:
    """Return the mark under which the erasures of an owner that are under way stand in the state."""
    return seen.mark("hiding", owner.hex())


def withheld(seen: Seen, owner: bytes, ordinal: int) -> bool:
    """Tell whether an erasure of the owner hides what has this ordinal."""
    return bool(owner) and any(row.ordinal > ordinal for row in seen.owned(hiding(seen, owner), _ERASURES))


def room(target: EraseTarget) -> int:
    """Return how many facts this command may take."""
    return min(target.limit or ERASE_LIMIT, ERASE_LIMIT)


def reach(seen: Seen, stream: str, entry: str | None) -> tuple[Sequence[Written], bool]:
    """Return the facts that one command may take, and whether these are all."""
    written = seen.written(stream, entry, ERASE_LIMIT + 1)
    return written[:ERASE_LIMIT], len(written) <= ERASE_LIMIT


def not_hidden() -> Rejected:
    """Refuse to take piecemeal what readers can still see."""
    return Rejected(Reason.NOT_HIDDEN, "only what has been deleted can be erased; delete it first")
