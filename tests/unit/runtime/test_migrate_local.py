"""`mnemolog vectors migrate` on a data folder: filled beside the old index, compared, taken over at the next start."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mnemolog.domain.ports import Scope
from mnemolog.runtime.bar import Bar
from mnemolog.runtime.config import Settings
from mnemolog.runtime.folder import Folder
from mnemolog.runtime.indexing import load_vectors
from projections import vectors
from projections.models import PACKAGED
from projections.store_sqlite import SqliteStore
from projections.vectors import Indexer
from projections.vectors_points import ModelMismatchError
from tests.unit.runtime.commands import Run, bring, facts
from tests.wishes import add_memory, delete_memory

pytestmark = pytest.mark.unit

TEXTS = ("Clouds block sunlight", "Rivers carve valleys", "Wolves hunt deer", "Engines power ships")


@pytest.fixture
def ids(run: Run, data: Path, exported_models: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keep memories, indexed by the old model as a server would; return their ids."""
    monkeypatch.setenv("MNEMOLOG_MODEL", "hashing")
    monkeypatch.setenv("MNEMOLOG_MODELS", str(exported_models))
    for text in TEXTS:
        bring(data, add_memory(text))
    run("clients", "create", "--tenant", "acme")
    started(data, "hashing", exported_models)
    return [record.headers["ce_subject"].removeprefix("memory/") for record in facts(data)[: len(TEXTS)]]


def started(data: Path, model: str, models: Path) -> tuple[int, int, list[str]]:
    """Start on the folder as a server would.

    Return where indexing begins, how many points there are once it is done, and what a search by meaning finds.
    """

    async def start() -> tuple[int, int, list[str]]:
        folder = Folder(data)
        log, store = folder.log(), SqliteStore(folder.connection)
        embedder, index = load_vectors(Settings(data=data, model=model, models=str(models)), folder)
        begun = await index.checkpoint(0) or 0
        indexer = Indexer(log, store, index, embedder)
        while await indexer.step():
            pass
        (vector,) = embedder.embed(["Sky illumination"])
        hits = await index.search(Scope("acme", "bot", "ann"), vector, 10)
        count = await index.count()
        for held in (index, store, log):
            await held.close()
        return begun, count, [hit.id for hit in hits]

    return asyncio.run(start())


def test_another_model_takes_over_at_the_next_start(
    run: Run, data: Path, ids: list[str], exported_models: Path
) -> None:
    """The new index is filled and compared beside the old one; nothing is embedded again when it gets its place."""
    said = run("vectors", "migrate", "--model", PACKAGED)
    assert said.code == 0, said.err
    assert "the new index finds 4, the old one 4" in said.out
    assert started(data, "hashing", exported_models)[1] == len(TEXTS), "the old one goes on"
    begun, count, found = started(data, PACKAGED, exported_models)
    assert begun > 0
    assert count == len(TEXTS)
    assert found[0] == ids[0], "clouds have to do with the sky"
    assert [path.name for path in data.iterdir() if path.name.startswith("vectors")] == ["vectors"]
    assert "counts already" in run("vectors", "migrate", "--model", PACKAGED).out


def test_a_server_goes_on_with_the_old_one_meanwhile(
    run: Run, data: Path, ids: list[str], exported_models: Path
) -> None:
    """An index that is open is neither read nor touched; the new one is compared with the texts alone."""
    _, held = load_vectors(Settings(data=data, model="hashing", models=str(exported_models)), Folder(data))
    said = run("vectors", "migrate", "--model", PACKAGED)
    assert said.code == 0, said.err
    assert "a server has the old index open" in said.err
    assert asyncio.run(held.count()) == len(TEXTS)
    asyncio.run(held.close())
    assert started(data, PACKAGED, exported_models)[1] == len(TEXTS)


def test_what_was_killed_goes_on_and_is_never_taken_over_half(
    run: Run, data: Path, ids: list[str], exported_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second attempt begins where the first had come to; until it has ended, the new model is refused."""
    monkeypatch.setattr(vectors, "BATCH", 1)
    seen: list[int] = []

    def tell(_: Bar, what: str, done: int, __: int) -> None:
        if what == "fill":
            seen.append(done)
        if seen == [1, 2]:
            raise KeyboardInterrupt

    monkeypatch.setattr(Bar, "tell", tell)
    assert run("vectors", "migrate", "--model", PACKAGED).code == 130
    with pytest.raises(ModelMismatchError, match="migrate"):
        started(data, PACKAGED, exported_models)
    assert seen == [1, 2]
    seen.clear()
    assert run("vectors", "migrate", "--model", PACKAGED).code == 0
    assert seen[0] == 3
    assert started(data, PACKAGED, exported_models)[1] == len(TEXTS)


def test_what_was_erased_before_the_start_leaves_the_new_index(
    run: Run, data: Path, ids: list[str], exported_models: Path
) -> None:
    """The new owner reads on where the migration ended, erasures among it."""
    assert run("vectors", "migrate", "--model", PACKAGED).code == 0
    bring(data, delete_memory(ids[0]))
    run("clients", "create", "--tenant", "acme")
    _, count, found = started(data, PACKAGED, exported_models)
    assert count == len(TEXTS) - 1
    assert ids[0] not in found
