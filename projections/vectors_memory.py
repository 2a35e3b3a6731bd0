"""The vector index in memory: brute force in numpy, for unit tests and simulation.

It is a full adapter of the port `Vectors`, here so that a test or a simulated run needs no engine and no disk, and so
that the other adapters have something exact to be compared with.

1. Results are exact: every point of the scope is scored, each by the same sum in the same order, so that equal
   vectors have equal similarities and are told apart by their ids.
2. Removed ids are remembered for as long as the object lives.
3. Nothing survives the object; `close` only forgets.
4. Any thread may call it: one lock guards the whole state.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mnemolog.domain.ports import Hit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mnemolog.domain.ports import Point, Scope


class _Stored(NamedTuple):
    version: int
    scope: Scope
    vector: NDArray[np.float32]


def checked(vector: Sequence[float], dimension: int) -> NDArray[np.float32]:
    """Return a vector as float32. Raises ValueError unless it has the dimension and only finite numbers.

    An index that takes anything else acknowledges what no search will ever find.
    """
    row = np.asarray(vector, dtype=np.float32)
    if row.shape != (dimension,):
        message = f"a vector of dimension {dimension} is needed, not one of shape {row.shape}"
        raise ValueError(message)
    if not np.isfinite(row).all():
        message = "a vector must have finite numbers only"
        raise ValueError(message)
    return row


def similarity_of(cosine: float) -> float:
    """Return a cosine as a similarity in 0..1: opposites are no likeness, and rounding makes nothing more than 1."""
    return min(1.0, max(0.0, cosine))


def _normalised(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a new vector of length 1; one of zeros stays, and is like none."""
    return vector / np.float32(float(np.linalg.norm(vector)) or 1.0)


class MemoryVectors:
    """Port `Vectors` on a dictionary."""

    def __init__(self, dimension: int) -> None:
        """Start empty, for vectors of `dimension` numbers."""
        self._dimension = dimension
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._points: dict[str, _Stored] = {}
        self._scopes: dict[Scope, set[str]] = {}
        self._gone: set[str] = set()
        self._checkpoints: dict[int, int] = {}

    async def checkpoint(self, partition: int) -> int | None:
        """Return the next fact offset to index, None if there is none."""
        with self._lock:
            return self._checkpoints.get(partition)

    async def apply(self, partition: int, points: Sequence[Point], gone: Sequence[str], checkpoint: int) -> None:
        """Upsert newer points, remove, move the checkpoint; nothing is changed if any vector is refused."""
        vectors = [checked(point.vector, self._dimension) for point in points]
        with self._lock:
            self._gone.update(gone)
            for point, vector in zip(points, vectors, strict=True):
                self._upsert(point, vector)
            for identifier in gone:
                self._remove(identifier)
            self._checkpoints[partition] = checkpoint

    def _upsert(self, point: Point, vector: NDArray[np.float32]) -> None:
        stored = self._points.get(point.id)
        if point.id in self._gone or (stored is not None and stored.version >= point.version):
            return
        self._remove(point.id)
        self._points[point.id] = _Stored(point.version, point.scope, _normalised(vector))
        self._scopes.setdefault(point.scope, set()).add(point.id)

    def _remove(self, identifier: str) -> None:
        stored = self._points.pop(identifier, None)
        if stored is None:
            return
        members = self._scopes[stored.scope]
        members.discard(identifier)
        if not members:
            del self._scopes[stored.scope]

    async def search(self, scope: Scope, vector: Sequence[float], top: int) -> Sequence[Hit]:
        """Return the `top` nearest points of the scope: best first, equal similarities by id."""
        query = _normalised(checked(vector, self._dimension))
        with self._lock:
            found = [(identifier, self._points[identifier]) for identifier in self._scopes.get(scope, ())]
        if not found:
            return []
        # No matrix product: BLAS may round equal rows differently, by their place.
        cosines = (np.stack([stored.vector for _, stored in found]) * query).sum(axis=1, dtype=np.float64)
        hits = [
            Hit(identifier, stored.version, similarity_of(float(cosine)))
            for (identifier, stored), cosine in zip(found, cosines, strict=True)
        ]
        return sorted(hits, key=lambda hit: (-hit.similarity, hit.id))[: max(0, top)]

    async def count(self) -> int:
        """Return how many points are stored."""
        with self._lock:
            return len(self._points)

    async def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._forget()
