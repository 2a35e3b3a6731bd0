"""The ports: what the core asks of the world, and nothing of how it is done.

Every adapter of a port passes the same contract suite (`tests/contract`). Methods are coroutines where a remote adapter
would wait for a network; a local adapter may answer at once, and is then run on a thread of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from mnemolog.domain.ops import Op
from mnemolog.domain.record import CommandRecord, FactRecord, Position, Transaction


class Log(Protocol):
    """The topics of one deployment, by partition.

    Offsets rise; they may have holes (transaction markers, compaction). Reads are of committed records only. A read
    shorter than its limit has come to the end that the log had during the read, and parts no transaction; at the end a
    remote log may wait a little for more. Outcomes are for those who wait for them, each adapter in its own way.
    """

    async def append(self, partition: int, commands: Sequence[CommandRecord]) -> Sequence[int]:
        """Append commands and return their offsets, in order. The log stamps the time of each."""
        ...

    async def commands(self, partition: int, start: int, limit: int) -> Sequence[CommandRecord]:
        """Return at most `limit` commands from offset `start` on, oldest first."""
        ...

    async def bounds(self, partition: int) -> tuple[int, int]:
        """Return the first offset that the command topic still has, and the one that comes next."""
        ...

    async def facts(self, partition: int, start: int, limit: int) -> Sequence[FactRecord]:
        """Return at most `limit` records of the fact topic from `start` on: facts, null records, control records."""
        ...

    async def end(self, partition: int) -> int:
        """Return the offset below which every fact record lies."""
        ...

    async def take(self, partition: int) -> None:
        """Become the partition's only sequencer: whoever was it before is fenced from now on."""
        ...

    async def commit(self, partition: int, transaction: Transaction) -> int:
        """Append facts, outcomes, null records and the control record of a batch: all of them, durably, or none.

        Returns the offset behind the last fact record. Raises `Fenced` if the partition has been taken since. After any
        error of the log itself, the partition must be taken again.
        """
        ...


class Checkpoint(NamedTuple):
    """How far a projection has come: the next fact offset to read, and the command position completed by then."""

    offset: int
    position: Position


Applied = Literal["applied", "duplicate", "behind"]


@dataclass(frozen=True, slots=True)
class Match:
    """A filter on one field of a row: its text equals, or literally contains (case-sensitive), `text`."""

    field: str
    text: str
    how: Literal["equals", "contains"] = "contains"


Row = Mapping[str, Any]


class Store(Protocol):
    """The state views of one deployment: rows of JSON fields, and indexes that rank row keys by an integer score."""

    async def apply(self, partition: int, follows: int, ops: Sequence[Op], checkpoint: Checkpoint) -> Applied:
        """Apply the ops of a batch and its checkpoint atomically.

        1. `duplicate`, and nothing done, if the stored checkpoint has come as far as `checkpoint` already.
        2. `behind`, and nothing done, if the stored offset is below `follows`, where this batch begins: the store was
           lost or restored, and the caller starts again from what `checkpoint()` says.
        3. otherwise `applied`.
        """
        ...

    async def checkpoint(self, partition: int) -> Checkpoint | None:
        """Return the stored checkpoint, to the one who applies; None if this partition was never projected here."""
        ...

    async def reached(self, partition: int) -> Checkpoint | None:
        """Return the stored checkpoint, to a reader: everything below it is in what he reads from now on."""
        ...

    async def rows(self, partition: int, keys: Sequence[str]) -> Sequence[Row | None]:
        """Return the rows under `keys`, in order, None where there is none."""
        ...

    async def page(
        self,
        partition: int,
        index: str,
        *,
        skip: int = 0,
        limit: int | None = None,
        newest_first: bool = False,
        matches: Sequence[Match] = (),
    ) -> Sequence[tuple[int, str, Row]]:
        """Return (score, key, row) of an index by (score, key), `skip` and `limit` counted after `matches`."""
        ...

    async def count(self, partition: int, index: str, matches: Sequence[Match] = ()) -> int:
        """Return how many rows an index holds: O(1) without `matches`."""
        ...


class Scope(NamedTuple):
    """Whose memories a search may see: mandatory, exact, and never widened."""

    tenant: str
    agent: str
    invoker: str


@dataclass(frozen=True, slots=True)
class Point:
    """A memory's vector: `version` is the stream version of the fact that last set the text. Never holds text."""

    id: str
    version: int
    scope: Scope
    vector: Sequence[float]


class Hit(NamedTuple):
    """A search result before hydration; `similarity` is the cosine in 0..1 (negative = 0)."""

    id: str
    version: int
    similarity: float


class Vectors(Protocol):
    """The vector index of one embedding model."""

    async def checkpoint(self, partition: int) -> int | None:
        """Return the next fact offset to index; None if this partition was never indexed here."""
        ...

    async def apply(self, partition: int, points: Sequence[Point], gone: Sequence[str], checkpoint: int) -> None:
        """Upsert `points`, remove the ids in `gone`, then move the checkpoint. Idempotent.

        1. A point whose id is stored with an equal or higher version changes nothing.
        2. A removed id stays gone: a late upsert of it does not bring it back (ids are never used twice).
        3. The checkpoint is written after the batch, so a crash between the two only repeats work.
        """
        ...

    async def search(self, scope: Scope, vector: Sequence[float], top: int) -> Sequence[Hit]:
        """Return the `top` nearest points of exactly this scope, best first, equal similarities by id."""
        ...

    async def count(self) -> int:
        """Return how many points are stored, checkpoints not counted."""
        ...

    async def close(self) -> None:
        """Write everything to disk and let go of it."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors. Plain calls: embedding is computation, and runs on the caller's thread."""

    @property
    def model(self) -> str:
        """The model's name and revision: vectors of two models are never compared."""
        ...

    @property
    def dimension(self) -> int:
        """The length of every vector."""
        ...

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one normalised float32 vector per text, in order.

        No text is cut silently: of a long one, overlapping windows are embedded, and their mean is normalised.
        """
        ...
