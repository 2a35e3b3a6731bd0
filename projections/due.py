"""The port `Due` over a store: what is older than an instant stands at the beginning of an index by time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import takewhile

from mnemolog.domain.due import Category, DueRecord, DueTimer, Hidden, Policy
from mnemolog.domain.ids import parse_id, partition_of, slot_in, slot_of
from mnemolog.domain.owner import shown
from mnemolog.domain.ports import Match, Row, Store
from projections import names
from projections.hidden import withheld


class StoreDue:
    """Reads the indexes of every partition."""

    def __init__(self, store: Store, partitions: int = 1) -> None:
        """Take the store and the number of its partitions."""
        self._store = store
        self.partitions = partitions

    async def policies(self) -> Sequence[Policy]:
        """Return the policies that were ever set, by tenant."""
        pages = [await self._store.page(p, names.POLICIES) for p in range(self.partitions)]
        return sorted(_policy(row) for page in pages for _, _, row in page)

    async def policy(self, tenant: str) -> Policy | None:
        """Return a tenant's policy as it is now."""
        partition = partition_of(slot_of(tenant), self.partitions)
        (row,) = await self._store.rows(partition, [names.policy(tenant)])
        return _policy(row) if row else None

    async def records(
        self, partition: int, tenant: str, category: Category, before: int, skip: int, limit: int
    ) -> Sequence[DueRecord]:
        """Return a tenant's records that were created before an instant, oldest first."""
        hiding = await withheld(self._store, [partition], tenant)
        rows = await self._upto(partition, names.index(category, tenant), before - 1, skip, limit)
        # What an owner's erasure hides is the eraser's, and stays on the page so that the caller passes over it.
        return [DueRecord(row["id"] if shown(row, hiding) else "", at) for at, _, row in rows]

    async def older(self, tenant: str, category: Category, before: int) -> int:
        """Count a tenant's records that were created before an instant, in all partitions."""
        index = names.index(category, tenant)
        return sum(await asyncio.gather(*(self._below(p, index, before) for p in range(self.partitions))))

    async def timers(self, partition: int, kind: str, until: int, skip: int, limit: int) -> Sequence[DueTimer]:
        """Return the sessions with a timer of this type that is due by an instant."""
        rows = await self._upto(partition, names.due(kind), until, skip, limit)
        return [DueTimer(*_of_session(key), due) for due, key, _ in rows]

    async def hidden(self, partition: int, until: int, skip: int, limit: int) -> Sequence[Hidden]:
        """Return what was hidden by an instant and is not yet erased, the oldest first."""
        rows = await self._upto(partition, names.HIDDEN, until, skip, limit)
        return [_hidden(row) for _, _, row in rows]

    async def waiting(self, partition: int) -> int:
        """Count what is hidden and not yet erased."""
        return await self._store.count(partition, names.HIDDEN)

    async def spaces(self, tenant: str, limit: int) -> Sequence[str]:
        """Return the ids of a tenant's first live spaces."""
        index = names.index("spaces", tenant)
        pages = [await self._store.page(p, index, limit=limit) for p in range(self.partitions)]
        return [row["id"] for page in pages for _, _, row in page][:limit]

    async def count_spaces(self, tenant: str) -> int:
        """Count a tenant's live spaces."""
        index = names.index("spaces", tenant)
        return sum([await self._store.count(p, index) for p in range(self.partitions)])

    async def hidden_of(self, tenant: str) -> Sequence[Hidden]:
        """Return all that is hidden of a tenant and not yet erased."""
        found: list[Hidden] = []
        for partition in range(self.partitions):
            rows = await self._store.page(partition, names.HIDDEN, matches=[Match("tenant", tenant, "equals")])
            found += [_hidden(row) for _, _, row in rows]
        return found

    async def all_hidden(self) -> Sequence[Hidden]:
        """Return all that is hidden and not yet erased."""
        pages = [await self._store.page(p, names.HIDDEN) for p in range(self.partitions)]
        return [_hidden(row) for page in pages for _, _, row in page]

    async def row(self, tenant: str, kind: str, identifier: str) -> Row | None:
        """Return the row of a live session or space."""
        known = parse_id(identifier)
        if known is None:
            return None
        key = names.space(tenant, known) if kind == "space" else names.session(tenant, known)
        (row,) = await self._store.rows(partition_of(slot_in(known), self.partitions), [key])
        return row

    async def pending(self, tenant: str, kind: str, identifier: str) -> bool:
        """Tell whether something is hidden and not yet erased."""
        partition = partition_of(slot_in(identifier), self.partitions)
        (row,) = await self._store.rows(partition, [names.hidden(tenant, kind, identifier)])
        return row is not None

    async def _upto(
        self, partition: int, index: str, until: int, skip: int, limit: int
    ) -> Sequence[tuple[int, str, Row]]:
        page = await self._store.page(partition, index, skip=skip, limit=limit)
        return list(takewhile(lambda entry: entry[0] <= until, page))

    async def _below(self, partition: int, index: str, before: int) -> int:
        """Return how many rows of an index have a lower score, by looking at some twenty of them."""
        low, high = 0, await self._store.count(partition, index)
        while low < high:
            middle = (low + high) // 2
            found = await self._store.page(partition, index, skip=middle, limit=1)
            if found and found[0][0] < before:
                low = middle + 1
            else:
                high = middle
        return low


def _policy(row: Row) -> Policy:
    return Policy(row["tenant"], row["version"], row.get("memory_days"), row.get("message_days"),
                  row.get("usage_log_days"))  # fmt: skip


def _hidden(row: Row) -> Hidden:
    return Hidden(row["tenant"], row["kind"], row["id"], row["entry"], row["since"])


def _of_session(key: str) -> tuple[str, str]:
    tenant, _, identifier = key.rpartition("/session/")
    return tenant, identifier
