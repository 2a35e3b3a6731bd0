"""How fast retention and erasure are on the embedded runtime, and what they cost users who write meanwhile.

    python -m bench.retention [--memories 100000] [--data FOLDER] [--only fill|sweep|owner|session]

Prints a line for each figure; the folder is `--data` (default: a temporary one), and the memories that are there count.
An owner has a tenth of `--memories`, a session a fiftieth as events, a space a hundredth as sessions. Without vectors.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from mnemolog.domain.codec import Envelope, encode_command
from mnemolog.domain.erasure import Erase, ThingTarget
from mnemolog.domain.memory import AddMemory, NewMemory, Owner
from mnemolog.domain.outcomes import Accepted, Landed, Outcome, Reason, Rejected
from mnemolog.domain.owner import EraseOwner
from mnemolog.domain.policy import RetentionChange, SetRetention, Tenant
from mnemolog.domain.record import START
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command
from mnemolog.domain.session_commands import (
    AppendEvents,
    CreateSession,
    Emitter,
    InSpace,
    NewEvent,
    NewSession,
    SessionTarget,
)
from mnemolog.domain.space import ByUser, CreateSpace, NewSpace
from mnemolog.domain.streams import own_id
from mnemolog.runtime import interpreter
from mnemolog.runtime.embedded import Embedded
from mnemolog.runtime.folder import Folder
from projections import names
from projections.due import StoreDue
from workers.retention import Propose, Report, Retention

TENANT = "acme"
MEMORIES = names.index("memories", TENANT)
_AT_ONCE = 500
_FEW = 5_000
_USUAL = 10.0
"""Seconds for which users write alone, before and after."""


def envelope(command: Command) -> Envelope:
    """Surround a user's command."""
    identifier = str(uuid.uuid4())
    slot = slot_of_command(TENANT, identifier, command) or 0
    return Envelope(identifier, TENANT, "client/bench", slot, secrets.token_bytes(32), command)


def told(what: str, figure: str) -> None:
    """Print a figure."""
    sys.stdout.write(f"{what:<58} {figure}\n")
    sys.stdout.flush()


class Bench:
    """One embedded server's core, without its face."""

    def __init__(self, data: Path) -> None:
        """Open the folder."""
        self.core = Embedded(Folder(data), Rules(), write_wait=600.0)
        self.due = StoreDue(self.core.store)

    async def say(self, command: Command) -> Outcome:
        """Have a command answered, which must be accepted."""
        outcome = await self.core.submit(envelope(command))
        if not isinstance(outcome.result, Accepted):
            raise TypeError(outcome)
        return outcome

    async def timed(self, what: str, command: Command) -> Outcome:
        """Say how long hiding something takes, from the command to its answer."""
        begun = time.perf_counter()
        outcome = await self.say(command)
        told(f"{what} is hidden in", f"{1_000 * (time.perf_counter() - begun):.1f} ms")
        return outcome

    async def all(self, commands: Iterable[Command]) -> None:
        """Have many answered, 500 at once."""
        some: list[Command] = []
        for command in commands:
            some.append(command)
            if len(some) == _AT_ONCE:
                await asyncio.gather(*map(self.say, some))
                some = []
        await asyncio.gather(*map(self.say, some))

    async def users(self, until: Callable[[], bool]) -> list[float]:
        """Add memories one after the other, 4 users at once, and return what each write took (ms)."""
        took: list[float] = []

        async def user(name: str) -> None:
            while not until():
                begun = time.perf_counter()
                await self.say(memory("u" + name))
                took.append(1_000 * (time.perf_counter() - begun))
                await asyncio.sleep(0.005)

        await asyncio.gather(*(user(str(n)) for n in range(4)))
        return took

    async def usual(self) -> list[float]:
        """Return what each write takes while nothing else is done (ms)."""
        stop = time.perf_counter() + _USUAL
        return await self.users(lambda: time.perf_counter() > stop)

    async def beside(self, what: str, work: Callable[[], Awaitable[Any]]) -> float:
        """Do something while users write; print what it cost them, and return its seconds.

        What is usual is taken before and after: a machine that others share is not the same at both.
        """
        usual = await self.usual()
        begun = time.perf_counter()
        task = asyncio.ensure_future(work())
        meanwhile = await self.users(task.done)
        await task
        seconds = time.perf_counter() - begun
        usual += await self.usual()
        told(f"{what}: users' p99 usually / meanwhile", f"{p99(usual):.1f} / {p99(meanwhile):.1f} ms")
        return seconds

    async def gone(self, kind: str, identifier: str) -> None:
        """Wait until something hidden has been taken."""
        while await self.due.pending(TENANT, kind, identifier):  # noqa: ASYNC110 -- the views tell nobody
            await asyncio.sleep(0.02)


def p99(values: Sequence[float]) -> float:
    """Return the 99th percentile."""
    return statistics.quantiles(values, n=100)[98] if len(values) > 1 else 0.0


def memory(invoker: str) -> AddMemory:
    """Return a memory of some 100 characters."""
    return AddMemory(target=Owner(agent="bot", invoker=invoker), parts=(NewMemory(content="likes tea " * 10),))


async def fill(bench: Bench, count: int) -> None:
    """Write memories of a thousand owners, unless they are there."""
    there = await bench.core.store.count(0, MEMORIES)
    begun = time.perf_counter()
    await bench.all(memory(f"i{n % 1_000}") for n in range(there, count))
    if there < count:
        told(f"{count - there:,} memories written", f"{(count - there) / (time.perf_counter() - begun):,.0f}/s")


async def sweep(bench: Bench, count: int) -> None:
    """A tenth of the memories is due: proposed and nothing else, then swept, then as many with users who write."""
    await bench.say(SetRetention(target=Tenant(), parts=(RetentionChange(memory_days=0),)))
    due = await oldest(bench, count // 10)
    begun = time.perf_counter()
    counted = await sweeping(bench, bench.core.propose).preview(due)
    told("previewed", f"{sum(counted.values()):,} in {1_000 * (time.perf_counter() - begun):.0f} ms")

    async def refused(envelopes: Sequence[Envelope]) -> Sequence[Outcome]:
        for envelope in envelopes:
            encode_command(envelope)
        return [Outcome(envelope.id, Rejected(Reason.NOT_DUE, ""), START) for envelope in envelopes]

    # Few of them: what nobody decides stays in the index, and has to be passed over.
    few = await oldest(bench, min(_FEW, count // 10))
    await swept("proposed, and nobody decides", sweeping(bench, refused).sweep(few))
    await swept("swept alone", sweeping(bench, bench.core.propose).sweep(due))
    due = await oldest(bench, count // 10)

    async def work() -> None:
        await swept("swept beside users", sweeping(bench, bench.core.propose).sweep(due))

    await bench.beside("sweep", work)


async def oldest(bench: Bench, count: int) -> int:
    """Return an instant by which so many memories are due."""
    ((due, _, _),) = await bench.core.store.page(0, MEMORIES, skip=count, limit=1)
    return due


def sweeping(bench: Bench, propose: Propose) -> Retention:
    """Return a retention worker that proposes as fast as it can."""
    return Retention(bench.due, propose, Rules(), secrets.token_bytes, rate=1e6)


async def swept(what: str, sweep: Awaitable[Report]) -> None:
    """Say how many a second a sweep takes."""
    begun = time.perf_counter()
    report = await sweep
    seconds = time.perf_counter() - begun
    count = report.total or sum(report.refused.values())
    told(what, f"{count:,} in {seconds:.1f} s = {count / seconds:,.0f}/s")


async def owner(bench: Bench, count: int) -> None:
    """One owner has many memories."""
    await bench.all(memory("ann") for _ in range(count))

    async def erase() -> None:
        outcome = await bench.timed(
            f"an owner of {count:,} memories", EraseOwner(target=Owner(agent="bot", invoker="ann"))
        )
        await bench.gone("owner", own_id(landed(outcome).stream))

    told("and taken in", f"{await bench.beside('an owner', erase):.1f} s")


async def session(bench: Bench, events: int, sessions: int) -> None:
    """A session of many events, a space of many sessions."""
    space = landed(await bench.say(CreateSpace(target=ByUser(user="u"), parts=(NewSpace(),)))).subject
    where = InSpace(space=space, user="u")
    new = CreateSession(target=where, parts=(NewSession(participants=["p"]),))
    identifier = landed(await bench.say(new)).subject
    target = SessionTarget(space=space, user="u", session=identifier)
    event = NewEvent(body={"content": "hello " * 10}, emitter=Emitter(type="user", id="p"))
    for _ in range(events // 200):
        await bench.say(AppendEvents(target=target, parts=(event,) * 200))
    await bench.all(new for _ in range(sessions))
    for kind, name, what in (
        ("session", identifier, f"a session of {events:,} events"),
        ("space", space, f"a space of {sessions:,} sessions"),
    ):
        erasure = Erase(target=ThingTarget.model_validate({"kind": kind, "id": name}))

        async def erase(what: str = what, erasure: Erase = erasure, kind: str = kind, name: str = name) -> None:
            await bench.timed(what, erasure)
            await bench.gone(kind, name)

        told("and taken in", f"{await bench.beside(what, erase):.1f} s")


def landed(outcome: Outcome) -> Landed:
    """Return where the first fact of an acceptance stands. Raises TypeError for a refusal."""
    if not isinstance(outcome.result, Accepted):
        raise TypeError(outcome)
    return outcome.result.facts[0]


PARTS = ("sweep", "owner", "session")


async def run(data: Path, count: int, only: str | None) -> None:
    """Take every figure, or one part of them; `fill` writes the memories and measures nothing."""
    bench = Bench(data)
    bench.core.start()
    try:
        if only in {None, "fill", "sweep"}:
            await fill(bench, count)
        if only in {None, "sweep"}:
            await sweep(bench, count)
        if only in {None, "owner"}:
            await owner(bench, count // 10)
        if only in {None, "session"}:
            await session(bench, max(400, count // 50), count // 100)
    finally:
        bench.core.stop()


def main() -> None:
    """Read the options and run."""
    interpreter.set_up()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--memories", type=int, default=100_000)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", choices=("fill", *PARTS), help="one part; fill only writes what sweep needs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(options.data or Path(folder), options.memories, options.only))


if __name__ == "__main__":
    main()
