"""The folder of an in-process index: whose vectors it holds, the engine's shard in it, and what that holds.

1. The identity is written last, so that a folder with one is whole.
2. Each checkpoint says how many points there are by then: a folder that holds another number is damaged.
3. What cannot be read is never repaired: the index starts empty, and is filled again from the log.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

import qdrant_edge as engine

from mnemolog.domain.errors import Corrupt, Unavailable
from projections.vectors_points import OWNER, PARTITION, TENANT

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__name__)

SHARD = "qdrant"
POINTS, BATCH, DOOMED = "points", "batch", "doomed"
PARTITIONS = 4096
_IDENTITY = "index.json"


class Identity(NamedTuple):
    """Whose vectors a folder holds."""

    model: str
    dimension: int


class Inventory(NamedTuple):
    """How many points an index holds, checkpoints not counted, and how many batches made it."""

    points: int
    batches: int


def identity_in(folder: Path) -> Identity | None:
    """Return whose vectors the folder says it holds, None if it does not say."""
    try:
        said = json.loads((folder / _IDENTITY).read_bytes())
        return Identity(str(said["model"]), int(said["dimension"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def load(folder: Path, *, trusted: bool) -> tuple[engine.EdgeShard, Inventory] | None:
    """Return the folder's shard and what it holds, None if there is none that can be used."""
    if not any(folder.iterdir()):
        return None
    try:
        shard = engine.EdgeShard.load(str(folder / SHARD))
        holds = _inventory(shard)
    except BaseException as error:
        if "WouldBlock" in str(error):
            message = f"{folder} is open in another process: an embedded vector index has one owner"
            raise Unavailable(message) from error
        # The engine may panic over damaged files, which is no Exception in Python.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        _log.warning("the vector index in %s cannot be read and starts empty: %s", folder, error)
        return None
    if trusted:
        return shard, holds
    shard.close()
    _log.warning("the vector index in %s was never finished, or has lost its %s, and starts empty", folder, _IDENTITY)
    return None


def _inventory(shard: engine.EdgeShard) -> Inventory:
    """Return what a shard holds. Raises Corrupt if it contradicts what its newest checkpoint says."""
    missing = {TENANT, OWNER, PARTITION} - shard.info().payload_schema.keys()
    if missing:
        message = f"no index of {', '.join(sorted(missing))}"
        raise Corrupt(message)
    # With their vectors, to see whether those can be read at all.
    request = engine.ScrollRequest(limit=PARTITIONS, filter=_marks(), with_payload=True, with_vector=True)
    marks = [record.payload or {} for record in shard.scroll(request)[0]]
    none: dict[str, Any] = {POINTS: 0, BATCH: 0, DOOMED: []}
    newest = max(marks, key=lambda mark: int(mark[BATCH]), default=none)
    if newest[DOOMED]:
        shard.update(engine.UpdateOperation.delete_points(list(newest[DOOMED])))
    points = points_in(shard)
    if points != newest[POINTS]:
        message = f"{newest[POINTS]} points should be there, {points} are"
        raise Corrupt(message)
    return Inventory(points, int(newest[BATCH]))


def points_in(shard: engine.EdgeShard) -> int:
    """Return how many points a shard holds, checkpoints not counted."""
    return shard.count(engine.CountRequest()) - shard.count(engine.CountRequest(filter=_marks()))


def _marks() -> engine.Filter:
    """Return the condition that is true of checkpoints only."""
    return engine.Filter(must_not=[engine.IsEmptyCondition(PARTITION)])


def create(folder: Path, identity: Identity) -> engine.EdgeShard:
    """Make an empty shard. Its identity is written last, so that a folder with one is whole."""
    (folder / _IDENTITY).unlink(missing_ok=True)
    shutil.rmtree(folder / SHARD, ignore_errors=True)
    (folder / SHARD).mkdir()
    vectors = engine.EdgeVectorParams(size=identity.dimension, distance=engine.Distance.Cosine)
    shard = engine.EdgeShard.create(str(folder / SHARD), engine.EdgeConfig(vectors=vectors))
    for field, schema in (
        (TENANT, engine.KeywordIndexParams(is_tenant=True)),
        (OWNER, engine.KeywordIndexParams()),
        (PARTITION, engine.IntegerIndexParams()),
    ):
        shard.update(engine.UpdateOperation.create_field_index(field, schema))
    shard.flush()
    draft = folder / f"{_IDENTITY}.new"
    with draft.open("w", encoding="utf-8") as file:
        json.dump(identity._asdict(), file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / _IDENTITY)
    return shard
