"""`mnemolog projections status|rebuild`: how far the state views have come, and a new copy of them from the log.

On Redis a rebuild fills a new version beside the live one and takes over without a pause (`projections.rebuild`);
partitions are filled side by side, each by a process of its own. A data folder has one copy, which is filled again in
place while no server runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import TypedDict

from mnemolog.domain.audits import Told
from mnemolog.domain.ports import Log, Store
from mnemolog.runtime import parallel
from mnemolog.runtime.bar import Bar
from mnemolog.runtime.config import Settings


class Standing(TypedDict):
    """How far one partition's views have come; `checkpoint` is None where there are none."""

    partition: int
    end: int
    checkpoint: int | None
    behind: int


async def run(settings: Settings, options: argparse.Namespace) -> int:
    """Do what the command line asks; return the exit code. Raises BadConfiguration, Unavailable."""
    distributed = settings.runtime == "kafka"
    if options.verb == "status":
        return await (_redis_status if distributed else _folder_status)(settings, as_json=options.json)
    with Bar() as bar:
        if not distributed:
            return await _folder_rebuild(settings, bar)
        jobs = options.jobs or os.cpu_count() or 1
        return await _redis_rebuild(settings, bar, min(jobs, settings.partitions), accept=options.accept)


async def _redis_status(settings: Settings, *, as_json: bool) -> int:
    from mnemolog.runtime.kafka import cluster, deployment, redis, store
    from projections.redis_versions import RedisVersions
    from projections.redis_wire import Wire
    from workers.log_kafka import KafkaLog

    log, views, wire = KafkaLog(cluster(settings)), store(settings), Wire(redis(settings))
    try:
        await log.start()
        live = await RedisVersions(wire, deployment(settings)).live()
        return _shown(await _standing(log, views, settings.partitions), live, as_json=as_json)
    finally:
        await wire.close()
        await views.close()
        await log.close()


async def _redis_rebuild(settings: Settings, bar: Bar, jobs: int, *, accept: bool) -> int:
    from mnemolog.runtime.kafka import cluster, deployment, prepare_client, redis
    from projections.rebuild import Rebuild
    from projections.redis_versions import RedisVersions
    from projections.redis_wire import Wire
    from projections.store_redis import RedisStore
    from workers.log_kafka import KafkaLog

    prepare_client()
    log, client, app = KafkaLog(cluster(settings)), redis(settings), deployment(settings)
    wire = Wire(client)
    try:
        await log.start()
        records = sum([await log.end(partition) for partition in range(settings.partitions)])
        shared = jobs > 1 and records >= parallel.SHARED_FROM
        rebuild = Rebuild(
            log,
            RedisVersions(wire, app),
            lambda version: RedisStore(client, app=app, version=version),
            settings.partitions,
            bar.tell,
            filling=partial(_side_by_side, settings, jobs, bar.tell) if shared else None,
        )
        done = await rebuild.run(accept=accept)
    finally:
        await wire.close()
        await log.close()
    for line in done.differences:
        sys.stderr.write(f"version {done.version} differs from the live one: {line}\n")
    if not done.flipped:
        sys.stderr.write("it stays beside the live one; if the difference is the repair you want, run with --accept\n")
        return 1
    sys.stdout.write(f"version {done.version} is live; {done.compared} samples compared\n")
    return 0


async def _side_by_side(settings: Settings, jobs: int, told: Told, version: str) -> None:
    """Fill the partitions of a version in so many processes."""
    with parallel.processes(jobs, told) as several:
        async for _ in several.run(filled, [(settings, version, number) for number in range(settings.partitions)]):
            pass


def filled(settings: Settings, version: str, partition: int, told: Told) -> None:
    """Fill one partition of a version in Redis, in a process of its own."""
    from mnemolog.runtime.kafka import cluster, deployment, prepare_client, redis
    from projections.rebuild import fill
    from projections.store_redis import RedisStore
    from workers.log_kafka import KafkaLog

    async def fill_it() -> None:
        log, views = KafkaLog(cluster(settings)), RedisStore(redis(settings), app=deployment(settings), version=version)
        try:
            await log.start()
            await fill(log, views, partition, told)
        finally:
            await views.close()
            await log.close()

    prepare_client()
    asyncio.run(fill_it())


async def _folder_status(settings: Settings, *, as_json: bool) -> int:
    from mnemolog.runtime.folder import Folder
    from projections.store_sqlite import SqliteStore

    folder = Folder(settings.data)
    log, views = folder.log(), SqliteStore(folder.connection)
    try:
        return _shown(await _standing(log, views, 1), "1", as_json=as_json)
    finally:
        await views.close()
        await log.close()


async def _folder_rebuild(settings: Settings, bar: Bar) -> int:
    from mnemolog.runtime.folder import Folder, SequencingLock
    from projections.projector import Projector
    from projections.store_sqlite import SqliteStore

    folder = Folder(settings.data)
    with SequencingLock(folder):
        log, views = folder.log(), SqliteStore(folder.connection)
        try:
            end = await log.end(0)
            views.clear()
            projector = Projector(log, views)
            while await projector.step():
                bar.tell("fill", projector.checkpoint.offset, end)
        finally:
            await views.close()
            await log.close()
    sys.stdout.write(f"the views were filled again from {end} facts\n")
    return 0


async def _standing(log: Log, views: Store, partitions: int) -> Sequence[Standing]:
    found = []
    for partition in range(partitions):
        end, stored = await log.end(partition), await views.checkpoint(partition)
        at = stored.offset if stored else None
        found.append(Standing(partition=partition, end=end, checkpoint=at, behind=max(end - (at or 0), 0)))
    return found


def _shown(standing: Sequence[Standing], live: str, *, as_json: bool) -> int:
    if as_json:
        sys.stdout.write(json.dumps({"live": live, "partitions": standing}, indent=2) + "\n")
        return 0
    sys.stdout.write(f"version {live} is live\n")
    for one in standing:
        at = "nothing is projected" if one["checkpoint"] is None else f"projected up to {one['checkpoint']}"
        sys.stdout.write(f"partition {one['partition']}: {at} of {one['end']}, {one['behind']} behind\n")
    return 0
