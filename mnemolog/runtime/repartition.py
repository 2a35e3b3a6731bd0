"""`mnemolog topics repartition`: the log into new topics with another number of partitions (docs/growing.md)."""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import replace

from mnemolog.audit.moving import Place, move
from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ids import partition_of
from mnemolog.domain.usage import UsageWanted
from mnemolog.runtime import topics
from mnemolog.runtime.bar import Bar
from mnemolog.runtime.config import BadConfiguration, Settings
from mnemolog.runtime.kafka import cluster, prepare_client
from workers.kafka_cluster import Cluster
from workers.log_kafka import KafkaLog
from workers.usage_kafka import KafkaUsage


def repartition(settings: Settings, options: argparse.Namespace) -> int:
    """Move the log of the settings; return the exit code."""
    prepare_client()
    fresh = replace(settings, partitions=_number(options.to_partitions), topic_prefix=options.to_prefix)
    old, new = cluster(settings), cluster(fresh)
    if old.prefix == new.prefix:
        message = "--to-prefix must be another prefix than MNEMOLOG_TOPIC_PREFIX: the old topics stay as they are"
        raise BadConfiguration(message)
    made = argparse.Namespace(verb="create", json=False, replication=options.replication, min_insync=options.min_insync)
    if asyncio.run(topics.run(fresh, made, lambda _: None)):
        message = f"there are topics under {new.prefix} already, with other settings: see mnemolog topics check"
        raise Unavailable(message)
    facts, used = asyncio.run(_moved(old, new))
    sys.stdout.write(
        f"{facts:,} facts and {used:,} usage records are under {new.prefix} in {new.partitions} partitions; the heads"
        f" of all slots are equal\nstart everything with MNEMOLOG_TOPIC_PREFIX={new.prefix} and"
        f" MNEMOLOG_PARTITIONS={new.partitions}\n"
    )
    return 0


def _number(text: str) -> int:
    try:
        partition_of(0, int(text))
    except ValueError as error:
        message = f"--to-partitions is wrong: {error}"
        raise BadConfiguration(message) from None
    return int(text)


async def _moved(old: Cluster, new: Cluster) -> tuple[int, int]:
    source, target = KafkaLog(old), KafkaLog(new)
    before, after = KafkaUsage(old), KafkaUsage(new)
    try:
        with Bar() as bar:
            await source.start()
            await target.start()
            facts = await move(Place(source, old.partitions), Place(target, new.partitions), bar.tell)
            records = await before.records(UsageWanted())
            await after.write(records)
        return facts, len(records)
    finally:
        for one in (source, target, before, after):
            await one.close()
