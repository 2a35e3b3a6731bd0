"""Verification of a partition: the walk, signed heads, the commands decided again, the views (design §8)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

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


class Apart(Protocol):
    """Works through a partition in processes of its own."""

    async def walked(self, partition: int, heads: Sequence[Head]) -> tuple[Verified, Walked]:
        """Walk it, as `walked` does."""
        ...

    async def derived(self, partition: int, to: Walked) -> Sequence[tuple[Derived, Found]]:
        """Derive its shares, each as `derived` does."""
        ...


@dataclass(frozen=True, slots=True)
class Check:
    """What to verify a log with: `state` gives a state that knows nothing, `views` are left out where None.

    With `apart`, a partition is walked and derived by it, while its views are folded and compared here.
    """

    partitions: int
    state: Callable[[], Folding]
    project: Project
    rules: Sequence[Rules]
    views: StoredViews | None = None
    heads: Sequence[Head] = ()
    told: Told = silent
    apart: Apart | None = None


async def walked(log: Facts, partition: int, check: Check) -> tuple[Verified, Walked]:
    """Walk a partition, and compare it with the heads that speak of its slots; return what that says to others, too."""
    result = Verified(partition)
    mine = [head for head in check.heads if head.slot % check.partitions == partition]
    wanted: dict[int, list[int]] = {}
    for head in mine:
        wanted.setdefault(head.slot, []).append(head.facts)
    walk = Walk(partition, check.partitions, result.found, wanted)
    async for page in pages(log, partition, told=check.told):
        walk.take(page)
    walk.finish()
    now: Mapping[int, tuple[int, bytes]] = walk.heads()
    for head in mine:
        size, _ = now.get(head.slot, (0, b""))
        if size < head.facts:
            result.found.wrong(
                f"slot {head.slot}: {head.name} speaks of {head.facts} facts, {size} are left: its tail is gone"
            )
        elif walk.root(head.slot, head.facts) != head.root:
            result.found.wrong(
                f"slot {head.slot}: its first {head.facts} facts are not those that {head.name} speaks of"
            )
    result.facts = walk.facts
    result.heads = {slot: (size, root.hex()) for slot, (size, root) in now.items()}
    sizes = {slot: size for slot, (size, _) in now.items()}
    return result, Walked(walk.end, walk.position, walk.last, sizes, walk.holes())


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
    if check.apart is not None:
        return await _apart(log, partition, check, check.apart)
    result, to = await walked(log, partition, check)
    folded = Folded(check.project)
    if result.found.count:
        return result, folded, to.end
    end = await _folds_to(partition, check, to.end)

    def seen(fact: Fact) -> None:
        if fact.offset < end:
            folded.take(fact)

    _count(result, *await derived(log, Share(partition, check.partitions), check, to, seen))
    folded.offset = end
    if check.views is not None:
        result.rows = await compare(log, check.views, folded, partition, result.found)
    return result, folded, to.end


async def _folds_to(partition: int, check: Check, end: int) -> int:
    """Return how far the views are folded before they are compared: to where they are, but no further than the log."""
    at = None if check.views is None else await check.views.checkpoint(partition)
    return end if at is None else min(at.offset, end)


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


async def _apart(log: Facts, partition: int, check: Check, apart: Apart) -> tuple[Verified, Folded, int]:
    """Fold and compare the views, while the partition is walked and derived elsewhere.

    Where the walk finds something wrong, that is all that is said: what else has come of the log does not count.
    """
    folded, differences = Folded(check.project), Found()
    comparing = asyncio.ensure_future(_compared(log, partition, check, folded, differences))
    tasks: list[asyncio.Future[Any]] = [comparing]
    try:
        result, to = await apart.walked(partition, check.heads)
        if result.found.count:
            return result, Folded(check.project), to.end
        deriving = asyncio.ensure_future(apart.derived(partition, to))
        tasks.append(deriving)
        parts, result.rows = await asyncio.gather(deriving, comparing)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for done, found in parts:
        _count(result, done, found)
    result.found.add(differences)
    return result, folded, to.end


async def _compared(log: Facts, partition: int, check: Check, folded: Folded, found: Found) -> int | None:
    """Fold the views and compare them; return how many rows were, None where there are none to compare."""
    try:
        await fold_to(log, folded, partition, await _folds_to(partition, check, await log.end(partition)))
        return None if check.views is None else await compare(log, check.views, folded, partition, found)
    except Malformed as error:  # the derivation says so of the same fact, in its place
        found.wrong(str(error))
        return None


async def _erased_since(log: Facts, partition: int, start: int) -> bool:
    async for page in pages(log, partition, start):
        if any(record.value is None for record in page):
            return True
    return False
