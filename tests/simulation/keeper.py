"""The retention worker of a world: the real one, which dies between two proposals, or before it has heard of any.

It finds what is due in views that may lag, be lost or restored from before; what it proposes is decided by sequencers
that die at the boundaries of their transactions, and projected by projectors that do. In the end a worker that lives
must find nothing left that is due.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from mnemolog.domain import strategy
from mnemolog.domain.codec import Envelope, encode_command
from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ids import partition_of
from mnemolog.domain.outcomes import Outcome
from projections.due import StoreDue
from workers.retention import CATEGORIES, Retention, cutoff_of

if TYPE_CHECKING:
    from tests.simulation.world import World

_ROUNDS = 100


class Dead(Unavailable):
    """The worker has died, or its proposals were not answered in time."""


class Keeper:
    """One worker after another, each with nothing but the views and the log."""

    def __init__(self, world: World) -> None:
        """Take the world."""
        self._world = world
        self._immortal = False

    async def run(self) -> None:
        """Sweep, or look at timers and graces, until done or dead."""
        world = self._world
        worker = self._worker()
        with suppress(Unavailable):
            await (worker.sweep if world.dice.random() < 0.5 else worker.tick)(world.now)

    async def finish(self) -> None:
        """Let one that lives find everything that is due, until nothing is."""
        world = self._world
        self._immortal = True
        for _ in range(_ROUNDS):
            worker = Retention(
                StoreDue(world.store, world.partitions), self._propose, world.rules, world.dice.randbytes
            )
            done = [await worker.sweep(world.now), await worker.tick(world.now)]
            for partition in range(world.partitions):
                await world.settle(partition)
            if not any(report.total for report in done):
                return
        message = "retention goes on for ever"
        raise AssertionError(message)

    async def left(self) -> list[str]:
        """Return what is due and still there, in words."""
        world = self._world
        due = StoreDue(world.store, world.partitions)
        found = []
        for policy in await due.policies():
            for category in CATEGORIES:
                cutoff = cutoff_of(policy, category, world.now)
                if cutoff is not None and (count := await due.older(policy.tenant, category, cutoff)):
                    found.append(f"{count} {category} of {policy.tenant}")
        for partition in range(world.partitions):
            for kind in strategy.KINDS:
                found += map(str, await due.timers(partition, kind, world.now, 0, 10))
            found += map(str, await due.hidden(partition, world.now - world.rules.grace * 1_000_000 - 1, 0, 10))
        return found

    def _worker(self) -> Retention:
        world = self._world
        return Retention(StoreDue(world.store, world.partitions), self._propose, world.rules, world.dice.randbytes)

    async def _propose(self, envelopes: Sequence[Envelope]) -> Sequence[Outcome]:
        """Publish, have decided and projected, and hear of it; or die on the way."""
        world, dice = self._world, self._world.dice
        dies = not self._immortal and dice.random() < 0.5
        several = list(envelopes)[: dice.randint(0, len(envelopes)) if dies else None]
        for envelope in several:
            at = partition_of(envelope.slot, world.partitions)
            await world.publisher.append(at, [encode_command(envelope)])
        if dies and dice.random() < 0.5:
            raise Dead
        touched = sorted({partition_of(envelope.slot, world.partitions) for envelope in several})
        for partition in touched:
            await (world.settle if self._immortal else world.decide)(partition)
        if dies and dice.random() < 0.5:
            raise Dead
        for partition in touched:
            await world.project(partition)
        outcomes = world.outcomes_of([envelope.id for envelope in several])
        if dies or len(outcomes) < len(envelopes):
            raise Dead
        return outcomes
