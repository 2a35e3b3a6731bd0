"""Waiting until reads show a position: one look serves all, nobody looks for nobody, and trouble is waited out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from mnemolog.domain.errors import Corrupt, Unavailable
from mnemolog.domain.ports import Checkpoint
from mnemolog.domain.record import Position
from mnemolog.runtime.visible import Visible
from projections.store_memory import MemoryStore

pytestmark = pytest.mark.unit

_PATIENCE = 10.0


class Watched(MemoryStore):
    """A store that tells of the looks at its checkpoint, and may have trouble with them."""

    def __init__(self) -> None:
        """Begin empty and well."""
        super().__init__()
        self.looks: asyncio.Queue[None] = asyncio.Queue()
        self.trouble: list[Exception] = []

    async def reached(self, partition: int) -> Checkpoint | None:
        """Tell of it, and raise the next trouble."""
        self.looks.put_nowait(None)
        if self.trouble:
            raise self.trouble.pop(0)
        return await super().reached(partition)

    async def come(self, offset: int) -> None:
        """Show everything below a command offset."""
        at = await self.checkpoint(0)
        await self.apply(0, at.offset if at else 0, (), Checkpoint(offset, Position(0, offset)))


def played(story: Callable[[Watched, Visible], Coroutine[Any, Any, None]]) -> Watched:
    """Play a story with a store and whoever waits for it; return the store."""

    async def play() -> Watched:
        store = Watched()
        visible = Visible(store)
        async with asyncio.timeout(_PATIENCE):
            await story(store, visible)
        await visible.stop()
        return store

    return asyncio.run(play())


def test_who_waits_is_told_once_reads_show_it() -> None:
    """Not before; and each at his own position."""

    async def story(store: Watched, visible: Visible) -> None:
        first, second = (asyncio.create_task(visible.wait(0, Position(0, at))) for at in (1, 2))
        for _ in range(3):
            await store.looks.get()
        assert not first.done()
        await store.come(1)
        await first
        assert not second.done()
        await store.come(2)
        await second

    played(story)


def test_nobody_looks_while_nobody_waits() -> None:
    """A look ends with the last who waits, also one who has given up."""

    async def story(store: Watched, visible: Visible) -> None:
        await store.come(1)
        await visible.wait(0, Position(0, 1))
        gone = asyncio.create_task(visible.wait(0, Position(0, 9)))
        for _ in range(3):
            await store.looks.get()
        (look,) = (task for task in asyncio.all_tasks() if task.get_name().startswith("mnemolog-visible"))
        gone.cancel()
        await look

    played(story)


def test_a_store_that_is_away_is_waited_for() -> None:
    """Whoever waits knows how long he will."""

    async def story(store: Watched, visible: Visible) -> None:
        store.trouble = [Unavailable("away"), Unavailable("still away")]
        await store.come(1)
        await visible.wait(0, Position(0, 1))

    assert played(story).looks.qsize() == 3


def test_a_store_that_contradicts_itself_is_an_error_for_who_waits() -> None:
    """It is not waited out; and who comes later is looked for anew."""

    async def story(store: Watched, visible: Visible) -> None:
        store.trouble = [Corrupt("two checkpoints")]
        await store.come(1)
        with pytest.raises(Corrupt, match="two checkpoints"):
            await visible.wait(0, Position(0, 1))
        await visible.wait(0, Position(0, 1))

    played(story)
