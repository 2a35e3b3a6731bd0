"""Redis stores for tests: each in a corner of its own of a server."""

from __future__ import annotations

import uuid

from projections import redis_wire
from projections.redis_versions import RedisVersions
from projections.redis_wire import Wire
from projections.store_redis import RedisStore
from tests.servers_redis import shared_redis


class Corner:
    """A deployment's name that nobody else uses, and what lies under it."""

    def __init__(self, url: str | None = None) -> None:
        """Take a server, the shared one if none is named."""
        self.url = url or shared_redis()
        self.app = f"test-{uuid.uuid4().hex}"
        self._opened: list[Wire | RedisStore] = []

    def store(self, version: str | None = None) -> RedisStore:
        """Open a store, as another process would."""
        opened = RedisStore(redis_wire.connect(self.url), app=self.app, version=version)
        self._opened.append(opened)
        return opened

    def wire(self) -> Wire:
        """Return a way to the server."""
        opened = Wire(redis_wire.connect(self.url))
        self._opened.append(opened)
        return opened

    async def close(self) -> None:
        """Close whatever was opened here, on the same loop."""
        while self._opened:
            await self._opened.pop().close()

    def versions(self) -> RedisVersions:
        """Return the versions."""
        return RedisVersions(self.wire(), self.app)

    async def keys(self, version: str = "*") -> list[str]:
        """Return every key of a version, of all if none is named."""
        wire = self.wire()
        (found,) = await wire.ask(("KEYS", f"{self.app}:{version}:*"))
        await wire.close()
        return sorted(key.decode() for key in found)

    async def clear(self) -> None:
        """Remove everything."""
        wire = self.wire()
        (found,) = await wire.ask(("KEYS", f"{self.app}:*"))
        await wire.ask(*(("UNLINK", key) for key in found))
        await wire.close()


class PassingRedisStore(RedisStore):
    """A store of an empty log, which clears its corner when it is closed."""

    def __init__(self) -> None:
        """Open it."""
        self.corner = Corner()
        super().__init__(redis_wire.connect(self.corner.url), app=self.corner.app)
        self.expect(0, 0)

    async def close(self) -> None:
        """Remove what was written."""
        await self.corner.clear()
        await super().close()
