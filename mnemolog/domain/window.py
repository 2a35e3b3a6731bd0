"""The idempotency window: accepted commands, remembered by what their facts and `Erased` alone can say (design §5).

1. A repeat must be about the same thing, and its parts must match one to one the facts that remain.
2. Erased parts are not compared: no surviving fact answers for an erased one.
3. The order of the window is that of ordinals, so a fold over a compacted log remembers the same acceptances.
4. Workers' proposals are not remembered: repeated, they find their work done.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from mnemolog.domain import access, chain, memory, message, owner, policy, session_commands, space
from mnemolog.domain.decision import (
    Acceptance,
    Answered,
    Delta,
    Ended,
    GroupState,
    MemoryState,
    OwnerState,
    Seen,
    SessionState,
    SpaceState,
)
from mnemolog.domain.erasure import Erase, Erased, ThingTarget
from mnemolog.domain.fact import Fact
from mnemolog.domain.lifecycle import CompleteExtraction
from mnemolog.domain.schema import Command
from mnemolog.domain.session import entry
from mnemolog.domain.streams import kind_of, single, stream, tenant_of
from mnemolog.domain.times import from_text

WORKERS = "worker/"
"""How the actor of a worker's proposal begins."""

_OPENS: dict[type[Command], str] = {
    memory.AddMemory: "memory",
    message.AddMessage: "group",
    space.CreateSpace: "space",
    owner.EraseOwner: "owner",
    session_commands.CreateSession: "session",
}
_OPENED_ONCE = {"memory", "space", "session"}

# ---- decide ----------------------------------------------------------------------------------------------------------


def same_parts(acceptance: Acceptance, parts: Sequence[bytes]) -> bool:
    """Tell whether these canonical parts are those that the remaining facts came from."""
    for fact in acceptance.facts:
        if not fact.of:
            continue
        if fact.of < len(parts) or bool(fact.digest) != (fact.nth < len(parts)):
            return False
        if fact.digest and not hmac.compare_digest(chain.digest(fact.salt, parts[fact.nth]), fact.digest):
            return False
    return True


def same_target(seen: Seen, acceptance: Acceptance, tenant: str, command: Command) -> bool:
    """Tell whether a command is about what the acceptance was about, as far as the state still knows."""
    first = acceptance.facts[0]
    # A creation and an update may have equal parts.
    misplaced = kind_of(first.stream) in _OPENED_ONCE and (first.version == 0) != (type(command) in _OPENS)
    if misplaced or tenant_of(first.stream) != tenant:
        return False
    match command:
        case memory.UpdateMemory() | memory.DeleteMemory():
            return first.stream == stream(tenant, "memory", command.target.memory)
        case message.DeleteMessage():
            return first.subject == message.entry(command.target.message)
        case session_commands.DeleteEvent():
            return first.stream == _session(tenant, command.target) and first.subject == entry(command.target.sequence)
        case session_commands.AppendEvents() | session_commands.UpdateEvents():
            return first.stream == _session(tenant, command.target) and first.subject.startswith("event/")
        case session_commands.UpdateSession() | session_commands.DeleteSession() | CompleteExtraction():
            return first.stream == _session(tenant, command.target) and first.subject == command.target.session
        case space.UpdateSpace() | space.DeleteSpace():
            return first.stream == stream(tenant, "space", command.target.space)
        case policy.SetRetention():
            return first.stream == single(tenant, "policy")
        case (
            access.CreateClient()
            | access.RevokeClient()
            | access.CreateToken()
            | access.RevokeToken()
            | access.CreateKey()
            | access.RevokeKey()
        ):
            return first.stream == single(tenant, "access") and first.about == access.target_mark(seen, command)
        case _:
            return _same_owner(seen, first, tenant, command)


def _same_owner(seen: Seen, first: Answered, tenant: str, command: Command) -> bool:
    if isinstance(command, Erase):
        return _same_thing(first, tenant, command.target)
    if kind_of(first.stream) != _OPENS.get(type(command)):
        return False
    found = seen.stream(first.stream)
    if found is None or isinstance(found.body, Ended):
        return True
    body = found.body
    match command:
        case memory.AddMemory(target=whose) | owner.EraseOwner(target=whose):
            mark = memory.owner_mark(seen, tenant, whose.agent, whose.invoker)
            return isinstance(body, MemoryState | OwnerState) and body.owner in {mark, b""}
        case message.AddMessage(target=talk):
            mark = message.name_mark(seen, tenant, talk.agent, talk.invoker, talk.group)
            return isinstance(body, GroupState) and body.name == mark
        case space.CreateSpace(target=by):
            return isinstance(body, SpaceState) and body.owner in {seen.mark("user", tenant, by.user), b""}
        case session_commands.CreateSession(target=parent):
            return isinstance(body, SessionState) and body.space in {parent.space, ""}
        case _:
            return True


def _same_thing(first: Answered, tenant: str, thing: ThingTarget) -> bool:
    if thing.kind == "message":
        return first.subject == message.entry(thing.id)
    return first.stream == stream(tenant, thing.kind, thing.id)


def _session(tenant: str, target: session_commands.SessionTarget) -> str:
    return stream(tenant, "session", target.session)


# ---- fold ------------------------------------------------------------------------------------------------------------


def remember(seen: Seen, fact: Fact, delta: Delta) -> None:
    """Add a fact to its command's acceptance; let go of the salts and digests of what it erased."""
    if not fact.actor.startswith(WORKERS):
        about = access.credential_mark(seen, fact.payload)
        answered = Answered(
            fact.nth, fact.stream, fact.version, fact.subject, fact.time, fact.salt, fact.digest, fact.of, about
        )
        _put(seen, delta, fact.command, fact.slot, fact.ordinal - fact.nth, answered)
    if isinstance(fact.payload, Erased):
        _forget(seen, fact, fact.payload, delta)


def _forget(seen: Seen, fact: Fact, erased: Erased, delta: Delta) -> None:
    named = {gone.version: gone for gone in erased.took}
    for written in seen.written_versions(fact.stream, list(named)):
        acceptance = seen.acceptance(fact.slot, written.command)
        ordinal = written.ordinal - written.nth
        if acceptance is not None and acceptance.ordinal == ordinal:
            gone = Answered(written.nth, fact.stream, written.version, written.subject, written.time)
            _put(seen, delta, written.command, fact.slot, ordinal, gone)
        del named[written.version]
    for took in named.values():
        if took.command is not None and took.index is not None and took.time is not None:
            gone = Answered(took.index, fact.stream, took.version, took.subject, from_text(took.time))
            _put(seen, delta, took.command, fact.slot, took.ordinal - took.index, gone)


def _put(seen: Seen, delta: Delta, command: str, slot: int, ordinal: int, answered: Answered) -> None:
    known = delta.acceptances.get((slot, command)) or seen.acceptance(slot, command)
    if known is not None and known.ordinal < ordinal:
        known = None  # the id had left the window and was accepted anew
    if known is None:
        facts: tuple[Answered, ...] = (answered,)
    elif known.ordinal > ordinal:
        return
    elif known.facts[-1].nth < answered.nth:
        facts = (*known.facts, answered)
    else:
        facts = tuple(sorted((*(f for f in known.facts if f.nth != answered.nth), answered)))
    time = max(answered.time, known.time if known else 0)
    delta.acceptances[slot, command] = Acceptance(ordinal, time, facts)
