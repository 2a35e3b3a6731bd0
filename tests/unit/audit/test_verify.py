"""Verification beside a server at work: what is written and erased meanwhile is no difference."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mnemolog.audit import derive
from mnemolog.audit.derive import candidates
from mnemolog.audit.found import Found
from mnemolog.audit.verify import Check, verified
from mnemolog.domain.codec import Envelope, encode_command
from mnemolog.domain.record import CommandRecord, FactRecord
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command
from projections.dump_sqlite import SqliteDump
from projections.projector import Projector, project
from projections.store_sqlite import SqliteStore
from tests.given import KEY, NOON
from tests.unit.audit import scenes
from tests.wishes import add_memory, delete_memory, update_memory
from workers.log_sqlite import SqliteLog, connect
from workers.sequencing import Sequencing
from workers.snapshot_memory import MemorySnapshot
from workers.snapshot_sqlite import SqliteSnapshot
from workers.state import State

pytestmark = pytest.mark.unit


class Folder:
    """A data folder's log and views, and what writes to them."""

    def __init__(self, path: Path) -> None:
        clock = count(NOON, 1_000)
        self.path = path
        self.log = SqliteLog(path, lambda: next(clock))
        self.store = SqliteStore(lambda: connect(path, durable=False))
        self.sequencing = Sequencing(self.log, lambda: MemorySnapshot(KEY), Rules())
        self.projector = Projector(self.log, self.store)
        self.said = 0

    async def say(self, *commands: Command) -> list[str]:
        """Have commands decided and projected; return the subjects of what came of them."""
        for command in commands:
            self.said += 1
            name = f"command-{self.said}"
            slot = slot_of_command("acme", name, command) or 0
            envelope = Envelope(name, "acme", "client/sb", slot, self.said.to_bytes(32, "big"), command)
            await self.log.append(0, [encode_command(envelope)])
        subjects: list[str] = []
        while (transaction := await self.sequencing.step()) is not None:
            subjects += [fact.headers["ce_subject"] for fact in transaction.facts]
        while await self.projector.step():
            pass
        return subjects


class Busy:
    """A log on which something happens between two looks of an audit at it."""

    def __init__(self, folder: Folder, happens: Sequence[Sequence[Command]]) -> None:
        self._folder = folder
        self._happens = list(happens)
        self.log = SqliteLog(folder.path, lambda: 0)

    async def _meanwhile(self) -> None:
        if self._happens:
            await self._folder.say(*self._happens.pop(0))

    async def facts(self, partition: int, start: int, limit: int) -> Sequence[FactRecord]:
        """Return facts."""
        return await self.log.facts(partition, start, limit)

    async def commands(self, partition: int, start: int, limit: int) -> Sequence[CommandRecord]:
        """Return commands, after something has happened."""
        await self._meanwhile()
        return await self.log.commands(partition, start, limit)

    async def bounds(self, partition: int) -> tuple[int, int]:
        """Return the bounds, after something has happened."""
        await self._meanwhile()
        return await self.log.bounds(partition)

    async def end(self, partition: int) -> int:
        """Return the end."""
        return await self.log.end(partition)


@pytest.mark.parametrize("erasing", [False, True])
def test_what_happens_meanwhile_is_no_difference(tmp_path: Path, erasing: bool) -> None:
    """Facts that are written, and facts that are erased, between the walk, the decisions and the views."""

    async def told() -> None:
        folder = Folder(tmp_path / "m.db")
        await folder.sequencing.start()
        ids = await folder.say(*(add_memory(f"text {n}") for n in range(6)))
        if erasing:
            happens: list[list[Any]] = [[delete_memory(ids[0])], [delete_memory(ids[3])]]
        else:
            happens = [[update_memory(ids[0], content="new")], [add_memory("more"), add_memory("and more")]]
        busy, views = Busy(folder, happens), connect(folder.path, durable=False)
        check = Check(1, lambda: State(MemorySnapshot(KEY)), project, candidates(Rules()), SqliteDump(views))
        result, _ = await verified(busy, 0, check)
        assert result.found == Found()
        assert result.rows == (4 if erasing else 8)
        views.close()
        await busy.log.close()
        await folder.store.close()
        await folder.log.close()

    asyncio.run(told())


@pytest.mark.parametrize("save_at", [0, 12])
def test_a_state_that_is_saved_on_the_way_derives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save_at: int
) -> None:
    """Whatever is still in memory, and whatever in the snapshot, when a command is decided again."""
    path = tmp_path / "m.db"
    scenes.make(path, 12, 600)
    whole, _ = scenes.verify(path)
    monkeypatch.setattr(derive, "_SAVE_AT", save_at)
    saved, _ = scenes.verify(
        path, state=lambda: State(SqliteSnapshot(sqlite3.connect(":memory:", isolation_level=None), Rules()))
    )
    assert whole.found == Found()
    assert whole.derived > 50
    assert saved == whole
