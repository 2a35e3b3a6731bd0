"""From one embedding model to another in the folder of an in-process index, while its server goes on with the old one.

1. The new index is filled from the log in a folder beside the old one. Its checkpoint stands in it, so what an earlier
   attempt did is not done again.
2. It is marked as ready once it has been compared; nothing else is ever taken over.
3. The next owner of the folder that has the new model takes it over: the old index goes first, as nobody would follow
   erasures in it any more, then the new one gets its place. An owner that was killed in between goes on from there.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from pathlib import Path

from projections.edge_folder import Identity, identity_in

_log = logging.getLogger(__name__)
_READY = "ready"


def beside(folder: Path, wanted: Identity) -> Path:
    """Return where the index of another model is made."""
    digest = hashlib.sha256(f"{wanted.model}\n{wanted.dimension}".encode()).hexdigest()[:12]
    return folder.with_name(f"{folder.name}-{digest}")


def mark_ready(made: Path) -> None:
    """Say that an index may be taken over."""
    (made / _READY).touch()


def is_ready(folder: Path, wanted: Identity) -> bool:
    """Tell whether a whole index of this model lies beside."""
    made = beside(folder, wanted)
    return (made / _READY).exists() and identity_in(made) == wanted


def take_over(folder: Path, wanted: Identity) -> bool:
    """Put the index of a model in its place if it lies ready beside; the caller owns the folder. True if that was done.

    A folder that has been this model's already stays: what lies beside is older than it.
    """
    if identity_in(folder) == wanted or not is_ready(folder, wanted):
        return False
    shutil.rmtree(folder, ignore_errors=True)
    made = beside(folder, wanted)
    made.rename(folder)
    (folder / _READY).unlink(missing_ok=True)
    _log.info("the vector index is that of %s from now on", wanted.model)
    return True
