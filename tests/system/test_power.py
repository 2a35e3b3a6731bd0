"""Power loss on the embedded log: what was written and not yet forced to disk is dropped, or half of it.

Played on the real log, snapshot and views in one SQLite file. While commands are decided, the length of the
write-ahead log is noted each time that a commit has returned: up to there all has been forced to disk. At random
moments the files are copied as they stand, and beyond that length the copy's write-ahead log is cut at an arbitrary
byte, or its blocks of 512 bytes are each kept, zeroed or filled with something else, as a disk without power may leave
them. Where the log was just folded into the file, which is forced later, each page of the copied file is the new one or
the one before.

Afterwards: every committed fact and outcome is there to the byte, nothing of a later one is there by half, and the
sequencer goes on.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import subprocess
import uuid
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from mnemolog.domain.codec import Envelope, encode_command
from mnemolog.domain.memory import AddMemory, NewMemory, Owner
from mnemolog.domain.record import CommandRecord, Transaction
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import Rules
from mnemolog.runtime.folder import Folder
from projections.projector import Projector
from projections.store_sqlite import SqliteStore
from tests.simulation import invariants
from workers import log_sqlite
from workers.sequencing import Sequencing
from workers.snapshot_sqlite import SqliteSnapshot

pytestmark = pytest.mark.system

MOMENTS = 10
PAGE = 4_096
BLOCK = 512
FULL = 2
HEAD, FRAME_HEAD = 32, 24
"""Bytes of the write-ahead log's own head, and of the head of each page in it."""


class Forced(NamedTuple):
    """Up to where a write-ahead log has been forced to disk; its salts change when it begins anew."""

    salts: bytes
    length: int


class Committed(NamedTuple):
    """What commits that have returned promise: all facts and outcomes, to the byte."""

    facts: list[tuple[str, bytes | None]]
    outcomes: list[tuple[str, bytes]]


class Machine:
    """The embedded runtime's parts on one folder."""

    def __init__(self, folder: Folder) -> None:
        """Open the folder."""
        self.log = folder.log()
        (forcing,) = self.log._durable.execute("PRAGMA synchronous").fetchone()
        assert forcing == FULL, "a commit is not forced to disk"
        self.store = SqliteStore(folder.connection)
        self._state = folder.connection()
        self.sequencing = Sequencing(self.log, lambda: SqliteSnapshot(self._state, Rules()), Rules())
        self.projector = Projector(self.log, self.store)

    async def work(self, dice: random.Random) -> None:
        """Take some commands in, decide some of what there is; project and save sometimes."""
        for _ in range(dice.randint(1, 3)):
            await self.log.append(0, [command(dice) for _ in range(dice.randint(1, 6))])
        for _ in range(dice.randint(0, 2)):
            await self.sequencing.step()
        if dice.random() < 0.6:
            await self.projector.step()
        if dice.random() < 0.3:
            self.sequencing.save()

    async def said(self) -> tuple[list[tuple[str, bytes | None]], list[tuple[str, bytes]]]:
        """Return all facts and outcomes."""
        facts = [(record.key, record.value) for record in await self.log.facts(0, 0, 100_000)]
        outcomes = [(record.key, record.value) for _, record in await self.log.outcomes(0, 0, 100_000)]
        return facts, outcomes

    async def close(self) -> None:
        """Close the files, without folding anything in that a power loss would not."""
        await self.store.close()
        self._state.close()
        await self.log.close()


def command(dice: random.Random) -> CommandRecord:
    """Return a wish to keep a text of some length."""
    owner = Owner(agent="bot", invoker=dice.choice(["ann", "bob"]))
    wish = AddMemory(target=owner, parts=(NewMemory(content="word " * dice.randint(1, 600)),))
    identifier = str(uuid.UUID(int=dice.getrandbits(128), version=4))
    slot = slot_of_command("acme", identifier, wish)
    assert slot is not None
    return encode_command(Envelope(identifier, "acme", "test", slot, dice.randbytes(32), wish))


def measured(data: Path) -> Forced:
    """Return the salts of a folder's write-ahead log, and where the pages end that bear them."""
    raw = (data / "mnemolog.db-wal").read_bytes()
    end = HEAD
    while raw[end + 8 : end + 16] == raw[16:24] and end + FRAME_HEAD + PAGE <= len(raw):
        end += FRAME_HEAD + PAGE
    return Forced(raw[16:24], end)


def lose(dice: random.Random, copy: Path, forced: int) -> None:
    """Take from a copied write-ahead log what had not been forced to disk, or damage it."""
    ahead = copy / "mnemolog.db-wal"
    raw = bytearray(ahead.read_bytes())
    if dice.random() < 0.5:
        raw = raw[: dice.randint(forced, max(forced, len(raw)))]
    else:
        for at in range(forced, len(raw), BLOCK):
            size = min(BLOCK, len(raw) - at)
            raw[at : at + size] = dice.choice([raw[at : at + size], bytes(size), dice.randbytes(size)])
    ahead.write_bytes(raw)
    (copy / "mnemolog.db-shm").unlink(missing_ok=True)  # memory, not disk


def fold_in(data: Path) -> Forced:
    """Fold the log into the file: before, SQLite forces all of the log to disk."""
    with closing(sqlite3.connect(data / "mnemolog.db")) as database:
        database.execute("PRAGMA wal_checkpoint(PASSIVE)")
    return measured(data)


def folded_by_half(dice: random.Random, data: Path, copy: Path) -> Forced:
    """Fold the log in; in the copy, some pages of the file are still those from before."""
    before = (copy / "mnemolog.db").read_bytes()
    forced = fold_in(data)
    copied(data, copy)
    after = bytearray((copy / "mnemolog.db").read_bytes())
    for at in range(0, len(before), PAGE):
        if dice.random() < 0.5:
            after[at : at + PAGE] = before[at : at + PAGE]
    (copy / "mnemolog.db").write_bytes(after)
    return forced


def copied(data: Path, copy: Path) -> None:
    """Copy a folder by another process: to open SQLite's files in this one would drop its locks."""
    shutil.rmtree(copy, ignore_errors=True)
    subprocess.run(["cp", "-r", str(data), str(copy)], check=True)  # noqa: S607 -- a tool that every system has


@pytest.mark.parametrize("seed", range(3))
def test_guarantee_9_power_loss_takes_nothing_that_was_forced_to_disk(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Facts and outcomes of every commit that has returned; the rest is whole or not there, and the work goes on."""
    monkeypatch.setattr(log_sqlite, "_FOLD_AT", 0)  # the story says when the log is folded in, to know what is forced
    asyncio.run(story(random.Random(seed), tmp_path / "data", tmp_path / "copy"))


async def story(dice: random.Random, data: Path, copy: Path) -> None:
    """Work, and lose power at ten moments, each in a copy."""
    machine = Machine(Folder(data))
    await machine.sequencing.start()
    promised, forced = Committed([], []), Forced(b"", HEAD)
    commit = machine.log.commit

    async def noted(partition: int, transaction: Transaction) -> int:
        nonlocal promised, forced
        end = await commit(partition, transaction)
        promised, forced = Committed(*await machine.said()), measured(data)
        return end

    machine.log.commit = noted  # type: ignore[method-assign]
    for _ in range(MOMENTS):
        for _ in range(dice.randint(1, 8)):
            await machine.work(dice)
            if dice.random() < 0.2:
                forced = fold_in(data)
        copied(data, copy)
        if dice.random() < 0.4:
            forced = folded_by_half(dice, data, copy)
        begun_anew = measured(copy).salts != forced.salts  # with a head that SQLite forces to disk first
        lose(dice, copy, HEAD if begun_anew else forced.length)
        await judge(dice, copy, promised)
    await machine.close()


async def judge(dice: random.Random, copy: Path, promised: Committed) -> None:
    """Start on what is left."""
    machine = Machine(Folder(copy))
    await machine.sequencing.start()
    facts, outcomes = await machine.said()
    assert facts[: len(promised.facts)] == promised.facts
    assert outcomes[: len(promised.outcomes)] == promised.outcomes
    invariants.sound(await invariants.read(machine.log), whole=True)
    await machine.log.append(0, [command(dice)])
    while await machine.sequencing.step() is not None:
        pass
    while await machine.projector.step():
        pass
    invariants.sound(await invariants.read(machine.log), whole=True)
    assert invariants.dump(machine.store) == invariants.dump(await invariants.rebuilt(machine.log))
    (sound,) = machine.store._db.execute("PRAGMA integrity_check").fetchone()
    assert sound == "ok"
    await machine.close()
