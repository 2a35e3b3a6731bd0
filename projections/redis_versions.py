"""Versions of the projections side by side in one Redis: which is live, how a reader follows, how one takes over.

1. A small key, `{app}:live`, names the live version of a deployment; without it that is `FIRST`.
2. A version hands a partition over by one transaction on two checkpoints in one slot: the new one must have come as far
   as the old, and the old becomes `moved` and says where to. Projectors and readers find that in the place where they
   look anyway, so none applies to, or reads, a version that stands still.
3. The live key changes when every partition has moved; a hand-over that was cut short is simply done again.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from mnemolog.domain.ports import Checkpoint
from mnemolog.domain.record import Position
from projections.redis_plan import Names
from projections.redis_wire import Wire

FIRST = "1"
_MOVED = "moved "
_STEP = 500


def text_of(checkpoint: Checkpoint) -> str:
    """Return a checkpoint as it is stored."""
    return f"{checkpoint.offset} {checkpoint.position}"


def parse_checkpoint(text: bytes | None) -> Checkpoint | str | None:
    """Read a stored checkpoint: None if there is none, the version that the partition has moved to if it has."""
    if text is None:
        return None
    said = text.decode()
    if said.startswith(_MOVED):
        return said.removeprefix(_MOVED)
    offset, position = said.split(" ")
    return Checkpoint(int(offset), Position.parse(position))


def _far(checkpoint: Checkpoint | None) -> int:
    """Return how far a version has come; of a partition without facts there is no checkpoint, and nothing to do."""
    return checkpoint.offset if checkpoint else 0


def live_key(app: str) -> str:
    """Return the key that names the live version. Raises ValueError for a name that would not do in keys."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", app):
        message = f"a deployment's name holds letters, digits, '.', '-' and '_' only, not {app!r}"
        raise ValueError(message)
    return f"{app}:live"


class Following:
    """Which version each partition is read and written in, as far as this process knows."""

    def __init__(self, wire: Wire, app: str, pinned: str | None) -> None:
        """Take the way to Redis, the deployment's name, and the version to stay with, if any."""
        self._wire = wire
        self._app = app
        self._key = live_key(app)
        self._pinned = pinned
        self._live: str | None = pinned
        self._moved: dict[int, str] = {}

    async def names(self, partition: int) -> Names:
        """Return the names of a partition's keys."""
        if self._live is None:
            self._live = await self._ask()
        return Names(self._app, self._moved.get(partition, self._live), partition)

    def follow(self, partition: int, version: str) -> None:
        """Go where a partition has moved to."""
        self._moved[partition] = version

    async def refreshed(self, partition: int) -> bool:
        """Ask which version is live; True if that is another than this partition was looked for in."""
        if self._pinned is not None:
            return False
        before = self._moved.pop(partition, self._live)
        self._live = await self._ask()
        return self._live != before

    async def _ask(self) -> str:
        (said,) = await self._wire.ask(("GET", self._key))
        return FIRST if said is None else str(said.decode())


class RedisVersions:
    """What an operator does with versions: the port of a rebuild."""

    def __init__(self, wire: Wire, app: str = "mnemolog") -> None:
        """Take the way to Redis and the deployment's name."""
        self._wire = wire
        self._app = app
        self._key = live_key(app)

    async def live(self) -> str:
        """Return the live version."""
        (said,) = await self._wire.ask(("GET", self._key))
        return FIRST if said is None else said.decode()

    async def moved(self, partition: int, version: str) -> str | None:
        """Return the version to which a partition has been handed over."""
        (text,) = await self._wire.ask(("GET", Names(self._app, version, partition).checkpoint))
        stored = parse_checkpoint(text)
        return stored if isinstance(stored, str) else None

    async def move(self, partition: int, old: str, new: str) -> bool:
        """Hand a partition over; False, and nothing done, while the new version has not come as far as the old."""
        keys = [Names(self._app, version, partition).checkpoint for version in (old, new)]
        async with self._wire.link() as link:
            _, *texts = await link.ask(("WATCH", *keys), *(("GET", key) for key in keys))
            here, there = map(parse_checkpoint, texts)
            if here == new:
                await link.ask(("UNWATCH",))
                return True
            if isinstance(here, str) or isinstance(there, str) or _far(there) < _far(here):
                await link.ask(("UNWATCH",))
                return False
            return await link.transaction([("SET", keys[0], _MOVED + new)]) is not None

    async def make_live(self, version: str) -> None:
        """Name the version that newcomers begin with."""
        await self._wire.ask(("SET", self._key, version))

    async def drop(self, version: str) -> AsyncIterator[int]:
        """Remove every key of a version in bounded steps, telling how many are gone. ValueError if it is live."""
        if version == await self.live():
            message = f"version {version} of the projections is live"
            raise ValueError(message)
        pattern, cursor, gone = f"{self._app}:{version}:*", b"0", 0
        while True:
            ((cursor, keys),) = await self._wire.ask(("SCAN", cursor, "MATCH", pattern, "COUNT", _STEP))
            if keys:
                gone += sum(await self._wire.ask(*(("UNLINK", key) for key in keys)))
                yield gone
            if cursor == b"0":
                return
