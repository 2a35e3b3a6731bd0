"""Vectors compared with a fold of the log: each readable memory has its own, of its newest text, and no other is there.

An index may lag: what the facts from its checkpoint on have changed is not held against it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mnemolog.audit.found import Found
from mnemolog.audit.views import Folded
from mnemolog.domain.ports import Scope
from mnemolog.domain.stored import StoredPoint, StoredVectors

_CLOSE = 0.999
_BATCH = 64

Embed = Callable[[Sequence[str]], Sequence[Sequence[float]]]


class Wanted(NamedTuple):
    """What a memory's vector must be of; `offset` is that of the fact that last set the text."""

    version: int
    scope: Scope
    content: str
    offset: int


@dataclass(frozen=True, slots=True)
class Memories:
    """The readable memories of a partition, by id, and of those that are gone the offset of the fact that took them."""

    wanted: Mapping[str, Wanted]
    gone: Mapping[str, int]


def memories(folded: Folded) -> Memories:
    """Return the memories of a fold."""
    wanted = {}
    for key, row in folded.rows.items():
        if "text_version" in row and "changed" in folded.places.get(key, ()):
            scope = Scope(key.rpartition("/memory/")[0], row["agent"], row["invoker"])
            wanted[row["id"]] = Wanted(row["text_version"], scope, row["content"], folded.places[key]["changed"][1])
    return Memories(wanted, {key.rpartition("/")[2]: offset for key, offset in folded.dropped.items()})


async def compare_vectors(
    vectors: StoredVectors, memories: Mapping[int, Memories], found: Found, embed: Embed | None = None
) -> int:
    """Compare an index with the memories of all partitions; return how many points were compared.

    With `embed` each text is embedded again, and its vector must be the same but for rounding.
    """
    at = {partition: await vectors.checkpoint(partition) or 0 for partition in memories}
    wanted = {i: (partition, one) for partition, known in memories.items() for i, one in known.wanted.items()}
    late = {i for partition, known in memories.items() for i, offset in known.gone.items() if offset >= at[partition]}
    compared = 0
    batch: list[tuple[StoredPoint, str]] = []
    async for point in vectors.points():
        compared += 1
        partition, memory = wanted.pop(point.id, (-1, None))
        if memory is None:
            if point.id not in late:
                found.wrong(f"vector {point.id} is there, but the log knows of no such memory")
        elif memory.offset < at[partition] and (text := _of_point(point, memory, vectors)):
            found.wrong(text)
        elif memory.offset < at[partition] and embed is not None:
            batch.append((point, memory.content))
        if embed is not None and len(batch) == _BATCH:
            _again(batch, embed, found)
            batch = []
    if embed is not None and batch:
        _again(batch, embed, found)
    for identifier, (partition, memory) in sorted(wanted.items()):
        if memory.offset < at[partition]:
            found.wrong(f"memory {identifier} has no vector")
    return compared


def _of_point(point: StoredPoint, memory: Wanted, vectors: StoredVectors) -> str:
    if point.version != memory.version:
        return f"vector {point.id} is of version {point.version}, its memory's text of version {memory.version}"
    if (point.tenant, point.owner) != (memory.scope.tenant, vectors.owner(memory.scope)):
        return f"vector {point.id} is filed under another owner than its memory"
    return ""


def _again(batch: Sequence[tuple[StoredPoint, str]], embed: Embed, found: Found) -> None:
    for (point, _), vector in zip(batch, embed([text for _, text in batch]), strict=True):
        if _cosine(point.vector, vector) < _CLOSE:
            found.wrong(f"vector {point.id} is not that of its memory's text")


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    both = math.sqrt(sum(a * a for a in one)) * math.sqrt(sum(b * b for b in other))
    same = sum(a * b for a, b in zip(one, other, strict=True))
    return same / both if both else float(not any(one) and not any(other))
