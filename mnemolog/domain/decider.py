"""Deciding, whole: the idempotency window, then the aggregate, then the seal.

`decide` is total and pure: the same state, command, time and rules give the same bytes (design §5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mnemolog.domain import (
    access,
    chain,
    expiry,
    hiding,
    lifecycle,
    memory,
    message,
    owner,
    policy,
    session,
    session_commands,
    session_erasure,
    space,
    space_erasure,
)
from mnemolog.domain.codec import Envelope, canonical_part, seal
from mnemolog.domain.decision import Acceptance, Case, Decision, Draft, Head, Seen
from mnemolog.domain.erasure import Erase, EraseRange, in_window
from mnemolog.domain.fact import Fact
from mnemolog.domain.outcomes import Accepted, Landed, Reason, Rejected
from mnemolog.domain.proving import flaw
from mnemolog.domain.record import FactRecord, Position
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import FACT_VALUE_LIMIT, Rules
from mnemolog.domain.schema import Command
from mnemolog.domain.streams import stream
from mnemolog.domain.window import same_parts, same_target

_ERASERS: dict[str, Callable[[Seen, Case, EraseRange], Decision]] = {
    "memory": memory.erase,
    "session": session_erasure.erase,
    "space": space_erasure.erase,
    "contents": space_erasure.erase,
    "owner": owner.erase,
}
_GONE: dict[str, Callable[[Seen, Case, str], Decision]] = {
    "session": session_erasure.gone,
    "space": space_erasure.gone,
}


def _erase(seen: Seen, case: Case, command: EraseRange) -> Decision:
    return _ERASERS[command.target.kind](seen, case, command)


def _gone(seen: Seen, case: Case, command: Erase) -> Decision:
    kind, identifier = command.target.kind, command.target.id
    if kind == "memory":
        return memory.delete(seen, case, memory.DeleteMemory(target=memory.MemoryTarget(memory=identifier)))
    if kind == "message":
        return message.delete(seen, case, message.DeleteMessage(target=message.MessageTarget(message=identifier)))
    return _GONE[kind](seen, case, stream(case.tenant, kind, identifier))


_DECIDERS: dict[type[Command], Callable[[Seen, Case, Any], Decision]] = {
    space.CreateSpace: space.create,
    space.UpdateSpace: space.update,
    space.DeleteSpace: space.delete,
    session_commands.CreateSession: session.create,
    session_commands.UpdateSession: session.update,
    session_commands.DeleteSession: session.delete,
    session_commands.AppendEvents: session.append,
    session_commands.UpdateEvents: session.change_events,
    session_commands.DeleteEvent: session.delete_event,
    memory.AddMemory: memory.add,
    memory.UpdateMemory: memory.update,
    memory.DeleteMemory: memory.delete,
    message.AddMessage: message.add,
    message.DeleteMessage: message.delete,
    policy.SetRetention: policy.set_retention,
    access.CreateClient: access.create_client,
    access.RevokeClient: access.revoke_client,
    access.CreateToken: access.create_token,
    access.RevokeToken: access.revoke_token,
    access.CreateKey: access.create_key,
    access.RevokeKey: access.revoke_key,
    EraseRange: _erase,
    Erase: _gone,
    owner.EraseOwner: owner.hide,
    expiry.ExpireRecord: expiry.expire,
    lifecycle.ExecuteStrategy: lifecycle.execute,
    lifecycle.CompleteExtraction: lifecycle.complete,
    hiding.Hide: hiding.hide,
}

Sealed = list[tuple[Fact, FactRecord]]


def decide(seen: Seen, envelope: Envelope, at: int, source: Position, rules: Rules) -> Sealed | Accepted | Rejected:
    """Decide one command.

    1. A command for another slot is refused: its writer is another one.
    2. One that is not proven to be its actor's is refused, where the rules want that (ADR 0016).
    3. A command id in the window is a repeat: the first acceptance again, if it is the same request (guarantee 3).
    4. The aggregate decides.
    5. Its drafts are sealed: versions, ordinals, times, salts, links, chains. Time rises strictly within a stream, and
       never falls within a slot, also when the log's clock is set back: so the idempotency window always is what came
       last, and an acceptance that has left it does not come back when a newer one is erased (the law of holes).
    """
    slot = slot_of_command(envelope.tenant, envelope.id, envelope.command)
    if slot is None:
        return Rejected(Reason.NOT_FOUND, "there is nothing with this id")
    if slot != envelope.slot:
        return Rejected(Reason.MISROUTED, f"this command belongs to slot {slot}, not {envelope.slot}")
    said = (envelope.id, envelope.command.TYPE, envelope.tenant, envelope.actor)
    if why := flaw(said, envelope.proof, at, rules):
        return Rejected(Reason.UNSIGNED, why)
    case = Case(envelope.id, envelope.tenant, envelope.actor, slot, envelope.secret, envelope.command, at, rules)
    acceptance = seen.acceptance(slot, envelope.id)
    if acceptance is not None and in_window(seen, slot, acceptance, rules):
        return _repeat(seen, acceptance, envelope)
    decision = _DECIDERS[type(envelope.command)](seen, case, envelope.command)
    if isinstance(decision, Rejected):
        return decision
    return _sealed(seen, case, decision, source, envelope.trace)


def _repeat(seen: Seen, acceptance: Acceptance, envelope: Envelope) -> Accepted | Rejected:
    parts = [canonical_part(part) for part in envelope.command.parts]
    if not (same_target(seen, acceptance, envelope.tenant, envelope.command) and same_parts(acceptance, parts)):
        detail = "this Idempotency-Key was used with another request; use a new key for a new request"
        return Rejected(Reason.KEY_REUSED, detail)
    landed = tuple(Landed(f.stream, f.version, f.subject, f.time) for f in acceptance.facts)
    return Accepted(landed, repeated=True)


def _sealed(seen: Seen, case: Case, drafts: Sequence[Draft], source: Position, trace: str) -> Sealed | Rejected:
    heads: dict[str, Head] = {}
    ordinal, last = seen.slot(case.slot)
    sealed: Sealed = []
    for index, draft in enumerate(drafts):
        head = heads.get(draft.stream) or _head(seen, draft.stream)
        last = max(case.at, head.last + 1, last)
        fact, record = seal(
            draft, case, time=last, version=head.version, ordinal=ordinal + index, index=index, count=len(drafts),
            before=head.chain, source=source, trace=trace,
        )  # fmt: skip
        if record.value and len(record.value) > FACT_VALUE_LIMIT:
            return Rejected(Reason.TOO_LARGE, "one item is larger than 1 MiB; split it")
        heads[draft.stream] = Head(head.version + 1, fact.chain, last)
        sealed.append((fact, record))
    return sealed


def _head(seen: Seen, name: str) -> Head:
    found = seen.stream(name)
    return found.head if found else Head(0, chain.start(name), 0)
