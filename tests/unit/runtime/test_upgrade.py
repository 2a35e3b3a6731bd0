"""An upgrade: this code opens the data folder of each release before it, and loses, alters and refuses nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path

import pytest

from mnemolog.domain.record import CONTROL_KEY, FactRecord
from tests import wishes
from tests.golden.make_folder import FOLDERS, UNDECIDED
from tests.unit.audit import scenes
from tests.unit.runtime.commands import Run, bring
from workers.log_sqlite import SqliteLog

pytestmark = pytest.mark.unit


def everything(path: Path) -> list[FactRecord]:
    """Return all records but the control record."""

    async def read() -> list[FactRecord]:
        log = SqliteLog(path, lambda: 0)
        records = await log.facts(0, 0, 1_000_000)
        await log.close()
        return [record for record in records if record.key != CONTROL_KEY]

    return asyncio.run(read())


@pytest.mark.parametrize("released", sorted(FOLDERS.glob("*.db.gz")), ids=lambda path: path.name)
def test_an_upgrade_goes_on_with_what_is_there(released: Path, run: Run, data: Path) -> None:
    """Old decisions come out the same, old views are right or made anew, what was undecided is decided, all goes on.

    If views differ: `VERSION` in `projections/store_sqlite.py` must be raised with every change of a view.
    """
    data.mkdir()
    database = data / "mnemolog.db"
    database.write_bytes(gzip.decompress(released.read_bytes()))
    before = everything(database)
    result, _ = scenes.verify(database)
    assert not result.found.count, result.found.said
    assert result.derived, "old commands are decided again, and give the same facts"
    bring(data, wishes.add_memory("said after the upgrade"))
    assert run("clients", "create", "--tenant", "acme").code == 0
    after = everything(database)
    assert after[: len(before)] == before
    texts = [
        json.loads(record.value or b"{}")["body"].get("content") for record in after[len(before) :] if record.value
    ]
    assert [text for text in texts if text] == [UNDECIDED, "said after the upgrade"]
    said = run("audit", "verify")
    assert said.code == 0, said
