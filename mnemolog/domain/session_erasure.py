"""Taking a session: a hidden one in ranges, a hidden event of it, or all of it at once (design §7)."""

from __future__ import annotations

from collections.abc import Sequence

from mnemolog.domain import erasure
from mnemolog.domain.decision import Case, Decision, Draft, Seen, SessionState, SpaceState, Written
from mnemolog.domain.session import SessionDeleted, SessionErased, no_session, sequence_of
from mnemolog.domain.streams import own_id, stream, tenant_of
from mnemolog.domain.times import to_text

_FIRST = 10


def erase(seen: Seen, case: Case, command: erasure.EraseRange) -> Decision:
    """Take the next range of a hidden session, or of a hidden event.

    Of a session with nothing left to take, the closing `Erased` is: what was taken of an event may have been its last.
    """
    name = stream(case.tenant, "session", command.target.id)
    state, chosen = _state(seen, name), command.target.entry
    if state is None or (chosen is not None and not seen.written(name, chosen, 1)):
        return no_session()
    hidden = _hidden_event(seen, name, chosen) if chosen else None
    if hidden is None:
        hidden = _hidden(seen, name, state)
    if hidden is None:
        return erasure.not_hidden()
    if early := erasure.too_early(case, command.target, hidden):
        return early
    return [taken(seen, case, name, room=erasure.room(command.target), entry=chosen)[0]]


def gone(seen: Seen, case: Case, name: str) -> Decision:
    """Erase a session, hidden or not: in one fact what fits into a command, else hide it and take a few facts.

    With that, the eraser goes on; a whole range would make the caller wait.
    """
    state = _state(seen, name)
    if state is None:
        return no_session()
    small = erasure.reach(seen, name, None)[1]
    hide = [] if small or state.deleted else [Draft(name, own_id(name), SessionDeleted())]
    draft, _ = taken(seen, case, name, room=None if small else _FIRST)
    if hide and isinstance(draft.payload, SessionErased):
        draft = Draft(name, draft.subject, draft.payload.model_copy(update={"ended": False}))
    return [*hide, draft]


def taken(seen: Seen, case: Case, name: str, *, room: int | None = None, entry: str | None = None) -> tuple[Draft, int]:
    """Return the erasure of the first facts of a session or of one entry, and how many these are."""
    state = _state(seen, name) or SessionState()
    written, all_of_it = erasure.reach(seen, name, entry)
    some = written[:room]
    whole = all_of_it and len(some) == len(written)
    return Draft(name, entry or own_id(name), _erased(seen, case, state, some, whole=whole, entry=entry)), len(some)


def _erased(
    seen: Seen, case: Case, state: SessionState, written: Sequence[Written], *, whole: bool, entry: str | None
) -> SessionErased:
    left = {"left": True} if entry is not None and not whole else {}
    return SessionErased(
        took=erasure.took(seen, case, written),
        ended=whole and entry is None,
        version=state.version,
        next=state.next,
        events=state.events,
        tokens=state.tokens,
        created=to_text(state.created),
        last_event=to_text(state.last_event),
        fired=list(state.fired),
        **left,
    )


def _state(seen: Seen, name: str) -> SessionState | None:
    found = seen.stream(name)
    return found.body if found and isinstance(found.body, SessionState) else None


def _hidden(seen: Seen, name: str, state: SessionState) -> int | None:
    """Return since when a session is hidden, by itself or with its space; None if it is not."""
    if state.deleted:
        return state.hidden
    space = seen.stream(stream(tenant_of(name), "space", state.space))
    if space is None or (isinstance(space.body, SpaceState) and not space.body.deleted):
        return None
    return space.body.hidden if isinstance(space.body, SpaceState) else 0


def _hidden_event(seen: Seen, name: str, chosen: str) -> int | None:
    """Return since when an event that has facts left is hidden; a first range has taken its token, and goes on."""
    if not chosen.startswith("event/"):
        return None
    token = seen.token(name, sequence_of(chosen))
    if token is None:
        return 0
    return None if token.live else token.at
