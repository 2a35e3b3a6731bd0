"""Queries: what the faces read, from rows and indexes, over one partition or all of them (design §6).

1. With agent and invoker given, everything lies in one partition; otherwise the partitions' pages are merged by time of
   creation, then key, and counts are sums.
2. The narrowest index serves; what it does not cover is matched row by row inside it. No page is silently short.
3. Nothing is read without its tenant, nothing of a space without its user (guarantee 8).
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from itertools import islice
from typing import Any, cast

from mnemolog.domain.due import Category
from mnemolog.domain.ids import parse_id, partition_of, slot_in, slot_of
from mnemolog.domain.owner import Withheld, shown
from mnemolog.domain.ports import Match, Row, Store
from mnemolog.domain.reads import (
    ClientRow,
    EventFilter,
    EventRow,
    Filter,
    KeyRow,
    MemoryRow,
    MessageRow,
    Page,
    PolicyRow,
    SessionFilter,
    SessionRow,
    SpaceRow,
    Thing,
    TokenRow,
)
from mnemolog.domain.record import Position
from projections import names
from projections.due import StoreDue
from projections.hidden import withheld

_NO_POLICY = dict.fromkeys(PolicyRow.__annotations__)


class StoreQueries:
    """The port `Queries` over a store."""

    def __init__(self, store: Store, partitions: int = 1) -> None:
        """Take the store and the number of its partitions."""
        self._store = store
        self._partitions = partitions

    # ---- memories and messages ---------------------------------------------------------------------------------------

    async def memory(self, tenant: str, identifier: str) -> MemoryRow | None:
        """Return a memory by its id."""
        return cast("MemoryRow | None", await self._shown(tenant, identifier, names.memory(tenant, identifier)))

    async def memories(self, tenant: str, wanted: Filter, skip: int, limit: int | None) -> Sequence[MemoryRow]:
        """Return memories by time of creation, then id."""
        return cast("Sequence[MemoryRow]", await self._owned("memories", tenant, wanted, skip, limit))

    async def count_memories(self, tenant: str, wanted: Filter) -> int:
        """Count memories."""
        return await self._count_owned("memories", tenant, wanted)

    async def message(self, tenant: str, identifier: str) -> MessageRow | None:
        """Return a message by its id."""
        return cast("MessageRow | None", await self._shown(tenant, identifier, names.message(tenant, identifier)))

    async def messages(self, tenant: str, wanted: Filter, skip: int, limit: int | None) -> Sequence[MessageRow]:
        """Return messages by time of creation, then id."""
        return cast("Sequence[MessageRow]", await self._owned("messages", tenant, wanted, skip, limit))

    async def count_messages(self, tenant: str, wanted: Filter) -> int:
        """Count messages."""
        return await self._count_owned("messages", tenant, wanted)

    async def policy(self, tenant: str) -> PolicyRow:
        """Return the retention policy, which exists from the start."""
        (row,) = await self._store.rows(self._of_slot(slot_of(tenant)), [names.policy(tenant)])
        return cast("PolicyRow", _NO_POLICY | dict(row or {}))

    # ---- spaces, sessions, events ------------------------------------------------------------------------------------

    async def space(self, tenant: str, user: str, identifier: str) -> SpaceRow | None:
        """Return a space of this user."""
        row = await self._by_id(identifier, names.space(tenant, identifier))
        return cast("SpaceRow", row) if row and row["user"] == user else None

    async def spaces(self, tenant: str, user: str, key: str | None, skip: int, limit: int) -> Page[SpaceRow]:
        """Return this user's spaces by time of creation."""
        index = names.index("spaces", tenant, user)
        matches = _equal(deduplication_key=key)
        everywhere = range(self._partitions)
        items = await self._merged(everywhere, index, matches, skip, limit)
        total = await self._summed(everywhere, index, matches)
        return Page(cast("Sequence[SpaceRow]", items), total)

    async def session(self, tenant: str, space: str, identifier: str) -> SessionRow | None:
        """Return a session of this space."""
        row = await self._by_id(identifier, names.session(tenant, identifier))
        return cast("SessionRow", row) if row and row["space"] == space else None

    async def sessions(self, tenant: str, space: str, wanted: SessionFilter, skip: int, limit: int) -> Page[SessionRow]:
        """Return the sessions of a space by time of creation."""
        partition = self._of_id(space)
        if partition is None:
            return Page([], 0)
        index = names.index("sessions", tenant, space)
        matches = _equal(deduplication_key=wanted.deduplication_key)
        if not wanted.participants and not wanted.description:
            rows = await self._store.page(partition, index, skip=skip, limit=limit, matches=matches)
            total = await self._store.count(partition, index, matches)
            return Page(cast("Sequence[SessionRow]", [row for _, _, row in rows]), total)
        found = [row for _, _, row in await self._store.page(partition, index, matches=matches) if _fits(row, wanted)]
        return Page(cast("Sequence[SessionRow]", found[skip : skip + limit]), len(found))

    async def events(self, tenant: str, session: str, wanted: EventFilter) -> Page[EventRow]:
        """Return events of a session, ascending by sequence id."""
        partition = self._of_id(session)
        if partition is None:
            return Page([], 0)
        kind = ("type", wanted.type) if wanted.type is not None else ()
        index = names.index("events", tenant, session, *kind)
        if wanted.last is None:
            rows = await self._store.page(partition, index, skip=wanted.skip, limit=wanted.limit)
        else:
            rows = (await self._store.page(partition, index, limit=wanted.last, newest_first=True))[::-1]
        total = await self._store.count(partition, index)
        return Page(cast("Sequence[EventRow]", [row for _, _, row in rows]), total)

    async def extractions(self, tenant: str, space: str, skip: int, limit: int) -> Page[SessionRow]:
        """Return the sessions of a space whose memories are to be extracted, by since when."""
        partition = self._of_id(space)
        if partition is None:
            return Page([], 0)
        index, matches = names.index("extractions", tenant), _equal(space=space)
        rows = await self._store.page(partition, index, skip=skip, limit=limit, matches=matches)
        total = await self._store.count(partition, index, matches)
        return Page(cast("Sequence[SessionRow]", [row for _, _, row in rows]), total)

    async def older(self, tenant: str, category: Category, before: int) -> int:
        """Count a tenant's memories or messages that were created before an instant."""
        return await StoreDue(self._store, self._partitions).older(tenant, category, before)

    async def live(self, tenant: str, kind: Thing, identifier: str) -> bool:
        """Tell whether the tenant has such a thing that is not hidden."""
        match kind:
            case "memory":
                return await self.memory(tenant, identifier) is not None
            case "message":
                return await self.message(tenant, identifier) is not None
            case "session" | "space":
                return await StoreDue(self._store, self._partitions).row(tenant, kind, identifier) is not None

    async def count_spaces(self, tenant: str) -> int:
        """Count all of the tenant's spaces that are not hidden."""
        return await StoreDue(self._store, self._partitions).count_spaces(tenant)

    async def event_rows(self, tenant: str, session: str, sequences: Sequence[int]) -> Sequence[EventRow | None]:
        """Return the events with these sequence ids, in this order."""
        partition = self._of_id(session)
        if partition is None:
            return [None] * len(sequences)
        rows = await self._store.rows(partition, [names.event(tenant, session, n) for n in sequences])
        return cast("Sequence[EventRow | None]", rows)

    # ---- credentials -------------------------------------------------------------------------------------------------

    async def clients(self, identifier: str) -> Sequence[ClientRow]:
        """Return the valid clients with this id: one a tenant at the most."""
        rows = await self._merged(range(self._partitions), names.index("client", identifier), (), 0, None)
        return cast("Sequence[ClientRow]", rows)

    async def token(self, sha256: str) -> TokenRow | None:
        """Return the valid API token with this hash."""
        rows = await self._merged(range(self._partitions), names.index("token", sha256), (), 0, 1)
        return cast("TokenRow", rows[0]) if rows else None

    async def all_clients(self) -> Sequence[ClientRow]:
        """Return every valid client of every tenant, for the operator."""
        rows = await self._merged(range(self._partitions), names.index("clients"), (), 0, None)
        return cast("Sequence[ClientRow]", rows)

    async def all_tokens(self) -> Sequence[TokenRow]:
        """Return every valid API token of every tenant, for the operator."""
        rows = await self._merged(range(self._partitions), names.index("tokens"), (), 0, None)
        return cast("Sequence[TokenRow]", rows)

    async def keys(self, identifier: str) -> Sequence[KeyRow]:
        """Return the valid keys with this id: one a tenant at the most."""
        rows = await self._merged(range(self._partitions), names.index("key", identifier), (), 0, None)
        return cast("Sequence[KeyRow]", rows)

    async def all_keys(self) -> Sequence[KeyRow]:
        """Return every valid key of every tenant, for the operator."""
        rows = await self._merged(range(self._partitions), names.index("keys"), (), 0, None)
        return cast("Sequence[KeyRow]", rows)

    async def reached(self, position: Position, slot: int) -> bool:
        """Tell whether the views of a slot's partition hold everything up to a position of its command log."""
        checkpoint = await self._store.reached(self._of_slot(slot))
        return checkpoint is not None and checkpoint.position >= position

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _of_slot(self, slot: int) -> int:
        return partition_of(slot, self._partitions)

    def _of_id(self, identifier: str) -> int | None:
        known = parse_id(identifier)
        return None if known is None else self._of_slot(slot_in(known))

    async def _by_id(self, identifier: str, key: str) -> Row | None:
        partition = self._of_id(identifier)
        if partition is None:
            return None
        (row,) = await self._store.rows(partition, [key])
        return row if row and "id" in row else None

    async def _shown(self, tenant: str, identifier: str, key: str) -> Row | None:
        partition = self._of_id(identifier)
        hiding = await withheld(self._store, [partition], tenant) if partition is not None else {}
        row = await self._by_id(identifier, key)
        return row if row and shown(row, hiding) else None

    def _narrowest(self, what: str, tenant: str, wanted: Filter) -> tuple[Sequence[int], str, tuple[Match, ...]]:
        """Return the partitions and the index that serve a filter, and what is left to match row by row."""
        agent, invoker, group = wanted.agent, wanted.invoker, wanted.group
        rest = _equal(role=wanted.role) + wanted.contains
        if agent is not None and invoker is not None:
            here = (self._of_slot(slot_of(tenant, agent, invoker)),)
            if group is not None:
                return here, names.index(what, tenant, "group", agent, invoker, group), rest
            return here, names.index(what, tenant, "owner", agent, invoker), rest
        rest = _equal(group=group) + rest
        everywhere = range(self._partitions)
        if agent is not None:
            return everywhere, names.index(what, tenant, "agent", agent), rest
        if invoker is not None:
            return everywhere, names.index(what, tenant, "invoker", invoker), rest
        return everywhere, names.index(what, tenant), rest

    async def _owned(self, what: str, tenant: str, wanted: Filter, skip: int, limit: int | None) -> Sequence[Row]:
        partitions, index, rest = self._narrowest(what, tenant, wanted)
        hiding = await self._hiding(partitions, tenant, wanted)
        if not hiding:
            return await self._merged(partitions, index, rest, skip, limit)
        rows = [row for row in await self._merged(partitions, index, rest, 0, None) if shown(row, hiding)]
        return rows[skip : None if limit is None else skip + limit]

    async def _count_owned(self, what: str, tenant: str, wanted: Filter) -> int:
        partitions, index, rest = self._narrowest(what, tenant, wanted)
        if await self._hiding(partitions, tenant, wanted):
            return len(await self._owned(what, tenant, wanted, 0, None))
        return await self._summed(partitions, index, rest)

    async def _hiding(self, partitions: Sequence[int], tenant: str, wanted: Filter) -> Withheld:
        """Return which erasures that are under way hide something of what is wanted."""
        hiding = await withheld(self._store, partitions, tenant)
        return {
            (agent, invoker): below
            for (agent, invoker), below in hiding.items()
            if wanted.agent in {None, agent} and wanted.invoker in {None, invoker}
        }

    async def _merged(
        self, partitions: Sequence[int], index: str, matches: tuple[Match, ...], skip: int, limit: int | None
    ) -> Sequence[Row]:
        if len(partitions) == 1:
            page = await self._store.page(partitions[0], index, skip=skip, limit=limit, matches=matches)
            return [row for _, _, row in page]
        enough = None if limit is None else skip + limit
        pages = await asyncio.gather(*(self._store.page(p, index, limit=enough, matches=matches) for p in partitions))
        merged = heapq.merge(*pages, key=lambda entry: entry[:2])
        return [row for _, _, row in islice(merged, skip, enough)]

    async def _summed(self, partitions: Sequence[int], index: str, matches: tuple[Match, ...]) -> int:
        return sum(await asyncio.gather(*(self._store.count(p, index, matches) for p in partitions)))


def _equal(**fields: str | None) -> tuple[Match, ...]:
    return tuple(Match(field, text, "equals") for field, text in fields.items() if text is not None)


def _fits(row: Row, wanted: SessionFilter) -> bool:
    if wanted.participants and not set(wanted.participants) & set(cast("list[Any]", row["participants"])):
        return False
    return not wanted.description or wanted.description.casefold() in (row["description"] or "").casefold()
