"""All that a SQLite store holds, for an audit: rows with their places, indexes with their members and sizes."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any

from mnemolog.domain import canonical
from mnemolog.domain.ports import Checkpoint
from mnemolog.domain.record import Position
from mnemolog.domain.stored import StoredIndex, StoredRow


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
        found: Iterable[tuple[int, str, str]] = self._db.execute("SELECT id, key, fields FROM view_rows")
        if only is not None:
            found = _each(self._db, "SELECT id, key, fields FROM view_rows WHERE key = ?", only)
        for identifier, key, fields in found:
            sql = 'SELECT p.family, i.name, p.score FROM view_places p LEFT JOIN view_indexes i ON i.id = p."index"'
            places = self._db.execute(sql + ' WHERE p."row" = ?', (identifier,))
            yield StoredRow(
                key, canonical.reread(fields), {family: (index or "", score) for family, index, score in places}
            )

    async def indexes(self, partition: int, only: Sequence[str] | None = None) -> AsyncIterator[StoredIndex]:
        """Yield indexes with their members."""
        del partition
        found: Iterable[tuple[int, str, int]] = self._db.execute("SELECT id, name, size FROM view_indexes")
        if only is not None:
            found = _each(self._db, "SELECT id, name, size FROM view_indexes WHERE name = ?", only)
        for identifier, name, size in found:
            members = self._db.execute('SELECT score, key FROM view_places WHERE "index" = ?', (identifier,))
            yield StoredIndex(name, members.fetchall(), size)


def _each(database: sqlite3.Connection, sql: str, values: Iterable[str]) -> Iterator[tuple[int, str, Any]]:
    for value in values:
        yield from database.execute(sql, (value,))
