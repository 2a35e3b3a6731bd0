"""`mnemolog retention` and `mnemolog erase`: the operator's hand on what is to be forgotten.

Erasing hides at once; the eraser takes what is large in ranges, and the command waits for it, telling how far it is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence

from mnemolog.domain.erasure import Erase, ThingTarget
from mnemolog.domain.memory import Owner
from mnemolog.domain.owner import EraseOwner
from mnemolog.domain.reads import Filter
from mnemolog.domain.streams import own_id
from mnemolog.domain.times import from_text, to_text
from mnemolog.domain.usage import UsageWanted
from mnemolog.runtime.bar import Bar
from mnemolog.runtime.config import BadConfiguration, Settings
from mnemolog.runtime.folder import now
from mnemolog.runtime.operator import Operator, Refused
from mnemolog.runtime.operators import operator
from mnemolog.runtime.retention_status import status
from workers.retention import Report, Retention

_LOOK = 0.05
_PAGE = 500
Counts = Mapping[tuple[str, str], int]


async def retention(settings: Settings, options: argparse.Namespace) -> int:
    """Sweep, count what a sweep would delete, or tell what waits; return the exit code."""
    async with operator(settings) as held:
        if options.verb == "status":
            return await status(held, settings, scan=options.log, as_json=options.json)
        as_of = _instant(options.as_of)
        if as_of > now() and not options.dry_run:
            message = "--as-of lies in the future: nothing can be deleted before its time; add --dry-run to count"
            raise Refused(message)
        with Bar() as bar:
            done: dict[str, int] = defaultdict(int)

            def tell(tenant: str, category: str, count: int) -> None:
                done[f"{tenant} {category}"] += count
                bar.tell(f"{tenant} {category}", done[f"{tenant} {category}"], 0)

            worker = Retention(
                held.due,
                held.propose,
                settings.rules(),
                secrets.token_bytes,
                usage=held.usage,
                rate=float(settings.retention_rate),
                reported=tell,
            )
            if options.dry_run:
                counts: Counts = await worker.preview(as_of, options.tenant)
                report = Report()
            else:
                report = await worker.sweep(as_of, options.tenant)
                counts = report.done
        _print_counts(counts, report.refused, as_of, dry=options.dry_run, as_json=options.json)
    return 0


async def erase(settings: Settings, options: argparse.Namespace) -> int:
    """Erase what the command line names, and wait until it is gone from the log's facts; return the exit code."""
    async with operator(settings) as held:
        if options.dry_run:
            counts = await _would_go(held, options)
        else:
            with Bar() as bar:
                counts = await _erased(held, options, bar)
    verb = "would go" if options.dry_run else "erased"
    if options.json:
        sys.stdout.write(json.dumps({"tenant": options.tenant, verb.replace(" ", "_"): counts}, indent=2) + "\n")
    else:
        sys.stdout.writelines(f"{count} {what} {verb}\n" for what, count in counts.items())
    return 0


async def _would_go(held: Operator, options: argparse.Namespace) -> dict[str, int]:
    tenant, queries = options.tenant, held.queries
    match options.kind:
        case "tenant" | "owner":
            wanted = Filter(options.agent, options.invoker) if options.kind == "owner" else Filter()
            counts = {
                "memories": await queries.count_memories(tenant, wanted),
                "messages": await queries.count_messages(tenant, wanted),
            }
            if options.kind == "tenant":
                counts["spaces"] = await queries.count_spaces(tenant)
            counts["usage records"] = await held.usage.count(UsageWanted(tenant, wanted.agent, wanted.invoker))
            return counts
        case kind:
            return {kind: sum([await queries.live(tenant, kind, identifier) for identifier in options.ids])}


async def _erased(held: Operator, options: argparse.Namespace, bar: Bar) -> dict[str, int]:
    match options.kind:
        case "tenant":
            return await _tenant(held, options.tenant, bar)
        case "owner":
            await _owner(held, options.tenant, options.agent, options.invoker, bar)
            return {"owner": 1}
        case kind:
            for identifier in options.ids:
                await _thing(held, options.tenant, kind, identifier, bar)
            return {kind: len(options.ids)}


async def _thing(held: Operator, tenant: str, kind: str, identifier: str, bar: Bar) -> None:
    target = ThingTarget.model_validate({"kind": kind, "id": identifier})
    await held.submit(tenant, Erase(target=target))
    await _gone(held, tenant, kind, identifier, bar)


async def _owner(held: Operator, tenant: str, agent: str, invoker: str, bar: Bar) -> None:
    accepted = await held.submit(tenant, EraseOwner(target=Owner(agent=agent, invoker=invoker)))
    await _gone(held, tenant, "owner", own_id(accepted.facts[0].stream), bar)


async def _gone(held: Operator, tenant: str, kind: str, identifier: str, bar: Bar) -> None:
    """Wait until what is hidden has been taken; whoever sequences takes it, range by range."""
    looked = 0
    while await held.due.pending(tenant, kind, identifier):
        looked += 1
        bar.tell(f"{kind} {identifier} is hidden and being erased; looked", looked, 0)
        await asyncio.sleep(_LOOK)


async def _tenant(held: Operator, tenant: str, bar: Bar) -> dict[str, int]:
    """Go owner by owner and space by space, then through what had been hidden before."""
    counts = {"owners": 0, "spaces": 0, "usage records": 0, "hidden before": 0}
    while owners := await _owners(held, tenant):
        for agent, invoker in owners:
            await _owner(held, tenant, agent, invoker, bar)
        counts["owners"] += len(owners)
    while spaces := await held.due.spaces(tenant, _PAGE):
        for space in spaces:
            await _thing(held, tenant, "space", space, bar)
        counts["spaces"] += len(spaces)
    counts["usage records"] = await held.usage.remove(UsageWanted(tenant))
    for hidden in await held.due.hidden_of(tenant):
        if hidden.kind in {"session", "space"} and await held.due.pending(tenant, hidden.kind, hidden.id):
            await _thing(held, tenant, hidden.kind, hidden.id, bar)
            counts["hidden before"] += 1
    return counts


async def _owners(held: Operator, tenant: str) -> Sequence[tuple[str, str]]:
    """Return some of the owners that have anything left."""
    memories = await held.queries.memories(tenant, Filter(), 0, _PAGE)
    messages = await held.queries.messages(tenant, Filter(), 0, _PAGE)
    found = [(row["agent"], row["invoker"]) for row in memories]
    found += [(row["agent"], row["invoker"]) for row in messages]
    return list(dict.fromkeys(found))


def _instant(text: str | None) -> int:
    if text is None:
        return now()
    try:
        return from_text(text)
    except ValueError:
        message = f"--as-of must be an ISO-8601 time such as 2026-11-21T02:00:00Z, not {text!r}"
        raise BadConfiguration(message) from None


def _print_counts(counts: Counts, refused: Counts, as_of: int, *, dry: bool, as_json: bool) -> None:
    word = "would be deleted" if dry else "deleted"
    if as_json:
        rows = [{"tenant": t, "category": c, "count": n} for (t, c), n in sorted(counts.items())]
        late = [{"tenant": t, "category": c, "count": n} for (t, c), n in sorted(refused.items())]
        body = {"as_of": to_text(as_of), "dry_run": dry, "records": rows, "refused": late}
        sys.stdout.write(json.dumps(body, indent=2) + "\n")
        return
    for (tenant, category), count in sorted(counts.items()):
        sys.stdout.write(f"{tenant}: {count} {category} {word}\n")
    for (tenant, category), count in sorted(refused.items()):
        sys.stdout.write(f"{tenant}: {count} {category} had gone already, or were not due\n")
    if not counts and not refused:
        sys.stdout.write("no tenant's policy asks for anything to be deleted\n" if dry else "nothing was due\n")
