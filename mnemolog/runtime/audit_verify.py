"""`mnemolog audit verify`: the log walked, its commands decided again, views and vectors compared with a fold of it.

1. Partitions are verified side by side, each in a process of its own. Where one is left, and it is large, one process
   walks it, then several decide its commands again, each with a share of its slots; this one compares the views.
2. With `--resume FILE` what is done is written there, and not done again after an interruption.
3. What cannot be looked at now (a vector index that a running server has open) is said, and is no difference.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnemolog.audit.derive import Derived, Share, Walked, candidates, shares
from mnemolog.audit.found import Found
from mnemolog.audit.reading import Facts
from mnemolog.audit.vectors import Memories, compare_vectors, memories
from mnemolog.audit.verify import Apart, Check, Head, Verified, derived, verified, walked
from mnemolog.audit.views import Folded, fold_to
from mnemolog.domain.audits import Told
from mnemolog.domain.errors import Corrupt, Unavailable
from mnemolog.domain.rules import Rules
from mnemolog.domain.stored import StoredViews
from mnemolog.runtime import parallel
from mnemolog.runtime.audited import audited, existing
from mnemolog.runtime.bar import Bar
from mnemolog.runtime.config import BadConfiguration, Settings
from mnemolog.runtime.former_rules import former_rules
from mnemolog.runtime.loading import load_embedder
from projections.projector import project
from workers.snapshot_sqlite import SqliteSnapshot
from workers.state import State

if TYPE_CHECKING:
    from projections.dump_edge import EdgeDump
    from projections.dump_qdrant import QdrantDump


async def verify(settings: Settings, options: argparse.Namespace) -> int:
    """Verify the deployment; 1 if anything differs."""
    heads = _heads(options)
    partitions = settings.partitions if settings.runtime == "kafka" else 1
    jobs = options.jobs or os.cpu_count() or 1
    results = _resumed(options.resume, partitions)
    left = [partition for partition in range(partitions) if partition not in results]
    known: dict[int, Memories] = {}

    def done(result: Verified, mine: Memories) -> None:
        results[result.partition], known[result.partition] = result, mine
        _keep(options.resume, partitions, results)

    with Bar() as bar:
        if jobs > 1 and len(left) > 1:
            with parallel.processes(min(jobs, len(left)), bar.tell) as several:
                async for one in several.run(_whole, [(settings, partition, heads) for partition in left]):
                    done(*one)
        else:
            for partition in left:
                done(*await _one(settings, partition, heads, bar.tell, jobs))
        found = Found()
        for partition in sorted(results):
            found.add(results[partition].found)
        if any(one.rows is None for one in results.values()):
            vectors = "not compared: the log itself differs"
        else:
            vectors = await _vectors(settings, options, known, partitions, found)
    _report(list(results.values()), vectors, found, as_json=options.json)
    return 1 if found.count else 0


def _heads(options: argparse.Namespace) -> Sequence[Head]:
    """Return what the signed heads say, each once. Raises Corrupt if they themselves do not hold."""
    if options.heads is None:
        return ()
    from mnemolog.audit import verifier
    from mnemolog.audit.signing import claims

    if not options.trust:
        message = "--heads needs --trust: the public key of who signed them"
        raise BadConfiguration(message)
    try:
        heads = verifier.read_heads(options.heads)
        verifier.check_heads(heads, options.trust)
    except (verifier.Refused, OSError, ValueError, KeyError) as error:
        message = f"the heads in {options.heads} do not hold: {error}"
        raise Corrupt(message) from error
    return list({(claim.slot, claim.facts): claim for head in heads for claim in claims(head)}.values())


async def _one(
    settings: Settings, partition: int, heads: Sequence[Head], told: Told, jobs: int = 1
) -> tuple[Verified, Memories]:
    async with audited(settings) as here, stored_views(settings) as views:
        large = jobs > 1 and await here.log.end(partition) >= parallel.SHARED_FROM
        with shared(settings, here.partitions, jobs, told) if large else nullcontext() as apart:
            check = replace(_check(settings, here.partitions, told), views=views, heads=heads, apart=apart)
            result, folded = await verified(here.log, partition, check)
            return result, memories(folded)


def _check(settings: Settings, partitions: int, told: Told) -> Check:
    rules = settings.rules()
    return Check(partitions, lambda: _state(rules), project, candidates(rules, former_rules(settings)), told=told)


def _state(rules: Rules) -> State:
    """Return a state that knows nothing, kept in memory and indexed as a snapshot is."""
    return State(SqliteSnapshot(sqlite3.connect(":memory:", isolation_level=None), rules))


@asynccontextmanager
async def stored_views(settings: Settings) -> AsyncIterator[StoredViews]:
    """Open all that the views of a deployment hold."""
    if settings.runtime == "kafka":
        from mnemolog.runtime.kafka import deployment, redis
        from projections.dump_redis import RedisDump

        remote = RedisDump(redis(settings), app=deployment(settings))
        try:
            yield remote
        finally:
            await remote.close()
        return
    from projections.dump_sqlite import SqliteDump
    from projections.store_sqlite import SqliteStore

    folder = existing(settings)
    await SqliteStore(folder.connection).close()  # makes the tables where no server has run yet
    connection = folder.connection()
    try:
        yield SqliteDump(connection)
    finally:
        connection.close()


# ---- side by side ----------------------------------------------------------------------------------------------------


@contextmanager
def shared(settings: Settings, partitions: int, jobs: int, told: Told) -> Iterator[Apart]:
    """Give what works through a partition in so many processes, which are started at once."""
    with parallel.processes(jobs, told) as several:
        yield _Shared(settings, partitions, jobs, several)


@dataclass(frozen=True, slots=True)
class _Shared:
    """Port `Apart`: one process walks, then all of them derive, each a share."""

    settings: Settings
    partitions: int
    jobs: int
    several: parallel.Processes

    async def walked(self, partition: int, heads: Sequence[Head]) -> tuple[Verified, Walked]:
        """Walk a partition."""
        (one,) = [one async for one in self.several.run(_walk, [(self.settings, partition, heads)])]
        return one

    async def derived(self, partition: int, to: Walked) -> Sequence[tuple[Derived, Found]]:
        """Derive its shares."""
        mine = shares(partition, self.partitions, to, self.jobs)
        return [one async for one in self.several.run(_derive, [(self.settings, share, to) for share in mine])]


def _walk(settings: Settings, partition: int, heads: Sequence[Head], told: Told) -> tuple[Verified, Walked]:
    async def walk() -> tuple[Verified, Walked]:
        async with audited(settings) as here:
            return await walked(here.log, partition, replace(_check(settings, here.partitions, told), heads=heads))

    return asyncio.run(walk())


def _derive(settings: Settings, share: Share, to: Walked, told: Told) -> tuple[Derived, Found]:
    async def derive() -> tuple[Derived, Found]:
        async with audited(settings) as here:
            return await derived(here.log, share, _check(settings, here.partitions, told), to)

    return asyncio.run(derive())


def _whole(settings: Settings, partition: int, heads: Sequence[Head], told: Told) -> tuple[Verified, Memories]:
    return asyncio.run(_one(settings, partition, heads, told))


# ---- vectors ---------------------------------------------------------------------------------------------------------


def stored_vectors(settings: Settings) -> EdgeDump | QdrantDump:
    """Open the vectors on the server that is named, else in the data folder. Raises Unavailable or Corrupt."""
    if settings.runtime == "kafka" and settings.qdrant:
        from mnemolog.runtime.kafka import deployment
        from mnemolog.runtime.vectors import connected
        from projections.dump_qdrant import QdrantDump

        return QdrantDump(connected(settings), deployment(settings))
    from projections.dump_edge import EdgeDump

    return EdgeDump(settings.data / "vectors")


async def _vectors(
    settings: Settings, options: argparse.Namespace, known: dict[int, Memories], partitions: int, found: Found
) -> str:
    """Compare the vector index; return what to say about it."""
    try:
        index = stored_vectors(settings)
    except Unavailable as error:
        return f"not compared: {error}"
    except Corrupt as error:
        found.wrong(str(error))
        return "not readable"
    try:
        for partition in range(partitions):
            if partition not in known:
                async with audited(settings) as here, stored_views(settings) as views:
                    known[partition] = await _folded_again(here.log, views, partition)
        embed = load_embedder(settings).embed if options.embed else None
        count = await compare_vectors(index, known, found, embed)
    except Unavailable as error:
        return f"not compared: {error}"
    finally:
        await index.close()
    return f"{count:,} compared" + (" and embedded again" if options.embed else "")


async def _folded_again(log: Facts, views: StoredViews, partition: int) -> Memories:
    """Fold a partition whose verification was done before the interruption."""
    folded = Folded(project)
    at = await views.checkpoint(partition)
    await fold_to(log, folded, partition, at.offset if at else 0)
    return memories(folded)


# ---- what is kept and said -------------------------------------------------------------------------------------------


def _resumed(file: Path | None, partitions: int) -> dict[int, Verified]:
    if file is None or not file.exists():
        return {}
    try:
        said = json.loads(file.read_text("utf-8"))
        of = int(said["partitions"])
        done = {int(p): _verified(one) for p, one in said["done"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        of, done = 0, {}
    if of != partitions:
        message = f"{file} was not written by `mnemolog audit verify --resume` for this log"
        raise BadConfiguration(message)
    return done


def _verified(one: dict[str, Any]) -> Verified:
    found = Found(**one.pop("found"))
    heads = {int(slot): (int(size), str(root)) for slot, (size, root) in one.pop("heads").items()}
    return Verified(**one, found=found, heads=heads)


def _keep(file: Path | None, partitions: int, results: dict[int, Verified]) -> None:
    if file is not None:
        fresh = file.with_name(f"{file.name}.new")
        text = json.dumps({"partitions": partitions, "done": {str(p): asdict(one) for p, one in results.items()}})
        fresh.write_text(text, "utf-8")
        fresh.replace(file)


def _report(results: Sequence[Verified], vectors: str, found: Found, *, as_json: bool) -> None:
    facts, derived, folded = (sum(getattr(one, name) for one in results) for name in ("facts", "derived", "folded"))
    rows = sum(one.rows or 0 for one in results)
    if as_json:
        told: dict[str, Any] = {"facts": facts, "derived": derived, "folded": folded, "rows": rows, "vectors": vectors}
        told |= {"differences": found.count, "first": found.said}
        sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")
        return
    for text in found.said:
        sys.stdout.write(f"DIFFERS  {text}\n")
    if found.count > len(found.said):
        sys.stdout.write(f"… and {found.count - len(found.said):,} more\n")
    sys.stdout.write(
        f"{facts:,} facts walked: chains, versions, ordinals\n"
        f"{derived:,} decided again from kept commands, {folded:,} folded as they stand\n"
        f"{rows:,} rows compared; vectors: {vectors}\n"
        f"{f'{found.count:,} differences' if found.count else 'nothing differs'}\n"
    )
