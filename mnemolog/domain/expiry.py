"""Expiry: a memory or message older than its tenant's policy allows is erased (wire contract §2, design §7).

The policy lies in another slot, so the proposal carries its version and the cutoff that follows from it; what `decide`
checks is the record's own creation time, so no proposal takes what was created since.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mnemolog.domain import memory, message
from mnemolog.domain.decision import Case, Decision, Seen
from mnemolog.domain.outcomes import Reason, Rejected
from mnemolog.domain.schema import Command, Id, Target
from mnemolog.domain.streams import stream
from mnemolog.domain.times import to_text


class RecordTarget(Target):
    """A record created before `cutoff` (µs), which the policy's version `policy` gives."""

    kind: Literal["memory", "message"]
    id: Id
    cutoff: Annotated[int, Field(ge=0)]
    policy: Annotated[int, Field(ge=0)]


class ExpireRecord(Command):
    """Erase a record that is past its retention. Proposed by the retention worker."""

    TYPE: ClassVar[str] = "retention.expire-record.v1"
    target: RecordTarget
    parts: Annotated[tuple[()], Field(strict=False)] = ()


def expire(seen: Seen, case: Case, command: ExpireRecord) -> Decision:
    """Erase the record if it was created before the cutoff, and the cutoff has come."""
    target = command.target
    if target.kind == "memory":
        name = stream(case.tenant, "memory", target.id)
        if memory.live(seen, name) is None:
            return memory.missing()
        (first,) = seen.written(name, None, 1)
        return _kept(case, first.time, target.cutoff) or memory.gone(seen, case, name)
    found = message.readable(seen, case, target.id)
    if found is None:
        return message.missing()
    name, written = found
    return _kept(case, written[0].time, target.cutoff) or [message.taken(seen, case, name, written)]


def _kept(case: Case, created: int, cutoff: int) -> Rejected | None:
    if created < cutoff <= case.at:
        return None
    detail = f"this was created at {to_text(created)}; a cutoff of {to_text(cutoff)} does not reach it"
    return Rejected(Reason.NOT_DUE, detail)
