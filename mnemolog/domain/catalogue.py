"""Every command and every fact, by the type that stands in its header: declared once.

A type is the storage format: once released, its name and the meaning of its fields stay for ever (design §4).
Tests fold a golden file of each.
"""

from __future__ import annotations

from mnemolog.domain import (
    access,
    erasure,
    expiry,
    hiding,
    lifecycle,
    memory,
    message,
    owner,
    policy,
    session,
    session_commands,
    space,
    strategy,
)
from mnemolog.domain.schema import Command, Payload

COMMANDS: dict[str, type[Command]] = {
    command.TYPE: command
    for command in (
        space.CreateSpace,
        space.UpdateSpace,
        space.DeleteSpace,
        session_commands.CreateSession,
        session_commands.UpdateSession,
        session_commands.DeleteSession,
        session_commands.AppendEvents,
        session_commands.UpdateEvents,
        session_commands.DeleteEvent,
        memory.AddMemory,
        memory.UpdateMemory,
        memory.DeleteMemory,
        message.AddMessage,
        message.DeleteMessage,
        policy.SetRetention,
        access.CreateClient,
        access.RevokeClient,
        access.CreateToken,
        access.RevokeToken,
        access.CreateKey,
        access.RevokeKey,
        erasure.EraseRange,
        erasure.Erase,
        owner.EraseOwner,
        expiry.ExpireRecord,
        lifecycle.ExecuteStrategy,
        lifecycle.CompleteExtraction,
        hiding.Hide,
    )
}

FACTS: dict[str, type[Payload]] = {
    fact.TYPE: fact
    for fact in (
        space.SpaceCreated,
        space.SpaceUpdated,
        space.SpaceDeleted,
        space.SpaceErased,
        session.SessionCreated,
        session.SessionUpdated,
        session.SessionDeleted,
        session.EventAppended,
        session.EventUpdated,
        session.EventDeleted,
        session.StrategyExecuted,
        strategy.StrategyRearmed,
        strategy.ExtractionCompleted,
        session.SessionErased,
        memory.MemoryAdded,
        memory.MemoryUpdated,
        memory.MemoryDeleted,
        memory.MemoryErased,
        message.MessageAdded,
        message.MessageErased,
        policy.RetentionSet,
        access.ClientCreated,
        access.ClientRevoked,
        access.TokenCreated,
        access.TokenRevoked,
        access.KeyCreated,
        access.KeyRevoked,
        owner.OwnerErased,
        owner.OwnerClosed,
    )
}
