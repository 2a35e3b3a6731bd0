"""`mnemolog retention status`: what nobody sees any more and what still holds it, place by place, and how old it is."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from mnemolog.audit.not_cleaned import not_cleaned
from mnemolog.domain.times import SECOND, to_text
from mnemolog.runtime import not_gone
from mnemolog.runtime.audited import audited
from mnemolog.runtime.bar import Bar
from mnemolog.runtime.config import Settings
from mnemolog.runtime.folder import Folder, now
from mnemolog.runtime.not_gone import NotGone
from mnemolog.runtime.operator import Operator

_WORDS = {
    not_gone.VECTORS: "the vector index's own log may hold erased vectors; the server pushes them out when it is idle",
    not_gone.REDIS: "Redis' files may hold what was dropped, until Redis rewrites them",
    "facts": "values that are erased and that Kafka's cleaner has not taken",
    "commands": "commands kept: what they brought lies in them, erased or not, until the topic's retention takes them",
}


async def status(held: Operator, settings: Settings, *, scan: bool, as_json: bool) -> int:
    """Print what is hidden and not yet erased, then the places that may hold what is erased; return the exit code.

    With `scan` also the log's files: a read of the whole fact topic, twice.
    """
    rows = await _hidden(held)
    places = await _places(settings)
    if scan:
        places += await _scanned(settings)
    rows += [_row(None, one.place, one.amount, one.since) for one in places if one.amount]
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return 0
    if not any(row["tenant"] for row in rows):
        sys.stdout.write("nothing is hidden and waits for erasure\n")
    for row in rows:
        since = f", the oldest since {row['since']}" if row["since"] else ""
        if row["tenant"]:
            sys.stdout.write(f"{row['tenant']}: {row['count']} {row['kind']}, the oldest hidden since {row['since']}\n")
        else:
            sys.stdout.write(f"{row['kind']}: {row['count']} {_WORDS[row['kind']]}{since}\n")
    return 0


async def _hidden(held: Operator) -> list[dict[str, Any]]:
    """Return what is hidden by tenant and kind."""
    oldest: dict[tuple[str, str], int] = {}
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for hidden in await held.due.all_hidden():
        at = hidden.tenant, hidden.kind
        counts[at] += 1
        oldest[at] = min(oldest.get(at, hidden.since), hidden.since)
    return [_row(tenant, kind, count, oldest[tenant, kind]) for (tenant, kind), count in sorted(counts.items())]


def _row(tenant: str | None, kind: str, count: int, since: int | None) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "kind": kind,
        "count": count,
        "since": None if since is None else to_text(since),
        "seconds": None if since is None else (now() - since) // SECOND,
    }


async def _places(settings: Settings) -> list[NotGone]:
    if settings.runtime != "kafka":
        return [await not_gone.vectors(Folder(settings.data).vectors)()]
    from mnemolog.runtime.kafka import redis_files

    files = redis_files(settings)
    try:
        return [await not_gone.redis(files)()]
    finally:
        await files.close()


async def _scanned(settings: Settings) -> Sequence[NotGone]:
    async with audited(settings) as here:
        with Bar() as bar:
            facts = [await not_cleaned(here.log, partition, bar.tell) for partition in range(here.partitions)]
        kept, oldest = 0, []
        for partition in range(here.partitions):
            first, following = await here.log.bounds(partition)
            kept += following - first
            oldest += [command.time for command in await here.log.commands(partition, first, 1)]
    values = sum(one.values for one in facts)
    since = min((one.since for one in facts if one.since is not None), default=None)
    return [NotGone("facts", values, since), NotGone("commands", kept, min(oldest, default=None))]
