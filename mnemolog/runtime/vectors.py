"""Vectors on a Qdrant server: workers fill it, a share of the partitions each, and gateways search it (design §6).

Qdrant's absence stops neither writes nor reads: the workers wait it out, searches say so, and what was missed is read
from the log afterwards.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

from qdrant_client import AsyncQdrantClient

from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ports import Embedder, Log, Store, Vectors
from mnemolog.runtime.condition import Condition
from mnemolog.runtime.config import Settings
from mnemolog.runtime.kafka import deployment, store
from mnemolog.runtime.loading import Loading, serving_embedder, stopped
from mnemolog.runtime.metrics import Metrics
from mnemolog.runtime.secured import qdrant_options
from mnemolog.runtime.watching import Watch
from projections.qdrant_wire import Collection, connect
from projections.vectors import Indexer, Room
from projections.vectors_qdrant import EXACT_UP_TO, QdrantVectors

Work = Callable[[Condition], Awaitable[None]]

_log = logging.getLogger(__name__)
_RETRY = 0.5
_LOOK = 0.02
_LOOKS = 50
"""Looks at the store until the index, too, is looked at again: whether it is still there."""
_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.05
_WRITE_SECONDS = 30


def connected(settings: Settings, seconds: float = _WRITE_SECONDS) -> AsyncQdrantClient:
    """Return a client of the server that the settings name; nothing is asked yet."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every request
    options = qdrant_options(settings)
    return connect(settings.qdrant, settings.qdrant_key or None, seconds=round(seconds) or 1, **options)


def open_vectors(settings: Settings, embedder: Embedder, seconds: float = _WRITE_SECONDS) -> Vectors:
    """Return the index that the settings name, of the embedder's model; nothing is asked yet."""
    collection = Collection(deployment(settings), embedder.model, embedder.dimension)
    exact_up_to = math.inf if settings.search_exact else EXACT_UP_TO
    return QdrantVectors(connected(settings, seconds), collection, exact_up_to=exact_up_to)


def group(settings: Settings) -> str:
    """Return the group of workers that share the partitions: those of one model, so that two can be filled at once."""
    return f"vectors.{hashlib.sha256(settings.model.encode()).hexdigest()[:12]}"


# ---- a worker --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def indexing(
    watch: Watch, settings: Settings, log: Log, assignment: object
) -> AsyncIterator[Callable[[Condition], Awaitable[None]]]:
    """Embed into Qdrant: one model for all partitions of the process, on a thread beside its event loop."""
    del assignment
    embedder = await asyncio.to_thread(serving_embedder, settings)
    views, vectors = store(settings), open_vectors(settings, embedder)
    threads = ThreadPoolExecutor(1, thread_name_prefix="mnemolog-embedding")

    async def work(condition: Condition) -> None:
        partition = condition.partition

        async def begun() -> Indexer:
            views.expect(partition, await log.end(partition))  # or an empty partition would count as a lost one
            indexed = partial(watch.applied, "vectors", condition)
            return Indexer(log, views, vectors, embedder, partition, Room(threads), indexed=indexed)

        await index(begun, views, condition, watch.metrics)

    try:
        yield work
    finally:
        stopped(embedder)
        threads.shutdown(wait=False, cancel_futures=True)
        await vectors.close()
        await views.close()


async def index(begun: Callable[[], Awaitable[Indexer]], views: Store, condition: Condition, metrics: Metrics) -> None:
    """Index a partition until cancelled; after trouble, with an indexer that begins at the checkpoint."""
    while True:
        try:
            await _follow(await begun(), views, condition, metrics)
        except Unavailable as error:
            condition.waits(str(error))
            _log.warning("partition %d: %s", condition.partition, error)
        await asyncio.sleep(_RETRY)


async def _follow(indexer: Indexer, views: Store, condition: Condition, metrics: Metrics) -> None:
    failed = 0
    while True:
        read = await indexer.step()
        condition.works(indexer.offset)
        metrics.unembedded.inc(indexer.failed - failed)
        failed = indexer.failed
        if read:
            continue
        condition.took()
        for _ in range(_LOOKS):
            await asyncio.sleep(_LOOK)
            projected = await views.reached(condition.partition)
            if projected is not None and projected.offset > indexer.offset:
                break


# ---- a gateway -------------------------------------------------------------------------------------------------------


class Searching:
    """What a gateway searches with: the model for its queries, loaded on a thread, and the workers' index."""

    def __init__(self, loading: Loading) -> None:
        """Take what is to be loaded."""
        self.loading = loading
        self._thread = threading.Thread(target=loading.load, name="mnemolog-model")

    def start(self) -> None:
        """Start to load."""
        self._thread.start()

    def stop(self) -> None:
        """Wait for the loading to end; it cannot be interrupted."""
        if self._thread.is_alive():
            self._thread.join()

    async def indexed(self, partition: int, offset: int, seconds: float) -> bool:
        """Wait until the workers have come to a fact offset. Raises Unavailable where the index cannot be asked."""
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + seconds, _FIRST_PAUSE
        while (await self.loading.checkpoint(partition) or 0) < offset:
            if loop.time() + pause > deadline:
                return False
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        return True


@asynccontextmanager
async def searching(settings: Settings) -> AsyncIterator[Searching]:
    """Load the model; close the client at the end."""

    def load() -> tuple[Embedder, Vectors]:
        embedder = serving_embedder(settings)
        return embedder, open_vectors(settings, embedder, settings.search_wait)

    made = Searching(Loading(load))
    made.start()
    try:
        yield made
    finally:
        await asyncio.to_thread(made.stop)
        await made.loading.close()
