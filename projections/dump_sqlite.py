"""All that a SQLite store holds, for an audit: rows with their places, indexes with their members and sizes."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any

from mnemolog.domain.ports import Checkpoint
from mnemolog.domain.record import Position
from mnemolog.domain.stored import StoredIndex, StoredRow

_ROWS = "SELECT id, key, fields FROM view_rows"
_PLACES = (
    'SELECT r.id, p.family, i.name, p.score FROM view_rows r JOIN view_places p ON p."row" = r.id'
    ' LEFT JOIN view_indexes i ON i.id = p."index"'
)


class SqliteDump:
    """Reads the tables of `store_sqlite` on a connection of its own; never writes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Take a connection."""
        self._db = connection

    async def checkpoint(self, partition: int) -> Checkpoint | None:
        """Return how far the views are."""
        del partition
        row = self._db.execute("SELECT value FROM view_meta WHERE name = 'checkpoint'").fetchone()
        if row is None:
            return None
        offset, position = row[0].split(" ")
        return Checkpoint(int(offset), Position.parse(position))

    async def rows(self, partition: int, only: Sequence[str] | None = None) -> AsyncIterator[StoredRow]:
        """Yield rows with their places."""
        del partition
        if only is not None:
            for identifier, key, fields in _each(self._db, f"{_ROWS} WHERE key = ?", only):
                places = self._db.execute(f"{_PLACES} WHERE r.id = ?", (identifier,))
                yield StoredRow(key, fields, _places(places))
            return
        # One statement for all places instead of one a row. Both see the same batch of the projector: a connection
        # keeps what it reads of as long as one of its statements is not done.
        rows = self._db.execute(f"{_ROWS} ORDER BY id")
        places = self._db.execute(f"{_PLACES} ORDER BY r.id")
        following = next(places, None)
        for identifier, key, fields in rows:
            mine = []
            while following is not None and following[0] == identifier:
                mine.append(following)
                following = next(places, None)
            yield StoredRow(key, fields, _places(mine))

    async def indexes(self, partition: int, only: Sequence[str] | None = None) -> AsyncIterator[StoredIndex]:
        """Yield indexes with their members."""
        del partition
        found: Iterable[tuple[int, str, int]] = self._db.execute("SELECT id, name, size FROM view_indexes")
        if only is not None:
            found = _each(self._db, "SELECT id, name, size FROM view_indexes WHERE name = ?", only)
        for identifier, name, size in found:
            members = self._db.execute('SELECT score, key FROM view_places WHERE "index" = ?', (identifier,))
            yield StoredIndex(name, members.fetchall(), size)


def _places(found: Iterable[tuple[int, str, str | None, int]]) -> dict[str, tuple[str, int]]:
    return {family: (index or "", score) for _, family, index, score in found}


def _each(database: sqlite3.Connection, sql: str, values: Iterable[str]) -> Iterator[tuple[int, str, Any]]:
    for value in values:
        yield from database.execute(sql, (value,))
