"""`mnemolog vectors migrate`: another embedding model on the Qdrant server, while searches go on in the old one's."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from qdrant_client import AsyncQdrantClient

from mnemolog.domain.errors import Unavailable
from mnemolog.runtime.bar import Bar
from mnemolog.runtime.config import BadConfiguration, Settings
from mnemolog.runtime.kafka import cluster, deployment, prepare_client, store
from mnemolog.runtime.loading import load_embedder
from mnemolog.runtime.vectors import connected
from projections.qdrant_migration import Migrated, Migration, Model
from projections.qdrant_wire import Collection, counting, drop_former
from projections.store_redis import RedisStore
from workers.log_kafka import KafkaLog

_CATCH_UP_SECONDS = 60.0
_LOOK = 0.1


async def run(settings: Settings, options: argparse.Namespace) -> int:
    """Do what the command line asks; return the exit code. Raises BadConfiguration, Unavailable."""
    if settings.runtime == "embedded" and not settings.qdrant:
        from mnemolog.runtime import migrate_local

        return await migrate_local.run(settings, options)
    if not settings.qdrant:
        message = "MNEMOLOG_QDRANT must name the Qdrant server whose vectors are to be of another model"
        raise BadConfiguration(message)
    new = _model(settings, options.model)
    async with AsyncExitStack() as stack:
        client = connected(settings)
        stack.push_async_callback(client.close)
        now = await counting(client, new.collection)
        if options.drop:
            return await _drop(client, new.collection, now)
        if now == new.collection.name:
            sys.stdout.write(f"{new.embedder.model} is the model that counts already\n")
            return 0
        old = _model(settings, settings.model)
        log, views = await stack.enter_async_context(_followed(settings))
        with Bar() as bar:
            known = old if old.collection.name == now else None
            migration = Migration(client, log, views, known, new, settings.partitions, bar.tell)
            return _shown(await migration.run(accept=options.accept), options.model)


def _model(settings: Settings, name: str) -> Model:
    embedder = load_embedder(replace(settings, model=name))
    return Model(embedder, Collection(deployment(settings), embedder.model, embedder.dimension))


@asynccontextmanager
async def _followed(settings: Settings) -> AsyncIterator[tuple[KafkaLog, RedisStore]]:
    prepare_client()
    log, views = KafkaLog(cluster(settings)), store(settings)
    try:
        await log.start()
        await _caught_up(log, views, range(settings.partitions))
        yield log, views
    finally:
        await views.close()
        await log.close()


async def _caught_up(log: KafkaLog, views: RedisStore, partitions: range) -> None:
    """Wait until the views show what the log holds now: an index made from less would miss some. Raises Unavailable."""
    deadline = asyncio.get_running_loop().time() + _CATCH_UP_SECONDS
    for partition in partitions:
        views.expect(partition, await log.end(partition))
        while True:
            try:
                await views.reached(partition)
                break
            except Unavailable:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(_LOOK)


async def _drop(client: AsyncQdrantClient, wanted: Collection, now: str | None) -> int:
    if now != wanted.name:
        message = f"{wanted.model} is not the model that counts; run `mnemolog vectors migrate` without --drop first"
        raise Unavailable(message)
    former = await drop_former(client, wanted)
    sys.stdout.write(f"{former} is dropped\n" if former else "nothing is left to drop\n")
    return 0


def _shown(done: Migrated, model: str) -> int:
    sys.stdout.write(done.compared.text())
    if not done.moved:
        sys.stderr.write("it stays beside the old one; if that is what you want, run with --accept\n")
        return 1
    sys.stdout.write(
        f"it counts from now on. Restart workers and gateways with MNEMOLOG_MODEL={model}, the workers first;\n"
        f"when the last of them has it, run `mnemolog vectors migrate --model {model} --drop`\n"
    )
    return 0
