"""The vector index on a Qdrant server: one collection that all workers of a deployment fill and all gateways search.

Any of them may be a zombie, and the collection may be lost or restored at any moment, so no write trusts what its
writer believes; each says under which condition it counts, and the server decides:

1. A point replaces an older version only (`update_filter`), whoever comes late.
2. A removed id stays as a marker, without scope, version and vector, for an hour: no upsert replaces a marker.
3. A checkpoint is written after its batch, and only over the checkpoint that its writer has seen: in a collection that
   was lost meanwhile, it does not hide the loss.
4. A write counts once the server has applied it, and is in its write-ahead log.
5. A search is exact within a scope of up to 100,000 memories; in a larger one it asks the server's own index (HNSW,
   which the server keeps in the background), unless it is told to be exact there, too. `qdrant_recall` measures that.
6. A search may see a part of a batch that is being written; its points carry versions.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Sequence
from itertools import groupby

from qdrant_client import AsyncQdrantClient, models

from mnemolog.domain.ports import Hit, Point, Scope
from projections.qdrant_wire import GONE, Collection, Missing, answered, completed, ensure
from projections.vectors_memory import checked, similarity_of
from projections.vectors_points import (
    OFFSET,
    OWNER,
    PARTITION,
    TENANT,
    VERSION,
    cut_through_equals,
    just_below,
    newest,
    owner,
    payload,
    ranked,
    reserved,
)

_GONE_SECONDS = 3_600
_SWEEP_SECONDS = 600
_STRONG = models.WriteOrdering.STRONG
EXACT_UP_TO = 100_000
"""Memories in a scope that are all compared with a query: some ten milliseconds' work."""
BEAM = 256
"""How many candidates the server's index follows; its default finds two thirds of what is far from all data."""
_COUNTED_SECONDS = 60.0
_SCOPES = 10_000


class QdrantVectors:
    """Port `Vectors` on a Qdrant server. Everything here belongs to one event loop."""

    def __init__(
        self,
        client: AsyncQdrantClient,
        collection: Collection,
        clock: Callable[[], float] = time.time,
        *,
        exact_up_to: float = EXACT_UP_TO,
    ) -> None:
        """Take a client, which is closed with this, and which collection it is; nothing is asked or made yet.

        A scope of more than `exact_up_to` points is searched through the server's index; infinity is never.
        """
        self._client = client
        self._collection = collection
        self._clock = clock
        self._ensured = False
        self._seen: dict[int, int | None] = {}
        self._exact_up_to = exact_up_to
        self._counted: dict[Scope, tuple[float, int]] = {}
        self._swept = 0.0

    async def checkpoint(self, partition: int) -> int | None:
        """Return the next fact offset to index; None if there is none, or no collection. Raises Unavailable."""
        try:
            with answered():
                records = await self._client.retrieve(self._collection.name, [str(reserved(partition))], [OFFSET])
        except Missing:
            self._ensured = False
            records = []
        seen = int(records[0].payload[OFFSET]) if records and records[0].payload else None
        self._seen[partition] = seen
        return seen

    async def apply(self, partition: int, points: Sequence[Point], gone: Sequence[str], checkpoint: int) -> None:
        """Mark what is gone, upsert what is newer, and then move the checkpoint. Raises Unavailable.

        Nothing is changed if any vector is refused. After an error a part may have been done, never the checkpoint.
        """
        latest = newest(points, self._collection.dimension)
        writes = [self._removal(gone)] if gone else []
        by_version = sorted(latest.values(), key=lambda each: each[0].version)
        writes += [
            _upsert(version, list(group)) for version, group in groupby(by_version, lambda each: each[0].version)
        ]
        if partition not in self._seen:
            await self.checkpoint(partition)
        try:
            if not self._ensured:
                await ensure(self._client, self._collection)
                self._ensured = True
            if writes:
                await self._write(writes)
            await self._write([self._mark(partition, checkpoint)])
            await self._sweep()
        except Missing:
            self._ensured = False
            raise
        self._seen[partition] = checkpoint

    async def search(self, scope: Scope, vector: Sequence[float], top: int) -> Sequence[Hit]:
        """Return the `top` nearest points of exactly this scope. Raises Unavailable."""
        query = checked(vector, self._collection.dimension).tolist()
        if top < 1:
            return []
        mine = _filter(scope)
        if await self._crowded(scope, mine):
            return ranked(await self._nearest(query, mine, top, exact=False), top)
        hits = await self._nearest(query, mine, top + 1)
        if cut_through_equals(hits, top):
            with answered():
                members = (await self._client.count(self._collection.name, count_filter=mine, exact=True)).count
            hits = await self._nearest(query, mine, members, just_below(hits[top]))
        return ranked(hits, top)

    async def count(self) -> int:
        """Return how many points are stored, markers and checkpoints not counted. Raises Unavailable."""
        empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=OWNER))
        try:
            with answered():
                counted = await self._client.count(
                    self._collection.name, count_filter=models.Filter(must_not=[empty]), exact=True
                )
        except Missing:
            return 0
        return counted.count

    async def close(self) -> None:
        """Close the client; the server has everything. A second time does nothing."""
        await self._client.close()

    async def _crowded(self, scope: Scope, mine: models.Filter) -> bool:
        """Tell whether a scope is too large to compare all of it; counted at most once a minute."""
        if self._exact_up_to == math.inf:
            return False
        now = self._clock()
        known = self._counted.get(scope)
        if known is None or not 0 <= now - known[0] < _COUNTED_SECONDS:
            try:
                with answered():
                    counted = await self._client.count(self._collection.name, count_filter=mine, exact=False)
            except Missing:
                return False
            if len(self._counted) >= _SCOPES:
                self._counted.clear()
            known = self._counted[scope] = (now, counted.count)
        return known[1] > self._exact_up_to

    async def _nearest(
        self, query: list[float], mine: models.Filter, limit: int, above: float | None = None, *, exact: bool = True
    ) -> list[Hit]:
        try:
            with answered():
                found = await self._client.query_points(
                    self._collection.name,
                    query=query,
                    query_filter=mine,
                    search_params=models.SearchParams(exact=exact, hnsw_ef=None if exact else max(BEAM, limit)),
                    limit=limit,
                    with_payload=[VERSION],
                    score_threshold=above,
                )
        except Missing:
            return []  # as in a collection that was made anew; its checkpoint tells the searcher
        return [
            Hit(str(uuid.UUID(str(point.id))), int((point.payload or {})[VERSION]), similarity_of(point.score))
            for point in found.points
        ]

    async def _write(self, writes: list[models.UpsertOperation]) -> None:
        with answered():
            results = await self._client.batch_update_points(self._collection.name, writes, wait=True, ordering=_STRONG)
        for result in results:
            completed(result)

    def _removal(self, gone: Sequence[str]) -> models.UpsertOperation:
        """Overwrite what is gone, vector and all, whether it is there or not."""
        markers = [
            models.PointStruct(id=identifier, vector=self._blank(), payload={GONE: int(self._clock())})
            for identifier in dict.fromkeys(gone)
        ]
        return models.UpsertOperation(upsert=models.PointsList(points=markers))

    def _mark(self, partition: int, checkpoint: int) -> models.UpsertOperation:
        """Move the checkpoint from where it was seen: the first one is inserted, every other one updated."""
        said = {PARTITION: partition, OFFSET: checkpoint}
        point = models.PointStruct(id=str(reserved(partition)), vector=self._blank(), payload=said)
        seen = self._seen[partition]
        if seen is None:
            return models.UpsertOperation(
                upsert=models.PointsList(
                    points=[point], update_filter=_older(-1), update_mode=models.UpdateMode.INSERT_ONLY
                )
            )
        unmoved = models.Filter(must=[models.FieldCondition(key=OFFSET, match=models.MatchValue(value=seen))])
        return models.UpsertOperation(
            upsert=models.PointsList(points=[point], update_filter=unmoved, update_mode=models.UpdateMode.UPDATE_ONLY)
        )

    async def _sweep(self) -> None:
        """Forget the markers that are old enough, now and then: replayed upserts have their removal behind them."""
        now = self._clock()
        if now - self._swept < _SWEEP_SECONDS:
            return
        old = models.FieldCondition(key=GONE, range=models.Range(lt=now - _GONE_SECONDS))
        with answered():
            completed(
                await self._client.delete(
                    self._collection.name, models.FilterSelector(filter=models.Filter(must=[old])), wait=True
                )
            )
        self._swept = now

    def _blank(self) -> list[float]:
        return [0.0] * self._collection.dimension


def _upsert(version: int, group: Sequence[tuple[Point, list[float]]]) -> models.UpsertOperation:
    structs = [models.PointStruct(id=point.id, vector=vector, payload=payload(point)) for point, vector in group]
    return models.UpsertOperation(upsert=models.PointsList(points=structs, update_filter=_older(version)))


def _older(version: int) -> models.Filter:
    """Return the condition under which a stored point is replaced; it is not true of a marker, which has no version."""
    return models.Filter(must=[models.FieldCondition(key=VERSION, range=models.Range(lt=version))])


def _filter(scope: Scope) -> models.Filter:
    return models.Filter(
        must=[
            models.FieldCondition(key=TENANT, match=models.MatchValue(value=scope.tenant)),
            models.FieldCondition(key=OWNER, match=models.MatchValue(value=owner(scope))),
        ]
    )
