"""A memory: a text that an agent keeps about an invoker, in a stream of its own.

Commands → facts → evolve → decide. `DeleteMemory` erases (design §7: SAP's delete is permanent); a memory with more
facts than one command may take is hidden by `MemoryDeleted` first, and the eraser goes on.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from mnemolog.domain import erasure
from mnemolog.domain.decision import Case, Decision, Delta, Draft, Ended, MemoryState, Owned, Seen
from mnemolog.domain.fact import Fact
from mnemolog.domain.outcomes import Reason, Rejected
from mnemolog.domain.schema import Command, Id, Json, Name, Part, Payload, Target, sent
from mnemolog.domain.streams import own_id, stream

# ---- commands --------------------------------------------------------------------------------------------------------


class Owner(Target):
    """Whose memory it is."""

    agent: Name
    invoker: Name


class MemoryTarget(Target):
    """A memory by its id, which alone names it."""

    memory: Id


class NewMemory(Part):
    """A memory as the caller said it."""

    content: Annotated[str, Field(min_length=1)]
    metadata: Json | None = None


class MemoryChange(Part):
    """What to replace; an absent field stays."""

    content: Annotated[str, Field(min_length=1)] = ""
    metadata: Json | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            message = "give content or metadata to change"
            raise ValueError(message)
        return self


class AddMemory(Command):
    """Keep a text."""

    TYPE: ClassVar[str] = "memory.add-memory.v1"
    target: Owner
    parts: Annotated[tuple[NewMemory], Field(strict=False)]


class UpdateMemory(Command):
    """Replace a memory's text or metadata."""

    TYPE: ClassVar[str] = "memory.update-memory.v1"
    target: MemoryTarget
    parts: Annotated[tuple[MemoryChange], Field(strict=False)]


class DeleteMemory(Command):
    """Erase a memory."""

    TYPE: ClassVar[str] = "memory.delete-memory.v1"
    target: MemoryTarget
    parts: Annotated[tuple[()], Field(strict=False)] = ()


# ---- facts -----------------------------------------------------------------------------------------------------------


class MemoryAdded(Payload):
    """A memory was kept."""

    TYPE: ClassVar[str] = "memory.memory-added.v1"
    agent: str
    invoker: str
    content: str
    metadata: Json | None = None


class MemoryUpdated(Payload):
    """Fields of a memory were replaced."""

    TYPE: ClassVar[str] = "memory.memory-updated.v1"
    content: str = ""
    metadata: Json | None = None


class MemoryDeleted(Payload):
    """A memory is hidden until its facts are erased."""

    TYPE: ClassVar[str] = "memory.memory-deleted.v1"


class MemoryErased(erasure.Erased):
    """Facts of a memory are gone."""

    TYPE: ClassVar[str] = "memory.erased.v1"


# ---- fold ------------------------------------------------------------------------------------------------------------


def evolve(seen: Seen, state: MemoryState | None, fact: Fact, delta: Delta) -> MemoryState | Ended:
    """Return the memory after one more fact; holes are fine, the state starts blank."""
    # A second `MemoryAdded` is of an id made twice: its command was repeated behind the window, by a clock set back.
    if state and state.owner and isinstance(fact.payload, MemoryAdded | MemoryDeleted | MemoryErased):
        delta.owned[state.owner, state.ordinal] = None
    match fact.payload:
        case MemoryAdded(agent=agent, invoker=invoker):
            owner = owner_mark(seen, fact.tenant, agent, invoker)
            delta.owned[owner, fact.ordinal] = Owned(fact.ordinal, fact.stream, fact.subject)
            return MemoryState(owner=owner, ordinal=fact.ordinal)
        case MemoryDeleted():
            return (state or MemoryState())._replace(deleted=True)
        case MemoryErased(ended=True):
            return Ended()
        case MemoryErased():
            return MemoryState(deleted=True)
        case _:
            return state or MemoryState()


def owner_mark(seen: Seen, tenant: str, agent: str, invoker: str) -> bytes:
    """Return the mark of an agent + invoker."""
    return seen.mark("owner", tenant, agent, invoker)


# ---- decide ----------------------------------------------------------------------------------------------------------


def add(seen: Seen, case: Case, command: AddMemory) -> Decision:
    """A memory always has a stream and an id of its own, so nothing can stand in its way."""
    del seen
    identifier = case.new_id(0)
    payload = MemoryAdded(agent=command.target.agent, invoker=command.target.invoker, **sent(command.parts[0]))
    return [Draft(stream(case.tenant, "memory", identifier), identifier, payload, part=0)]


def update(seen: Seen, case: Case, command: UpdateMemory) -> Decision:
    """Updates are last-writer-wins: this face has no version to compare (wire contract §2)."""
    name = stream(case.tenant, "memory", command.target.memory)
    if live(seen, name) is None:
        return missing()
    return [Draft(name, command.target.memory, MemoryUpdated(**sent(command.parts[0])), part=0)]


def delete(seen: Seen, case: Case, command: DeleteMemory) -> Decision:
    """Erase at once what fits into one command; hide the rest first."""
    name = stream(case.tenant, "memory", command.target.memory)
    if live(seen, name) is None:
        return missing()
    return gone(seen, case, name)


def gone(seen: Seen, case: Case, name: str) -> Decision:
    """Erase a live memory, or hide it where that is too much for one command."""
    if not erasure.reach(seen, name, None)[1]:
        return [Draft(name, own_id(name), MemoryDeleted())]
    return [taken(seen, case, name)[0]]


def erase(seen: Seen, case: Case, command: erasure.EraseRange) -> Decision:
    """Take the next range of a hidden memory."""
    name = stream(case.tenant, "memory", command.target.id)
    found = seen.stream(name)
    if found is None or not isinstance(found.body, MemoryState):
        return missing()
    if not (found.body.deleted or erasure.withheld(seen, found.body.owner, found.body.ordinal)):
        return erasure.not_hidden()
    return [taken(seen, case, name, erasure.room(command.target))[0]]


def taken(seen: Seen, case: Case, name: str, room: int | None = None) -> tuple[Draft, int]:
    """Return the erasure of a memory's first facts, of at most `room` if given, and how many these are."""
    written, all_of_it = erasure.reach(seen, name, None)
    some = written[:room]
    ended = all_of_it and len(some) == len(written)
    return Draft(name, own_id(name), MemoryErased(took=erasure.took(seen, case, some), ended=ended)), len(some)


def live(seen: Seen, name: str) -> MemoryState | None:
    """Return a memory that readers see."""
    found = seen.stream(name)
    if found is None or not isinstance(found.body, MemoryState) or found.body.deleted:
        return None
    return None if erasure.withheld(seen, found.body.owner, found.body.ordinal) else found.body


def missing() -> Rejected:
    """Refuse what names a memory that is not there."""
    return Rejected(Reason.NOT_FOUND, "there is no memory with this id")
