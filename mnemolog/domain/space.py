"""A memory space: the container of sessions, owned by one user of one tenant.

1. A deduplication key is unique among the user's live spaces; deletion frees it (wire contract §3).
2. Deleting a space hides it, and with it its sessions and their events: reads and decisions check the parent.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from mnemolog.domain import erasure
from mnemolog.domain.decision import Case, Decision, Delta, Draft, Ended, Seen, SpaceState
from mnemolog.domain.fact import Fact
from mnemolog.domain.outcomes import Reason, Rejected
from mnemolog.domain.schema import Command, Name, Part, Payload, Target, sent
from mnemolog.domain.session_commands import DeduplicationKey, Description, InSpace
from mnemolog.domain.streams import own_id, stream

_URL = re.compile(r"https?://[^\s/?#]+\S*")


def _a_url(text: str) -> str:
    if not _URL.fullmatch(text):
        message = "must be an http or https URL"
        raise ValueError(message)
    return text


ModelName = Annotated[str, Field(max_length=200)]
Instructions = Annotated[str, Field(max_length=10_000)]
Url = Annotated[str, Field(max_length=2_083), AfterValidator(_a_url)]

# ---- commands --------------------------------------------------------------------------------------------------------


class ByUser(Target):
    """Whose space it is to be."""

    user: Name


class NewSpace(Part):
    """A space as the caller said it."""

    description: Description | None = None
    llm_model_name: ModelName | None = None
    llm_base_url: Url | None = None
    custom_instructions: Instructions | None = None
    deduplication_key: DeduplicationKey | None = None


class SpaceChange(Part):
    """What to replace in a space: null clears, absent stays."""

    description: Description | None = None
    llm_model_name: ModelName | None = None
    llm_base_url: Url | None = None
    custom_instructions: Instructions | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            message = "give a field to change"
            raise ValueError(message)
        return self


class CreateSpace(Command):
    """Open a space."""

    TYPE: ClassVar[str] = "space.create-space.v1"
    target: ByUser
    parts: Annotated[tuple[NewSpace], Field(strict=False)]


class UpdateSpace(Command):
    """Change a space."""

    TYPE: ClassVar[str] = "space.update-space.v1"
    target: InSpace
    parts: Annotated[tuple[SpaceChange], Field(strict=False)]


class DeleteSpace(Command):
    """Hide a space with its sessions."""

    TYPE: ClassVar[str] = "space.delete-space.v1"
    target: InSpace
    parts: Annotated[tuple[()], Field(strict=False)] = ()


# ---- facts -----------------------------------------------------------------------------------------------------------


class SpaceCreated(Payload):
    """A space was opened."""

    TYPE: ClassVar[str] = "space.space-created.v1"
    user: str
    description: str | None = None
    llm_model_name: str | None = None
    llm_base_url: str | None = None
    custom_instructions: str | None = None
    deduplication_key: str | None = None


class SpaceUpdated(Payload):
    """Fields of a space were replaced."""

    TYPE: ClassVar[str] = "space.space-updated.v1"
    description: str | None = None
    llm_model_name: str | None = None
    llm_base_url: str | None = None
    custom_instructions: str | None = None


class SpaceDeleted(Payload):
    """A space and its sessions are hidden."""

    TYPE: ClassVar[str] = "space.space-deleted.v1"


class SpaceErased(erasure.Erased):
    """Facts of a space are gone."""

    TYPE: ClassVar[str] = "space.erased.v1"


# ---- fold ------------------------------------------------------------------------------------------------------------


def evolve(seen: Seen, state: SpaceState | None, fact: Fact, delta: Delta) -> SpaceState | Ended:
    """Return the space after one more fact, and index its deduplication key."""
    state = state or SpaceState()
    match fact.payload:
        case SpaceCreated(user=user, deduplication_key=text):
            key = key_mark(seen, fact.tenant, user, text)
            if key:
                delta.keys[key] = own_id(fact.stream)
            return SpaceState(owner=seen.mark("user", fact.tenant, user), key=key)
        case SpaceDeleted():
            free(seen, state.key, fact, delta)
            return state._replace(key=b"", deleted=True, hidden=fact.time)
        case SpaceErased(ended=ended):
            free(seen, state.key, fact, delta)
            return Ended() if ended else SpaceState(deleted=True)
        case _:
            return state


def free(seen: Seen, key: bytes, fact: Fact, delta: Delta) -> None:
    """Let go of a deduplication key, unless another has taken it: the fact that freed it may be a hole."""
    if key and seen.key(key) == own_id(fact.stream):
        delta.keys[key] = None


def inside(seen: Seen, space: str) -> bytes:
    """Return the mark under which a space's sessions stand in the state."""
    return seen.mark("inside", space)


def key_mark(seen: Seen, tenant: str, user: str, key: str | None) -> bytes:
    """Return the mark of a space's deduplication key, empty where there is none."""
    return seen.mark("space", tenant, user, key) if key is not None else b""


# ---- decide ----------------------------------------------------------------------------------------------------------


def create(seen: Seen, case: Case, command: CreateSpace) -> Decision:
    """Open a space; its deduplication key must be free among the user's live ones."""
    (new,) = command.parts
    key = key_mark(seen, case.tenant, command.target.user, new.deduplication_key)
    if key and (existing := seen.key(key)):
        detail = "another memory space of this user has this deduplication key; use that one or choose another key"
        return Rejected(Reason.KEY_TAKEN, detail, existing)
    identifier = case.new_id(0)
    payload = SpaceCreated(user=command.target.user, **sent(new))
    return [Draft(stream(case.tenant, "space", identifier), identifier, payload, part=0)]


def update(seen: Seen, case: Case, command: UpdateSpace) -> Decision:
    """Change a space; the last writer of a field wins."""
    if not readable_space(seen, case, command.target):
        return no_space()
    payload = SpaceUpdated(**sent(command.parts[0]))
    return [Draft(stream(case.tenant, "space", command.target.space), command.target.space, payload, part=0)]


def delete(seen: Seen, case: Case, command: DeleteSpace) -> Decision:
    """Hide a space: one fact, however much it holds."""
    if not readable_space(seen, case, command.target):
        return no_space()
    return [Draft(stream(case.tenant, "space", command.target.space), command.target.space, SpaceDeleted())]


def readable_space(seen: Seen, case: Case, target: InSpace) -> bool:
    """Tell whether a space exists for this user of this tenant; a foreign one does not (guarantee 8)."""
    found = seen.stream(stream(case.tenant, "space", target.space))
    if found is None or not isinstance(found.body, SpaceState) or found.body.deleted:
        return False
    return found.body.owner == seen.mark("user", case.tenant, target.user)


def no_space() -> Rejected:
    """Refuse what names a space that is not there, or not this user's."""
    return Rejected(Reason.NOT_FOUND, "there is no memory space with this id")
