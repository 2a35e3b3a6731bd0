"""Where a command goes: the slot of what it is about (design §3).

New memories and messages go to their owner's slot, a new space to that of its deduplication key (so that one writer
decides its uniqueness) or of its command id; policy and credentials to their tenant's; all else to the slot in its id.
"""

from __future__ import annotations

from functools import lru_cache
from typing import assert_never

from mnemolog.domain import access, erasure, expiry, hiding, lifecycle, memory, message, policy, session_commands, space
from mnemolog.domain.ids import parse_id, slot_in, slot_of
from mnemolog.domain.schema import Command

_Routed = (
    memory.Owner
    | memory.MemoryTarget
    | message.Conversation
    | message.MessageTarget
    | space.ByUser
    | session_commands.InSpace
    | policy.Tenant
    | access.NewClientTarget
    | access.ClientTarget
    | access.NewTokenTarget
    | access.TokenTarget
    | access.NewKeyTarget
    | access.KeyTarget
    | erasure.EraseTarget
    | erasure.ThingTarget
    | expiry.RecordTarget
    | lifecycle.TimerTarget
    | hiding.HideTarget
)


def slot_of_command(tenant: str, command_id: str, command: Command) -> int | None:
    """Return the slot of a command; None if it names something that cannot exist, because its id is none of ours."""
    target = command.target
    if not isinstance(target, _Routed):
        message_ = f"{type(target).__name__} has no route"
        raise TypeError(message_)
    match target:
        case memory.Owner() | message.Conversation():
            return slot_of(tenant, target.agent, target.invoker)
        case space.ByUser():
            key = command.parts[0].deduplication_key if isinstance(command, space.CreateSpace) else None
            return slot_of(tenant, target.user, command_id if key is None else key)
        case memory.MemoryTarget():
            return _slot_in(target.memory)
        case message.MessageTarget():
            return _slot_in(target.message)
        case session_commands.SessionTarget():
            return _slot_in(target.session, target.space)
        case session_commands.InSpace():
            return _slot_in(target.space)
        case erasure.EraseTarget() | erasure.ThingTarget() | expiry.RecordTarget() | hiding.HideTarget():
            return _slot_in(target.id)
        case lifecycle.TimerTarget():
            return _slot_in(target.session)
        case policy.Tenant() | access.NewClientTarget() | access.ClientTarget():
            return slot_of(tenant)
        case access.NewTokenTarget() | access.TokenTarget() | access.NewKeyTarget() | access.KeyTarget():
            return slot_of(tenant)
        case _:
            assert_never(target)


@lru_cache(maxsize=4_096)
def _slot_in(*identifiers: str) -> int | None:
    """Return the slot that all these ids carry; ids of two slots belong to nothing that exists.

    Remembered, as an agent speaks of the same session again and again.
    """
    slots = {slot_in(known) if (known := parse_id(text)) == text else None for text in identifiers}
    return slots.pop() if len(slots) == 1 else None
