"""Short ways to say commands in tests; what a test does not care about has a default."""

from __future__ import annotations

from typing import Any, Literal

from mnemolog.domain.access import (
    ClientTarget,
    CreateClient,
    CreateKey,
    CreateToken,
    KeyTarget,
    NewClient,
    NewClientTarget,
    NewKey,
    NewKeyTarget,
    NewToken,
    NewTokenTarget,
    RevokeClient,
    RevokeKey,
    RevokeToken,
    TokenTarget,
)
from mnemolog.domain.erasure import Erase, EraseRange, EraseTarget, ThingTarget
from mnemolog.domain.expiry import ExpireRecord, RecordTarget
from mnemolog.domain.hiding import Hide, HideTarget
from mnemolog.domain.lifecycle import CompleteExtraction, ExecuteStrategy, TimerTarget
from mnemolog.domain.memory import AddMemory, DeleteMemory, MemoryChange, MemoryTarget, NewMemory, Owner, UpdateMemory
from mnemolog.domain.message import AddMessage, Conversation, DeleteMessage, MessageTarget, NewMessage
from mnemolog.domain.owner import EraseOwner
from mnemolog.domain.policy import RetentionChange, SetRetention, Tenant
from mnemolog.domain.session_commands import (
    AppendEvents,
    CreateSession,
    DeleteEvent,
    DeleteSession,
    Emitter,
    EventChange,
    EventTarget,
    InSpace,
    NewEvent,
    NewSession,
    SessionChange,
    SessionTarget,
    UpdateEvents,
    UpdateSession,
    VersionedSession,
)
from mnemolog.domain.space import ByUser, CreateSpace, DeleteSpace, NewSpace, SpaceChange, UpdateSpace

SHA = "ab" * 32
_TOKEN = "t1"


def add_memory(content: str = "likes tea", *, agent: str = "bot", invoker: str = "ann", **fields: Any) -> AddMemory:
    """Keep a text."""
    return AddMemory(target=Owner(agent=agent, invoker=invoker), parts=(NewMemory(content=content, **fields),))


def update_memory(memory: str, **fields: Any) -> UpdateMemory:
    """Replace fields of a memory."""
    return UpdateMemory(target=MemoryTarget(memory=memory), parts=(MemoryChange(**fields),))


def delete_memory(memory: str) -> DeleteMemory:
    """Erase a memory."""
    return DeleteMemory(target=MemoryTarget(memory=memory))


def add_message(
    content: str = "hello", *, agent: str = "bot", invoker: str = "ann", group: str = "chat", **fields: Any
) -> AddMessage:
    """Add a message of the user's."""
    part = NewMessage(**{"role": "USER", "content": content, **fields})
    return AddMessage(target=Conversation(agent=agent, invoker=invoker, group=group), parts=(part,))


def delete_message(message: str) -> DeleteMessage:
    """Erase a message."""
    return DeleteMessage(target=MessageTarget(message=message))


def create_space(user: str = "u1", **fields: Any) -> CreateSpace:
    """Open a space."""
    return CreateSpace(target=ByUser(user=user), parts=(NewSpace(**fields),))


def update_space(space: str, user: str = "u1", **fields: Any) -> UpdateSpace:
    """Replace fields of a space."""
    return UpdateSpace(target=InSpace(space=space, user=user), parts=(SpaceChange(**fields),))


def delete_space(space: str, user: str = "u1") -> DeleteSpace:
    """Hide a space."""
    return DeleteSpace(target=InSpace(space=space, user=user))


def create_session(space: str, user: str = "u1", **fields: Any) -> CreateSession:
    """Open a session for the participant p1."""
    part = NewSession(**{"participants": ["p1"], **fields})
    return CreateSession(target=InSpace(space=space, user=user), parts=(part,))


def update_session(
    space: str, session: str, version: int | None = None, user: str = "u1", **fields: Any
) -> UpdateSession:
    """Replace fields of a session."""
    target = VersionedSession(space=space, user=user, session=session, version=version)
    return UpdateSession(target=target, parts=(SessionChange(**fields),))


def delete_session(space: str, session: str, user: str = "u1") -> DeleteSession:
    """Hide a session."""
    return DeleteSession(target=SessionTarget(space=space, user=user, session=session))


def event(content: str = "hi", *, kind: str = "user", by: str | None = "p1", **fields: Any) -> NewEvent:
    """Say one event."""
    emitter = Emitter(type=kind) if by is None else Emitter(type=kind, id=by)
    return NewEvent(body={"content": content}, emitter=emitter, **fields)


def append_events(space: str, session: str, *events: NewEvent, user: str = "u1") -> AppendEvents:
    """Append events, one if none is given."""
    target = SessionTarget(space=space, user=user, session=session)
    return AppendEvents(target=target, parts=events or (event(),))


def change(sequence: int, content: str | None = None, **fields: Any) -> EventChange:
    """Say one change of an event."""
    body: dict[str, Any] = {} if content is None else {"body": {"content": content}}
    return EventChange(sequence_id=sequence, **body, **fields)


def update_events(space: str, session: str, *changes: EventChange, user: str = "u1") -> UpdateEvents:
    """Change events."""
    return UpdateEvents(target=SessionTarget(space=space, user=user, session=session), parts=changes)


def delete_event(space: str, session: str, sequence: int, user: str = "u1") -> DeleteEvent:
    """Hide an event."""
    return DeleteEvent(target=EventTarget(space=space, user=user, session=session, sequence=sequence))


def set_retention(**days: int | None) -> SetRetention:
    """Change the retention policy."""
    return SetRetention(target=Tenant(), parts=(RetentionChange(**days),))


def create_client(client: str = "sb", **fields: Any) -> CreateClient:
    """Let a client in."""
    return CreateClient(target=NewClientTarget(client=client, secret_sha256=SHA), parts=(NewClient(**fields),))


def revoke_client(client: str = "sb") -> RevokeClient:
    """Shut a client out."""
    return RevokeClient(target=ClientTarget(client=client))


def create_token(token: str = _TOKEN, **fields: Any) -> CreateToken:
    """Let the bearer of a token in."""
    part = NewToken(**{"user": "u1", **fields})
    return CreateToken(target=NewTokenTarget(token=token, token_sha256=SHA), parts=(part,))


def revoke_token(token: str = _TOKEN) -> RevokeToken:
    """Shut the bearer of a token out."""
    return RevokeToken(target=TokenTarget(token=token))


def create_key(key: str = "k-1", actor: str = "agent/planner") -> CreateKey:
    """Let the holder of a key sign."""
    return CreateKey(target=NewKeyTarget(key=key, public_key=SHA), parts=(NewKey(actor=actor),))


def revoke_key(key: str = "k-1") -> RevokeKey:
    """Give the holder of a key no further grant."""
    return RevokeKey(target=KeyTarget(key=key))


def erase_range(
    kind: Literal["memory", "session", "space", "contents", "owner"],
    identifier: str,
    entry: str | None = None,
    **fields: Any,
) -> EraseRange:
    """Take the next range of what is hidden."""
    return EraseRange(target=EraseTarget(kind=kind, id=identifier, entry=entry, **fields))


def erase(kind: Literal["memory", "message", "session", "space"], identifier: str) -> Erase:
    """Erase something at once."""
    return Erase(target=ThingTarget(kind=kind, id=identifier))


def hide(kind: Literal["session", "space"], identifier: str, entry: str | None = None) -> Hide:
    """Hide something, whoever owns it."""
    return Hide(target=HideTarget(kind=kind, id=identifier, entry=entry))


def erase_owner(*, agent: str = "bot", invoker: str = "ann") -> EraseOwner:
    """Erase all that an agent keeps of an invoker."""
    return EraseOwner(target=Owner(agent=agent, invoker=invoker))


def expire(kind: Literal["memory", "message"], identifier: str, cutoff: int, policy: int = 0) -> ExpireRecord:
    """Erase a record that was created before the cutoff."""
    return ExpireRecord(target=RecordTarget(kind=kind, id=identifier, cutoff=cutoff, policy=policy))


def execute(session: str, kind: Literal["soft_delete", "extract_memories"], as_of: int) -> ExecuteStrategy:
    """Execute a strategy if it is due."""
    return ExecuteStrategy(target=TimerTarget(session=session, type=kind, as_of=as_of))


def complete_extraction(space: str, session: str, user: str = "u1") -> CompleteExtraction:
    """Say that the memories of a session have been extracted."""
    return CompleteExtraction(target=SessionTarget(space=space, user=user, session=session))
