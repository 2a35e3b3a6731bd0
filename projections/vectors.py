"""The indexer: memories' texts become vectors, one batch of facts after the other (design §6).

1. Of a batch only the newest text of a memory is embedded, and none whose memory the batch itself takes away.
2. An update does not say whose memory it is: the row of the view does, so the indexer stays behind the projector.
3. A text that cannot be embedded is left out and counted; it never blocks the partition.
4. Facts that change no memory move the stored checkpoint only now and then; read again after a crash, they change
   nothing.
5. Points carry the version of the fact that set the text, so a late upsert cannot undo a newer one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import NamedTuple

from mnemolog.domain.codec import decode_fact
from mnemolog.domain.fact import Fact
from mnemolog.domain.memory import MemoryAdded, MemoryDeleted, MemoryErased, MemoryUpdated
from mnemolog.domain.ports import Embedder, Log, Point, Scope, Store, Vectors
from mnemolog.domain.record import CONTROL_KEY, FactRecord
from mnemolog.domain.streams import own_id
from projections import names

_log = logging.getLogger(__name__)
BATCH = 256
_CHECKPOINT_EVERY = 1_000

Indexed = Callable[[Sequence[FactRecord], float], None]
"""(the records of a batch, the seconds that it took): whoever measures."""


class Room(NamedTuple):
    """What embedding, which takes a second and more, leaves to what else its process does.

    `threads` embed where the event loop has other work meanwhile; `texts` says how many may be embedded now, before it
    is asked again.
    """

    threads: Executor | None = None
    texts: Callable[[], int] = lambda: BATCH


class Indexer:
    """Keeps one partition's vectors; owned by one task."""

    def __init__(
        self,
        log: Log,
        store: Store,
        vectors: Vectors,
        embedder: Embedder,
        partition: int = 0,
        room: Room = Room(),  # noqa: B008 -- it never changes
        *,
        indexed: Indexed = lambda *_: None,
    ) -> None:
        """Take where facts come from, where scopes are known, where vectors go, and whom to tell of batches."""
        self._log = log
        self._store = store
        self._vectors = vectors
        self._embedder = embedder
        self._partition = partition
        self._room = room
        self._indexed = indexed
        self.offset = -1
        self.failed = 0
        self._stored = -1

    async def step(self) -> int:
        """Index the next batch; return how many records it had."""
        # Asked each time: a batch written to an index that was lost meanwhile would hide the loss.
        stored = await self._vectors.checkpoint(self._partition) or 0
        if stored != self._stored:
            self.offset = self._stored = stored
        projected = await self._store.reached(self._partition)
        room = (projected.offset if projected else 0) - self.offset
        if room <= 0:
            return 0
        read = await self._log.facts(self._partition, self.offset, BATCH)
        records = [record for record in read if record.offset < self.offset + room]
        if not records:
            return 0
        begun = time.monotonic()
        texts, gone = _changes(records)
        wanted = await self._scoped(texts) if texts else []
        still = await self._store.reached(self._partition)
        if still is None or still.offset <= records[-1].offset:
            return 0  # the store was lost between the reads: a row that is not there means nothing now
        points = await self._embedded(wanted) if wanted else []
        self.offset = records[-1].offset + 1
        # Searches may wait for the text of a memory that has gone since, or that cannot be embedded.
        if texts or gone or self.offset - self._stored > _CHECKPOINT_EVERY:
            await self._vectors.apply(self._partition, points, sorted(gone), self.offset)
            self._stored = self.offset
        self._indexed(records, time.monotonic() - begun)
        return len(records)

    async def _scoped(self, texts: dict[str, tuple[str, int, str]]) -> list[tuple[str, int, Scope, str]]:
        """Find out whose memories these are; one that has gone since needs no vector."""
        keys = [names.memory(tenant, identifier) for identifier, (tenant, _, _) in texts.items()]
        rows = await self._store.rows(self._partition, keys)
        found = []
        for (identifier, (tenant, version, text)), row in zip(texts.items(), rows, strict=True):
            if row is not None and "agent" in row:
                found.append((identifier, version, Scope(tenant, row["agent"], row["invoker"]), text))
        return found

    async def _embedded(self, wanted: list[tuple[str, int, Scope, str]]) -> list[Point]:
        if self._room.threads is None:
            return self._lots(wanted)
        return await asyncio.get_running_loop().run_in_executor(self._room.threads, self._lots, wanted)

    def _lots(self, wanted: list[tuple[str, int, Scope, str]]) -> list[Point]:
        """Embed the longest first: texts of similar length go through a model together."""
        rest = sorted(wanted, key=lambda one: -len(one[-1]))
        points: list[Point] = []
        while rest:
            most = self._room.texts()
            points += self._embed(rest[:most])
            rest = rest[most:]
        return points

    def _embed(self, wanted: list[tuple[str, int, Scope, str]]) -> list[Point]:
        try:
            vectors = self._embedder.embed([text for _, _, _, text in wanted])
        except Exception:  # noqa: BLE001 -- whatever a model raises, the partition goes on
            if len(wanted) == 1:
                self.failed += 1
                _log.exception("memory %s cannot be embedded and will not be found by search", wanted[0][0])
                return []
            return [point for one in wanted for point in self._embed([one])]
        return [
            Point(identifier, version, scope, vector)
            for (identifier, version, scope, _), vector in zip(wanted, vectors, strict=True)
        ]


def _changes(records: Sequence[FactRecord]) -> tuple[dict[str, tuple[str, int, str]], set[str]]:
    """Return the texts to embed, as id → (tenant, version, text), and the ids that are gone."""
    texts: dict[str, tuple[str, int, str]] = {}
    gone: set[str] = set()
    for record in records:
        if record.key == CONTROL_KEY or record.value is None or "/memory/" not in record.headers["stream"]:
            continue
        fact = decode_fact(record, linked=False)
        identifier = own_id(fact.stream)
        text = _text(fact)
        if text is not None:
            texts[identifier] = (fact.tenant, fact.version, text)
        elif isinstance(fact.payload, MemoryDeleted | MemoryErased):
            texts.pop(identifier, None)
            gone.add(identifier)
    return texts, gone


def _text(fact: Fact) -> str | None:
    match fact.payload:
        case MemoryAdded(content=content):
            return content
        case MemoryUpdated() as change if "content" in change.model_fields_set:
            return change.content
        case _:
            return None
