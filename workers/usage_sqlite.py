"""The usage log of a data folder: a table in the file of the embedded log, on a connection of its own.

1. Writes are not forced to disk: a process that is killed may lose its last seconds, and nothing is decided by them.
2. They are short, so that the sequencer, who writes to the same file, hardly ever waits for them.
3. What is removed is overwritten (`secure_delete`); the write-ahead log is folded in by whoever scrubs the file.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mnemolog.domain.errors import Unavailable
from mnemolog.domain.usage import UsageRecord, UsageWanted, decode_usage, encode_usage
from workers.log_sqlite import connect

_SCHEMA = """
CREATE TABLE IF NOT EXISTS usage (key TEXT PRIMARY KEY, tenant TEXT, first INTEGER, agent TEXT, invoker TEXT,
    stream TEXT, actor TEXT, value BLOB) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS usage_time ON usage (tenant, first);
CREATE INDEX IF NOT EXISTS usage_owner ON usage (tenant, invoker, agent) WHERE invoker IS NOT NULL;
CREATE INDEX IF NOT EXISTS usage_stream ON usage (stream) WHERE stream IS NOT NULL;
"""
_AT_ONCE = 50
"""Rows in one transaction: some milliseconds."""
_BETWEEN = 0.002
"""Seconds between two transactions, in which the sequencer takes its turn."""


class SqliteUsage:
    """The port `Usage`, for one thread; any number of processes may have the file."""

    def __init__(self, path: Path) -> None:
        """Open or make the table. Raises Unavailable if that cannot be."""
        with _telling():
            self._database = connect(path, durable=False)
            self._database.executescript(_SCHEMA)

    async def write(self, records: Sequence[UsageRecord]) -> None:
        """Keep records, under one key the newest."""
        sql = "INSERT OR REPLACE INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        for start in range(0, len(records), _AT_ONCE):
            with _telling(), self._database as database:
                database.execute("BEGIN IMMEDIATE")
                database.executemany(sql, map(_row, records[start : start + _AT_ONCE]))
            await asyncio.sleep(_BETWEEN)

    async def records(self, wanted: UsageWanted, limit: int | None = None) -> Sequence[UsageRecord]:
        """Return the newest records, the oldest of them first."""
        where, values = _where(wanted)
        sql = f"SELECT key, value FROM usage WHERE {where} ORDER BY first DESC, key DESC LIMIT ?"  # noqa: S608 -- ours
        with _telling():
            rows = self._database.execute(sql, (*values, -1 if limit is None else limit)).fetchall()
        return [decode_usage(*row) for row in reversed(rows)]

    async def count(self, wanted: UsageWanted) -> int:
        """Count records."""
        where, values = _where(wanted)
        with _telling():
            (count,) = self._database.execute(f"SELECT count(*) FROM usage WHERE {where}", values).fetchone()  # noqa: S608
        return int(count)

    async def remove(self, wanted: UsageWanted) -> int:
        """Remove records, some at a time, so that others can write in between."""
        where, values = _where(wanted)
        sql = f"DELETE FROM usage WHERE key IN (SELECT key FROM usage WHERE {where} LIMIT {_AT_ONCE})"  # noqa: S608
        total = 0
        while True:
            with _telling():
                gone = self._database.execute(sql, values).rowcount
            total += gone
            if gone < _AT_ONCE:
                return total
            await asyncio.sleep(_BETWEEN)

    async def close(self) -> None:
        """Close the file."""
        self._database.close()


def _row(record: UsageRecord) -> tuple[object, ...]:
    scope = record.scope
    names = (record.tenant, record.first, scope.agent, scope.invoker, scope.stream and _last(scope.stream))
    return (record.key, *names, record.actor, encode_usage(record))


def _where(wanted: UsageWanted) -> tuple[str, tuple[object, ...]]:
    given: list[tuple[str, object]] = [
        ("tenant = ?", wanted.tenant),
        ("agent = ?", wanted.agent),
        ("invoker = ?", wanted.invoker),
        ("stream = ?", wanted.stream and _last(wanted.stream)),
        ("actor = ?", wanted.actor),
        ("first >= ?", wanted.since),
        ("first < ?", wanted.before),
    ]
    used = [(text, value) for text, value in given if value is not None]
    return " AND ".join(text for text, _ in used) or "true", tuple(value for _, value in used)


def _last(stream: str) -> str:
    return stream.rpartition("/")[2]


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        message = f"the usage log cannot be read or written now: {error}"
        raise Unavailable(message) from error
