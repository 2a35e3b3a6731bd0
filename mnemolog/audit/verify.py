"""Verification of a partition: the walk, signed heads, the commands decided again, the views (design §8)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mnemolog.audit.derive import Derive, Derived, Folding, Share, Walked
from mnemolog.audit.found import Found
from mnemolog.audit.reading import Facts, pages
from mnemolog.audit.views import Folded, Project, compare, fold_to
from mnemolog.audit.walk import Walk
from mnemolog.domain.audits import Told, silent
from mnemolog.domain.errors import Malformed
from mnemolog.domain.fact import Fact
from mnemolog.domain.rules import Rules
from mnemolog.domain.stored import StoredViews

_ATTEMPTS = 5

Apart = Callable[[int, Walked], Awaitable[Sequence[tuple[Derived, Found]]]]
"""Derives the shares of a partition, each in a process of its own."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a signed head says of a slot: how many facts it has, and the root over their links; `name` tells which."""

    name: str
    slot: int
    facts: int
    root: bytes


@dataclass(slots=True)
class Verified:
    """What came of one partition; `heads` are a slot's number of facts and its root, as hex."""

    partition: int
    found: Found = field(default_factory=Found)
    facts: int = 0
    derived: int = 0
    folded: int = 0
    rows: int | None = None
    heads: dict[int, tuple[int, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """What to verify a log with: `state` gives a state that knows nothing, `views` are left out where None.

    With `apart`, a partition is derived by it, while its views are folded and compared here.
    """

    partitions: int
    state: Callable[[], Folding]
    project: Project
    rules: Sequence[Rules]
    views: StoredViews | None = None
    heads: Sequence[Head] = ()
    told: Told = silent
    apart: Apart | None = None


async def walked(log: Facts, partition: int, check: Check, found: Found) -> Walk:
    """Walk a partition, and compare it with the heads that speak of its slots."""
    mine = [head for head in check.heads if head.slot % check.partitions == partition]
    sizes: dict[int, list[int]] = {}
    for head in mine:
        sizes.setdefault(head.slot, []).append(head.facts)
    walk = Walk(partition, check.partitions, found, sizes)
    async for page in pages(log, partition, told=check.told):
        walk.take(page)
    walk.finish()
    now: Mapping[int, tuple[int, bytes]] = walk.heads()
    for head in mine:
        size, _ = now.get(head.slot, (0, b""))
        if size < head.facts:
            found.wrong(
                f"slot {head.slot}: {head.name} speaks of {head.facts} facts, {size} are left: its tail is gone"
            )
        elif walk.root(head.slot, head.facts) != head.root:
            found.wrong(f"slot {head.slot}: its first {head.facts} facts are not those that {head.name} speaks of")
    return walk


async def verified(log: Facts, partition: int, check: Check) -> tuple[Verified, Folded]:
    """Verify a partition.

    1. Walk it: chains, versions, ordinals; compare the roots with signed heads. A log that differs there is no ground
       to compare anything with: that is then all that is said.
    2. Decide the kept commands again; fold the views from what comes by.
    3. Compare the stored views with that fold.

    Facts that come meanwhile are left for the next time. Where something was erased meanwhile, it may be missing in one
    step and have been there in the one before: what differs then is looked at anew.
    """
    for _ in range(_ATTEMPTS):
        result, folded, end = await _once(log, partition, check)
        if not result.found.count or not await _erased_since(log, partition, end):
            break
    return result, folded


async def _once(log: Facts, partition: int, check: Check) -> tuple[Verified, Folded, int]:
    result = Verified(partition)
    walk = await walked(log, partition, check, result.found)
    result.facts = walk.facts
    result.heads = {slot: (size, root.hex()) for slot, (size, root) in walk.heads().items()}
    folded = Folded(check.project)
    if result.found.count:
        return result, folded, walk.end
    at = None if check.views is None else await check.views.checkpoint(partition)
    end = walk.end if at is None else min(at.offset, walk.end)
    sizes = {slot: size for slot, (size, _) in result.heads.items()}
    to = Walked(walk.end, walk.position, walk.last, sizes, walk.holes())
    if check.apart is not None:
        del walk  # its heads of all streams are not needed beside the views
        await _apart(log, check, check.apart, to, (result, folded, end))
        return result, folded, to.end

    def seen(fact: Fact) -> None:
        if fact.offset < end:
            folded.take(fact)

    _count(result, *await derived(log, Share(partition, check.partitions), check, to, seen))
    folded.offset = end
    if check.views is not None:
        result.rows = await compare(log, check.views, folded, partition, result.found)
    return result, folded, to.end


async def derived(
    log: Facts, share: Share, check: Check, to: Walked, seen: Callable[[Fact], None] | None = None
) -> tuple[Derived, Found]:
    """Derive a share of a partition."""
    found = Found()
    derive = Derive(share, check.state(), check.rules, found, seen)
    await derive.run(log, to, told=check.told)
    return derive.done, found


def _count(result: Verified, done: Derived, found: Found) -> None:
    result.derived += done.equal
    result.folded += done.folded
    result.found.add(found)


async def _apart(log: Facts, check: Check, apart: Apart, to: Walked, into: tuple[Verified, Folded, int]) -> None:
    """Fold and compare the views, while the shares are derived elsewhere."""
    result, folded, end = into
    deriving = asyncio.ensure_future(apart(result.partition, to))
    views = Found()
    try:
        await fold_to(log, folded, result.partition, end)
        if check.views is not None:
            result.rows = await compare(log, check.views, folded, result.partition, views)
    except Malformed as error:  # the derivation says so of the same fact, in its place
        views.wrong(str(error))
    except BaseException:
        deriving.cancel()
        raise
    for done, found in await deriving:
        _count(result, done, found)
    result.found.add(views)


async def _erased_since(log: Facts, partition: int, start: int) -> bool:
    async for page in pages(log, partition, start):
        if any(record.value is None for record in page):
            return True
    return False
