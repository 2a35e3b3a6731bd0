"""The export of embedding models: the same vectors or none, made once and whole, and no torch afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnemolog.domain.ports import Embedder, Point, Scope
from projections import onnx_export
from projections.embedding import SentenceTransformerEmbedder
from projections.embedding_onnx import GRAPH, MANIFEST, TOKENIZER, OnnxEmbedder, Unusable
from projections.models import PACKAGED
from projections.onnx_export import Refused, export, folder_for, refusal, samples
from projections.vectors_edge import EdgeVectors

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
SCOPE = Scope("acme", "planner", "ada")


@pytest.fixture
def exported(exported_models: Path) -> Path:
    """Return the packaged model's export."""
    return folder_for(PACKAGED, exported_models)


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    """Return it in the place that it has in a folder of its own, as links that a test may replace."""
    folder = folder_for(PACKAGED, tmp_path)
    folder.mkdir()
    linked(exported, folder)
    return folder


def linked(source: Path, folder: Path) -> None:
    """Fill a folder with links to the files of another."""
    for path in source.iterdir():
        (folder / path.name).symlink_to(path)


def own(file: Path) -> Path:
    """Make a linked file one that may be damaged."""
    whole = file.resolve()
    file.unlink()
    return Path(shutil.copyfile(whole, file))


FAST = """
import sys
from pathlib import Path
from mnemolog.runtime.config import Settings
from mnemolog.runtime.loading import serving_embedder
embedder = serving_embedder(Settings(models=sys.argv[1]))
print(embedder.model, len(embedder.embed(["no torch"])[0]))
assert not {"torch", "transformers", "sentence_transformers"} & set(sys.modules), "an export was there"
"""


def test_what_is_exported_needs_no_torch(exported_models: Path) -> None:
    """With an export in its place, a server's embedder loads and embeds without torch, transformers and the like."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", FAST, str(exported_models)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["all-MiniLM-L6-v2@0.1.0", "384"]


@pytest.mark.parametrize("path", ["onnx", "torch"])
def test_similarities_and_ranks_are_those_of_sentence_transformers(path: str, exported: Path, tmp_path: Path) -> None:
    """Through either embedder and the index: brute force over its own vectors gives the same within 1e-5."""
    original = SentenceTransformerEmbedder(PACKAGED, device="cpu")
    embedder: Embedder = OnnxEmbedder(exported) if path == "onnx" else original
    texts = [text for text in dict.fromkeys(samples(40)) if text.strip()]
    queries = ["Sky illumination", "dark mode preference", "Wo wohnt die Nutzerin?", "a late train in Lisbon", texts[9]]
    encoded = original._model.encode([*texts, *queries], normalize_embeddings=True, show_progress_bar=False)
    truth: Any = encoded.astype(np.float64)
    index = EdgeVectors.open(tmp_path / "vectors", model=embedder.model, dimension=embedder.dimension)
    ids = [f"01990000-0000-8000-8000-{n:012}" for n in range(len(texts))]
    points = [Point(key, 0, SCOPE, row) for key, row in zip(ids, embedder.embed(texts), strict=True)]
    asyncio.run(index.apply(0, points, [], 1))
    for n, query in enumerate(queries):
        wanted = truth[: len(texts)] @ truth[len(texts) + n]
        (vector,) = embedder.embed([query])
        hits = asyncio.run(index.search(SCOPE, vector, len(texts)))
        assert [hit.similarity for hit in hits] == pytest.approx(
            [max(float(wanted[ids.index(hit.id)]), 0.0) for hit in hits], abs=1e-5
        )
        ranked = [ids[i] for i in np.argsort(-wanted) if wanted[i] > 0]
        assert [hit.id for hit in hits][: len(ranked)] == ranked
    asyncio.run(index.close())


@pytest.mark.parametrize("name", [GRAPH, f"{GRAPH}.data", TOKENIZER, MANIFEST])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_export_is_not_believed(copy: Path, name: str, damage: str) -> None:
    """Whatever file is cut short or missing: loading says so, and never embeds with it."""
    file = copy / name
    if damage == "gone":
        file.unlink()
    else:
        os.truncate(own(file), file.stat().st_size // 2)
    with pytest.raises(Unusable):
        OnnxEmbedder(copy)


def test_weights_that_have_changed_are_noticed(copy: Path) -> None:
    """A file of the right length with other numbers gives other vectors than it should, and is refused."""
    file = own(copy / f"{GRAPH}.data")
    with file.open("r+b") as weights:
        weights.seek(file.stat().st_size - (1 << 20))
        weights.write(np.full(1 << 17, 0.25, dtype=np.float32).tobytes())
    with pytest.raises(Unusable, match="other vectors"):
        OnnxEmbedder(copy)


def test_another_format_is_not_read(copy: Path) -> None:
    """An export of another version of this program says so, and is made anew."""
    said = json.loads((copy / MANIFEST).read_bytes())
    own(copy / MANIFEST).write_text(json.dumps(said | {"format": 99}))
    with pytest.raises(Unusable, match="format 99"):
        OnnxEmbedder(copy)


def test_what_is_there_is_not_exported_again(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A usable export stays as it is."""
    monkeypatch.setattr(onnx_export, "_fill", lambda *_: pytest.fail("it was there"))
    assert export(PACKAGED, copy.parent) == copy


@pytest.mark.parametrize("reason", ["vectors", "broken"])
def test_an_export_with_other_vectors_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: Path, reason: str
) -> None:
    """Nothing is put in place, the draft goes, and the reason is remembered until a library changes."""

    def fill(draft: Path, model: str) -> None:
        linked(exported, draft)
        texts = ["one text", "another"]
        vectors = np.asarray(OnnxEmbedder(draft).embed(texts))
        onnx_export._verify(OnnxEmbedder(draft), texts, vectors[::-1] if reason == "vectors" else vectors * np.nan)

    monkeypatch.setattr(onnx_export, "_fill", fill)
    with pytest.raises(Refused, match="other vectors"):
        export(PACKAGED, tmp_path)
    folder = folder_for(PACKAGED, tmp_path)
    assert "other vectors" in str(refusal(folder))
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    monkeypatch.setattr(onnx_export, "_versions", lambda: {"torch": "another"})
    assert refusal(folder) is None


def test_a_draft_that_a_killed_process_left_goes(
    tmp_path: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next export of the model removes it; a damaged export is replaced."""
    folder = folder_for(PACKAGED, tmp_path)
    left = tmp_path / f".{folder.name}.0123"
    for path in (left, folder):
        path.mkdir()
        (path / GRAPH).write_bytes(b"half")
    monkeypatch.setattr(onnx_export, "_fill", lambda draft, _: linked(exported, draft))
    assert export(PACKAGED, tmp_path) == folder
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [folder.name]
    assert OnnxEmbedder(folder).dimension == 384


TWO = """
import shutil, sys
from pathlib import Path
from projections import onnx_export
source, models, mark = map(Path, sys.argv[1:])

def fill(draft, model):
    with mark.open("a") as file:
        file.write("made\\n")
    for path in source.iterdir():
        (draft / path.name).symlink_to(path)

onnx_export._fill = fill
print(onnx_export.export("all-MiniLM-L6-v2", models))
"""


def test_of_two_processes_one_exports_and_both_have_it(tmp_path: Path, exported: Path) -> None:
    """They may start at the same moment: the second waits, and takes what the first has made."""
    command = [sys.executable, "-c", TWO, str(exported), str(tmp_path / "models"), str(tmp_path / "mark")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    said = {process.communicate()[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert said == {str(folder_for(PACKAGED, tmp_path / "models"))}
    assert (tmp_path / "mark").read_text() == "made\n"
