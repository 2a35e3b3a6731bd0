"""A store in memory: for tests and simulations, under the same contract as every other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mnemolog.domain import canonical
from mnemolog.domain.ops import Drop, Op, Put, Rank, Rescore, Unrank
from mnemolog.domain.ports import Applied, Checkpoint, Match, Row
from projections.matching import fits


class MemoryStore:
    """Rows, places by row and family, and a checkpoint, for each partition."""

    def __init__(self) -> None:
        """Start empty."""
        self.all_rows: dict[int, dict[str, dict[str, Any]]] = {}
        self.all_places: dict[int, dict[tuple[str, str], tuple[str, int]]] = {}
        self._checkpoints: dict[int, Checkpoint] = {}

    async def apply(self, partition: int, follows: int, ops: Sequence[Op], checkpoint: Checkpoint) -> Applied:
        """Apply the ops of a batch and its checkpoint."""
        stored = self._checkpoints.get(partition)
        if stored is not None and stored.offset >= checkpoint.offset:
            return "duplicate"
        if (stored.offset if stored else 0) < follows:
            return "behind"
        checked = [_as_json(op) for op in ops]
        rows = self.all_rows.setdefault(partition, {})
        places = self.all_places.setdefault(partition, {})
        for op in checked:
            _one(rows, places, op)
        self._checkpoints[partition] = checkpoint
        return "applied"

    async def checkpoint(self, partition: int) -> Checkpoint | None:
        """Return the stored checkpoint."""
        return self._checkpoints.get(partition)

    async def reached(self, partition: int) -> Checkpoint | None:
        """Return the stored checkpoint."""
        return self._checkpoints.get(partition)

    async def rows(self, partition: int, keys: Sequence[str]) -> Sequence[Row | None]:
        """Return the rows under `keys`, in order."""
        return [self.all_rows.get(partition, {}).get(key) for key in keys]

    async def page(
        self,
        partition: int,
        index: str,
        *,
        skip: int = 0,
        limit: int | None = None,
        newest_first: bool = False,
        matches: Sequence[Match] = (),
    ) -> Sequence[tuple[int, str, Row]]:
        """Return (score, key, row) of an index in the order of (score, key)."""
        rows = self.all_rows.get(partition, {})
        places = self.all_places.get(partition, {}).items()
        found = sorted(((s, key) for (key, _), (name, s) in places if name == index), reverse=newest_first)
        page = [(s, key, rows[key]) for s, key in found if fits(rows[key], matches)]
        return page[skip : None if limit is None else skip + limit]

    async def count(self, partition: int, index: str, matches: Sequence[Match] = ()) -> int:
        """Return how many rows an index holds."""
        return len(await self.page(partition, index, matches=matches))

    async def close(self) -> None:
        """Nothing to let go of."""


def _as_json(op: Op) -> Op:
    """Return an op whose fields are a copy and JSON. Raises TypeError or ValueError before anything is applied."""
    return Put(op.key, canonical.loads(canonical.text(dict(op.fields)))) if isinstance(op, Put) else op


def _one(rows: dict[str, dict[str, Any]], places: dict[tuple[str, str], tuple[str, int]], op: Op) -> None:
    match op:
        case Put(key, fields):
            rows[key] = rows.get(key, {}) | dict(fields)
        case Rank(key, family, index, score):
            rows.setdefault(key, {})
            places[key, family] = (index, score)
        case Rescore(key, family, score):
            if (key, family) in places:
                places[key, family] = (places[key, family][0], score)
        case Unrank(key, family):
            places.pop((key, family), None)
        case Drop(key):
            rows.pop(key, None)
            for place in [place for place in places if place[0] == key]:
                del places[place]
