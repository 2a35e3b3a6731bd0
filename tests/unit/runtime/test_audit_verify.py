"""`mnemolog audit verify` on a data folder: nothing wrong, something wrong, interrupted, and beside a vector index."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import uuid
from pathlib import Path

import pytest
import qdrant_edge as engine

from mnemolog.runtime import parallel
from mnemolog.runtime.config import Settings
from mnemolog.runtime.folder import Folder
from mnemolog.runtime.indexing import load_vectors
from projections.store_sqlite import SqliteStore
from projections.vectors import Indexer
from tests.unit.runtime.commands import Run, bring, facts
from tests.wishes import add_memory, delete_memory, update_memory

pytestmark = pytest.mark.unit


@pytest.fixture
def memories(run: Run, data: Path) -> list[str]:
    """Bring three memories, of which one was changed and one erased; return the ids of the two that are left."""
    for text in ("one", "two", "three"):
        bring(data, add_memory(text))
    run("clients", "create", "--tenant", "acme")
    ids = [record.headers["ce_subject"] for record in facts(data)[:3]]
    bring(data, update_memory(ids[0], content="changed"))
    bring(data, delete_memory(ids[2]))
    run("clients", "create", "--tenant", "acme")
    return ids[:2]


def index(data: Path) -> None:
    """Fill the folder's vector index, as a server would."""

    async def fill() -> None:
        folder = Folder(data)
        log, store = folder.log(), SqliteStore(folder.connection)
        embedder, vectors = load_vectors(Settings(data=data, model="hashing"), folder)
        indexer = Indexer(log, store, vectors, embedder)
        while await indexer.step():
            pass
        await vectors.close()
        await store.close()
        await log.close()

    asyncio.run(fill())


def shard(data: Path) -> engine.EdgeShard:
    """Open the engine's own files, as somebody who wants to change them."""
    return engine.EdgeShard.load(str(data / "vectors" / "qdrant"))


def test_a_sound_folder_has_no_difference(run: Run, data: Path, memories: list[str]) -> None:
    """What was looked at is said; JSON says the same."""
    said = run("audit", "verify")
    assert (said.code, said.out.splitlines()[-1]) == (0, "nothing differs")
    assert "7 facts" not in said.out
    told = json.loads(run("audit", "verify", "--json").out)
    assert (told["facts"], told["differences"], told["rows"]) == (len([f for f in facts(data) if f.value]), 0, 4)
    assert told["vectors"].startswith("not compared: there is no vector index")


def test_a_changed_row_is_named(run: Run, data: Path, memories: list[str]) -> None:
    """The exit code is 1, the place is named, the content is not quoted."""
    database = sqlite3.connect(data / "mnemolog.db")
    database.execute("UPDATE view_rows SET fields = replace(fields, 'changed', 'forged')")
    database.commit()
    database.close()
    said = run("audit", "verify")
    assert said.code == 1
    assert f"DIFFERS  row acme/memory/{memories[0]} differs from the log in content\n" in said.out
    assert "forged" not in said.out
    assert said.out.splitlines()[-1] == "1 differences"


def test_a_large_partition_is_decided_in_several_processes(
    run: Run, data: Path, memories: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with a share of its slots: the same is said as by one alone, of a sound folder and of a changed one."""
    monkeypatch.setattr(parallel, "SHARED_FROM", 1)

    def said(jobs: str) -> tuple[int, str]:
        verdict = run("audit", "verify", "--json", "--jobs", jobs)
        return verdict.code, verdict.out

    assert said("2") == said("1")
    assert said("2")[0] == 0
    database = sqlite3.connect(data / "mnemolog.db")
    database.execute("UPDATE view_rows SET fields = replace(fields, 'changed', 'forged')")
    database.commit()
    database.close()
    assert said("2") == said("1")
    assert said("2")[0] == 1


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_of_a_log_that_differs_that_is_all_that_is_said(
    run: Run, data: Path, memories: list[str], monkeypatch: pytest.MonkeyPatch, jobs: str
) -> None:
    """Nothing else can be compared with such a log, and no vector or row is called wrong for its sake."""
    monkeypatch.setenv("MNEMOLOG_MODEL", "hashing")
    monkeypatch.setattr(parallel, "SHARED_FROM", 1)
    index(data)
    database = sqlite3.connect(data / "mnemolog.db")
    forged = "UPDATE facts SET value = CAST(replace(CAST(value AS TEXT), 'changed', 'forged') AS BLOB) WHERE key = ?"
    database.execute(forged, (f"acme/memory/{memories[0]}@1",))
    database.commit()
    database.close()
    said = run("audit", "verify", "--jobs", jobs)
    assert said.code == 1
    differences = [line for line in said.out.splitlines() if line.startswith("DIFFERS")]
    assert differences == [f"DIFFERS  the chain of stream acme/memory/{memories[0]} breaks at version 1"]
    assert "vectors: not compared: the log itself differs" in said.out


def test_a_process_that_is_killed_is_a_clear_error(
    run: Run, data: Path, memories: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that takes more memory than there is would be: nothing is said of the log, and what to do is."""
    monkeypatch.setattr(parallel, "SHARED_FROM", 1)
    monkeypatch.setattr(parallel, "begin", os.abort)
    said = run("audit", "verify", "--jobs", "2")
    assert (said.code, said.out) == (1, "")
    assert "try again with --jobs 1" in said.err


def test_what_is_done_is_not_done_again(run: Run, data: Path, tmp_path: Path, memories: list[str]) -> None:
    """An interrupted verification goes on where it was; the file of another log is refused."""
    file = tmp_path / "done.json"
    assert run("audit", "verify", "--resume", str(file)).code == 0
    database = sqlite3.connect(data / "mnemolog.db")
    database.execute("DELETE FROM view_rows")
    database.commit()
    database.close()
    assert run("audit", "verify", "--resume", str(file)).code == 0, "the partition was verified before"
    assert run("audit", "verify").code == 1
    file.write_text("{}")
    assert run("audit", "verify", "--resume", str(file)).code == 2


def test_vectors_are_compared(run: Run, data: Path, memories: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A vector that is missing, left over, of another version, of another owner or of another text is found."""
    monkeypatch.setenv("MNEMOLOG_MODEL", "hashing")
    index(data)
    assert "vectors: 2 compared and embedded again" in run("audit", "verify", "--embed").out
    held = shard(data)
    (record,) = held.retrieve([uuid.UUID(memories[0])], True, True)
    vector, payload = record.vector, record.payload
    assert isinstance(vector, list)
    assert payload is not None
    points = {
        "has no vector": None,
        "is of version": engine.Point(record.id, vector, payload | {"version": 0}),
        "is filed under another owner": engine.Point(record.id, vector, payload | {"owner": "0" * 64}),
        "is not that of its memory's text": engine.Point(record.id, vector[::-1], payload),
        "is there, but the log knows": engine.Point(uuid.uuid4(), vector, payload),
    }
    for text, point in points.items():
        if point is None:
            held.update(engine.UpdateOperation.delete_points([record.id]))
        else:
            held.update(engine.UpdateOperation.upsert_points([point]))
        held.close()
        said = run("audit", "verify", "--embed")
        assert (said.code, said.out.count("DIFFERS")) == (1, 1), said.out
        assert text in said.out
        held = shard(data)
        held.update(engine.UpdateOperation.upsert_points([engine.Point(record.id, vector, payload)]))
    held.close()


def test_an_index_that_a_server_has_open_is_left_alone(run: Run, data: Path, memories: list[str]) -> None:
    """It is said, and is no difference."""
    index(data)
    held = shard(data)
    said = run("audit", "verify")
    held.close()
    assert said.code == 0
    assert "vectors: not compared: another process has the vector index" in said.out
