"""How much of what is truly nearest a Qdrant server's own index finds, in the scopes that have the most memories.

It is asked with stored vectors, which are near the data, and with means of two of them, which lie between: an index of
this kind (HNSW) finds the one kind more easily than the other.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from qdrant_client import AsyncQdrantClient, models

from projections.qdrant_wire import Collection, answered
from projections.vectors_points import OWNER
from projections.vectors_qdrant import BEAM

_TOP = 10


@dataclass(frozen=True, slots=True)
class Recall:
    """Of one scope: its memories, and the share of the first ten that the index finds for queries of either kind."""

    memories: int
    near: float
    between: float


async def recalls(
    client: AsyncQdrantClient, collection: Collection, *, scopes: int = 5, samples: int = 50, seed: int = 0
) -> Sequence[Recall]:
    """Measure the largest scopes, largest first. Raises Unavailable."""
    draws = random.Random(seed)  # noqa: S311 -- it draws samples
    with answered():
        owners = (await client.facet(collection.name, OWNER, limit=scopes, exact=True)).hits
        found = []
        for owner in owners:
            mine = models.Filter(must=[models.FieldCondition(key=OWNER, match=models.MatchValue(value=owner.value))])
            records, _ = await client.scroll(
                collection.name, mine, limit=2 * samples, with_vectors=True, with_payload=False
            )
            stored = [np.asarray(record.vector, dtype=np.float32) for record in records]
            near = draws.sample(stored, min(samples, len(stored)))
            between = [one + other for one, other in zip(near, reversed(near), strict=True)]
            found.append(
                Recall(
                    owner.count,
                    await _share(client, collection, mine, near),
                    await _share(client, collection, mine, between),
                )
            )
    return found


async def _share(
    client: AsyncQdrantClient, collection: Collection, mine: models.Filter, queries: Sequence[np.ndarray]
) -> float:
    shares = []
    for query in queries:
        ids: list[set[object]] = []
        for exact in (True, False):
            answer = await client.query_points(
                collection.name,
                query=query.tolist(),
                query_filter=mine,
                search_params=models.SearchParams(exact=exact, hnsw_ef=None if exact else BEAM),
                limit=_TOP,
            )
            ids.append({point.id for point in answer.points})
        shares.append(len(ids[0] & ids[1]) / max(len(ids[0]), 1))
    return sum(shares) / max(len(shares), 1)
