"""Erasing an owner: all memories and messages that an agent keeps of an invoker, in a stream of its own each time.

1. `OwnerErased` hides at once what of this owner has a lower ordinal, however much it is (design §5).
2. `EraseRange`s take it in the order of ordinals, with one `Erased` per stream; what was written since stays.
3. With nothing left, the closing fact takes the hiding one, which names the owner.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field

from mnemolog.domain import erasure, memory, message
from mnemolog.domain.decision import Case, Decision, Delta, Draft, Ended, Owned, OwnerState, Seen, Written
from mnemolog.domain.fact import Fact
from mnemolog.domain.outcomes import Reason, Rejected
from mnemolog.domain.schema import Command, Payload
from mnemolog.domain.streams import kind_of, own_id, stream


class EraseOwner(Command):
    """Erase all that an agent keeps of an invoker."""

    TYPE: ClassVar[str] = "owner.erase-owner.v1"
    target: memory.Owner
    parts: Annotated[tuple[()], Field(strict=False)] = ()


class OwnerErased(Payload):
    """What of this owner has a lower ordinal is hidden."""

    TYPE: ClassVar[str] = "owner.owner-erased.v1"
    agent: str
    invoker: str


class OwnerClosed(erasure.Erased):
    """All that was hidden has been taken, and the fact that hid it."""

    TYPE: ClassVar[str] = "owner.erased.v1"


Withheld = Mapping[tuple[str, str], int]
"""Agent and invoker → below which ordinal what they have is hidden."""


def withheld(erasures: Iterable[Mapping[str, Any]]) -> Withheld:
    """Return what erasures under way hide, by their rows: agent, invoker, and below which ordinal."""
    found: dict[tuple[str, str], int] = {}
    for row in erasures:
        whose = (row["agent"], row["invoker"])
        found[whose] = max(found.get(whose, 0), row["below"])
    return found


def shown(row: Mapping[str, Any], hidden: Withheld) -> bool:
    """Tell whether readers see the row of a memory or message."""
    below = hidden.get((row["agent"], row["invoker"]), 0)
    return int(row.get("ordinal", 0)) >= below


def evolve(seen: Seen, state: OwnerState | None, fact: Fact, delta: Delta) -> OwnerState | Ended:
    """Return the erasure after one more fact; those of an owner that are under way are found by his mark."""
    match fact.payload:
        case OwnerErased(agent=agent, invoker=invoker):
            mark = memory.owner_mark(seen, fact.tenant, agent, invoker)
            delta.owned[erasure.hiding(seen, mark), fact.ordinal] = Owned(fact.ordinal, fact.stream, fact.subject)
            return OwnerState(mark, fact.ordinal)
        case OwnerClosed():
            if state:
                delta.owned[erasure.hiding(seen, state.owner), state.below] = None
            return Ended()
        case _:
            return state or OwnerState()


def hide(seen: Seen, case: Case, command: EraseOwner) -> Decision:
    """Hide all that there is; the eraser goes on."""
    target = command.target
    if not seen.owned(memory.owner_mark(seen, case.tenant, target.agent, target.invoker), 1):
        return Rejected(Reason.NOT_FOUND, "there is nothing of this agent and invoker")
    identifier = case.new_id(0)
    payload = OwnerErased(agent=target.agent, invoker=target.invoker)
    return [Draft(stream(case.tenant, "owner", identifier), identifier, payload)]


def erase(seen: Seen, case: Case, command: erasure.EraseRange) -> Decision:
    """Take the next range of what an erasure hides, or close it."""
    name = stream(case.tenant, "owner", command.target.id)
    found = seen.stream(name)
    if found is None or not isinstance(found.body, OwnerState):
        return Rejected(Reason.NOT_FOUND, "there is no erasure with this id, or it is done")
    state = found.body
    room = erasure.room(command.target)
    rows = [row for row in seen.owned(state.owner, room) if row.ordinal < state.below]
    if rows:
        return _range(seen, case, rows, room)
    took = erasure.took(seen, case, seen.written(name, None, 1))
    return [Draft(name, own_id(name), OwnerClosed(took=took, ended=True))]


def _range(seen: Seen, case: Case, rows: Sequence[Owned], room: int) -> Decision:
    drafts: list[Draft] = []
    groups: dict[str, list[Written]] = {}
    for row in rows:
        if room == 0:
            break
        if kind_of(row.stream) == "memory":
            draft, took = memory.taken(seen, case, row.stream, room)
            drafts.append(draft)
            room -= took
        else:
            written = seen.written(row.stream, row.subject, room)
            groups.setdefault(row.stream, []).extend(fact for fact in written if fact.ordinal == row.ordinal)
            room -= 1
    return drafts + [message.taken(seen, case, name, written) for name, written in groups.items()]
