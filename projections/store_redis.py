"""The distributed store: rows and indexes of every partition in Redis (6.2 or newer), safe on Redis Cluster.

Layout and erasure: `redis_plan`. One call's keys lie in one partition, so in one slot.

1. A batch and its checkpoint are one transaction that watches the checkpoint: of two projectors one wins, and the other
   is told. What Redis may not have got is never sent again; who asks the checkpoint knows. (One Lua script would do
   the same with less work here and 2.5 times as much in Redis, which all partitions share.)
2. A read comes with the checkpoint of the same moment, and is refused (`Unavailable`) where that is missing or lower
   than the highest that this process has seen or was told (`expect`): Redis lost, flushed or restored from an old dump
   is noticed, and no read is silently empty.
3. A page without matches is cut by rank and goes on behind its last member, so rows that come and go meanwhile neither
   shorten nor double it.
4. A store follows the live version of the views, partition by partition, unless it is pinned to one (`redis_versions`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

from redis.asyncio import Redis

from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ops import Drop, Op
from mnemolog.domain.ports import Applied, Checkpoint, Match, Row
from projections.matching import fits, trace
from projections.redis_plan import MARK, Names, Plan, fields, place, ranked
from projections.redis_scripts import COUNT, MARKS, ROWS, SCAN
from projections.redis_versions import Following, parse_checkpoint, text_of
from projections.redis_wire import Link, Wire

_STEP = 500
_STEP_BYTES = 1 << 20
_ATTEMPTS = 10
_NO_MORE = 1 << 53


class RedisStore:
    """Any number of projectors and readers, in any number of processes; a client belongs to one event loop."""

    def __init__(
        self,
        client: Redis,
        *,
        app: str = "mnemolog",
        version: str | None = None,
        dropping: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Take a client (`redis_wire.connect`), the deployment's name, and a version to stay with.

        `dropping` is told before rows are dropped, and after (`redis_files`).
        """
        self._wire = Wire(client)
        self._versions = Following(self._wire, app, version)
        self._seen: dict[int, int] = {}
        self._dropping = dropping

    def expect(self, partition: int, offset: int) -> None:
        """Refuse reads of a partition until its checkpoint has come to a fact offset; 0 where the log is empty."""
        self._seen[partition] = max(offset, self._seen.get(partition, 0))

    # ---- writes ------------------------------------------------------------------------------------------------------

    async def apply(self, partition: int, follows: int, ops: Sequence[Op], checkpoint: Checkpoint) -> Applied:
        """Apply the ops of a batch and its checkpoint in one transaction, which drops of rows are told around.

        1. Watch the checkpoint and read it; if the partition has moved to another version, begin again there.
        2. Read the places of the rows that the ops rank, and plan what the whole batch comes to.
        3. Run the plan with the new checkpoint; if another has moved the checkpoint meanwhile, begin again.
        """
        drops = self._dropping if any(isinstance(op, Drop) for op in ops) else None
        if drops is not None:
            await drops()
        answer = await self._apply(partition, follows, ops, checkpoint)
        if drops is not None:
            await drops()
        return answer

    async def _apply(self, partition: int, follows: int, ops: Sequence[Op], checkpoint: Checkpoint) -> Applied:
        sure: Names | None = None  # where nothing is, although that version is live
        for _ in range(_ATTEMPTS):
            names = await self._versions.names(partition)
            async with self._wire.link() as link:
                _, text = await link.ask(("WATCH", names.checkpoint), ("GET", names.checkpoint))
                stored = parse_checkpoint(text)
                lost = stored is None and names != sure
                answer = None if lost or isinstance(stored, str) else _verdict(stored, follows, checkpoint)
                if answer == "applied":
                    if await _written(link, names, ops, checkpoint):
                        self.expect(partition, checkpoint.offset)
                        return "applied"
                    continue
                await link.ask(("UNWATCH",))
            if answer is not None:
                return answer
            if isinstance(stored, str):
                self._versions.follow(partition, stored)
            elif not await self._versions.refreshed(partition):
                sure = names
        message = f"the checkpoint of partition {partition} changes all the time: too many projectors are at work on it"
        raise Unavailable(message)

    async def checkpoint(self, partition: int) -> Checkpoint | None:
        """Return the stored checkpoint, whatever it is."""
        for _ in range(_ATTEMPTS):
            names = await self._versions.names(partition)
            (text,) = await self._wire.ask(("GET", names.checkpoint))
            stored = parse_checkpoint(text)
            if isinstance(stored, str):
                self._versions.follow(partition, stored)
            elif stored is not None or not await self._versions.refreshed(partition):
                return stored
        raise _restless(partition)

    # ---- reads -------------------------------------------------------------------------------------------------------

    async def reached(self, partition: int) -> Checkpoint | None:
        """Return the stored checkpoint, refused like any read where it has gone back."""
        stored, _ = await self._read(partition, lambda names: self._wire.ask(("GET", names.checkpoint)))
        return stored

    async def rows(self, partition: int, keys: Sequence[str]) -> Sequence[Row | None]:
        """Return the rows under `keys`, in order, all of one moment."""

        async def ask(names: Names) -> Any:
            return await self._wire.run(ROWS, [names.checkpoint, *map(names.row, keys)])

        _, found = await self._read(partition, ask)
        return [fields(row) for row in found]

    async def page(
        self,
        partition: int,
        index: str,
        *,
        skip: int = 0,
        limit: int | None = None,
        newest_first: bool = False,
        matches: Sequence[Match] = (),
    ) -> Sequence[tuple[int, str, Row]]:
        """Return (score, key, row) of an index in the order of (score, key)."""
        cut = 0 if matches else skip
        end = None if limit is None else skip + limit - cut
        found: list[tuple[int, str, Row]] = []
        scan = _Scan(self, partition, index, "rows", matches, newest_first=newest_first)
        while not scan.done and (end is None or len(found) < end):
            some = await scan.step(cut, None if end is None or matches else end - len(found))
            found += [(*place(member), row) for member, row in some]
        return found[skip - cut : end]

    async def count(self, partition: int, index: str, matches: Sequence[Match] = ()) -> int:
        """Return how many rows an index holds."""
        if matches:
            scan = _Scan(self, partition, index, "count", matches)
            total = 0
            while not scan.done:
                total += len(await scan.step(0, None))
            return total + scan.sure

        async def ask(names: Names) -> Any:
            return await self._wire.run(COUNT, [names.checkpoint, names.index(index)])

        _, (size,) = await self._read(partition, ask)
        return int(size)

    async def close(self) -> None:
        """Close every connection."""
        await self._wire.close()

    # ---- inside ------------------------------------------------------------------------------------------------------

    async def _read(
        self, partition: int, ask: Callable[[Names], Awaitable[Any]]
    ) -> tuple[Checkpoint | None, Sequence[Any]]:
        """Ask until the answer is of the version that is live, and return it if its checkpoint will do.

        What was known before asking counts: of two reads at once, the later may be answered first.
        """
        for _ in range(_ATTEMPTS):
            wanted = self._seen.get(partition)
            text, *answer = await ask(await self._versions.names(partition))
            stored = parse_checkpoint(text)
            if isinstance(stored, str):
                self._versions.follow(partition, stored)
            elif wanted == 0 if stored is None else stored.offset >= (wanted or 0):
                if stored is not None:
                    self.expect(partition, stored.offset)
                return stored, answer
            elif not await self._versions.refreshed(partition):
                has = "nothing" if stored is None else f"facts below offset {stored.offset}"
                need = "how far the log goes was never told" if wanted is None else f"offset {wanted} is needed"
                message = f"the projection of partition {partition} is being refilled: it has {has}, {need}; try again"
                raise Unavailable(message)
        raise _restless(partition)


class _Scan:
    """A walk through an index in bounded steps, each of them one state of the store."""

    def __init__(
        self,
        store: RedisStore,
        partition: int,
        index: str,
        what: Literal["rows", "count"],
        matches: Sequence[Match],
        *,
        newest_first: bool = False,
    ) -> None:
        self._store = store
        self._partition = partition
        self._index = index
        self._what = what
        self._matches = matches
        self._reverse = newest_first
        self._last: bytes | None = None
        self.sure = 0
        self.done = False

    async def step(self, skip: int, limit: int | None) -> list[tuple[bytes, Row]]:
        """Return the rows that fit among the next members: from rank `skip` on at first, then behind the last."""
        reach = _STEP if limit is None else min(limit, _STEP)
        skip = min(skip, _NO_MORE)
        reverse = ("REV",) if self._reverse else ()
        way: tuple[str | bytes | int, ...]
        if self._last is None:
            way = (skip, skip + reach - 1, *reverse)
        else:
            ends = (b"(" + self._last, b"-" if self._reverse else b"+")
            way = (*ends, "BYLEX", *reverse, "LIMIT", 0, reach)
        wanted = [part for match in self._matches for part in (match.field, match.how, trace(match))]

        async def ask(names: Names) -> Any:
            keys = [names.checkpoint, names.index(self._index)]
            budget = (self._what, _STEP_BYTES, len(self._matches))
            return await self._store._wire.run(SCAN, keys, names.rows, *budget, *wanted, *way)  # noqa: SLF001

        _, (members, seen, last, sure, found) = await self._store._read(self._partition, ask)  # noqa: SLF001
        self._last = last
        self.done = seen == members < reach
        self.sure += sure
        rows = ((member, fields(row) or {}) for member, row in zip(found[::2], found[1::2], strict=True))
        return [(member, row) for member, row in rows if fits(row, self._matches)]


def _verdict(stored: Checkpoint | None, follows: int, checkpoint: Checkpoint) -> Applied:
    if stored is not None and stored.offset >= checkpoint.offset:
        return "duplicate"
    return "behind" if (stored.offset if stored else 0) < follows else "applied"


async def _written(link: Link, names: Names, ops: Sequence[Op], checkpoint: Checkpoint) -> bool:
    """Plan and run a batch; False if the checkpoint has been moved since it was watched."""
    keys = ranked(ops)
    marks: dict[str, bytes | None] = {}
    for at in range(0, len(keys), _STEP):
        some = keys[at : at + _STEP]
        found = await link.run(MARKS, [names.checkpoint, *map(names.row, some)], MARK)
        marks |= zip(some, found, strict=True)
    commands = list(Plan(ops, marks).commands(names))
    return await link.transaction([*commands, ("SET", names.checkpoint, text_of(checkpoint))]) is not None


def _restless(partition: int) -> Unavailable:
    return Unavailable(f"partition {partition} is moving between versions of the projections; try again")
