"""What Redis keeps on disk lets go of what was dropped, on real servers: the bytes are searched for in their files."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest

from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ops import Drop, Put
from mnemolog.domain.ports import Checkpoint
from mnemolog.domain.record import Position
from projections.redis_files import RedisFiles
from projections.redis_wire import connect
from projections.store_redis import RedisStore
from tests.servers_redis import RedisServer

pytestmark = pytest.mark.contract
SECRET = "a-text-that-is-to-be-forgotten"
T = TypeVar("T")


class Held:
    """A server with a projector's store and its files, as one process has them."""

    def __init__(self, server: RedisServer, pause: float = 0.001) -> None:
        self.server = server
        self.saves = "3600" in server.command
        self.now = 1
        self.files = RedisFiles(connect(server.url), lambda: self.now, pause=pause)
        self.store = RedisStore(connect(server.url), dropping=self.files.dropping)
        self.store.expect(0, 0)
        self._offset = 0

    async def write(self, *ops: Put | Drop) -> None:
        """Apply a batch."""
        follows, self._offset = self._offset, self._offset + 1
        checkpoint = Checkpoint(self._offset, Position(0, self._offset))
        assert await self.store.apply(0, follows, ops, checkpoint) == "applied"

    def in_files(self, text: str = SECRET) -> set[str]:
        """Return the files of the server that hold a text; one that goes away meanwhile holds nothing."""
        found = set()
        for path in self.server.folder.rglob("*"):
            try:
                if path.is_file() and text.encode() in path.read_bytes():
                    found.add(path.name)
            except FileNotFoundError:
                continue
        return found

    async def rewritten(self) -> None:
        """Step until the files have been rewritten: the turn may be somebody's for a moment."""
        async with asyncio.timeout(30):
            while not await self.files.step():  # noqa: ASYNC110 -- Redis is waited for
                await asyncio.sleep(0.01)

    async def gone(self) -> None:
        """Wait until no file holds the text: Redis unlinks the old ones in the background."""
        async with asyncio.timeout(30):
            while self.in_files():  # noqa: ASYNC110 -- Redis is waited for
                await asyncio.sleep(0.01)


def run(server: RedisServer, story: Callable[[Held], Awaitable[T]], pause: float = 0.001) -> T:
    """Tell a story of one process."""

    async def whole() -> T:
        held = Held(server, pause)
        try:
            return await story(held)
        finally:
            await held.store.close()
            await held.files.close()

    return asyncio.run(whole())


@pytest.fixture(params=["log", "snapshots", "both"])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """Give a server that keeps an append-only file, snapshots, or both."""
    log = "no" if request.param == "snapshots" else "yes"
    one = RedisServer("--appendonly", log, *(() if request.param == "log" else ("--save", "3600", "1")))
    yield one
    one.remove()


def test_guarantee_7_dropped_bytes_leave_the_files(server: RedisServer) -> None:
    """Of the append-only file and of the snapshot; what stays is still there after a restart."""

    async def story(held: Held) -> None:
        await held.write(Put("a", {"t": SECRET}), Put("b", {"t": "stays"}))
        if held.saves:
            assert server.ask("SAVE") == "+OK"
        assert held.in_files(), "the search for bytes must find them while they are there"
        await held.write(Drop("a"))
        assert await held.files.waiting() == 1
        await held.rewritten()
        await held.gone()
        assert await held.files.waiting() is None
        assert not await held.files.step()
        server.restart()
        assert await held.store.rows(0, ["a", "b"]) == [None, {"t": "stays"}]

    run(server, story)


def test_what_is_dropped_during_a_rewrite_waits_for_the_next(server: RedisServer) -> None:
    """Since that rewrite began."""

    async def story(held: Held) -> None:
        await held.write(Put("a", {"t": SECRET}), Put("b", {"t": SECRET}))
        await held.write(Drop("a"))
        begun = held.files._rewrite

        async def meanwhile() -> None:
            await begun()
            await held.write(Drop("b"))

        held.files._rewrite = meanwhile  # type: ignore[method-assign]
        held.now = 7
        await held.rewritten()
        assert await held.files.waiting() == 7
        held.files._rewrite = begun  # type: ignore[method-assign]
        await held.rewritten()
        await held.gone()
        assert await held.files.waiting() is None

    run(server, story)


def test_rewrites_are_rare(server: RedisServer) -> None:
    """One within the pause, whoever asks; 0 asks for none, and what waits is told all the same."""

    async def story(held: Held) -> None:
        await held.write(Put("a", {}), Drop("a"))
        assert await held.files.step()
        await held.write(Put("b", {}), Drop("b"))
        another = RedisFiles(connect(server.url), lambda: 1, pause=60)
        silent = RedisFiles(connect(server.url), lambda: 1, pause=0)
        assert [await files.step() for files in (held.files, another, silent)] == [False, False, False]
        assert await silent.waiting() == 1
        await another.close()
        await silent.close()

    run(server, story, pause=60)


def test_a_redis_that_does_not_allow_it_is_told(server: RedisServer) -> None:
    """Its answer, while it lasts; what was dropped waits, and the store works on."""
    server.remove()
    forbidding = RedisServer("--rename-command", "BGREWRITEAOF", "", "--rename-command", "CONFIG", "")

    async def story(held: Held) -> None:
        await held.write(Put("a", {"t": SECRET}))
        await held.write(Drop("a"))
        assert not await held.files.step()
        assert "BGREWRITEAOF" in (held.files.trouble or "")
        assert await held.files.waiting() == 1
        assert await held.store.rows(0, ["a"]) == [None]

    try:
        run(forbidding, story)
    finally:
        forbidding.remove()


def test_a_redis_that_is_away_is_unavailable(server: RedisServer) -> None:
    """To whoever drops: what could not be told is not dropped."""

    async def story(held: Held) -> None:
        await held.write(Put("a", {"t": SECRET}))
        server.kill()
        with pytest.raises(Unavailable):
            await held.write(Drop("a"))
        server.start()

    run(server, story)
