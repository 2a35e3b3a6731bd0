"""The view of memories: a row each, listed by tenant, agent, invoker and owner in order of creation.

The family `changed` ranks an owner's memories by the offset of the fact that last set their text: its highest score is
what a search waits for (design §6).
"""

from __future__ import annotations

from collections.abc import Sequence

from mnemolog.domain import canonical
from mnemolog.domain.fact import Fact
from mnemolog.domain.memory import MemoryAdded, MemoryDeleted, MemoryErased, MemoryUpdated
from mnemolog.domain.ops import Drop, Op, Put, Rank, Rescore
from mnemolog.domain.schema import Json
from mnemolog.domain.streams import own_id
from projections import names
from projections.hidden import waiting


def view(fact: Fact) -> Sequence[Op]:
    """Return what a fact of a memory's stream changes."""
    identifier, tenant = own_id(fact.stream), fact.tenant
    key = names.memory(tenant, identifier)
    match fact.payload:
        case MemoryAdded(agent=agent, invoker=invoker, content=content, metadata=metadata):
            row = {
                "id": identifier,
                "agent": agent,
                "invoker": invoker,
                "content": content,
                "metadata": stored(metadata),
                "created": fact.time,
                "updated": fact.time,
                "text_version": fact.version,
                "ordinal": fact.ordinal,
            }
            return [
                Put(key, row),
                *places(key, "memories", tenant, agent, invoker, fact.time),
                Rank(key, "changed", names.index("changed", tenant, agent, invoker), fact.offset),
            ]
        case MemoryUpdated(content=content, metadata=metadata) as change:
            fields: dict[str, object] = {"updated": fact.time}
            ops: list[Op] = []
            if "metadata" in change.model_fields_set:
                fields["metadata"] = stored(metadata)
            if "content" in change.model_fields_set:
                fields |= {"content": content, "text_version": fact.version}
                ops.append(Rescore(key, "changed", fact.offset))
            return [Put(key, fields), *ops]
        case MemoryDeleted():
            return [Drop(key), *waiting(fact, "memory")]
        case MemoryErased(ended=True):
            return [Drop(key), Drop(names.hidden(tenant, "memory", identifier))]
        case MemoryErased():
            return [Drop(key)]
        case _:
            return []


def places(key: str, what: str, tenant: str, agent: str, invoker: str, time: int) -> list[Op]:
    """Return the places of a row that has an owner, ranked by time of creation."""
    return [
        Rank(key, "tenant", names.index(what, tenant), time),
        Rank(key, "agent", names.index(what, tenant, "agent", agent), time),
        Rank(key, "invoker", names.index(what, tenant, "invoker", invoker), time),
        Rank(key, "owner", names.index(what, tenant, "owner", agent, invoker), time),
    ]


def stored(metadata: Json | None) -> str | None:
    """Return the JSON text of a caller's metadata: what `contains` filters match."""
    return None if metadata is None else canonical.text(metadata)
