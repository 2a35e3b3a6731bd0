"""Texts to vectors: a sentence-transformers model on this machine, and a hashing stand-in for tests.

The model that is installed as a package is loaded from its files, so that a service embeds without any network; a hub
is reached only for a name that the caller gives.

1. No text is cut silently: one longer than the model's window is embedded in overlapping windows of tokens, and its
   vector is the normalised mean of theirs.
2. A text inside the window has exactly the vector that sentence-transformers gives it.
3. Equal texts are embedded once, and texts of similar length together.
4. Importing this module is cheap: torch and sentence-transformers come with the first model.
5. Any thread may call it. One micro-batch goes through at a time, as torch uses all cores for each; callers take turns
   between micro-batches, so that a query waits for a fraction of a second and not for a book being indexed.
"""

from __future__ import annotations

import re
import zlib
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from projections.batching import Turns, normalised, packed
from projections.models import PACKAGED, folder_of, revision_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

_CHARACTERS_A_TOKEN = 4


class SentenceTransformerEmbedder:
    """Port `Embedder` on sentence-transformers."""

    def __init__(
        self,
        model: str = PACKAGED,
        *,
        revision: str | None = None,
        device: str | None = None,
        batch: int = 64,
        overlap: int = 32,
    ) -> None:
        """Load a model: the packaged one, a folder, or a name of the hub's at a revision.

        `batch` texts or windows go through the model at once; `overlap` tokens are common to neighbouring windows.
        """
        folder = folder_of(model)
        # By name, here and below: a type checker need not read torch.
        loader: Any = import_module("sentence_transformers").SentenceTransformer
        self._model: Any = loader(
            str(folder or model), revision=revision, device=device, local_files_only=folder is not None
        )
        self._model.eval()
        self._name = f"{model}@{revision or revision_of(model) or self._commit()}"
        self._dimension = int(self._model.get_embedding_dimension())
        self._batch = batch
        window = self._model.max_seq_length
        # Models without attention have no window, and say so with None or infinity.
        self._window = window if isinstance(window, int) else None
        self._overlap = 0 if self._window is None else min(overlap, self._window // 4)
        if self._window is not None and not self._model.tokenizer.is_fast:
            message = f"{model} has no fast tokenizer, so long texts cannot be split into windows of tokens"
            raise ValueError(message)
        self._turns = Turns()

    def _commit(self) -> str:
        """Return which of the hub's commits was loaded."""
        config = getattr(self._model[0], "config", None)
        return str(getattr(config, "_commit_hash", None) or "main")

    @property
    def model(self) -> str:
        """The model's name and revision."""
        return self._name

    @property
    def dimension(self) -> int:
        """The length of every vector."""
        return self._dimension

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return a normalised float32 vector (a numpy row) per text, in order.

        1. Take each distinct text once and split it into the model's windows.
        2. Encode texts of one window as they are.
        3. Embed the windows of the others, average them text by text, and normalise.
        """
        distinct = list(dict.fromkeys(texts))
        if not distinct:
            return []
        with self._turns:
            windows = self._windows(distinct)
        vectors: dict[str, Matrix] = {}
        short = sorted((text for text in distinct if text not in windows), key=len)
        for picked in packed(short, [len(text) // _CHARACTERS_A_TOKEN for text in short], self._batch):
            with self._turns:
                vectors.update(zip(picked, self._encode(picked), strict=True))
        rows = iter(self._forward([window for parts in windows.values() for window in parts]))
        for text, parts in windows.items():
            vectors[text] = normalised(np.mean([next(rows) for _ in parts], axis=0))
        return cast("Sequence[Sequence[float]]", [vectors[text] for text in texts])

    def _encode(self, texts: list[str]) -> Matrix:
        encoded = self._model.encode(
            texts, batch_size=self._batch, normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True
        )
        return np.asarray(encoded, dtype=np.float32)

    def _windows(self, texts: list[str]) -> dict[str, list[dict[str, list[int]]]]:
        """Return the windows of the texts that need more than one, each as the tokenizer's fields of a sequence."""
        if self._window is None:
            return {}
        prompt = self._model.prompts.get(self._model.default_prompt_name or "", "")
        tokens = self._model.tokenizer(
            [prompt + text for text in texts],
            truncation=True,
            max_length=self._window,
            stride=self._overlap,
            return_overflowing_tokens=True,
        )
        owners = tokens.pop("overflow_to_sample_mapping")
        parts: dict[str, list[dict[str, list[int]]]] = {}
        for row, owner in enumerate(owners):
            parts.setdefault(texts[owner], []).append({field: values[row] for field, values in tokens.items()})
        return {text: found for text, found in parts.items() if len(found) > 1}

    def _forward(self, windows: list[dict[str, list[int]]]) -> Matrix:
        """Return the normalised vector of each window, in order."""
        torch = import_module("torch")
        lengths = [len(window["input_ids"]) for window in windows]
        order = sorted(range(len(windows)), key=lengths.__getitem__)
        rows = np.empty((len(windows), self._dimension), dtype=np.float32)
        for picked in packed(order, [lengths[index] for index in order], self._batch):
            with self._turns, torch.inference_mode():
                padded = self._model.tokenizer.pad([windows[index] for index in picked], return_tensors="pt")
                features = {field: values.to(self._model.device) for field, values in padded.items()}
                embedded = self._model(features)["sentence_embedding"]
                rows[picked] = torch.nn.functional.normalize(embedded, p=2, dim=1).float().cpu().numpy()
        return rows


class HashingEmbedder:
    """Port `Embedder` without a model: words and their letter trigrams hashed into 64 dimensions.

    It is deterministic, needs nothing and knows nothing: texts that share words or spelling are near each other, texts
    that share only their meaning are not. For tests and for `--embedder hashing`.
    """

    model = "hashing@1"
    dimension = 64

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return a normalised float32 vector (a numpy row) per text, in order."""
        known: dict[str, Matrix] = {text: self._vector(text) for text in dict.fromkeys(texts)}
        return cast("Sequence[Sequence[float]]", [known[text] for text in texts])

    def _vector(self, text: str) -> Matrix:
        row = np.zeros(self.dimension, dtype=np.float32)
        for feature in _features(text):
            code = zlib.crc32(feature.encode("utf-8", "surrogatepass"))
            # One bit is the sign, so that unlike texts are on average at right angles.
            row[(code >> 1) % self.dimension] += 1.0 if code & 1 else -1.0
        return normalised(row)


def _features(text: str) -> Iterator[str]:
    """Return the words of a text and the trigrams of each, its ends marked."""
    for word in re.findall(r"\w+", text.lower()):
        marked = f"<{word}>"
        yield marked
        for start in range(len(marked) - 2):
            yield marked[start : start + 3]
