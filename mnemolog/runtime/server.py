"""`mnemolog serve`: one process, one folder, everything in it (design §2, embedded)."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

from starlette.types import ASGIApp

from mnemolog.domain.ports import Log, Store
from mnemolog.gateway.app import create_app
from mnemolog.gateway.usage import Recorder
from mnemolog.gateway.watching import Watching
from mnemolog.runtime.audited import answers
from mnemolog.runtime.config import Settings
from mnemolog.runtime.embedded import Embedded
from mnemolog.runtime.folder import Folder, SequencingLock, now
from mnemolog.runtime.http import announce, bound, face_settings, http_server
from mnemolog.runtime.indexing import Indexing, load_vectors
from mnemolog.runtime.issuer import issuer
from mnemolog.runtime.not_gone import vectors
from mnemolog.runtime.retaining import Held, RetainingThread
from mnemolog.runtime.signing import Signatory
from mnemolog.runtime.standing import Part, page
from mnemolog.runtime.tenant_erasure import TenantErasure
from mnemolog.runtime.tracing import tracing
from mnemolog.runtime.usage import Asking, FlushingThread, recorder, show_usage, usage_log
from mnemolog.runtime.watching import Watch, WatchedSearch
from projections.due import StoreDue
from projections.queries import StoreQueries
from projections.search import ScopedSearch


def serve(settings: Settings) -> int:
    """Run the embedded server until it is told to stop; return the exit code."""
    folder = Folder(settings.data)
    signatory = Signatory(settings)
    signatory.ready()
    watch = Watch(tracing("embedded"))
    with SequencingLock(folder), bound(settings) as listening:
        counted = recorder(settings, now, secrets.token_bytes)
        with folder.told():
            core = Embedded(
                folder,
                settings.rules(),
                write_wait=settings.write_wait,
                command_days=settings.command_days,
                recorder=counted,
                watch=watch,
                encode=signatory.encode,
            )

        @asynccontextmanager
        async def followed() -> AsyncIterator[tuple[Log, Store]]:
            log = folder.log()
            try:
                yield log, core.store
            finally:
                await log.close()

        index = Indexing(followed, lambda: load_vectors(settings, folder), projected=core.projected, watch=watch)
        places = [vectors(folder.vectors), core.not_scrubbed]
        retaining = RetainingThread(
            settings, Held(core.propose, core.store, folder.usage()), now, watch.metrics, places
        )
        flushing = FlushingThread(counted, partial(usage_log, settings))
        server = http_server(Watching(_app(settings, folder, core, index, counted, watch, signatory), watch))

        def end() -> None:
            server.should_exit = True

        core.on_failure = end
        try:
            core.start()
            index.start()
            retaining.start()
            flushing.start()
            announce(settings, listening, str(settings.data.resolve()))
            server.run(sockets=[listening])
        finally:
            flushing.stop()
            retaining.stop()
            index.stop()
            core.stop()
            watch.tracing.close()
    return 1 if core.failed is not None else 0


def _app(
    settings: Settings,
    folder: Folder,
    core: Embedded,
    index: Indexing,
    counted: Recorder | None,
    watch: Watch,
    signatory: Signatory,
) -> ASGIApp:
    def ready() -> Mapping[str, str]:
        reasons = {"log": core.trouble} if core.trouble else {}
        return reasons | index.loading.trouble()

    face = face_settings(settings, folder.token_key())
    search = ScopedSearch(core.store, index.loading, index.loading, index.indexed, wait=settings.search_wait)
    timed = WatchedSearch(search, watch.metrics)
    audits = answers(settings, index.loading)
    queries, opened = StoreQueries(core.store), partial(usage_log, settings)
    return create_app(
        core,
        queries,
        timed,
        face,
        now,
        secrets.token_bytes,
        ready,
        audits=audits,
        recorder=counted,
        usage=Asking(opened),
        figures=_figures(folder, core, index, counted, watch),
        issuer=issuer(settings),
        whole=TenantErasure(core.submit, queries, StoreDue(core.store), opened),
        grants=signatory.grant if signatory.grants else None,
    )


def _figures(
    folder: Folder, core: Embedded, index: Indexing, counted: Recorder | None, watch: Watch
) -> Callable[[], Awaitable[bytes]]:
    """Return what makes the page of figures; it looks into the log through a hold of its own."""

    async def commands(partition: int) -> int:
        return (await log.bounds(partition))[1]

    log = folder.log()
    roles = [
        Part("sequencer", [core.sequencing], commands),
        Part("projector", [core.projecting], log.end),
        Part("vectors", index.conditions, log.end),
    ]

    async def figures() -> bytes:
        if counted is not None:
            show_usage(watch.metrics, counted)
        return await page(watch.metrics, roles)

    return figures
