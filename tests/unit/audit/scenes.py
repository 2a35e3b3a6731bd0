"""A database with a past: what random clients said, decided and projected, erasures and refusals included."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from mnemolog.audit import derive
from mnemolog.audit.derive import Derived, Walked, candidates
from mnemolog.audit.found import Found
from mnemolog.audit.verify import Check, Head, Verified, derived, verified, walked
from mnemolog.audit.views import Folded
from mnemolog.domain.codec import decode_fact
from mnemolog.domain.ports import Log
from mnemolog.domain.record import CONTROL_KEY
from mnemolog.domain.rules import Rules
from projections.dump_sqlite import SqliteDump
from projections.projector import Projector, project
from projections.store_sqlite import SqliteStore
from tests.given import KEY, NOON
from tests.simulation.clients import Clients
from workers.eraser import proposals
from workers.log_sqlite import SqliteLog, connect
from workers.sequencing import Sequencing
from workers.snapshot_memory import MemorySnapshot
from workers.snapshot_sqlite import SqliteSnapshot
from workers.state import State


def make(path: Path, seed: int, rounds: int, before: Callable[[int], None] = lambda _: None) -> None:
    """Fill a new database: each round clients speak, all is decided, the eraser proposes, and facts are projected."""
    asyncio.run(_made(path, seed, rounds, before))


async def _made(path: Path, seed: int, rounds: int, told: Callable[[int], None]) -> None:
    dice = random.Random(seed)
    clock = count(NOON, 1_000)
    log, state = SqliteLog(path, lambda: next(clock)), connect(path, durable=False)
    store = SqliteStore(lambda: connect(path, durable=False))
    sequencing = Sequencing(log, lambda: SqliteSnapshot(state, Rules()), Rules())
    projector, clients = Projector(log, store), Clients(dice)
    await sequencing.start()
    for number in range(rounds):
        told(number)
        before = await log.end(0)
        await log.append(0, [said.record for said in clients.speak() if int(said.record.key) >= 0])
        while await sequencing.step() is not None:
            pass
        for record in await log.facts(0, before, 10_000):
            if record.key != CONTROL_KEY and record.value is not None:
                clients.learn(decode_fact(record))
        await log.append(0, proposals(sequencing.state, dice.randbytes))
    while await sequencing.step() is not None:
        pass
    while await projector.step():
        pass
    await store.close()
    state.close()
    await log.scrub()
    await log.close()


def _in_memory() -> State:
    return State(MemorySnapshot(KEY))


def verify(
    path: Path, heads: Sequence[Head] = (), state: Callable[[], State] = _in_memory, shares: int = 0
) -> tuple[Verified, Folded]:
    """Verify a database, its views too; in so many shares, if any, as processes would that know nothing of another."""
    return asyncio.run(_verified(path, heads, state, shares))


async def _verified(
    path: Path, heads: Sequence[Head], state: Callable[[], State], shares: int
) -> tuple[Verified, Folded]:
    log, views = SqliteLog(path, lambda: 0), connect(path, durable=False)
    try:
        check = Check(1, state, project, candidates(Rules()), SqliteDump(views), heads)
        return await verified(log, 0, replace(check, apart=_Apart(log, check, shares)) if shares else check)
    finally:
        views.close()
        await log.close()


@dataclass
class _Apart:
    """Port `Apart` in this process."""

    log: Log
    check: Check
    count: int

    async def walked(self, partition: int, heads: Sequence[Head]) -> tuple[Verified, Walked]:
        """Walk."""
        return await walked(self.log, partition, replace(self.check, heads=heads))

    async def derived(self, partition: int, to: Walked) -> list[tuple[Derived, Found]]:
        """Derive each share with a state of its own."""
        mine = derive.shares(partition, 1, to, self.count)
        return [await derived(self.log, share, self.check, to) for share in mine]


def heads_of(result: Verified) -> list[Head]:
    """Return the heads that a signer would have signed."""
    return [Head("the head", slot, size, bytes.fromhex(root)) for slot, (size, root) in result.heads.items()]
