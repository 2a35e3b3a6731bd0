"""The thread that keeps the vector index: it loads the model, follows the facts, and tells searches how far it is.

Writes never wait for it. While the model loads, searches are refused, never half-answered. Each partition is followed
by a task of its own, all of them on the thread's own loop.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ports import Embedder, Log, Store, Vectors
from mnemolog.runtime.condition import Condition
from mnemolog.runtime.config import Settings
from mnemolog.runtime.folder import Folder
from mnemolog.runtime.loading import Loading, serving_embedder
from mnemolog.runtime.progress import Progress
from mnemolog.runtime.watching import Watch
from projections.batching import LOT, cores
from projections.vectors import BATCH, Indexer, Room

_log = logging.getLogger(__name__)
_IDLE = 0.2
_LOOK = 0.002
_GATHER = 0.05
"""Seconds that texts may wait for others, unless somebody searches: a batch takes little longer than one alone."""
_RETRY = 1.0
_PATIENCE = 2.0
"""Seconds that a batch may take to end at the stop; what is cut off is indexed again at the next start."""

Followed = Callable[[], AbstractAsyncContextManager[tuple[Log, Store]]]
"""Opens what is followed, on the thread's loop, and closes it."""
Begun = Callable[[Log, Store, int], Awaitable[None]]
"""Prepares a partition before its first step. Raises Unavailable."""


async def _at_once(log: Log, store: Store, partition: int) -> None:
    """Prepare nothing."""


def load_vectors(settings: Settings, folder: Folder) -> tuple[Embedder, Vectors]:
    """Load the embedding model and open the index made with it."""
    from projections.edge_folder import Identity
    from projections.edge_migration import take_over
    from projections.vectors_edge import EdgeVectors

    embedder = serving_embedder(settings)
    take_over(folder.vectors, Identity(embedder.model, embedder.dimension))
    return embedder, EdgeVectors.open(folder.vectors, model=embedder.model, dimension=embedder.dimension)


class Indexing:
    """Runs `Indexer`s on a thread of its own, which first loads what they need."""

    def __init__(
        self,
        followed: Followed,
        load: Callable[[], tuple[Embedder, Vectors]],
        *,
        partitions: int = 1,
        projected: Progress | None = None,
        watch: Watch | None = None,
        begun: Begun = _at_once,
    ) -> None:
        """Take what to follow and how to load the model and the index.

        `projected` wakes the one partition of an embedded server; searches wake the one that they wait for.
        """
        self._followed = followed
        self._begun = begun
        self.loading = Loading(load)
        self.conditions = [Condition(partition) for partition in range(partitions)]
        self._watch = watch or Watch()
        self._indexed = [Progress() for _ in range(partitions)]
        self._asked = [Progress() for _ in range(partitions)]
        self._projected = projected
        self._seen = -1
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mnemolog-vectors")

    def start(self) -> None:
        """Start to load, and then to index."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the batch and close the index."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    async def indexed(self, partition: int, offset: int, seconds: float) -> bool:
        """Wait until the index has come to a fact offset."""
        self._asked[partition].advance(offset)
        return await self._indexed[partition].reached(offset, seconds)

    # ---- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self.loading.load()
        if self.loading.ready:
            asyncio.run(self._main())

    async def _main(self) -> None:
        async with self._followed() as (log, store):
            tasks = [asyncio.create_task(self._follow(log, store, p)) for p in range(len(self._indexed))]
            while not self._stopping.is_set():
                await asyncio.wait(tasks, timeout=_IDLE)
            _, late = await asyncio.wait(tasks, timeout=_PATIENCE)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self.loading.close()

    async def _follow(self, log: Log, store: Store, partition: int) -> None:
        condition = self.conditions[partition]
        indexed = partial(self._watch.applied, "vectors", condition)
        room = Room(texts=self._texts)
        made = partial(Indexer, log, store, self.loading, self.loading, partition, room, indexed=indexed)
        indexer = made()
        failed, prepared = 0, False
        while not self._stopping.is_set():
            try:
                if not prepared:
                    await self._begun(log, store, partition)
                    prepared = True
                read = await indexer.step()
            except Unavailable as error:  # what it follows is not there yet, or just now: nothing was lost
                _log.warning("indexing of partition %d waits: %s", partition, error)
                condition.waits(str(error))
                await asyncio.sleep(_RETRY)
                continue
            except Exception:  # noqa: BLE001 -- whatever it is, indexing is tried again
                _log.exception("the vector index cannot be written; trying again")
                condition.waits("the vector index cannot be written")
                await asyncio.sleep(_RETRY)
                indexer = made()
                failed = 0
                continue
            condition.works(indexer.offset)
            self._watch.metrics.unembedded.inc(indexer.failed - failed)
            failed = indexer.failed
            if not read:
                condition.took()
            self._indexed[partition].advance(indexer.offset)
            await self.loading.scrub()  # seldom does anything, and must also where there is always more to read
            if read < BATCH:
                await self._more(partition, indexer.offset + 1, found=read > 0)

    def _texts(self) -> int:
        """Return how many texts may be embedded now: if somebody has written since, one core is left to writers."""
        before, self._seen = self._seen, self._projected.at if self._projected else -1
        return LOT * (max(cores() - 1, 1) if self._seen != before else 2 * cores())

    async def _more(self, partition: int, offset: int, *, found: bool) -> None:
        """Wait for more facts, and a little for others behind them; who searches up to `offset` waits for neither."""
        asked = self._asked[partition]
        if not found and not await (self._projected or asked).reached(offset, _IDLE):
            return
        if await asked.reached(offset, _GATHER) and not found:
            await asyncio.sleep(_LOOK)  # asked for, but it may not have arrived here yet
