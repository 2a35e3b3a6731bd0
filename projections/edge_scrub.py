"""Pushing what was erased out of the engine's write-ahead log.

The engine writes each vector to a log of 32 MiB files, keeps the newest closed one whatever is flushed, and has no way
to cut it. So it is written full, twice, with a point that means nothing: then the file that held the erased vectors is
the oldest, and a flush deletes it. That takes some 0.4 s and 64 MiB of writing (measured), so callers bundle erasures.

1. The point is of the reserved kind that is not counted, so a crash in the middle leaves an index that is whole.
2. A file `soiled` beside the shard says that there is something to push out; it outlives the process.
"""

from __future__ import annotations

import uuid
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import qdrant_edge as engine

from mnemolog.domain.errors import Unavailable

_PAD = "x" * (4 << 20)
_ROUNDS = 2
_ENOUGH = 64
"""Writes after which a log that still has not gone on to another file is not the one we know."""


class Soil:
    """Whether the log of the shard in a folder may hold what was erased."""

    def __init__(self, folder: Path) -> None:
        """Look whether a process before has left something."""
        self._file = folder / "soiled"
        self.there = self._file.exists()

    def leave(self) -> None:
        """Say so, before anything is erased."""
        if not self.there:
            self._file.touch()
            self.there = True

    def clear(self) -> None:
        """Say that it has been pushed out."""
        self._file.unlink(missing_ok=True)
        self.there = False


def push_out(
    shard: engine.EdgeShard,
    folder: Path,
    dimension: int,
    key: uuid.UUID,
    mark: dict[str, Any],
    held: AbstractContextManager[object],
) -> None:
    """Write the log full twice; `held` is taken for each write alone, so that searches come in between."""
    pad = engine.Point(key, [0.0] * dimension, {**mark, "pad": _PAD})
    for _ in range(_ROUNDS):
        before = _closed(folder)
        for _ in range(_ENOUGH):
            with held:
                shard.update(engine.UpdateOperation.upsert_points([pad]))
            if _closed(folder) - before:
                break
        else:
            message = (
                f"the log of the vector index in {folder} does not go on to another file; erased vectors stay in it"
            )
            raise Unavailable(message)
        shard.flush()
    with held:
        shard.update(engine.UpdateOperation.delete_points([key]))


def _closed(shard: Path) -> set[str]:
    """Return the names of the log's files that are full."""
    return {path.name for path in (shard / "wal").glob("closed-*")}
