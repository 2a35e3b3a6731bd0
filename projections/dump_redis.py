"""All that the live version of the views in Redis holds, for an audit: what rows and indexes say, byte for byte."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

from redis.asyncio import Redis

from mnemolog.domain.ports import Checkpoint
from mnemolog.domain.stored import StoredIndex, StoredRow
from projections.redis_plan import MARK, fields, place
from projections.redis_versions import Following, parse_checkpoint
from projections.redis_wire import Wire

_STEP = 500
_ATTEMPTS = 10


class RedisDump:
    """Reads the keys of `store_redis`; never writes. A walk over all keys sees what stands still, once at least."""

    def __init__(self, client: Redis, *, app: str = "mnemolog") -> None:
        """Take a client and the deployment's name."""
        self._wire = Wire(client)
        self._versions = Following(self._wire, app, None)

    async def checkpoint(self, partition: int) -> Checkpoint | None:
        """Return how far the views are."""
        for _ in range(_ATTEMPTS):
            (text,) = await self._wire.ask(("GET", (await self._versions.names(partition)).checkpoint))
            stored = parse_checkpoint(text)
            if not isinstance(stored, str):
                return stored
            self._versions.follow(partition, stored)
        return None

    async def rows(self, partition: int, only: Sequence[str] | None = None) -> AsyncIterator[StoredRow]:
        """Yield rows with their places."""
        names = await self._versions.names(partition)
        async for keys in self._keys(names.rows, None if only is None else [names.row(key) for key in only]):
            found = await self._wire.ask(*(("HGETALL", key) for key in keys))
            for key, reply in zip(keys, found, strict=True):
                row = fields(reply)
                if row is not None:
                    told = dict(zip(reply[::2], reply[1::2], strict=True))
                    marks = json.loads(told.get(MARK) or b"{}")
                    places = {family: (index, score) for family, (index, score) in marks.items()}
                    yield StoredRow(key.removeprefix(names.rows.encode()).decode(), row, places)

    async def indexes(self, partition: int, only: Sequence[str] | None = None) -> AsyncIterator[StoredIndex]:
        """Yield indexes with their members; a sorted set knows its own size."""
        names = await self._versions.names(partition)
        prefix = names.index("")
        async for keys in self._keys(prefix, None if only is None else [names.index(name) for name in only]):
            found = await self._wire.ask(*(("ZRANGE", key, 0, -1, "WITHSCORES") for key in keys))
            for key, reply in zip(keys, found, strict=True):
                if reply:
                    # A score other than 0 would put the member out of the order that pages are read in.
                    members = [
                        place(m) if float(score) == 0 else (0, "?") for m, score in zip(*[iter(reply)] * 2, strict=True)
                    ]
                    yield StoredIndex(key.removeprefix(prefix.encode()).decode(), members, len(members))

    async def others(self, partition: int) -> int:
        """Return how many keys of the partition are neither rows, nor indexes, nor the checkpoint."""
        names = await self._versions.names(partition)
        known = (names.rows.encode(), names.index("").encode())
        count = 0
        async for keys in self._keys(names.prefix, None):
            count += sum(not key.startswith(known) and key != names.checkpoint.encode() for key in keys)
        return count

    async def close(self) -> None:
        """Close every connection."""
        await self._wire.close()

    async def _keys(self, prefix: str, only: Sequence[str] | None) -> AsyncIterator[list[bytes]]:
        if only is not None:
            for at in range(0, len(only), _STEP):
                yield [key.encode() for key in only[at : at + _STEP]]
            return
        cursor, pattern = b"0", _literal(prefix) + "*"
        seen: set[bytes] = set()
        while True:
            ((cursor, keys),) = await self._wire.ask(("SCAN", cursor, "MATCH", pattern, "COUNT", _STEP))
            fresh = [key for key in dict.fromkeys(keys) if key not in seen]  # SCAN may name a key twice
            seen.update(fresh)
            if fresh:
                yield fresh
            if cursor == b"0":
                return


def _literal(text: str) -> str:
    """Return a pattern that matches just this text."""
    return "".join(f"\\{letter}" if letter in "*?[]^\\" else letter for letter in text)
