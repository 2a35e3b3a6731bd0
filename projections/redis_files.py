"""What Redis keeps on disk lets go of what was dropped: it is asked to rewrite its files, now and then (design §7).

A row that is dropped is gone from memory at once, but an append-only file (AOF) still has the commands that wrote it,
and a snapshot (RDB) the row, until Redis writes them anew. That costs a fork and the whole content's time, so:

1. Whoever drops rows says so before and after, in Redis itself: a projector that is killed in between loses nothing.
2. At most one rewrite in `pause` seconds, whoever of the projectors asks for it; what is dropped since waits.
3. A rewrite counts when Redis says that it has succeeded, and only for what had been dropped when it began.
4. A Redis that does not allow it (many managed ones) is asked again in the next interval; `trouble` says what it
   answered, and since when something has been waiting is told in any case.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from mnemolog.domain.errors import Unavailable
from projections.redis_versions import live_key
from projections.redis_wire import Script, Wire

_log = logging.getLogger(__name__)
_LOOK = 2.0
_POLL = 0.2
_PATIENCE = 3_600.0
"""Seconds that a rewrite may take before it counts as failed."""

_DONE = Script("""
if redis.call('HGET', KEYS[1], 'drops') == ARGV[1] then return redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'since', ARGV[2])
return 0
""")
"""KEYS mark; ARGV the drops that a rewrite has seen, when it began: nothing waits any more, or what has come since."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a Redis keeps on disk, and whether it is writing that just now."""

    log: bool
    snapshots: bool
    busy: bool
    log_failed: bool
    snapshot_failed: bool


class RedisFiles:
    """The files of one deployment's Redis. Several processes may have one each; they agree through Redis."""

    def __init__(self, client: Redis, clock: Callable[[], int], *, app: str = "mnemolog", pause: float = 600.0) -> None:
        """Take a client, the time in µs, the deployment's name, and seconds between two rewrites; 0 asks for none."""
        self.trouble: str | None = None
        base = live_key(app).rpartition(":")[0]
        self._mark = f"{base}:dropped"
        self._turn = f"{base}:rewriting"
        self._wire = Wire(client)
        self._clock = clock
        self._pause = pause

    async def dropping(self) -> None:
        """Say that rows are about to be dropped, or have been."""
        await self._wire.ask(("HINCRBY", self._mark, "drops", 1), ("HSETNX", self._mark, "since", self._clock()))

    async def waiting(self) -> int | None:
        """Return since when (µs) something has been dropped that may be in a file; None if nothing is."""
        (since,) = await self._wire.ask(("HGET", self._mark, "since"))
        return None if since is None else int(since)

    async def run(self) -> None:
        """Look every now and then, until cancelled."""
        while True:
            try:
                await self.step()
            except Unavailable as error:
                _log.warning("Redis' files wait: %s", error)
            await asyncio.sleep(_LOOK)

    async def step(self) -> bool:
        """Have the files rewritten if something waits for it and it is time; True if that has been done.

        1. Take the turn, which nobody has for `pause` seconds afterwards.
        2. Note what had been dropped, then ask for each file and wait until Redis has written it.
        3. What was noted waits no more.
        """
        (drops,) = await self._wire.ask(("HGET", self._mark, "drops"))
        if drops is None or not self._pause:
            return False
        turn = ("SET", self._turn, secrets.token_hex(8), "NX", "PX", int(self._pause * 1_000))
        (mine,) = await self._wire.ask(turn)
        if mine is None:
            return False
        (drops,) = await self._wire.ask(("HGET", self._mark, "drops"))
        begun = self._clock()
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._rewrite()
        except (Unavailable, TimeoutError) as error:
            self._suffer(error)
            return False
        await self._wire.run(_DONE, [self._mark], drops or b"", begun)
        self.trouble = None
        _log.info("Redis has rewritten its files without what was dropped")
        return True

    async def close(self) -> None:
        """Close every connection."""
        await self._wire.close()

    async def _rewrite(self) -> None:
        kept = await self._idle()
        if kept.log:
            await self._wire.ask(("BGREWRITEAOF",))
            if (await self._idle()).log_failed:
                message = "the append-only file could not be rewritten; Redis' log says why"
                raise Unavailable(message)
        if kept.snapshots:
            await self._wire.ask(("BGSAVE",))
            if (await self._idle()).snapshot_failed:
                message = "the snapshot could not be written; Redis' log says why"
                raise Unavailable(message)

    async def _idle(self) -> Kept:
        """Wait until Redis writes no file, and return how it stands then."""
        while True:
            kept = await self._kept()
            if not kept.busy:
                return kept
            await asyncio.sleep(_POLL)

    async def _kept(self) -> Kept:
        texts = await self._wire.ask(("INFO", "persistence"), ("INFO", "server"))
        told = dict(line.split(":", 1) for text in texts for line in text.decode().split("\r\n") if ":" in line)
        return _read(told, saves=await self._saves())

    async def _saves(self) -> bool:
        """Tell whether Redis saves snapshots by itself; where it does not tell, it may."""
        try:
            ((_, value),) = await self._wire.ask(("CONFIG", "GET", "save"))
        except (Unavailable, ValueError) as error:
            if isinstance(error, Unavailable) and not isinstance(error.__cause__, ResponseError):
                raise
            return True
        return bool(value)

    def _suffer(self, error: Exception) -> None:
        said = f"Redis has not rewritten its files: {str(error) or 'it took too long'}"
        if said != self.trouble:
            _log.warning("%s; what was dropped may still be in them, see docs/erasure.md", said)
        self.trouble = said


def _read(told: Mapping[str, str], *, saves: bool) -> Kept:
    busy = ("aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress")
    return Kept(
        log=told.get("aof_enabled") == "1",
        snapshots=saves or _saved(told),
        busy=any(told.get(name, "0") != "0" for name in busy),
        log_failed=told.get("aof_last_bgrewrite_status") != "ok",
        snapshot_failed=told.get("rdb_last_bgsave_status") != "ok",
    )


def _saved(told: Mapping[str, str]) -> bool:
    """Tell whether somebody has had a snapshot written since the server started: its time is the start's until then."""
    started = int(told.get("server_time_usec", 0)) // 1_000_000 - int(told.get("uptime_in_seconds", 0))
    return int(told.get("rdb_saves", 0)) > 0 or int(told.get("rdb_last_save_time", 0)) > started + 1
