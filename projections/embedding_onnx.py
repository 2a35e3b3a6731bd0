"""Texts to vectors by ONNX Runtime: a sentence-transformers model as it was exported once on this machine.

The vectors are those of `projections.embedding`, several times as fast, and without torch, which takes seconds to
import and half a gigabyte. `projections.onnx_export` makes the folder that is read here.

1. An export is believed only if it gives, at every load, the vectors that sentence-transformers gave when it was made.
2. The model's name and revision are those of its original, so its vectors belong to the same index.
3. No text is cut silently: one longer than the model's window is embedded in overlapping windows of tokens, and its
   vector is the normalised mean of theirs.
4. Equal texts are embedded once, and windows of similar length together.
5. All cores work on a window that is alone. Of many windows each core takes a few at a time, which costs less than to
   divide every product among them; so a call with no more than that leaves the other cores to others.
6. Any thread may call it. Calls run beside each other and share the cores, so that a query does not wait for a book.
"""

from __future__ import annotations

import json
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from projections.batching import LOT, cores, normalised, packed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

GRAPH, TOKENIZER, MANIFEST = "model.onnx", "tokenizer.json", "export.json"
FORMAT = 1
CLOSE = 1e-5
"""The distance within which two vectors of length 1 are the same one, up to the order of a sum."""
_MOST_THREADS = 8
_LOT_TOKENS = 512


class Unusable(Exception):
    """A folder holds no export that can be used."""


@dataclass(frozen=True, slots=True)
class Export:
    """What an export says of itself. `proof` is texts with the vectors that sentence-transformers gives them."""

    model: str
    dimension: int
    window: int | None
    prompt: str
    inputs: list[str]
    padding: dict[str, int]
    left: bool
    proof: dict[str, list[float]]
    made_with: dict[str, str]
    format: int = FORMAT

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a folder's manifest. Raises Unusable."""
        try:
            said = cls(**json.loads((folder / MANIFEST).read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            message = f"{folder} holds no whole export: {error}"
            raise Unusable(message) from error
        if said.format != FORMAT:
            message = f"{folder} was exported in format {said.format}, this version reads {FORMAT}"
            raise Unusable(message)
        return said

    def text(self) -> str:
        """Return the manifest as it is written."""
        return json.dumps(asdict(self))


class OnnxEmbedder:
    """Port `Embedder` on ONNX Runtime."""

    def __init__(self, folder: Path, *, overlap: int = 32, threads: int | None = None) -> None:
        """Load an export. Raises Unusable if it is not whole, or does not give its original's vectors.

        `overlap` tokens are common to neighbouring windows. `threads` work on one call; as many as there are cores, if
        nothing is said.
        """
        said = Export.read(folder)
        self._export = said
        self._threads = threads or min(cores(), _MOST_THREADS)
        try:
            self._tokenizer: Any = import_module("tokenizers").Tokenizer.from_file(str(folder / TOKENIZER))
            self._by_one = _session(folder, 1)
            self._by_all = _session(folder, self._threads) if self._threads > 1 else self._by_one
        except Exception as error:
            message = f"the export in {folder} cannot be loaded: {error}"
            raise Unusable(message) from error
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="mnemolog-embedding")
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        if said.window is not None:
            self._tokenizer.enable_truncation(said.window, stride=min(overlap, said.window // 4))
        self._prove(folder)

    def _prove(self, folder: Path) -> None:
        """Make sure that a few texts have the vectors that they had. Raises Unusable."""
        texts, proof = list(self._export.proof), np.asarray(list(self._export.proof.values()))
        try:
            found = np.asarray([self.embed(texts), [vector for text in texts for vector in self.embed([text])]])
            apart = float(np.linalg.norm(found - proof, axis=2).max())
        except Exception as error:
            message = f"the export in {folder} cannot embed: {error}"
            raise Unusable(message) from error
        if not apart <= CLOSE:
            message = f"the export in {folder} gives other vectors than its model: they are {apart:.1e} apart"
            raise Unusable(message)

    @property
    def model(self) -> str:
        """The model's name and revision."""
        return self._export.model

    @property
    def dimension(self) -> int:
        """The length of every vector."""
        return self._export.dimension

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return a normalised float32 vector (a numpy row) per text, in order.

        1. Take each distinct text once and split it into the model's windows, most often one.
        2. Embed the windows, those of similar length together.
        3. Average them text by text, and normalise.
        """
        distinct = list(dict.fromkeys(texts))
        if not distinct:
            return []
        tokens = self._tokenizer.encode_batch([self._export.prompt + text for text in distinct])
        windows = [window for encoding in tokens for window in (encoding, *encoding.overflowing)]
        rows = iter(self._forward(windows))
        vectors: dict[str, Matrix] = {}
        for text, encoding in zip(distinct, tokens, strict=True):
            first, others = next(rows), [next(rows) for _ in encoding.overflowing]
            vectors[text] = normalised(np.mean([first, *others], axis=0)) if others else first
        return cast("Sequence[Sequence[float]]", [vectors[text] for text in texts])

    def _forward(self, windows: Sequence[Any]) -> Matrix:
        """Return the normalised vector of each window, in order.

        1. Put windows of similar length into lots.
        2. Take one after the other; of several, let other threads do so as well, as many as there are cores in all.
        3. When none is left, wait for those who have begun, and not for those who work for another caller.
        """
        lengths = [len(window) for window in windows]
        order = sorted(range(len(windows)), key=lengths.__getitem__)
        rows = np.empty((len(windows), self._export.dimension), dtype=np.float32)
        lots = deque(packed(order, [lengths[index] for index in order], LOT, _LOT_TOKENS))
        session = self._by_all if len(windows) == 1 else self._by_one

        def work() -> None:
            while True:
                try:
                    picked = lots.pop()  # the longest: what is left at the end is short
                except IndexError:
                    return
                (rows[picked],) = session.run(None, self._padded([windows[index] for index in picked]))

        helpers = [self._pool.submit(work) for _ in range(min(self._threads, len(lots)) - 1)]
        try:
            work()
        finally:
            lots.clear()  # after an error nobody goes on
        for helper in helpers:
            if not helper.cancel():
                helper.result()
        return rows

    def _padded(self, windows: Sequence[Any]) -> Mapping[str, NDArray[np.int64]]:
        """Return the model's inputs: a row a window, as long as the longest."""
        longest = max(len(window) for window in windows)
        fields = {
            "input_ids": [window.ids for window in windows],
            "attention_mask": [window.attention_mask for window in windows],
            "token_type_ids": [window.type_ids for window in windows],
        }
        made = {}
        for name in self._export.inputs:
            made[name] = np.full((len(windows), longest), self._export.padding.get(name, 0), dtype=np.int64)
            for row, values in zip(made[name], fields[name], strict=True):
                row[slice(longest - len(values), None) if self._export.left else slice(len(values))] = values
        return made


def _session(folder: Path, threads: int) -> Any:
    """Return the export's graph, ready to be run by so many threads."""
    runtime = import_module("onnxruntime")  # by name: a type checker need not read it
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait by spinning take the cores from whoever else works on them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return runtime.InferenceSession(str(folder / GRAPH), options, providers=["CPUExecutionProvider"])
