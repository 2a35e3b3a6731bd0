"""`mnemolog serve --runtime kafka`: a gateway of the distributed runtime; as many of them as its users need.

It keeps no state; without a Qdrant server it keeps a vector index of its own, which it refills from the log. Started
before Kafka, it says that it lives, refuses everything else, and begins as soon as Kafka is there.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import uvicorn

from mnemolog.domain.ports import Log, Store
from mnemolog.gateway.app import create_app
from mnemolog.gateway.gate import Gate
from mnemolog.gateway.watching import Watching
from mnemolog.runtime.audited import answers
from mnemolog.runtime.config import Settings
from mnemolog.runtime.connected import Connected
from mnemolog.runtime.folder import Folder, now
from mnemolog.runtime.http import announce, bound, face_settings, http_server
from mnemolog.runtime.indexing import Indexing, load_vectors
from mnemolog.runtime.issuer import issuer
from mnemolog.runtime.kafka import cluster, store
from mnemolog.runtime.standing import Part, page
from mnemolog.runtime.tenant_erasure import TenantErasure
from mnemolog.runtime.tracing import tracing
from mnemolog.runtime.usage import Asking, Flushing, recorder, show_usage, usage_log
from mnemolog.runtime.watching import Watch, WatchedSearch
from projections.due import StoreDue
from projections.search import ScopedSearch
from projections.store_redis import RedisStore
from workers.log_kafka import KafkaLog

if TYPE_CHECKING:
    from mnemolog.runtime.vectors import Searching

_log = logging.getLogger(__name__)


def serve(settings: Settings) -> int:
    """Run a gateway until it is told to stop; return the exit code."""
    folder = Folder(settings.data)
    with bound(settings) as listening:
        loops = uvicorn.Config("", lifespan="off", log_config=None).get_loop_factory()
        with asyncio.Runner(loop_factory=loops) as runner:
            runner.run(_serve(settings, folder, listening))
    return 0


async def _serve(settings: Settings, folder: Folder, listening: socket.socket) -> None:
    """Announce, connect and serve at once, and let go of everything in the opposite order."""
    held = Connected(settings)
    held.signatory.ready()
    watch = Watch(tracing("gateway"))
    face = face_settings(settings, _token_key(settings, folder))
    try:
        async with _index(settings, folder, watch) as index:
            models = index.loading
            search = ScopedSearch(
                held.store, models, models, index.indexed, wait=settings.search_wait, partitions=held.partitions
            )

            async def ready() -> Mapping[str, str]:
                return await held.trouble() | models.trouble()

            audits = answers(settings, models)
            counted = recorder(settings, now, secrets.token_bytes)
            opened = partial(usage_log, settings)
            timed = WatchedSearch(search, watch.metrics)
            roles = [Part("vectors", index.conditions, held.end)] if isinstance(index, Indexing) else []

            async def figures() -> bytes:
                if counted is not None:
                    show_usage(watch.metrics, counted)
                return await page(watch.metrics, roles)

            app = create_app(
                held.commands,
                held.queries,
                timed,
                face,
                now,
                secrets.token_bytes,
                ready,
                audits=audits,
                recorder=counted,
                usage=Asking(opened),
                figures=figures,
                issuer=issuer(settings),
                whole=TenantErasure(held.commands.submit, held.queries, StoreDue(held.store, held.partitions), opened),
                grants=held.signatory.grant if held.signatory.grants else None,
            )
            flushing = None if counted is None else Flushing(counted, opened)
            server = http_server(Watching(Gate(app, lambda: held.connected), watch))
            announce(settings, listening, f"Kafka at {settings.kafka}")
            async with asyncio.TaskGroup() as group:
                connecting = group.create_task(held.persist())
                if flushing is not None:
                    group.create_task(flushing.run())
                await server.serve(sockets=[listening])
                connecting.cancel()
                if flushing is not None:
                    await flushing.stop()
    finally:
        await held.close()
        watch.tracing.close()


def _index(settings: Settings, folder: Folder, watch: Watch) -> AbstractAsyncContextManager[Indexing | Searching]:
    """Return what is searched: the Qdrant server that the workers fill, or else an index that this gateway keeps."""
    if settings.qdrant:
        from mnemolog.runtime.vectors import searching

        return searching(settings)
    return _kept(settings, folder, watch)


@asynccontextmanager
async def _kept(settings: Settings, folder: Folder, watch: Watch) -> AsyncIterator[Indexing]:
    """Keep an index in this process, with clients of its own on its own thread."""

    @asynccontextmanager
    async def followed() -> AsyncIterator[tuple[Log, Store]]:
        log, views = KafkaLog(cluster(settings)), store(settings)
        try:
            yield log, views
        finally:
            await log.close()
            await views.close()

    index = Indexing(
        followed,
        lambda: load_vectors(settings, folder),
        partitions=settings.partitions,
        watch=watch,
        begun=_expect,
    )
    index.start()
    try:
        yield index
    finally:
        await asyncio.to_thread(index.stop)


async def _expect(log: Log, views: Store, partition: int) -> None:
    """Tell the store how far the log has come, or a partition without facts would count as a lost one."""
    if isinstance(views, RedisStore):
        views.expect(partition, await log.end(partition))


def _token_key(settings: Settings, folder: Folder) -> bytes:
    key = settings.shared_token_key()
    if key is None:
        _log.warning(
            "MNEMOLOG_TOKEN_KEY is not set: this gateway signs with the key in %s; no other gateway knows its tokens",
            folder.path,
        )
        return folder.token_key()
    return key
