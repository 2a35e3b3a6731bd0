"""A session: one conversation of a memory space, its events inside, in one stream.

Read this first: it is the pattern of every aggregate. Commands (`session_commands`) → facts → evolve → decide.

1. Events are numbered 0, 1, 2 … by `ce_subject` (`event/3`), never re-used (guarantee 1).
2. An event's token is the time of the fact that last wrote it; an update with another token is refused (guarantee 4).
3. The session's `version` moves with session updates only, never with events (wire contract §3.3).
4. A fact may be missing: erasure leaves holes, and the fold of what is left decides as the whole would (design §6).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from mnemolog.domain import erasure
from mnemolog.domain.decision import Case, Decision, Delta, Draft, Ended, Owned, Seen, SessionState, Token
from mnemolog.domain.fact import Fact
from mnemolog.domain.outcomes import Reason, Rejected
from mnemolog.domain.rules import Rules, count_tokens
from mnemolog.domain.schema import Json, Payload, sent
from mnemolog.domain.session_commands import (
    AppendEvents,
    CreateSession,
    DeleteEvent,
    DeleteSession,
    Emitter,
    EventChange,
    NewEvent,
    SessionTarget,
    UpdateEvents,
    UpdateSession,
)
from mnemolog.domain.space import free, inside, no_space, readable_space
from mnemolog.domain.strategy import ExtractionCompleted, StrategyRearmed, counted, default, folded, refusal
from mnemolog.domain.streams import own_id, stream
from mnemolog.domain.times import from_text

# ---- facts -----------------------------------------------------------------------------------------------------------


class SessionCreated(Payload):
    """A session was opened, at version 1."""

    TYPE: ClassVar[str] = "session.session-created.v1"
    space: str
    participants: list[str]
    lifecycle_strategies: list[dict[str, Any]]
    description: str | None = None
    metadata: Json | None = None
    deduplication_key: str | None = None


class SessionUpdated(Payload):
    """Fields of a session were replaced; `version` is the one that it has now."""

    TYPE: ClassVar[str] = "session.session-updated.v1"
    version: int
    description: str | None = None
    metadata: Json | None = None
    lifecycle_strategies: list[dict[str, Any]] = []


class SessionDeleted(Payload):
    """A session and its events are hidden."""

    TYPE: ClassVar[str] = "session.session-deleted.v1"


class EventAppended(Payload):
    """An event was appended; its sequence id is in the subject, its tokens are counted once and for all."""

    TYPE: ClassVar[str] = "session.event-appended.v1"
    body: Json
    type: str
    emitter: dict[str, Any]
    tokens: int


class EventUpdated(Payload):
    """Fields of an event were replaced; `tokens` where the body was."""

    TYPE: ClassVar[str] = "session.event-updated.v1"
    body: Json = {}
    type: str = ""
    emitter: dict[str, Any] = {}
    tokens: int = 0


class EventDeleted(Payload):
    """An event is hidden."""

    TYPE: ClassVar[str] = "session.event-deleted.v1"


class StrategyExecuted(Payload):
    """A lifecycle strategy of this type has run; it runs at most once."""

    TYPE: ClassVar[str] = "session.strategy-executed.v1"
    type: str


class SessionErased(erasure.Erased):
    """Facts of a session are gone; the rest is what decisions still need, as absolute values (times ISO-8601).

    `left` where facts of the one entry that it takes are left for another range.
    """

    TYPE: ClassVar[str] = "session.erased.v1"
    version: int
    next: int
    events: int
    tokens: int
    created: str
    last_event: str
    fired: list[str]
    left: bool = False


def entry(sequence: int) -> str:
    """Return the subject of an event's facts."""
    return f"event/{sequence}"


def sequence_of(subject: str) -> int:
    """Return the sequence id in the subject of an event's fact."""
    return int(subject.removeprefix("event/"))


# ---- fold ------------------------------------------------------------------------------------------------------------


def evolve(seen: Seen, state: SessionState | None, fact: Fact, delta: Delta) -> SessionState | Ended:
    """Return the session after one more fact, and index its deduplication key and its events' tokens."""
    state = state or SessionState()
    match fact.payload:
        case SessionCreated() as created:
            key = _key_mark(seen, created.space, created.deduplication_key)
            if key:
                delta.keys[key] = own_id(fact.stream)
            delta.owned[inside(seen, created.space), fact.ordinal] = Owned(fact.ordinal, fact.stream, fact.subject)
            return state._replace(
                ordinal=fact.ordinal,
                space=created.space,
                participants=tuple(seen.mark("participant", person) for person in created.participants),
                key=key,
                version=1,
                created=fact.time,
                strategies=folded(seen, created.lifecycle_strategies),
            )
        case SessionUpdated(version=version) as change:
            if "lifecycle_strategies" in change.model_fields_set:
                state = state._replace(strategies=folded(seen, change.lifecycle_strategies), timers=())
            return state._replace(version=version)
        case SessionDeleted():
            free(seen, state.key, fact, delta)
            return state._replace(key=b"", deleted=True, hidden=fact.time)
        case EventAppended() | EventUpdated() | EventDeleted():
            return _evolve_event(seen, state, fact, delta)
        case StrategyExecuted(type=executed):
            return state._replace(fired=(*state.fired, executed))
        case StrategyRearmed(type=put_off, due=due):
            others = tuple(timer for timer in state.timers if timer[0] != put_off)
            return state._replace(timers=(*others, (put_off, from_text(due) if due else 0)))
        case ExtractionCompleted():
            return state._replace(extracted=True)
        case SessionErased() as erased:
            return _evolve_erased(seen, state, fact, erased, delta)
        case _:
            return state


def _evolve_event(seen: Seen, state: SessionState, fact: Fact, delta: Delta) -> SessionState:
    sequence = sequence_of(fact.subject)
    if isinstance(fact.payload, EventAppended):
        tokens = fact.payload.tokens
        delta.tokens[fact.stream, sequence] = Token(fact.time, tokens, live=True)
        return state._replace(
            next=sequence + 1,
            events=state.events + 1,
            tokens=state.tokens + tokens,
            last_event=fact.time,
        )
    before = seen.token(fact.stream, sequence)
    match fact.payload:
        case EventUpdated() as change if before is not None:
            tokens = change.tokens if "body" in change.model_fields_set else before.tokens
            delta.tokens[fact.stream, sequence] = Token(fact.time, tokens, live=True)
            return state._replace(tokens=state.tokens + tokens - before.tokens)
        case EventDeleted() if before is not None:
            delta.tokens[fact.stream, sequence] = Token(fact.time, before.tokens, live=False)
            return state._replace(events=state.events - 1, tokens=state.tokens - before.tokens)
        case _:
            return state


def _evolve_erased(
    seen: Seen, state: SessionState, fact: Fact, erased: SessionErased, delta: Delta
) -> SessionState | Ended:
    for gone in erased.took:
        if gone.subject.startswith("event/"):
            delta.tokens[fact.stream, sequence_of(gone.subject)] = None
    if fact.subject == own_id(fact.stream):
        # A range of the whole session: what it was, its creation told, and that is gone, whoever folds.
        free(seen, state.key, fact, delta)
        if state.space:
            delta.owned[inside(seen, state.space), state.ordinal] = None
        state = SessionState(deleted=True)
    if erased.ended:
        return Ended()
    return state._replace(
        version=erased.version,
        next=erased.next,
        events=erased.events,
        tokens=erased.tokens,
        created=from_text(erased.created),
        last_event=from_text(erased.last_event),
        fired=tuple(erased.fired),
    )


def _key_mark(seen: Seen, space: str, key: str | None) -> bytes:
    return seen.mark("session", space, key) if key is not None else b""


# ---- decide ----------------------------------------------------------------------------------------------------------


def create(seen: Seen, case: Case, command: CreateSession) -> Decision:
    """Open a session in a space of the caller's; its deduplication key must be free among the space's live ones."""
    (new,) = command.parts
    if not readable_space(seen, case, command.target):
        return no_space()
    key = _key_mark(seen, command.target.space, new.deduplication_key)
    if key and (existing := seen.key(key)):
        detail = "another session of this space has this deduplication key; use that one or choose another key"
        return Rejected(Reason.KEY_TAKEN, detail, existing)
    strategies = new.lifecycle_strategies or [default(case.rules)]
    if refused := refusal(seen, None, strategies, case.rules):
        return refused
    identifier = case.new_id(0)
    body = sent(new) | {"lifecycle_strategies": strategies}
    payload = SessionCreated(space=command.target.space, **body)
    return [Draft(stream(case.tenant, "session", identifier), identifier, payload, part=0)]


def update(seen: Seen, case: Case, command: UpdateSession) -> Decision:
    """Change a session if its version is the expected one; each accepted change makes the version one higher."""
    (change,) = command.parts
    state = readable(seen, case, command.target)
    if isinstance(state, Rejected):
        return state
    expected = command.target.version
    if expected is not None and expected != state.version:
        detail = f"Session version mismatch: expected {expected}, current {state.version}"
        return Rejected(Reason.VERSION_MISMATCH, detail)
    if change.lifecycle_strategies and (refused := refusal(seen, state, change.lifecycle_strategies, case.rules)):
        return refused
    payload = SessionUpdated(version=state.version + 1, **sent(change))
    name = _stream(case, command.target)
    draft = Draft(name, command.target.session, payload, part=0)
    if change.lifecycle_strategies:
        state = state._replace(strategies=folded(seen, change.lifecycle_strategies))
    return [draft, *executed(name, counted(state, state.events, state.tokens))]


def delete(seen: Seen, case: Case, command: DeleteSession) -> Decision:
    """Hide a session: one fact, however many events it has."""
    state = readable(seen, case, command.target)
    if isinstance(state, Rejected):
        return state
    return [Draft(_stream(case, command.target), command.target.session, SessionDeleted())]


def append(seen: Seen, case: Case, command: AppendEvents) -> Decision:
    """Append all events with consecutive sequence ids, or none of them."""
    state = readable(seen, case, command.target)
    if isinstance(state, Rejected):
        return state
    if refused := _foreign_emitter(seen, state, (event.emitter for event in command.parts)):
        return refused
    name = _stream(case, command.target)
    tokens = [_tokens(event.body, case.rules) for event in command.parts]
    drafts = [_appended(name, state.next + i, event, i, tokens[i]) for i, event in enumerate(command.parts)]
    return drafts + executed(name, counted(state, state.events + len(drafts), state.tokens + sum(tokens)))


def change_events(seen: Seen, case: Case, command: UpdateEvents) -> Decision:
    """Change all events, each only if its token is the one that the caller saw, or none of them."""
    state = readable(seen, case, command.target)
    if isinstance(state, Rejected):
        return state
    name = _stream(case, command.target)
    for change in command.parts:
        if refused := _unchangeable(seen.token(name, change.sequence_id), change):
            return refused
    if refused := _foreign_emitter(seen, state, (c.emitter for c in command.parts if c.emitter)):
        return refused
    drafts = [_changed(name, change, i, case.rules) for i, change in enumerate(command.parts)]
    more = 0
    for change in command.parts:
        if "body" in change.model_fields_set and (token := seen.token(name, change.sequence_id)):
            more += _tokens(change.body, case.rules) - token.tokens
    return drafts + executed(name, counted(state, state.events, state.tokens + more))


def delete_event(seen: Seen, case: Case, command: DeleteEvent) -> Decision:
    """Hide one event; its sequence id stays used."""
    state = readable(seen, case, command.target)
    if isinstance(state, Rejected):
        return state
    name = _stream(case, command.target)
    token = seen.token(name, command.target.sequence)
    if token is None or not token.live:
        return _no_event(command.target.sequence)
    return [Draft(name, entry(command.target.sequence), EventDeleted())]


def executed(name: str, kinds: Iterable[str]) -> list[Draft]:
    """Return what comes of strategies of these types: a soft deletion hides; an extraction is work for an agent."""
    drafts = [Draft(name, own_id(name), StrategyExecuted(type=kind)) for kind in kinds]
    if drafts and drafts[-1].payload == StrategyExecuted(type="soft_delete"):
        drafts.append(Draft(name, own_id(name), SessionDeleted()))
    return drafts


def _stream(case: Case, target: SessionTarget) -> str:
    return stream(case.tenant, "session", target.session)


def readable(seen: Seen, case: Case, target: SessionTarget) -> SessionState | Rejected:
    """Return a session of a space of the caller's that is not hidden."""
    if not readable_space(seen, case, target):
        return no_space()
    found = seen.stream(_stream(case, target))
    if found is None or not isinstance(found.body, SessionState):
        return no_session()
    if found.body.deleted or found.body.space != target.space:
        return no_session()
    return found.body


def _foreign_emitter(seen: Seen, state: SessionState, emitters: Iterable[Emitter]) -> Rejected | None:
    users = {emitter.id for emitter in emitters if emitter.type == "user"}
    if all(user is not None and seen.mark("participant", user) in state.participants for user in users):
        return None
    return Rejected(
        Reason.NOT_PARTICIPANT, "an emitter of type 'user' must have the id of a participant of the session"
    )


def _unchangeable(token: Token | None, change: EventChange) -> Rejected | None:
    if token is None or not token.live:
        return _no_event(change.sequence_id)
    if change.created_at is None:
        return None
    try:
        seen_at = from_text(change.created_at)
    except ValueError:
        return Rejected(Reason.INVALID, "createdAt must be an ISO-8601 time")
    if seen_at != token.at:
        return Rejected(Reason.STALE_EVENT, "Patch of incorrect version of event")
    return None


def _appended(name: str, sequence: int, event: NewEvent, part: int, tokens: int) -> Draft:
    payload = EventAppended(body=event.body, type=event.type, emitter=sent(event.emitter), tokens=tokens)
    return Draft(name, entry(sequence), payload, part)


def _changed(name: str, change: EventChange, part: int, rules: Rules) -> Draft:
    fields = sent(change)
    sequence = fields.pop("sequence_id")
    fields.pop("created_at", None)
    if "body" in fields:
        fields["tokens"] = _tokens(change.body, rules)
    return Draft(name, entry(sequence), EventUpdated(**fields), part)


def _tokens(body: Json, rules: Rules) -> int:
    return count_tokens(body["content"], rules.tokens)


def no_session() -> Rejected:
    """Refuse what names a session that is not there."""
    return Rejected(Reason.NOT_FOUND, "there is no session with this id in this memory space")


def _no_event(sequence: int) -> Rejected:
    return Rejected(Reason.NOT_FOUND, f"there is no event {sequence} in this session")
