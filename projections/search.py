"""Search by meaning: wait for the scope, embed the query, rank, hydrate (design §6).

1. A search waits until the index holds the last change of the scope's own texts: a memory just added is found, and
   another tenant's import delays nobody.
2. Hits are hydrated from the state view and dropped if the memory has gone or has another text by now, so neither
   erased nor old content leaks through a lagging index; what is dropped is made up for from further down.
3. The index that has answered must still have come that far: one that was lost meanwhile answers short.
4. Similarity is the cosine in 0..1, the threshold inclusive, best first, never rescaled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ids import partition_of, slot_of
from mnemolog.domain.owner import shown
from mnemolog.domain.ports import Embedder, Hit, Scope, Store, Vectors
from mnemolog.domain.reads import Found, MemoryRow
from projections import names
from projections.gathering import Gathering
from projections.hidden import withheld

Indexed = Callable[[int, int, float], Awaitable[bool]]
"""(partition, offset, seconds): wait until a partition's index has come to a fact offset; False if it takes longer."""


class ScopedSearch:
    """The port `Search`."""

    def __init__(
        self, store: Store, vectors: Vectors, embedder: Embedder, indexed: Indexed, *, wait: float, partitions: int = 1
    ) -> None:
        """Take the ports; `wait` is in seconds."""
        self._store = store
        self._vectors = vectors
        self._queries = Gathering(embedder)
        self._indexed = indexed
        self._wait = wait
        self._partitions = partitions

    async def search(self, scope: Scope, query: str, threshold: float, top: int) -> Sequence[Found]:
        """Return at most `top` memories with similarity at least `threshold`, best first."""
        partition = partition_of(slot_of(*scope), self._partitions)
        newest = await self._store.page(partition, names.index("changed", *scope), limit=1, newest_first=True)
        if not newest:
            return []
        offset = newest[0][0] + 1
        vector = await self._prepared(partition, offset, query)
        wanted = top
        while True:
            hits = await self._vectors.search(scope, vector, wanted)
            found = await self._hydrated(partition, scope, [hit for hit in hits if hit.similarity >= threshold])
            if len(found) >= top or len(hits) < wanted or hits[-1].similarity < threshold:
                break
            wanted *= 4
        if not await self._indexed(partition, offset, 0):
            message = "the search index was lost during the search and is being filled again; try again shortly"
            raise Unavailable(message)
        return found[:top]

    async def _prepared(self, partition: int, offset: int, query: str) -> Sequence[float]:
        """Return the query's vector once the index has come to the offset; both within the wait."""
        try:
            async with asyncio.timeout(self._wait):
                if await self._indexed(partition, offset, 0):  # as nearly always: nothing to wait for beside the model
                    return await self._queries.embed(query)
                waiting = self._indexed(partition, offset, self._wait)
                vector, indexed = await asyncio.gather(self._queries.embed(query), waiting)
        except TimeoutError:
            indexed = False
        if not indexed:
            message = "the search index is behind this scope's last change; try again shortly"
            raise Unavailable(message)
        return vector

    async def _hydrated(self, partition: int, scope: Scope, hits: Sequence[Hit]) -> list[Found]:
        hiding = await withheld(self._store, [partition], scope.tenant)
        rows = await self._store.rows(partition, [names.memory(scope.tenant, hit.id) for hit in hits])
        return [
            Found(cast("MemoryRow", row), hit.similarity)
            for hit, row in zip(hits, rows, strict=True)
            if row is not None and row.get("text_version") == hit.version and _within(row, scope) and shown(row, hiding)
        ]


def _within(row: object, scope: Scope) -> bool:
    memory = cast("MemoryRow", row)
    return (memory["agent"], memory["invoker"]) == (scope.agent, scope.invoker)
