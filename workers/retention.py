"""The retention worker: it finds what is due and proposes; the sequencer decides (design §7).

1. `sweep`: a tenant's records older than his policy keeps them, counted from their original creation. The policy is
   read anew before each batch, so a change is heeded with the next. Usage records are removed here: they are no facts.
2. `tick`: sessions whose strategies are due, and what was soft-deleted longer ago than the grace.
3. Every proposal has a deterministic id, of the sweep's instant and the record: a re-run, two workers at once or a
   crash in the middle change nothing. What is done has left the index, so a run goes on where another ended.
4. Batches are bounded and paced to a rate, and few are on their way at once: users' commands come in between. While one
   is decided, the next is read.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, Literal, NamedTuple, TypeVar

from mnemolog.domain import strategy
from mnemolog.domain.codec import Envelope
from mnemolog.domain.due import Category, Due, DueRecord, DueTimer, Hidden, Policy
from mnemolog.domain.erasure import EraseRange, EraseTarget
from mnemolog.domain.expiry import ExpireRecord, RecordTarget
from mnemolog.domain.ids import proposal_id, slot_in
from mnemolog.domain.lifecycle import ExecuteStrategy, TimerTarget
from mnemolog.domain.outcomes import Accepted, Outcome
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command
from mnemolog.domain.times import DAY, SECOND
from mnemolog.domain.usage import Usage, UsageWanted, ended_before
from mnemolog.domain.window import WORKERS

ACTOR = f"{WORKERS}retention"
BATCH = 30
_AT_ONCE = 2
"""Batches on their way: one is decided, one is there when that is done."""
_LOOK_AFTER = 20 * BATCH
"""Proposals after which it is looked what stayed of them, with none on their way."""
_RANGE = 20
"""Facts that a proposal begins to erase with; the eraser goes on."""
USAGE = "usage records"
CATEGORIES: tuple[Category, ...] = ("memories", "messages")
_KINDS: dict[Category, Literal["memory", "message"]] = {"memories": "memory", "messages": "message"}

Propose = Callable[[Sequence[Envelope]], Awaitable[Sequence[Outcome]]]
"""Publish commands and return their outcomes in order, once reads show them. Raises Unavailable."""
Reported = Callable[[str, str, int], None]
"""(tenant, category, how many were done just now): what a progress bar follows."""
T = TypeVar("T", DueRecord, DueTimer, Hidden)


class _Page(NamedTuple, Generic[T]):
    """What is due, the oldest first, and what to propose for it; None where it is another's, and to be passed over."""

    things: Sequence[T]
    proposal: Callable[[T], Envelope | None]


class _Flight(NamedTuple, Generic[T]):
    """A batch on its way."""

    things: Sequence[T]
    outcomes: asyncio.Future[Sequence[Outcome]]


@dataclass
class Report:
    """What a run did: by tenant and category, how many were done and how many proposals were refused."""

    done: dict[tuple[str, str], int] = field(default_factory=dict)
    refused: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, tenant: str, category: str, outcome: Outcome) -> None:
        """Count an outcome."""
        counts = self.done if isinstance(outcome.result, Accepted) else self.refused
        counts[tenant, category] = counts.get((tenant, category), 0) + 1

    @property
    def total(self) -> int:
        """How many were done."""
        return sum(self.done.values())


class Retention:
    """Proposes what is due, for one deployment. One run at a time."""

    def __init__(
        self,
        due: Due,
        propose: Propose,
        rules: Rules,
        entropy: Callable[[int], bytes],
        *,
        usage: Usage | None = None,
        rate: float = 10_000.0,
        reported: Reported = lambda *_: None,
    ) -> None:
        """Take where to look and where to propose; `rate` is in proposals per second."""
        self._due = due
        self._propose = propose
        self._rules = rules
        self._entropy = entropy
        self._usage = usage
        self._rate = rate
        self._reported = reported

    async def sweep(self, as_of: int, tenant: str | None = None) -> Report:
        """Expire what the policies of all tenants, or of one, do not keep as of an instant."""
        report = Report()
        for policy in await self._due.policies():
            if tenant in {None, policy.tenant}:
                for category in CATEGORIES:
                    for partition in range(self._due.partitions):
                        await self._expire(partition, policy.tenant, category, as_of, report)
                await self._expire_usage(policy.tenant, as_of, report)
        return report

    async def preview(self, as_of: int, tenant: str | None = None) -> dict[tuple[str, str], int]:
        """Count what `sweep` would expire, and propose nothing."""
        counts: dict[tuple[str, str], int] = {}
        for policy in await self._due.policies():
            for category in CATEGORIES:
                cutoff = cutoff_of(policy, category, as_of)
                if cutoff is not None and tenant in {None, policy.tenant}:
                    counts[policy.tenant, category] = await self._due.older(policy.tenant, category, cutoff)
            if tenant in {None, policy.tenant} and self._usage and (old := usage_due(policy, as_of)):
                counts[policy.tenant, USAGE] = await self._usage.count(old)
        return counts

    async def tick(self, as_of: int) -> Report:
        """Execute due strategies, and begin to erase what has been hidden for the grace."""
        report = Report()
        for partition in range(self._due.partitions):
            for kind in strategy.KINDS:
                await self._look_at_timers(partition, kind, as_of, report)
            await self._erase_hidden(partition, as_of - self._rules.grace * SECOND, report)
        return report

    async def _expire(self, partition: int, tenant: str, category: Category, as_of: int, report: Report) -> None:
        async def page(skip: int, limit: int) -> _Page[DueRecord]:
            policy = await self._due.policy(tenant)
            cutoff = cutoff_of(policy, category, as_of) if policy else None
            if policy is None or cutoff is None:
                return _Page([], lambda _: None)
            found = await self._due.records(partition, tenant, category, cutoff, skip, limit)
            return _Page(found, partial(self._expiry, policy, category, cutoff, as_of))

        await self._each(page, lambda _: (tenant, category), report)

    async def _expire_usage(self, tenant: str, as_of: int, report: Report) -> None:
        """Remove old usage records: they are no facts, so nobody needs to decide it."""
        policy = await self._due.policy(tenant)
        old = usage_due(policy, as_of) if policy else None
        if self._usage is None or old is None:
            return
        if removed := await self._usage.remove(old):
            report.done[tenant, USAGE] = removed
            self._reported(tenant, USAGE, removed)

    def _expiry(
        self, policy: Policy, category: Category, cutoff: int, as_of: int, record: DueRecord
    ) -> Envelope | None:
        if not record.id:
            return None
        target = RecordTarget(kind=_KINDS[category], id=record.id, cutoff=cutoff, policy=policy.version)
        return self._envelope(policy.tenant, record.id, ExpireRecord(target=target), "expire", record.id, as_of)

    async def _look_at_timers(self, partition: int, kind: strategy.Kind, as_of: int, report: Report) -> None:
        async def page(skip: int, limit: int) -> _Page[DueTimer]:
            found = await self._due.timers(partition, kind, as_of, skip, limit)
            return _Page(found, lambda timer: self._execution(timer, kind, as_of))

        await self._each(page, lambda timer: (timer.tenant, kind), report)

    def _execution(self, timer: DueTimer, kind: strategy.Kind, as_of: int) -> Envelope:
        command = ExecuteStrategy(target=TimerTarget(session=timer.session, type=kind, as_of=as_of))
        return self._envelope(timer.tenant, timer.session, command, f"execute {kind}", timer.session, as_of)

    async def _erase_hidden(self, partition: int, cutoff: int, report: Report) -> None:
        async def page(skip: int, limit: int) -> _Page[Hidden]:
            found = await self._due.hidden(partition, cutoff, skip, limit)
            return _Page(found, lambda hidden: self._erasure(hidden, cutoff))

        await self._each(page, lambda hidden: (hidden.tenant, f"erased {hidden.kind}"), report)

    def _erasure(self, hidden: Hidden, cutoff: int) -> Envelope | None:
        match hidden.kind:
            case "session":
                target = EraseTarget(kind="session", id=hidden.id, cutoff=cutoff, limit=_RANGE)
            case "event":
                entry = f"event/{hidden.entry}"
                target = EraseTarget(kind="session", id=hidden.id, entry=entry, cutoff=cutoff)
            case "space":
                target = EraseTarget(kind="contents", id=hidden.id, cutoff=cutoff, limit=_RANGE)
            case _:
                return None  # memories and owners are the eraser's from the moment they are hidden
        what = f"{hidden.kind} {hidden.id} {hidden.entry}"
        return self._envelope(hidden.tenant, hidden.id, EraseRange(target=target), "erase", what, cutoff)

    async def _each(
        self,
        page: Callable[[int, int], Awaitable[_Page[T]]],
        whose: Callable[[T], tuple[str, str]],
        report: Report,
    ) -> None:
        """Propose page after page; pass over what stays in the index although it was proposed.

        1. While batches are on their way, a page longer by these is read, and what was proposed is left out of it.
        2. With nothing on its way, what was proposed and still is there stays: it is passed over from now on. With
           nothing there, all is done.
        """
        skip = 0
        before: set[T] = set()
        flying: deque[_Flight[T]] = deque()
        earliest = 0.0
        try:
            while True:
                found, proposal = await page(skip, BATCH + sum(len(flight.things) for flight in flying))
                new = [(thing, proposal(thing)) for thing in [one for one in found if one not in before][:BATCH]]
                fresh = [(thing, envelope) for thing, envelope in new if envelope is not None]
                if not flying:
                    if not found:
                        return
                    skip += len(found) - len(fresh)
                    before = before if not fresh else set()
                if fresh:
                    await asyncio.sleep(max(0.0, earliest - time.monotonic()))
                    earliest = max(earliest, time.monotonic()) + len(fresh) / self._rate
                    flying.append(self._flight(fresh))
                    before.update(flying[-1].things)
                # With nothing new behind them, and now and then, all must arrive to tell what stays.
                keep = _AT_ONCE - 1 if fresh and len(before) < _LOOK_AFTER else 0
                while len(flying) > keep:
                    await self._landed(flying.popleft(), whose, report)
        finally:
            for flight in flying:
                flight.outcomes.cancel()
            await asyncio.gather(*(flight.outcomes for flight in flying), return_exceptions=True)

    def _flight(self, fresh: Sequence[tuple[T, Envelope]]) -> _Flight[T]:
        """Propose a batch without waiting for it."""
        proposed = self._propose([envelope for _, envelope in fresh])
        return _Flight([thing for thing, _ in fresh], asyncio.ensure_future(proposed))

    async def _landed(self, flight: _Flight[T], whose: Callable[[T], tuple[str, str]], report: Report) -> None:
        """Wait for the outcomes of a batch, and count them."""
        for thing, outcome in zip(flight.things, await flight.outcomes, strict=True):
            report.add(*whose(thing), outcome)
        for tenant, category in sorted({whose(thing) for thing in flight.things}):
            self._reported(tenant, category, sum(whose(thing) == (tenant, category) for thing in flight.things))

    def _envelope(self, tenant: str, identifier: str, command: Command, what: str, record: str, as_of: int) -> Envelope:
        name = proposal_id(what, tenant, record, str(as_of))
        return Envelope(name, tenant, ACTOR, slot_in(identifier), self._entropy(32), command)


def cutoff_of(policy: Policy, category: Category, as_of: int) -> int | None:
    """Return the instant before which a category's records are not kept; None if there is no such."""
    days = policy.memories if category == "memories" else policy.messages
    return None if days is None else max(0, as_of - days * DAY)


def usage_due(policy: Policy, as_of: int) -> UsageWanted | None:
    """Return which usage records a tenant's policy does not keep; one whose hour lasts waits for the next sweep."""
    if policy.usage is None:
        return None
    return UsageWanted(policy.tenant, before=min(max(0, as_of - policy.usage * DAY), ended_before(as_of)))
