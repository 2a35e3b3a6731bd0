"""What lies in the stores, whole: the ports by which an audit compares them with a fold of the log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from mnemolog.domain import canonical
from mnemolog.domain.ports import Checkpoint, Scope

Places = Mapping[str, tuple[str, int]]


class StoredRow(NamedTuple):
    """A row as a store has it: `said` are its fields, or their JSON as it lies there; `places` by family.

    A text that is as it should be need not be read to be compared.
    """

    key: str
    said: Mapping[str, Any] | str
    places: Places

    @property
    def fields(self) -> Mapping[str, Any]:
        """The row's fields. Raises ValueError for a text that is no JSON."""
        if isinstance(self.said, Mapping):
            return self.said
        fields: Mapping[str, Any] = canonical.reread(self.said)
        return fields


class StoredIndex(NamedTuple):
    """An index as a store has it: its members as (score, key), and the size that it says it has."""

    name: str
    members: Sequence[tuple[int, str]]
    size: int


class StoredViews(Protocol):
    """All that a store holds of a partition; `only` names what to read, None is all of it."""

    async def checkpoint(self, partition: int) -> Checkpoint | None:
        """Return how far the views are."""
        ...

    def rows(self, partition: int, only: Sequence[str] | None = None) -> AsyncIterator[StoredRow]:
        """Yield rows with their places."""
        ...

    def indexes(self, partition: int, only: Sequence[str] | None = None) -> AsyncIterator[StoredIndex]:
        """Yield indexes with their members."""
        ...


class StoredPoint(NamedTuple):
    """A vector as an index has it; `owner` is how that index spells a scope."""

    id: str
    version: int
    tenant: str
    owner: str
    vector: Sequence[float]


class StoredVectors(Protocol):
    """All that an index of vectors holds."""

    async def checkpoint(self, partition: int) -> int | None:
        """Return the next fact offset to index."""
        ...

    def points(self) -> AsyncIterator[StoredPoint]:
        """Yield every point, of all partitions."""
        ...

    def owner(self, scope: Scope) -> str:
        """Return how this index spells a scope."""
        ...
