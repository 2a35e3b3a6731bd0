"""What can be asked of a session: the commands' schemas, with every limit of form (wire contract §3).

What depends on the state, such as whether an emitter is a participant, is `session`'s to decide.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator, model_validator

from mnemolog.domain.rules import BATCH_LIMIT
from mnemolog.domain.schema import Command, Id, Json, Name, Part, Target
from mnemolog.domain.strategy import checked

CONTENT_LIMIT = 100_000
Description = Annotated[str, Field(max_length=1_000)]
DeduplicationKey = Annotated[str, Field(min_length=1, max_length=72)]
EventType = Annotated[str, Field(min_length=1, max_length=200)]
Strategies = Annotated[list[Annotated[dict[str, Any], AfterValidator(checked)]], Field(max_length=5)]


class InSpace(Target):
    """A space, as the user who asks may see it."""

    space: Id
    user: Name


class SessionTarget(InSpace):
    """A session of that space."""

    session: Id


class VersionedSession(SessionTarget):
    """A session as its caller last saw it; without `version` the last writer wins."""

    version: int | None = None


class EventTarget(SessionTarget):
    """One event of that session."""

    sequence: Annotated[int, Field(ge=0)]


class Emitter(Part):
    """Who produced an event; a `user` must be a participant."""

    type: EventType
    id: Name | None = None


def _with_content(body: Json) -> Json:
    content = body.get("content")
    if not isinstance(content, str) or not 1 <= len(content) <= CONTENT_LIMIT:
        message = f"body.content must be a string of 1 to {CONTENT_LIMIT} characters"
        raise ValueError(message)
    return body


_CONTENT = {"type": "string", "minLength": 1, "maxLength": CONTENT_LIMIT}
_BODY = {"type": "object", "properties": {"content": _CONTENT}, "required": ["content"]}
EventBody = Annotated[Json, AfterValidator(_with_content), WithJsonSchema(_BODY)]


class NewEvent(Part):
    """An event as the caller said it."""

    body: EventBody
    emitter: Emitter
    type: EventType = "message"


class EventChange(Part):
    """What to replace in an event; body and emitter are replaced whole."""

    sequence_id: Annotated[int, Field(ge=0)]
    body: EventBody = {}
    type: EventType = "message"
    emitter: Emitter | None = None
    created_at: str | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set & {"body", "type", "emitter"}:
            message = "give body, type or emitter to change"
            raise ValueError(message)
        return self

    @field_validator("emitter")
    @classmethod
    def _an_emitter(cls, emitter: Emitter | None) -> Emitter | None:
        if emitter is None:
            message = "an event's emitter can be replaced, not removed"
            raise ValueError(message)
        return emitter


class NewSession(Part):
    """A session as the caller said it."""

    participants: Annotated[list[Name], Field(min_length=1, max_length=1)]
    lifecycle_strategies: Strategies = []
    description: Description | None = None
    metadata: Json | None = None
    deduplication_key: DeduplicationKey | None = None


class SessionChange(Part):
    """What to replace in a session: null clears, absent stays."""

    description: Description | None = None
    metadata: Json | None = None
    lifecycle_strategies: Annotated[Strategies, Field(min_length=1)] = []

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            message = "give description, metadata or lifecycle_strategies to change"
            raise ValueError(message)
        return self


class CreateSession(Command):
    """Open a session."""

    TYPE: ClassVar[str] = "session.create-session.v1"
    target: InSpace
    parts: Annotated[tuple[NewSession], Field(strict=False)]


class UpdateSession(Command):
    """Change a session, if it still has the version that the caller saw."""

    TYPE: ClassVar[str] = "session.update-session.v1"
    target: VersionedSession
    parts: Annotated[tuple[SessionChange], Field(strict=False)]


class DeleteSession(Command):
    """Hide a session with its events."""

    TYPE: ClassVar[str] = "session.delete-session.v1"
    target: SessionTarget
    parts: Annotated[tuple[()], Field(strict=False)] = ()


class AppendEvents(Command):
    """Append events: all of them, with consecutive sequence ids, or none."""

    TYPE: ClassVar[str] = "session.append-events.v1"
    target: SessionTarget
    parts: Annotated[tuple[NewEvent, ...], Field(strict=False, min_length=1, max_length=BATCH_LIMIT)]


class UpdateEvents(Command):
    """Change events: all of them or none."""

    TYPE: ClassVar[str] = "session.update-events.v1"
    target: SessionTarget
    parts: Annotated[tuple[EventChange, ...], Field(strict=False, min_length=1, max_length=BATCH_LIMIT)]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len({change.sequence_id for change in self.parts}) < len(self.parts):
            message = "each event can be changed once in a batch; a sequenceId stands here twice"
            raise ValueError(message)
        return self


class DeleteEvent(Command):
    """Hide an event."""

    TYPE: ClassVar[str] = "session.delete-event.v1"
    target: EventTarget
    parts: Annotated[tuple[()], Field(strict=False)] = ()
