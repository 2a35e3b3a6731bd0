"""Rows as a store has them, compared with a fold: by their text where it is the very same, by their members else."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from mnemolog.audit.found import Found
from mnemolog.domain.stored import StoredRow
from projections.dump_sqlite import SqliteDump
from tests.unit.audit import scenes

pytestmark = pytest.mark.unit

Respell = Callable[[str], str | bytes]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a database with a past."""
    scenes.make(tmp_path / "mnemolog.db", 11, 60)
    return tmp_path / "mnemolog.db"


@pytest.fixture
def database(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection to it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def respelt(database: sqlite3.Connection, respell: Respell) -> str:
    """Spell the fields of a memory anew; return its key."""
    sql = "SELECT id, key, fields FROM view_rows WHERE instr(fields, '\"text_version\":0,') ORDER BY id"
    identifier, key, text = database.execute(sql).fetchone()
    database.execute("UPDATE view_rows SET fields = ? WHERE id = ?", (respell(text), identifier))
    return str(key)


@pytest.mark.parametrize(
    "respell",
    [
        lambda text: text.replace('"text_version":0,', '"text_version":0.0,'),
        lambda text: text.replace('"text_version":0,', '"text_version":false,'),
        lambda text: text.replace('"text_version":0,', '"text_version":"0",'),
        lambda text: text[:-1] + ',"text_version":1}',
    ],
    ids=["a float", "a truth", "a text", "said twice"],
)
def test_what_only_looks_alike_is_a_difference(path: Path, database: sqlite3.Connection, respell: Respell) -> None:
    """JSON tells 0 from 0.0, false and "0", though Python takes some of them for equal; the last of two counts."""
    key = respelt(database, respell)
    found = scenes.verify(path)[0].found
    assert (found.count, found.said) == (1, [f"row {key} differs from the log in text_version"])


@pytest.mark.parametrize(
    "respell",
    [
        lambda text: json.dumps(dict(reversed(json.loads(text).items()))),
        lambda text: json.dumps(json.loads(text), indent=1),
        lambda text: text.encode(),
    ],
    ids=["another order", "spaces", "bytes"],
)
def test_another_spelling_of_the_same_is_none(path: Path, database: sqlite3.Connection, respell: Respell) -> None:
    """What is not the very text is read, and its members are compared."""
    respelt(database, respell)
    assert scenes.verify(path)[0].found == Found()


def test_all_rows_at_once_are_what_each_is_alone(database: sqlite3.Connection) -> None:
    """Rows without places and places without a row among them: each row has its own places."""
    database.execute("INSERT INTO view_rows (key, fields) VALUES ('acme/memory/bare', '{}')")
    some = database.execute("SELECT id FROM view_rows ORDER BY id").fetchall()
    database.executemany("DELETE FROM view_places WHERE \"row\" = ? AND family = 'space'", some[::2])
    database.executemany("DELETE FROM view_rows WHERE id = ?", some[1::4])
    dump = SqliteDump(database)

    async def read(only: Sequence[str] | None) -> list[StoredRow]:
        return [row async for row in dump.rows(0, only)]

    rows = asyncio.run(read(None))
    assert any(not row.places for row in rows)
    assert any(row.places for row in rows)
    assert rows == asyncio.run(read([row.key for row in rows]))
