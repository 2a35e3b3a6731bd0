"""What the two Qdrant engines, in this process and on a server, have in common: what a point says, and who comes first.

1. A point says its tenant, its owner as a digest, and the version of its text; it names no agent and no invoker.
2. A partition's checkpoint is a reserved point, with an id that no memory has.
3. Among hits of equal similarity the smallest ids come first. An engine's own choice among equals is arbitrary, so
   where the cut goes through equals, all of them are asked for.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np

from mnemolog.domain.errors import MnemologError
from mnemolog.domain.ids import length_prefixed
from mnemolog.domain.ports import Hit, Point, Scope
from projections.vectors_memory import checked

TENANT, OWNER, VERSION = "tenant", "owner", "version"
PARTITION, OFFSET = "partition", "offset"
_RESERVED = uuid.UUID("6f1c8a0e-94f5-5d7b-8f33-76656374726f")


class ModelMismatchError(MnemologError):
    """The index holds vectors of another model or dimension."""


def reserved(partition: int) -> uuid.UUID:
    """Return the id of a partition's checkpoint: of UUID version 5, which no memory's id is."""
    return uuid.uuid5(_RESERVED, str(partition))


def owner(scope: Scope) -> str:
    """Return the scope as one keyword: a digest, so that the engine's files name no agent and no invoker."""
    return hashlib.sha256(length_prefixed((scope.tenant, scope.agent, scope.invoker))).hexdigest()


def payload(point: Point) -> dict[str, Any]:
    """Return what an engine is told of a point besides its id and vector."""
    return {TENANT: point.scope.tenant, OWNER: owner(point.scope), VERSION: point.version}


def newest(points: Sequence[Point], dimension: int) -> dict[uuid.UUID, tuple[Point, list[float]]]:
    """Return the newest version of each point, and its vector. Raises ValueError if any of the vectors is unusable."""
    found: dict[uuid.UUID, tuple[Point, list[float]]] = {}
    for point, vector in [(point, checked(point.vector, dimension)) for point in points]:
        key = uuid.UUID(point.id)
        if key not in found or found[key][0].version < point.version:
            found[key] = (point, vector.tolist())
    return found


def cut_through_equals(hits: Sequence[Hit], top: int) -> bool:
    """Tell whether, of one hit more than wanted, the last wanted and the one behind it are equally similar."""
    return len(hits) > top and hits[top - 1].similarity == hits[top].similarity


def just_below(hit: Hit) -> float | None:
    """Return a score that all hits as similar as this one exceed; None is any, as cosines below 0 are all equal."""
    return float(np.nextafter(np.float32(hit.similarity), np.float32(-1.0))) if hit.similarity > 0 else None


def ranked(hits: Sequence[Hit], top: int) -> list[Hit]:
    """Return the first of all hits: best first, equal ones by id."""
    return sorted(hits, key=lambda hit: (-hit.similarity, hit.id))[:top]
