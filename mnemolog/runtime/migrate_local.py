"""`mnemolog vectors migrate` on a data folder: another embedding model, while its server goes on with the old one."""

from __future__ import annotations

import argparse
import sys
from contextlib import AsyncExitStack
from dataclasses import replace

from mnemolog.domain.errors import Unavailable
from mnemolog.runtime.audited import existing
from mnemolog.runtime.bar import Bar
from mnemolog.runtime.config import Settings
from mnemolog.runtime.folder import Folder
from mnemolog.runtime.loading import load_embedder
from projections.edge_folder import Identity, identity_in
from projections.edge_migration import beside, is_ready, mark_ready
from projections.reindexing import Compared, Index, Reindexing
from projections.store_sqlite import SqliteStore
from projections.vectors_edge import EdgeVectors


async def run(settings: Settings, options: argparse.Namespace) -> int:
    """Do what the command line asks; return the exit code. Raises Unavailable."""
    folder = existing(settings)
    if options.drop:
        sys.stdout.write("nothing is left to drop: the old index goes when a server takes the new one over\n")
        return 0
    embedder = load_embedder(replace(settings, model=options.model))
    wanted = Identity(embedder.model, embedder.dimension)
    if identity_in(folder.vectors) == wanted:
        sys.stdout.write(f"{embedder.model} is the model that counts already\n")
        return 0
    async with AsyncExitStack() as stack:
        vectors = EdgeVectors.open(beside(folder.vectors, wanted), model=wanted.model, dimension=wanted.dimension)
        stack.push_async_callback(vectors.close)
        log, store = folder.log(), SqliteStore(folder.connection)
        stack.push_async_callback(log.close)
        stack.push_async_callback(store.close)
        old = await _old(settings, folder, stack)
        with Bar() as bar:
            work = Reindexing(log, store, 1, bar.tell, 0)
            new = Index(vectors, embedder)
            await work.fill(new)
            compared = await work.compare(new, old)
            if compared.good or options.accept:
                await work.fill(new)
                mark_ready(beside(folder.vectors, wanted))
    return _told(compared, options.model, ready=is_ready(folder.vectors, wanted))


async def _old(settings: Settings, folder: Folder, stack: AsyncExitStack) -> Index | None:
    """Return the index that counts now, where no server has it open and the settings name its model."""
    held = identity_in(folder.vectors)
    if held is None:
        return None
    try:
        embedder = load_embedder(settings)
        if embedder.model != held.model:
            return None
        vectors = EdgeVectors.open(folder.vectors, model=held.model, dimension=held.dimension)
    except Unavailable:
        sys.stderr.write("a server has the old index open, so the new one is compared with the texts alone\n")
        return None
    stack.push_async_callback(vectors.close)
    return Index(vectors, embedder)


def _told(compared: Compared, model: str, *, ready: bool) -> int:
    sys.stdout.write(compared.text())
    if not ready:
        sys.stderr.write("it is not taken over; if that is what you want, run with --accept\n")
        return 1
    sys.stdout.write(
        f"it is ready. Restart the server with MNEMOLOG_MODEL={model}: it takes the new index over, the old one goes.\n"
        "Do so soon: what is erased meanwhile leaves the new index only then.\n"
    )
    return 0
