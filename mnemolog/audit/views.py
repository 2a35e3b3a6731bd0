"""Views compared with a fold of the log: every row, its places, and every index, to the member.

The fold is written here once more, simple and apart from any store: what is to be checked must not check itself.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mnemolog.audit.found import Found
from mnemolog.audit.reading import Facts, pages
from mnemolog.domain import canonical
from mnemolog.domain.codec import decode_fact
from mnemolog.domain.fact import Fact
from mnemolog.domain.ops import Drop, Op, Put, Rank, Rescore, Unrank
from mnemolog.domain.record import CONTROL_KEY, FactRecord
from mnemolog.domain.stored import StoredIndex, StoredRow, StoredViews

_ATTEMPTS = 50
_AT_ONCE = 1_000
"""How many rows are compared before others have their turn: nothing here waits where a store is a file."""
Project = Callable[[Fact], Sequence[Op]]


class Folded:
    """The views of one partition as a fold of the log gives them."""

    def __init__(self, project: Project) -> None:
        """Take what a fact changes."""
        self._project = project
        self.rows: dict[str, dict[str, Any]] = {}
        self.places: dict[str, dict[str, tuple[str, int]]] = {}
        self.dropped: dict[str, int] = {}
        """Of rows that are gone, the offset of the fact that dropped them."""
        self.offset = 0

    def take(self, fact: Fact) -> None:
        """Fold one fact."""
        rows, all_places = self.rows, self.places
        for op in self._project(fact):
            match op:
                case Put(key, fields):
                    if key in rows:
                        rows[key].update(fields)
                    else:
                        rows[key] = dict(fields)
                    self.dropped.pop(key, None)
                case Rank(key, family, index, score):
                    if key not in rows:
                        rows[key] = {}
                    if key in all_places:
                        all_places[key][family] = (index, score)
                    else:
                        all_places[key] = {family: (index, score)}
                case Rescore(key, family, score):
                    places = all_places.get(key, {})
                    if family in places:
                        places[family] = (places[family][0], score)
                case Unrank(key, family):
                    self.places.get(key, {}).pop(family, None)
                case Drop(key):
                    self.rows.pop(key, None)
                    self.places.pop(key, None)
                    self.dropped[key] = fact.offset

    def take_records(self, records: Sequence[FactRecord]) -> None:
        """Fold the facts among these records."""
        for record in records:
            if record.key != CONTROL_KEY and record.value is not None:
                self.take(decode_fact(record, linked=False))
            self.offset = record.offset + 1

    def indexes(self) -> dict[str, list[tuple[int, str]]]:
        """Return every index with its members in order."""
        found: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for key, places in self.places.items():
            for index, score in places.values():
                found[index].append((score, key))
        return {name: sorted(members) for name, members in found.items()}


async def compare(log: Facts, views: StoredViews, folded: Folded, partition: int, found: Found) -> int:
    """Compare a store with the fold, which is taken up to the store's checkpoint; return how many rows were.

    1. Compare all of it.
    2. What differs may have changed while it was read: compare that again, where the checkpoint stood still meanwhile.
    """
    at = await views.checkpoint(partition)
    if at is None:
        if folded.rows or await log.end(partition):
            found.wrong(f"partition {partition}: there are no views, although there are facts")
        return 0
    if at.offset > await log.end(partition):
        found.wrong(f"partition {partition}: the views have come to offset {at.offset}, beyond the end of the log")
        return 0
    await fold_to(log, folded, partition, at.offset)
    wrong_rows, wrong_indexes = await _differences(views, folded, partition, None, None)
    for _ in range(_ATTEMPTS):
        if not wrong_rows and not wrong_indexes:
            break
        before = await views.checkpoint(partition)
        if before is None or before.offset < folded.offset:
            found.wrong(f"partition {partition}: the checkpoint of the views has gone back")
            break
        await fold_to(log, folded, partition, before.offset)
        wrong_rows, wrong_indexes = await _differences(
            views, folded, partition, sorted(wrong_rows), sorted(wrong_indexes)
        )
        if before == await views.checkpoint(partition):
            break
    for text in [*wrong_rows.values(), *wrong_indexes.values()]:
        found.wrong(text)
    return len(folded.rows)


async def fold_to(log: Facts, folded: Folded, partition: int, offset: int) -> None:
    """Fold on, up to an offset. Raises Malformed for a fact that cannot be read."""
    if folded.offset < offset:
        async for page in pages(log, partition, folded.offset, offset):
            folded.take_records(page)
            await asyncio.sleep(0)  # nothing here waits where a log is a file: this lets others begin, and be heard
        folded.offset = offset


async def _differences(
    views: StoredViews, folded: Folded, partition: int, rows: Sequence[str] | None, indexes: Sequence[str] | None
) -> tuple[dict[str, str], dict[str, str]]:
    """Return what differs, in words, by the row's key and by the index's name."""
    wrong_rows: dict[str, str] = {}
    missing = set(folded.rows if rows is None else rows) & folded.rows.keys()
    if rows is None or rows:
        compared = 0
        async for row in views.rows(partition, rows):
            compared += 1
            if compared % _AT_ONCE == 0:
                await asyncio.sleep(0)
            missing.discard(row.key)
            if text := _of_row(row, folded):
                wrong_rows[row.key] = text
    wrong_rows |= {key: f"row {key} is not there" for key in missing}
    wrong_indexes: dict[str, str] = {}
    wanted = folded.indexes()
    left = set(wanted if indexes is None else indexes) & wanted.keys()
    if indexes is None or indexes:
        async for index in views.indexes(partition, indexes):
            left.discard(index.name)
            if text := _of_index(index, wanted.get(index.name, [])):
                wrong_indexes[index.name] = text
    wrong_indexes |= {name: f"index {name} is not there" for name in left}
    return wrong_rows, wrong_indexes


def _of_row(row: StoredRow, folded: Folded) -> str:
    wanted = folded.rows.get(row.key)
    if wanted is None:
        return f"row {row.key} is there, but the log knows of no such thing"
    if row.said != canonical.text(wanted):  # not the very text: written in another order, or as something else
        there = row.fields
        if canonical.canonical(wanted) != canonical.canonical(there):
            fields = sorted(name for name in wanted.keys() | there.keys() if not _same(wanted, there, name))
            return f"row {row.key} differs from the log in {', '.join(fields)}"
    if row.places != folded.places.get(row.key, {}):
        return f"row {row.key} does not stand where the log puts it"
    return ""


def _same(one: Mapping[str, Any], other: Mapping[str, Any], name: str) -> bool:
    return name in one and name in other and canonical.canonical(one[name]) == canonical.canonical(other[name])


def _of_index(index: StoredIndex, wanted: Sequence[tuple[int, str]]) -> str:
    if sorted(index.members) != list(wanted):
        return f"index {index.name} does not list what the log says"
    if index.size != len(wanted):
        return f"index {index.name} says it has {index.size} rows, the log {len(wanted)}"
    return ""
