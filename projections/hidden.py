"""What is hidden and not yet erased: a row for each, ranked by since when; and which rows an owner's erasure hides.

1. The retention worker finds by it what the grace has passed for; the operator sees how much waits, and how old it is.
2. `OwnerErased` hides at once rows that only ranges take away: every read of memories and messages asks first which
   erasures are under way, and passes over the rows that they hide (design §6).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mnemolog.domain import owner
from mnemolog.domain.fact import Fact
from mnemolog.domain.ops import Drop, Op, Put, Rank
from mnemolog.domain.owner import OwnerClosed, OwnerErased, Withheld
from mnemolog.domain.ports import Store
from mnemolog.domain.streams import own_id
from projections import names


def view(fact: Fact) -> Sequence[Op]:
    """Return what a fact of an owner's erasure changes."""
    identifier = own_id(fact.stream)
    key = names.owner(fact.tenant, identifier)
    match fact.payload:
        case OwnerErased(agent=agent, invoker=invoker):
            row = {"id": identifier, "agent": agent, "invoker": invoker, "below": fact.ordinal}
            index = names.index("erased-owners", fact.tenant)
            return [Put(key, row), Rank(key, "tenant", index, fact.ordinal), *waiting(fact, "owner")]
        case OwnerClosed():
            return [Drop(key), Drop(names.hidden(fact.tenant, "owner", identifier))]
        case _:
            return []


def waiting(fact: Fact, kind: str, entry: str = "") -> Sequence[Op]:
    """Return the row of what a fact hides: a whole stream, or one entry of it."""
    identifier = own_id(fact.stream)
    key = names.hidden(fact.tenant, kind, identifier, entry)
    row = {"tenant": fact.tenant, "kind": kind, "id": identifier, "entry": entry, "since": fact.time}
    return [Put(key, row), Rank(key, "hidden", names.HIDDEN, fact.time)]


async def withheld(store: Store, partitions: Sequence[int], tenant: str) -> Withheld:
    """Return what erasures under way hide of a tenant.

    Asked before the rows are read: an erasure that ends in between has taken them away by then.
    """
    index = names.index("erased-owners", tenant)
    if len(partitions) == 1:  # as in every search: without a task of its own
        pages = [await store.page(partitions[0], index)]
    else:
        pages = await asyncio.gather(*(store.page(partition, index) for partition in partitions))
    return owner.withheld(row for page in pages for _, _, row in page)
