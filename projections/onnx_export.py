"""From a sentence-transformers model to a folder that ONNX Runtime reads: made once per machine and model.

1. The whole model is exported, from token ids to the vector of a text, whatever its modules do.
2. An export counts only if it gives the vectors of sentence-transformers, for texts short and long, in many scripts, in
   batches of every shape; any other is refused, with the reason, and its model stays on PyTorch.
3. It is made beside its place and put there whole. Of several processes one makes it, and the others wait for that one;
   a process killed meanwhile leaves a draft that the next one removes.
4. A refusal is remembered until a library's version changes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import warnings
from contextlib import contextmanager
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from projections.embedding import SentenceTransformerEmbedder
from projections.embedding_onnx import CLOSE, GRAPH, MANIFEST, TOKENIZER, Export, OnnxEmbedder, Unusable
from projections.models import revision_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_log = logging.getLogger(__name__)
_LIBRARIES = ("torch", "transformers", "sentence-transformers", "onnx", "onnxscript", "onnxruntime")
_FIELDS = ("input_ids", "attention_mask", "token_type_ids")
_LOUD = ("torch.onnx", "onnxscript", "onnx_ir")
_OPSET = 18
_SLUG = 60
_SENTENCES = (
    "Clouds block sunlight",
    "The user prefers dark mode and metric units.",
    "What are the user's display preferences?",
    "x",
    "",
    "  padded \n\t and   spaced  ",
    "UPPER, lower, Ünïcödé, café, e\u0301, \u00df, İstanbul, \U0001f984 \u2603",
    "Die Nutzerin wohnt in Köln und mag Käse.",
    "東京は日本の首都です",
    "القاهرة عاصمة مصر",
    "SELECT * FROM users; -- ' OR 1=1 <s> [SEP] </s> [MASK]",
    "https://example.org/a?b=c&d=%20 user@example.org 2025-01-10T12:34:56Z 3.14159",
)


class Refused(Exception):
    """A model cannot be exported so that the vectors stay the same."""


def folder_for(model: str, models: Path) -> Path:
    """Return where the export of a model lies or would lie, whether it is there or not."""
    revision = revision_of(model)
    name = model if revision is None else f"{model}@{revision}"
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    # The end of a long name tells more than its beginning.
    return models / f"{re.sub('[^A-Za-z0-9._-]+', '-', name).strip('-')[-_SLUG:]}-{digest}"


def refusal(folder: Path) -> str | None:
    """Return why the model of this folder was refused, under the libraries that are installed now."""
    try:
        said = json.loads(_refusal(folder).read_bytes())
        return str(said["reason"]) if said["made_with"] == _versions() else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def export(model: str, models: Path) -> Path:
    """Export a model and return the folder; one that is there and usable is left as it is. Raises Refused.

    1. Wait for another process that exports the same model, and take what it has made.
    2. Export into a draft; verify it against sentence-transformers.
    3. Force it to disk, and put it in its place.
    """
    folder = folder_for(model, models)
    models.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        try:
            OnnxEmbedder(folder)
        except Unusable:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            return folder
        for left in models.glob(f".{folder.name}.*"):
            shutil.rmtree(left, ignore_errors=True)
        draft = models / f".{folder.name}.{secrets.token_hex(4)}"
        draft.mkdir()
        try:
            _fill(draft, model)
            _refusal(folder).unlink(missing_ok=True)
            draft.rename(folder)
            _force(models)
        except Refused as error:
            _refusal(folder).write_text(json.dumps({"reason": str(error), "made_with": _versions()}), "utf-8")
            raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder


def _fill(draft: Path, model: str) -> None:
    """Export into a folder and verify what has come of it. Raises Refused."""
    original = SentenceTransformerEmbedder(model)
    loaded = original._model  # noqa: SLF001 -- it is the model that is exported
    inputs = _inputs(loaded)
    texts = samples(original._window or 512)  # noqa: SLF001 -- some must be longer than the window
    expected = np.asarray(original.embed(texts))
    tokenizer = loaded.tokenizer
    said = Export(
        model=original.model,
        dimension=original.dimension,
        window=original._window,  # noqa: SLF001 -- the same windows are cut
        prompt=loaded.prompts.get(loaded.default_prompt_name or "", ""),
        inputs=inputs,
        padding={"input_ids": int(tokenizer.pad_token_id or 0), "token_type_ids": int(tokenizer.pad_token_type_id)},
        left=tokenizer.padding_side == "left",
        proof={text: expected[n].tolist() for n, text in enumerate(texts[:2])},
        made_with=_versions(),
    )
    (draft / TOKENIZER).write_text(tokenizer.backend_tokenizer.to_str(), "utf-8")
    (draft / MANIFEST).write_text(said.text(), "utf-8")
    try:
        _traced(draft, loaded, inputs, texts, expected, dynamo=False)
    except Refused as error:
        _log.info("%s: %s; trying torch's other exporter", model, error)
        _traced(draft, loaded, inputs, texts, expected, dynamo=True)
    for path in draft.iterdir():
        _force(path)


def _traced(
    draft: Path, loaded: Any, inputs: Sequence[str], texts: Sequence[str], expected: Any, *, dynamo: bool
) -> None:
    """Write the graph by one of torch's two exporters, and verify it.

    The older one takes a sixth of the time; the newer one follows models that the older one cannot. Raises Refused.
    """
    try:
        _trace(loaded, inputs, draft / GRAPH, dynamo=dynamo)
    except Exception as error:
        message = f"it cannot be exported: {str(error).strip().partition(chr(10))[0] or type(error).__name__}"
        raise Refused(message) from error
    try:
        _verify(OnnxEmbedder(draft), texts, expected)
    except Unusable as error:
        raise Refused(str(error).replace(str(draft), "the draft")) from error


def _inputs(loaded: Any) -> list[str]:
    """Return what the model takes; refuse what is known not to come out the same. Raises Refused."""
    first = loaded[0]
    if type(first).__name__ != "Transformer" or getattr(loaded.tokenizer, "backend_tokenizer", None) is None:
        message = f"it begins with a {type(first).__name__}, and only transformers with fast tokenizers are exported"
        raise Refused(message)
    if str(loaded.device) != "cpu":
        message = f"it runs on {loaded.device}, which ONNX Runtime on the processor would not make faster"
        raise Refused(message)
    if "message" in getattr(first, "modality_config", {}):
        message = "it wraps texts into a chat template"
        raise Refused(message)
    if any(getattr(module, "include_prompt", True) is False for module in loaded):
        message = "it leaves its prompt out when it pools"
        raise Refused(message)
    takes = list(loaded.tokenizer.model_input_names)
    unknown = set(takes) - set(_FIELDS)
    if unknown:
        message = f"its tokenizer makes {', '.join(sorted(unknown))}, which is not known here"
        raise Refused(message)
    return [name for name in _FIELDS if name in takes]


def _trace(loaded: Any, inputs: Sequence[str], file: Path, *, dynamo: bool) -> None:
    """Write the model's graph: token ids in, normalised vectors out, for any number and length of texts."""
    torch = import_module("torch")

    class Whole(torch.nn.Module):  # type: ignore[name-defined,misc] # torch is known by name only
        """The model as one function."""

        def __init__(self) -> None:
            """Take the model's modules in."""
            super().__init__()
            self.loaded = loaded

        def forward(self, *values: Any) -> Any:
            """Return the normalised vectors."""
            found = self.loaded(dict(zip(inputs, values, strict=True)))["sentence_embedding"]
            if self.loaded.truncate_dim is not None:
                found = found[..., : self.loaded.truncate_dim]
            return torch.nn.functional.normalize(found, p=2, dim=1)

    example = loaded.tokenizer(["hello, world", "a longer text", "dark mode and metric units"], padding=True)
    arguments = tuple(torch.tensor(example[name], dtype=torch.int64) for name in inputs)
    names = {"input_names": list(inputs), "output_names": ["vectors"], "opset_version": _OPSET}
    if dynamo:
        free = torch.export.Dim.DYNAMIC
        shapes = {"dynamic_shapes": (tuple({0: free, 1: free} for _ in inputs),), "external_data": True}
    else:
        axes = {name: {0: "texts", 1: "tokens"} for name in inputs}
        shapes = {"dynamic_axes": axes | {"vectors": {0: "texts"}}}
    with _quiet(), torch.no_grad():
        torch.onnx.export(Whole().eval(), arguments, str(file), dynamo=dynamo, verbose=False, **names, **shapes)
    if not dynamo:  # weights in a file of their own are mapped, not read: 80 MiB less for the packaged model
        onnx = import_module("onnx")
        onnx.save_model(
            onnx.load(str(file)), str(file), save_as_external_data=True, location=f"{GRAPH}.data", size_threshold=1024
        )


def samples(window: int) -> list[str]:
    """Return texts of every kind and of every length up to some windows."""
    draws = np.random.default_rng(0)
    words = [
        "the",
        "user",
        "asked",
        "about",
        "billing,",
        "weather",
        "in",
        "Lisbon",
        "a",
        "late",
        "train;",
        "naïve",
        "東京",
        "42",
    ]
    lengths = [2, 5, 9, 17, 30, 60, 120, window // 2, window, 3 * window]
    return [*_SENTENCES, *(" ".join(draws.choice(words, size=length)) for length in lengths)]


def _verify(made: OnnxEmbedder, texts: Sequence[str], expected: Any) -> None:
    """Compare with the original's vectors: all texts at once, and each alone. Raises Refused."""
    together = np.asarray(made.embed(texts))
    alone = np.concatenate([made.embed([text]) for text in texts])
    for found in (together, alone):
        apart = np.linalg.norm(found - expected, axis=1)
        worst = int(np.nan_to_num(apart, nan=np.inf).argmax())
        if not apart[worst] <= CLOSE:
            message = (
                f"its export gives other vectors: for a text of {len(texts[worst])} characters the cosine with the"
                f" original is {float(found[worst] @ expected[worst]):.7f}, {apart[worst]:.1e} apart"
            )
            raise Refused(message)


# ---- files -----------------------------------------------------------------------------------------------------------


def _versions() -> dict[str, str]:
    """Return the versions of what an export depends on; of one that is not installed, none."""
    found = {}
    for library in _LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            found[library] = ""
    return found


def _refusal(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.refused.json")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the only process that exports to this folder; the lock goes with the process, however it ends."""
    with folder.with_name(f"{folder.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporters say about their own insides from whoever started this."""
    loud = {logging.getLogger(name): logging.getLogger(name).level for name in _LOUD}
    for logger in loud:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in loud.items():
            logger.setLevel(level)


def _force(path: Path) -> None:
    """Force a file or a folder's entries to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
