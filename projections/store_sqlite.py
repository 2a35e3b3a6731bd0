"""The embedded store: rows and indexes of partition 0 in SQLite tables, usually beside the log in the same file.

1. A batch and its checkpoint are one transaction; it is not forced to disk, as what is lost is projected again.
2. An index knows its size, so a count is O(1); a place holds the row's key, so a page comes in (score, key) order.
3. A read of a few rows, and of a whole index that has no more, is answered on the caller's thread, as a hop to another
   costs more than it; any other runs on a thread of its own. Each thread has its own connection; readers see committed
   batches only.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TypeVar

from mnemolog.domain import canonical
from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ops import Op
from mnemolog.domain.ports import Applied, Checkpoint, Match, Row
from mnemolog.domain.record import Position
from projections.matching import fits, trace
from projections.store_sqlite_batch import Batch, each

_SCHEMA = """
CREATE TABLE IF NOT EXISTS view_rows (id INTEGER PRIMARY KEY, key TEXT UNIQUE, fields TEXT);
CREATE TABLE IF NOT EXISTS view_indexes (id INTEGER PRIMARY KEY, name TEXT UNIQUE, size INTEGER);
CREATE TABLE IF NOT EXISTS view_places ("index" INTEGER, score INTEGER, key TEXT, "row" INTEGER, family TEXT,
    PRIMARY KEY ("index", score, key)) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS view_places_row ON view_places ("row", family);
CREATE TABLE IF NOT EXISTS view_meta (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
"""
VERSION = "2"
"""Of the views: another version's rows are dropped, and projected again from the log."""

_MAX = (1 << 63) - 1
_FEW = 16
_T = TypeVar("_T")


class SqliteStore:
    """One writer, which `apply` belongs to, and any number of readers."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        """Take how to open a connection (autocommit, WAL)."""
        self._connect = connect
        self._db = connect()
        self._db.executescript(_SCHEMA)
        self._readers = threading.local()
        self._opened: list[sqlite3.Connection] = []
        if self._meta("version") != VERSION:
            self.clear()

    # ---- writes ------------------------------------------------------------------------------------------------------

    async def apply(self, partition: int, follows: int, ops: Sequence[Op], checkpoint: Checkpoint) -> Applied:
        """Apply the ops of a batch and its checkpoint in one transaction."""
        del partition
        self._db.execute("BEGIN IMMEDIATE")
        try:
            stored = self._checkpoint()
            if stored is not None and stored.offset >= checkpoint.offset:
                answer: Applied = "duplicate"
            elif (stored.offset if stored else 0) < follows:
                answer = "behind"
            else:
                answer = "applied"
                Batch(self._db).write(ops)
                self._put_meta("checkpoint", f"{checkpoint.offset} {checkpoint.position}")
            self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        return answer

    async def checkpoint(self, partition: int) -> Checkpoint | None:
        """Return the stored checkpoint."""
        del partition
        return self._checkpoint()

    # ---- reads -------------------------------------------------------------------------------------------------------

    async def reached(self, partition: int) -> Checkpoint | None:
        """Return the stored checkpoint, as readers see it."""
        del partition
        return self._read(_checkpoint_in)

    async def rows(self, partition: int, keys: Sequence[str]) -> Sequence[Row | None]:
        """Return the rows under `keys`, in order."""
        del partition

        sql = "SELECT key, fields FROM view_rows WHERE key IN"

        def read(database: sqlite3.Connection) -> Sequence[Row | None]:
            if len(keys) == 1:
                found = dict(each(database, sql, keys))
            else:
                database.execute("BEGIN")  # all of one batch, or of the one before
                try:
                    found = dict(each(database, sql, keys))
                finally:
                    database.execute("COMMIT")
            return [canonical.reread(found[key]) if key in found else None for key in keys]

        return await self._answer(read, at_once=len(keys) <= _FEW)

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
        """Return (score, key, row) of an index in the order of (score, key)."""
        del partition
        order = "DESC" if newest_first else "ASC"
        where, traces = _where(matches)
        skip, end = min(skip, _MAX), None if limit is None else skip + limit
        sql = (
            "SELECT p.score, p.key, r.fields FROM view_places p CROSS JOIN view_rows r ON r.id = p.row"  # noqa: S608
            f' WHERE p."index" = (SELECT id FROM view_indexes WHERE name = ?){where}'
            f" ORDER BY p.score {order}, p.key {order} LIMIT ? OFFSET ?"
        )

        def entries(limit: int, skip: int, database: sqlite3.Connection) -> Iterator[tuple[int, str, Row]]:
            rows = database.execute(sql, (index, *traces, limit, skip))
            return ((score, key, canonical.reread(text)) for score, key, text in rows)

        def read(limit: int, skip: int, database: sqlite3.Connection) -> Sequence[tuple[int, str, Row]]:
            return list(entries(limit, skip, database))

        def sift(database: sqlite3.Connection) -> Sequence[tuple[int, str, Row]]:
            fitting = (entry for entry in entries(_MAX, 0, database) if fits(entry[2], matches))
            return list(islice(fitting, skip, end))

        if matches:
            return await self._answer(sift, at_once=False)
        if limit is None and not skip and len(all_of_it := self._read(partial(read, _FEW + 1, 0))) <= _FEW:
            return all_of_it
        limit = _MAX if limit is None else min(limit, _MAX)
        return await self._answer(partial(read, limit, skip), at_once=end is not None and end <= _FEW)

    async def count(self, partition: int, index: str, matches: Sequence[Match] = ()) -> int:
        """Return how many rows an index holds."""
        del partition
        where, traces = _where(matches)

        def read(database: sqlite3.Connection) -> int:
            if not matches:
                row = database.execute("SELECT size FROM view_indexes WHERE name = ?", (index,)).fetchone()
                return int(row[0]) if row else 0
            sql = (
                "SELECT r.fields FROM view_places p CROSS JOIN view_rows r ON r.id = p.row"  # noqa: S608 -- ours
                f' WHERE p."index" = (SELECT id FROM view_indexes WHERE name = ?){where}'
            )
            return sum(fits(canonical.reread(text), matches) for (text,) in database.execute(sql, (index, *traces)))

        return await self._answer(read, at_once=not matches)

    def clear(self) -> None:
        """Forget every view, and the checkpoint with them."""
        self._db.execute("BEGIN IMMEDIATE")
        for table in ("rows", "indexes", "places", "meta"):
            self._db.execute(f"DELETE FROM view_{table}")  # noqa: S608 -- the names are this module's own
        self._put_meta("version", VERSION)
        self._db.execute("COMMIT")

    async def close(self) -> None:
        """Close every connection."""
        for connection in [*self._opened, self._db]:
            connection.close()

    # ---- inside ------------------------------------------------------------------------------------------------------

    async def _answer(self, ask: Callable[[sqlite3.Connection], _T], *, at_once: bool) -> _T:
        return self._read(ask) if at_once else await asyncio.to_thread(self._read, ask)

    def _read(self, ask: Callable[[sqlite3.Connection], _T]) -> _T:
        connection = getattr(self._readers, "connection", None)
        if connection is None:
            connection = self._readers.connection = self._connect()
            self._opened.append(connection)
        try:
            return ask(connection)
        except (sqlite3.DatabaseError, json.JSONDecodeError) as error:
            message = f"the views cannot be read ({error}); if that lasts, restore the data folder from a backup"
            raise Unavailable(message) from error

    def _checkpoint(self) -> Checkpoint | None:
        return _checkpoint_in(self._db)

    def _meta(self, name: str) -> str | None:
        return _meta_in(self._db, name)

    def _put_meta(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO view_meta VALUES (?, ?)", (name, value))


def _where(matches: Sequence[Match]) -> tuple[str, list[str]]:
    """Return what passes over most rows that do not fit, without reading them as JSON."""
    return " AND instr(r.fields, ?) > 0" * len(matches), [trace(match) for match in matches]


def _meta_in(database: sqlite3.Connection, name: str) -> str | None:
    row = database.execute("SELECT value FROM view_meta WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None


def _checkpoint_in(database: sqlite3.Connection) -> Checkpoint | None:
    text = _meta_in(database, "checkpoint")
    if text is None:
        return None
    offset, position = text.split(" ")
    return Checkpoint(int(offset), Position.parse(position))
