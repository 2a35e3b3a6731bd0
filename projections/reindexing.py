"""Filling an index of another embedding model from the log, and comparing what the two find.

1. The checkpoints stand in the index, so what an earlier attempt did is not done again.
2. Memories from all over the log are looked for by their own texts, in both indexes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mnemolog.domain.audits import Told
from mnemolog.domain.codec import decode_fact
from mnemolog.domain.memory import MemoryAdded
from mnemolog.domain.ports import Embedder, Hit, Log, Scope, Store, Vectors
from mnemolog.domain.record import CONTROL_KEY
from mnemolog.domain.streams import own_id
from projections import names
from projections.vectors import Indexer

_SAMPLES = 25
_NEIGHBOURS = 25
_TOP = 10
_SAME = 0.99


class Index(NamedTuple):
    """Vectors and the model that they are of."""

    vectors: Vectors
    embedder: Embedder


@dataclass(frozen=True, slots=True)
class Compared:
    """Of `asked` memories the old and the new index find so many among the first ten.

    `found_before` is None where there is nothing to compare with; `alike` is the share of hits that both have.
    """

    asked: int
    found_before: int | None
    found: int
    alike: float

    @property
    def good(self) -> bool:
        """Whether the new index finds as many as the old one, or all where that cannot be asked."""
        return self.found >= (self.asked if self.found_before is None else self.found_before)

    def text(self) -> str:
        """Say it as a line for a person."""
        if self.found_before is None:
            return f"{self.asked} memories were asked for by their own texts: the new index finds {self.found}\n"
        return (
            f"{self.asked} memories were asked for by their own texts: the new index finds {self.found},"
            f" the old one {self.found_before}; {self.alike:.0%} of the first ten hits are the same\n"
        )


class Reindexing:
    """Works on all partitions of a log."""

    def __init__(self, log: Log, store: Store, partitions: int, told: Told, seed: int) -> None:
        """Take what is read, and whom to tell."""
        self._log = log
        self._store = store
        self._partitions = range(partitions)
        self._told = told
        self._random = random.Random(seed)  # noqa: S311 -- it draws samples

    async def fill(self, index: Index) -> None:
        """Index every partition up to the end that its views have now, and tell how far all of them are."""
        indexers = [Indexer(self._log, self._store, *index, partition) for partition in self._partitions]
        ends = [await self._projected(partition) for partition in self._partitions]
        filling = set(self._partitions)
        while filling:
            for partition in sorted(filling):
                indexer = indexers[partition]
                if not await indexer.step() or indexer.offset >= ends[partition]:
                    filling.discard(partition)
            done = sum(min(one.offset, end) for one, end in zip(indexers, ends, strict=True))
            self._told("fill", done if filling else sum(ends), sum(ends))

    async def compare(self, new: Index, old: Index | None) -> Compared:
        """Look for samples in both indexes."""
        samples = [sample for partition in self._partitions for sample in await self._samples(partition)]
        found, found_before, common = 0, 0, 0.0
        for done, (identifier, scope, text) in enumerate(samples):
            ours = await _asked(new, scope, text)
            found += _finds(ours, identifier)
            if old is not None:
                theirs = await _asked(old, scope, text)
                found_before += _finds(theirs, identifier)
                common += len({hit.id for hit in ours} & {hit.id for hit in theirs}) / max(len(theirs), 1)
            self._told("compare", done + 1, len(samples))
        return Compared(len(samples), found_before if old else None, found, common / max(len(samples), 1))

    async def _projected(self, partition: int) -> int:
        reached = await self._store.reached(partition)
        return reached.offset if reached else 0

    async def _samples(self, partition: int) -> Sequence[tuple[str, Scope, str]]:
        """Return memories that facts from all over the log name, as they are now."""
        end, keys = await self._log.end(partition), dict[str, str]()
        for _ in range(_SAMPLES):
            start = self._random.randrange(end) if end else 0
            for record in await self._log.facts(partition, start, _NEIGHBOURS):
                if record.key == CONTROL_KEY or record.value is None:
                    continue
                fact = decode_fact(record, linked=False)
                if isinstance(fact.payload, MemoryAdded):
                    keys[names.memory(fact.tenant, own_id(fact.stream))] = fact.tenant
                    break
        rows = await self._store.rows(partition, list(keys))
        return [
            (row["id"], Scope(tenant, row["agent"], row["invoker"]), row["content"])
            for tenant, row in zip(keys.values(), rows, strict=True)
            if row is not None and "content" in row
        ]


async def _asked(index: Index, scope: Scope, text: str) -> Sequence[Hit]:
    (vector,) = index.embedder.embed([text])
    return await index.vectors.search(scope, vector, _TOP)


def _finds(hits: Sequence[Hit], identifier: str) -> bool:
    """Tell whether a memory is found by its own text, which no other text is more like."""
    return any(hit.id == identifier and hit.similarity > _SAME for hit in hits)
