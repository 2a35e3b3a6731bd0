"""One batch of ops for the embedded store: what they touch is read at once, changed in memory, written at once.

A statement a row and op would cost more than all the rest of an append.

1. The rows and places that the ops name are loaded, those of new rows found to be none.
2. The ops act on them in their order.
3. What differs in the end is written: places that are left, rows, places that are taken; then the indexes' sizes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mnemolog.domain import canonical
from mnemolog.domain.ops import Drop, Op, Put, Rank, Rescore, Unrank

_AT_ONCE = (1, 8, 64, 512)
"""How many values a statement asks for: few forms of it, so that they stay prepared."""

_Place = tuple[int, int]
"""An index's id and a score."""


@dataclass(slots=True)
class _Touched:
    """A row: as it stands in the table (`number` None if it does not), and as it will."""

    number: int | None = None
    text: str | None = None
    fields: dict[str, Any] | None = None
    alive: bool = False
    stood: dict[str, _Place] = field(default_factory=dict)
    places: dict[str, _Place] = field(default_factory=dict)


def each(database: sqlite3.Connection, sql: str, values: Iterable[object]) -> Iterator[tuple[Any, ...]]:
    """Yield what a statement that ends in `IN` finds for values, asked for in lots of few sizes."""
    left = list(values)
    while left:
        size = next((size for size in _AT_ONCE if size >= len(left)), _AT_ONCE[-1])
        some, left = left[:size], left[size:]
        some += [None] * (size - len(some))
        yield from database.execute(f"{sql} ({', '.join('?' * size)})", some)


class Batch:
    """Applies ops within the caller's transaction."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Take the connection that writes."""
        self._db = database
        self._rows: dict[str, _Touched] = {}
        self._indexes: dict[str, int] = {}
        self._made: list[int] = []

    def write(self, ops: Sequence[Op]) -> None:
        """Apply ops, in order."""
        self._load(ops)
        for op in ops:
            self._change(self._rows[op.key], op)
        self._store()

    # ---- 1. what there is --------------------------------------------------------------------------------------------

    def _load(self, ops: Sequence[Op]) -> None:
        self._rows = {op.key: _Touched() for op in ops}
        by_number: dict[int, _Touched] = {}
        for key, number, text in each(self._db, "SELECT key, id, fields FROM view_rows WHERE key IN", self._rows):
            row = by_number[number] = self._rows[key]
            row.number, row.text, row.alive = number, text, True
        sql = 'SELECT "row", family, "index", score FROM view_places WHERE "row" IN'
        for number, family, index, score in each(self._db, sql, by_number):
            by_number[number].stood[family] = (index, score)
        for row in by_number.values():
            row.places = dict(row.stood)
        names = {op.into for op in ops if isinstance(op, Rank)}
        self._indexes.update(each(self._db, "SELECT name, id FROM view_indexes WHERE name IN", names))
        for name in names - self._indexes.keys():
            made = self._db.execute("INSERT INTO view_indexes (name, size) VALUES (?, 0)", (name,)).lastrowid or 0
            self._indexes[name] = made
            self._made.append(made)

    # ---- 2. what becomes of it ---------------------------------------------------------------------------------------

    def _change(self, row: _Touched, op: Op) -> None:
        match op:
            case Put(_, fields):
                row.fields = _fields(row) | dict(fields)
                row.alive = True
            case Rank(_, family, index, score):
                row.fields = row.fields if row.alive else {}
                row.alive = True
                row.places[family] = (self._indexes[index], score)
            case Rescore(_, family, score):
                if family in row.places:
                    row.places[family] = (row.places[family][0], score)
            case Unrank(_, family):
                row.places.pop(family, None)
            case Drop():
                row.alive, row.fields, row.text, row.places = False, None, None, {}

    # ---- 3. what is written ------------------------------------------------------------------------------------------

    def _following(self) -> int:
        """Return the number that the next new row gets, if there is one."""
        if all(row.number is not None for row in self._rows.values()):
            return 0
        (number,) = self._db.execute("SELECT coalesce(max(id), 0) + 1 FROM view_rows").fetchone()
        return int(number)

    def _many(self, sql: str, rows: list[Any]) -> None:
        if rows:
            self._db.executemany(sql, rows)

    def _store(self) -> None:
        grown: dict[int, int] = dict.fromkeys(self._made, 0)
        left, bare, gone, changed, fresh, taken = [], [], [], [], [], []
        following = self._following()
        for key, row in self._rows.items():
            if row.number is None and row.alive:
                row.number, following = following, following + 1
                fresh.append((row.number, key, canonical.text(row.fields)))
            elif not row.alive:
                gone.append((row.number,))
            elif row.fields is not None:
                changed.append((canonical.text(row.fields), row.number))
            if row.places == row.stood:
                continue
            if not row.places:
                bare.append((row.number,))
            for family, (index, score) in row.stood.items():
                if row.places.get(family) != (index, score):
                    if row.places:
                        left.append((row.number, family))
                    grown[index] = grown.get(index, 0) - 1
            for family, (index, score) in row.places.items():
                if row.stood.get(family) != (index, score):
                    taken.append((index, score, key, row.number, family))
                    grown[index] = grown.get(index, 0) + 1
        self._many('DELETE FROM view_places WHERE "row" = ? AND family = ?', left)
        self._many('DELETE FROM view_places WHERE "row" = ?', bare)
        self._many("DELETE FROM view_rows WHERE id = ?", gone)
        self._many("UPDATE view_rows SET fields = ? WHERE id = ?", changed)
        self._many("INSERT INTO view_rows (id, key, fields) VALUES (?, ?, ?)", fresh)
        self._many("INSERT INTO view_places VALUES (?, ?, ?, ?, ?)", taken)
        self._many(
            "UPDATE view_indexes SET size = size + ? WHERE id = ?", [(by, index) for index, by in grown.items() if by]
        )
        # A name holds what callers wrote (agents, groups), so it goes with the last row that it ranks.
        shrunk = [(index,) for index, by in grown.items() if by <= 0]
        self._many("DELETE FROM view_indexes WHERE id = ? AND size = 0", shrunk)


def _fields(row: _Touched) -> dict[str, Any]:
    """Return a row's fields as they are by now."""
    if row.fields is None:
        row.fields = canonical.reread(row.text) if row.text is not None else {}
    return row.fields
