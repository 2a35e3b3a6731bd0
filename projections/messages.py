"""The view of messages: a row each, listed by tenant, agent, invoker, owner and group in order of creation."""

from __future__ import annotations

from collections.abc import Sequence

from mnemolog.domain.fact import Fact
from mnemolog.domain.message import MessageAdded, MessageErased, message_of
from mnemolog.domain.ops import Drop, Op, Put, Rank
from projections import names
from projections.memories import places, stored


def view(fact: Fact) -> Sequence[Op]:
    """Return what a fact of a message group's stream changes."""
    tenant = fact.tenant
    match fact.payload:
        case MessageAdded() as added:
            identifier = message_of(fact.subject)
            key = names.message(tenant, identifier)
            row = {
                "id": identifier,
                "agent": added.agent,
                "invoker": added.invoker,
                "group": added.group,
                "role": added.role,
                "content": added.content,
                "metadata": stored(added.metadata),
                "created": fact.time,
                "number": added.number,
                "ordinal": fact.ordinal,
            }
            group = names.index("messages", tenant, "group", added.agent, added.invoker, added.group)
            return [
                Put(key, row),
                *places(key, "messages", tenant, added.agent, added.invoker, fact.time),
                Rank(key, "group", group, fact.time),
            ]
        case MessageErased(took=took):
            return [Drop(names.message(tenant, message_of(gone.subject))) for gone in took]
        case _:
            return []
