"""Taking a space, its sessions with it (design §5, bounded work).

1. Hidden, its own facts go first, all but the one that hides it.
2. Then its sessions, in the order in which they were opened, as many as one command may take.
3. With no session left the closing `Erased` takes the fact that hid it too.

`EraseRange` of the kind `space` takes its own facts alone, as it did before; the workers propose `contents`.
"""

from __future__ import annotations

from collections.abc import Sequence

from mnemolog.domain import erasure, session_erasure
from mnemolog.domain.decision import Case, Decision, Draft, Seen, SpaceState, Written
from mnemolog.domain.space import SpaceDeleted, SpaceErased, inside, no_space
from mnemolog.domain.streams import own_id, stream

_FIRST = 10
"""How many facts the command that hides takes along, so that the eraser goes on."""


def erase(seen: Seen, case: Case, command: erasure.EraseRange) -> Decision:
    """Take the next range of a hidden space."""
    name = stream(case.tenant, "space", command.target.id)
    found = seen.stream(name)
    if found is None or not isinstance(found.body, SpaceState):
        return no_space()
    if not found.body.deleted:
        return erasure.not_hidden()
    if early := erasure.too_early(case, command.target, found.body.hidden):
        return early
    room = erasure.room(command.target)
    if command.target.kind == "contents":
        return _range(seen, case, name, room)
    written, all_of_it = erasure.reach(seen, name, None)
    some = written[:room]
    return [_taken(seen, case, name, some, ended=all_of_it and len(some) == len(written))]


def gone(seen: Seen, case: Case, name: str) -> Decision:
    """Erase a space, hidden or not: in one fact if that is all of it, else hide it and take its own first facts."""
    found = seen.stream(name)
    if found is None or not isinstance(found.body, SpaceState):
        return no_space()
    written, all_of_it = erasure.reach(seen, name, None)
    if found.body.deleted or (all_of_it and not _sessions(seen, name, 1)):
        return _range(seen, case, name, _FIRST if _sessions(seen, name, 1) else len(written))
    return [Draft(name, own_id(name), SpaceDeleted()), _taken(seen, case, name, written[:_FIRST], ended=False)]


def _range(seen: Seen, case: Case, name: str, room: int) -> Decision:
    written, all_of_it = erasure.reach(seen, name, None)
    sessions = _sessions(seen, name, room)
    if all_of_it and not sessions and len(written) <= room:
        return [_taken(seen, case, name, written, ended=True)]
    own = written[:-1] if all_of_it else written
    if own:
        return [_taken(seen, case, name, own[:room], ended=False)]
    drafts: list[Draft] = []
    for session in sessions:
        if room == 0:
            break
        draft, took = session_erasure.taken(seen, case, session, room=room)
        drafts.append(draft)
        room -= took
    return drafts


def _sessions(seen: Seen, name: str, limit: int) -> list[str]:
    return [row.stream for row in seen.owned(inside(seen, own_id(name)), limit)]


def _taken(seen: Seen, case: Case, name: str, written: Sequence[Written], *, ended: bool) -> Draft:
    return Draft(name, own_id(name), SpaceErased(took=erasure.took(seen, case, written), ended=ended))
