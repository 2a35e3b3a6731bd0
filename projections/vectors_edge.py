"""The vector index on Qdrant's own engine in this process: one folder on disk, no server.

It is here so that an embedded service has the search of the distributed one. The folder is disposable: what it holds is
refilled from the log, so whatever cannot be read is thrown away and never repaired.

1. One process owns the folder; a second one is refused, and destroys nothing.
2. The checkpoint of a partition is a reserved point, the last of its batch in one record of the engine's write-ahead
   log, which outlives the process: after `kill -9` no checkpoint is ahead of its points.
3. A folder belongs to one model and dimension, and is refused to any other.
4. A search is exact and sees whole batches: every point of the scope is scored, but those that a sieve rules out for
   certain (ADR 0020); no approximate index is asked.
5. A removed id is remembered for an hour, among the newest 100,000, to stop a late upsert; not longer, as upserts
   that are replayed after a restart come with their removal behind them.
6. Each checkpoint says how many points there are by then: a folder that holds another number is damaged.
7. A removed vector is overwritten, in the same record, before it is marked as deleted: the engine alone would leave it
   in its segment. The checkpoint names it, and `open` does what a crash left undone.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import qdrant_edge as engine

from mnemolog.domain.ports import Hit
from projections.edge_folder import (
    BATCH,
    DOOMED,
    PARTITIONS,
    POINTS,
    SHARD,
    Identity,
    Inventory,
    create,
    identity_in,
    load,
    points_in,
)
from projections.edge_scrub import Soil, push_out
from projections.edge_sharing import Sharing
from projections.edge_sieves import WORTH, Sieves
from projections.vectors_memory import checked, similarity_of
from projections.vectors_points import (
    OFFSET,
    OWNER,
    PARTITION,
    VERSION,
    ModelMismatchError,
    cut_through_equals,
    just_below,
    newest,
    owner,
    payload,
    ranked,
    reserved,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from mnemolog.domain.ports import Point, Scope

_GONE_SECONDS = 3600.0
_GONE_IDS = 100_000
_SCRUB_SECONDS = 10.0
# The write-ahead log shrinks only at a flush, which takes about 30 ms for as many points as this.
_FLUSH_EVERY = 2_000
_QUICK = 2_000
"""Points that are searched within half a millisecond: a hop to another thread takes as long."""
_SIEVED = 8
"""Vectors that a sieve scans in the time that the engine takes for one."""
_ID = 16
"""Vectors that the engine scans in the time that it takes to look one id up (measured: 12)."""


class EdgeVectors:
    """Port `Vectors` on an engine shard. Any thread may call it; writers wait for each other, searches for a batch."""

    def __init__(
        self,
        shard: engine.EdgeShard,
        holds: Inventory,
        dimension: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take over an open shard; `open` is the way to one."""
        self._shard = shard
        self._holds = holds
        self._dimension = dimension
        self._gone = _Gone(clock)
        self._unflushed = 0
        self._closed = False
        self._folder: Path | None = None
        self._soil: Soil | None = None
        self._scrubbed = -_SCRUB_SECONDS
        self._clock = clock
        # Two locks, so that no search waits while an old vector is looked up or a flush waits for the disk.
        self._writing = threading.Lock()
        self._state = Sharing()
        self._sieves = Sieves(shard, dimension, self._state.reading)

    @classmethod
    def open(cls, path: str | Path, *, model: str, dimension: int) -> Self:
        """Open the index of a model in a folder, which is made if there is none.

        1. Refuse a folder of another model or dimension (`ModelMismatchError`), or one that is open (`Unavailable`).
        2. Load it. What is lost, half-written or unreadable is deleted, with a warning, and replaced by an empty index.
        3. An empty index has no checkpoint, so its owner refills it from the log.
        """
        folder, wanted = Path(path), Identity(model, dimension)
        folder.mkdir(parents=True, exist_ok=True)
        held = identity_in(folder)
        if held is not None and held != wanted:
            message = (
                f"{folder} holds vectors of {held.model} (dimension {held.dimension}), "
                f"not of {wanted.model} (dimension {wanted.dimension}): give it another folder, or migrate"
            )
            raise ModelMismatchError(message)
        shard, holds = load(folder, trusted=held is not None) or (create(folder, wanted), Inventory(0, 0))
        made = cls(shard, holds, dimension)
        made._folder, made._soil = folder / SHARD, Soil(folder)
        return made

    async def checkpoint(self, partition: int) -> int | None:
        """Return the next fact offset to index, None if there is none."""
        with self._state.reading():
            records = self._shard.retrieve([reserved(partition)], [OFFSET], False)  # noqa: FBT003
        return int(records[0].payload[OFFSET]) if records and records[0].payload else None

    async def apply(self, partition: int, points: Sequence[Point], gone: Sequence[str], checkpoint: int) -> None:
        """Upsert newer points, remove, and then move the checkpoint; nothing is changed if any vector is refused."""
        latest = newest(points, self._dimension)
        removed = [uuid.UUID(identifier) for identifier in gone]
        with self._writing:
            self._gone.add(removed)
            stored = self._versions([*latest, *removed])
            fresh = {
                key: (payload(point), vector)
                for key, (point, vector) in latest.items()
                if key not in self._gone and stored.get(key, -1) < point.version
            }
            upserts = [engine.Point(key, vector, said) for key, (said, vector) in fresh.items()]
            doomed = [key for key in dict.fromkeys(removed) if key in stored]
            added = sum(key not in stored for key in fresh)
            holds = Inventory(self._holds.points + added - len(doomed), self._holds.batches + 1)
            mark = {
                PARTITION: partition,
                OFFSET: checkpoint,
                POINTS: holds.points,
                BATCH: holds.batches,
                DOOMED: [str(key) for key in doomed],
            }
            if doomed and self._soil:
                self._soil.leave()
            blank = [0.0] * self._dimension
            blanks = [engine.Point(key, blank, {}) for key in doomed]
            with self._state:
                try:
                    self._upsert([*upserts, *blanks, engine.Point(reserved(partition), blank, mark)])
                    self._sieves.heard({key: (said[OWNER], vector) for key, (said, vector) in fresh.items()}, removed)
                    if doomed:
                        self._shard.update(engine.UpdateOperation.delete_points(list(doomed)))
                except BaseException:
                    self._sieves.forget()
                    holds = holds._replace(points=points_in(self._shard))
                    raise
                finally:
                    self._holds = holds
            self._unflushed += len(fresh) + len(doomed) + 1
            if self._unflushed >= _FLUSH_EVERY:
                self._shard.flush()
                self._unflushed = 0

    async def scrub(self) -> bool:
        """Push what was erased out of the engine's own log; True if that was done now.

        At most once in ten seconds, as it writes 64 MiB.
        """
        soil, folder = self._soil, self._folder
        if soil is None or folder is None or not soil.there or self._clock() - self._scrubbed < _SCRUB_SECONDS:
            return False
        mark = {PARTITION: PARTITIONS, OFFSET: 0, POINTS: 0, BATCH: 0, DOOMED: []}
        with self._writing:
            push_out(self._shard, folder, self._dimension, reserved(PARTITIONS), mark, self._state)
            soil.clear()
        self._scrubbed = self._clock()
        return True

    def _upsert(self, points: list[engine.Point]) -> None:
        self._shard.update(engine.UpdateOperation.upsert_points(points))

    def _versions(self, keys: Sequence[uuid.UUID]) -> dict[uuid.UUID, int]:
        """Return the stored versions. No condition of the engine's: one process owns the folder, and it is this one."""
        records = self._shard.retrieve(list(keys), [VERSION], False)  # noqa: FBT003
        return {uuid.UUID(str(record.id)): int((record.payload or {}).get(VERSION, -1)) for record in records}

    async def search(self, scope: Scope, vector: Sequence[float], top: int) -> Sequence[Hit]:
        """Return the `top` nearest points of the scope.

        1. Ask for one more than wanted.
        2. If that one is as similar as the last wanted, the engine's choice among equals was arbitrary: ask for all
           that are as similar. Cosines below 0 are all equal.
        3. Sort by similarity and id, and cut.
        """
        query = checked(vector, self._dimension)
        if top < 1:
            return []
        whose = owner(scope)
        if self._quick(whose):
            return self._search(whose, query, top)
        return await asyncio.to_thread(self._search, whose, query, top)

    def _quick(self, whose: str) -> bool:
        """Tell whether a search of an owner takes so little time that no thread is worth its while."""
        sieve = self._sieves.of(whose)
        scanned = self._holds.points if sieve is None else len(sieve) // _SIEVED
        return scanned < _QUICK and not self._state.busy

    def _search(self, whose: str, query: NDArray[np.float32], top: int) -> list[Hit]:
        mine = _filter(whose)
        with self._state.reading():
            hits = self._nearest(query, self._sifted(whose, query, top + 1) or mine, top + 1)
            if cut_through_equals(hits, top):
                members = self._shard.count(engine.CountRequest(filter=mine))
                hits = self._nearest(query, mine, members, just_below(hits[top]))
        return ranked(hits, top)

    def _sifted(self, whose: str, query: NDArray[np.float32], wanted: int) -> engine.Filter | None:
        """Return a condition that is true of all who can be among the nearest; None if that is not worth asking."""
        sieve = self._sieves.of(whose)
        if sieve is None:
            if self._holds.points >= WORTH:
                self._sieves.missed(whose)
            return None
        some = sieve.candidates(query, wanted)
        return _filter(whose, some) if len(some) * _ID <= len(sieve) else None

    def _nearest(
        self, query: NDArray[np.float32], mine: engine.Filter, limit: int, above: float | None = None
    ) -> list[Hit]:
        request = engine.SearchRequest(
            query=engine.Query.Nearest(query.tolist()),
            limit=limit,
            filter=mine,
            params=engine.SearchParams(exact=True),
            with_payload=[VERSION],
            score_threshold=above,
        )
        return [
            Hit(str(found.id), int((found.payload or {})[VERSION]), similarity_of(found.score))
            for found in self._shard.search(request)
        ]

    async def count(self) -> int:
        """Return how many points are stored, reserved ones not counted."""
        with self._state.reading():
            return self._holds.points

    async def close(self) -> None:
        """Write everything to disk and let go of the folder. A second time does nothing."""
        self._sieves.close()
        with self._writing, self._state:
            if not self._closed:
                self._closed = True
                self._shard.flush()
                self._shard.close()


class _Gone:
    """Ids removed of late, oldest first, bounded in age and number."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: dict[uuid.UUID, float] = {}

    def __contains__(self, key: uuid.UUID) -> bool:
        return key in self._since

    def add(self, keys: Iterable[uuid.UUID]) -> None:
        now = self._clock()
        for key in keys:
            self._since.pop(key, None)
            self._since[key] = now
        while self._since:
            oldest = next(iter(self._since))
            if len(self._since) <= _GONE_IDS and now - self._since[oldest] <= _GONE_SECONDS:
                break
            del self._since[oldest]


def _filter(whose: str, some: Iterable[uuid.UUID] | None = None) -> engine.Filter:
    # The owner's digest names the tenant as well; each condition costs a search a fifth of its time.
    conditions: list[Any] = [engine.FieldCondition(OWNER, match=engine.MatchValue(whose))]
    if some is not None:
        conditions.append(engine.HasIdCondition(set(some)))
    return engine.Filter(must=conditions)
