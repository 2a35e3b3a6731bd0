"""From one embedding model to another on a Qdrant server, while searches go on in the old one's collection.

1. The new collection is filled from the log, beside the old one, whose workers go on. Its checkpoints stand in it, so
   what an earlier attempt did is not done again.
2. Memories from all over the log are looked for by their own texts, in both collections. A new one that finds fewer of
   them does not take over by itself; a person says so (`accept`).
3. The alias is moved at one moment. The old collection stays, and is right for as long as its workers run, until it is
   dropped by a call of its own, when no gateway has the old model any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from qdrant_client import AsyncQdrantClient

from mnemolog.domain.audits import Told, silent
from mnemolog.domain.ports import Embedder, Log, Store
from projections.qdrant_wire import Collection, count_from_now, counting, prepare
from projections.reindexing import Compared, Index, Reindexing
from projections.vectors_qdrant import QdrantVectors


class Model(NamedTuple):
    """A model and the collection of its vectors."""

    embedder: Embedder
    collection: Collection


@dataclass(frozen=True, slots=True)
class Migrated:
    """What came of it: how the two indexes compare, and whether the new one counts from now on."""

    compared: Compared
    moved: bool


class Migration:
    """One migration of all partitions. `old` is None where its model is not at hand, and cannot be asked."""

    def __init__(  # noqa: PLR0913 -- from what, to what, and with what
        self,
        client: AsyncQdrantClient,
        log: Log,
        store: Store,
        old: Model | None,
        new: Model,
        partitions: int,
        told: Told = silent,
        *,
        seed: int = 0,
    ) -> None:
        """Take the servers, the models, and whom to tell."""
        self._client = client
        self._reindexing = Reindexing(log, store, partitions, told, seed)
        self._old = old
        self._new = new

    async def run(self, *, accept: bool = False) -> Migrated:
        """Fill, compare, catch up, and move the alias. Raises Unavailable; then run it again, and it goes on."""
        await prepare(self._client, self._new.collection)
        new = Index(QdrantVectors(self._client, self._new.collection), self._new.embedder)
        old = self._old and Index(QdrantVectors(self._client, self._old.collection), self._old.embedder)
        await self._reindexing.fill(new)
        compared = await self._reindexing.compare(new, old)
        if not compared.good and not accept:
            return Migrated(compared, moved=False)
        await self._reindexing.fill(new)
        former = await counting(self._client, self._new.collection)
        if former not in {None, self._new.collection.name}:
            await count_from_now(self._client, self._new.collection, str(former))
        return Migrated(compared, moved=True)
