"""Tampering: each single change to a copy of a log and its views is found, and nothing is found where nothing changed.

MNEMOLOG_TEST_TAMPERINGS=1000 pytest tests/unit/audit/test_tampering.py        many more of them
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from mnemolog.audit.found import Found
from mnemolog.domain.times import DAY
from tests.given import NOON
from tests.unit.audit import scenes
from tests.unit.audit.tampering import OF_THE_LOG, OF_THE_VIEWS, Change
from workers.log_sqlite import SqliteLog

pytestmark = pytest.mark.unit

CHANGES = int(os.environ.get("MNEMOLOG_TEST_TAMPERINGS", "90"))
SEED = 3


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a database with a past of some hundred facts."""
    path = tmp_path_factory.mktemp("scene") / "mnemolog.db"
    scenes.make(path, SEED, 300)
    return path


def expired(scene: Path, path: Path) -> Path:
    """Return a copy whose command log retention has emptied, but for the newest."""
    shutil.copy(scene, path)

    async def expire() -> None:
        log = SqliteLog(path, lambda: NOON)
        await log.expire(NOON + DAY, NOON + DAY)
        await log.scrub()
        await log.close()

    asyncio.run(expire())
    return path


def unnoticed(scene: Path, folder: Path, changes: Sequence[Change], count: int, *, seed: int) -> list[str]:
    """Make so many single changes, each to a copy of its own; return those that verification does not find.

    In turn, a change is looked for in one process, and as several would that share the slots.
    """
    heads = scenes.heads_of(scenes.verify(scene)[0])
    copy, missed = folder / "copy.db", []
    for number in range(count):
        dice = random.Random(f"{seed} {number}")
        shutil.copy(scene, copy)
        database = sqlite3.connect(copy, isolation_level=None)
        change = changes[number % len(changes)]
        what = change(database, dice)
        database.close()
        found = scenes.verify(copy, heads, shares=number // len(changes) % 3)[0].found
        if not found.count:
            missed.append(f"{change.__name__} {number}: {what}")
    return missed


@pytest.mark.timeout(1_800)
def test_every_change_of_the_log_is_found(scene: Path, tmp_path: Path) -> None:
    """A flipped bit, a fact that is gone, twice, swapped or rewritten, a cut-off tail, a whole stream removed."""
    assert unnoticed(scene, tmp_path, OF_THE_LOG, CHANGES, seed=1) == []


@pytest.mark.timeout(1_800)
def test_every_sealed_change_is_found_without_the_commands(scene: Path, tmp_path: Path) -> None:
    """By chains, ordinals and signed heads alone, when the command log has expired.

    Only the header `source` is then nobody's claim: no link covers it (design §4).
    """
    old = expired(scene, tmp_path / "old.db")
    missed = unnoticed(old, tmp_path, OF_THE_LOG, CHANGES, seed=2)
    assert [what for what in missed if "header source" not in what] == []


@pytest.mark.timeout(1_800)
def test_every_change_of_a_view_is_found(scene: Path, tmp_path: Path) -> None:
    """A field, a row, a place, the size of an index."""
    assert unnoticed(scene, tmp_path, OF_THE_VIEWS, CHANGES // 2, seed=3) == []


@pytest.mark.parametrize("seed", range(4, 4 + max(4, CHANGES // 20)))
def test_guarantee_7_chains_verify_across_erasures(tmp_path: Path, seed: int) -> None:
    """Also after erasures, with forgotten commands, and with none left at all."""
    path = tmp_path / "untouched.db"
    scenes.make(path, seed, 150)
    result, _ = scenes.verify(path)
    assert result.found == Found()
    assert result.derived > 0
    shared, _ = scenes.verify(path, shares=3)
    assert shared == result
    old, _ = scenes.verify(expired(path, tmp_path / "old.db"), scenes.heads_of(result))
    assert old.found == Found()
    assert old.heads == result.heads
    assert scenes.verify(tmp_path / "old.db", shares=2)[0] == old
