"""The embedded log: commands, facts, outcomes and dead letters of one partition in one SQLite file (design §2).

1. `commit` forces its transaction to disk before it returns (`synchronous=FULL` under WAL); `append` does not, as a
   command without outcome has not been acknowledged.
2. Whoever takes the partition raises its generation; a commit of an older generation is `Fenced`.
3. Erasure is physical: the rows of erased facts and of the commands that brought them are overwritten
   (`secure_delete`), and the write-ahead log is folded in and truncated soon after (`scrub`).
4. Times are strictly increasing, also when the clock is set back: none is below the previous command's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from mnemolog.domain import canonical
from mnemolog.domain.errors import Corrupt, Fenced
from mnemolog.domain.record import CONTROL_KEY, CommandRecord, FactRecord, OutcomeRecord, Transaction

_SCHEMA = """
CREATE TABLE IF NOT EXISTS commands ("offset" INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT, key TEXT, headers TEXT,
    value BLOB, time INTEGER);
CREATE INDEX IF NOT EXISTS commands_id ON commands (id);
CREATE TABLE IF NOT EXISTS facts ("offset" INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT, stream TEXT, headers TEXT,
    value BLOB);
CREATE INDEX IF NOT EXISTS facts_key ON facts (key);
CREATE INDEX IF NOT EXISTS facts_stream ON facts (stream, "offset");
CREATE TABLE IF NOT EXISTS outcomes ("offset" INTEGER PRIMARY KEY AUTOINCREMENT, command TEXT, value BLOB,
    time INTEGER);
CREATE INDEX IF NOT EXISTS outcomes_command ON outcomes (command);
CREATE TABLE IF NOT EXISTS dead_letters (key TEXT PRIMARY KEY, reason TEXT, time INTEGER);
CREATE TABLE IF NOT EXISTS sequencing (one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER);
INSERT OR IGNORE INTO sequencing VALUES (1, 0);
"""
FORMAT = 1
_FOLD_AT = 16_000
"""Pages in the write-ahead log at which a commit folds it in: 64 MiB. By then a server has, beside its commits."""
_WAIT = 30_000
_SCRUB_WAIT = 100
"""Milliseconds that another's lock is waited for."""


def connect(path: Path, *, durable: bool) -> sqlite3.Connection:
    """Open the database file for one thread. Raises Corrupt if it is none of ours or damaged.

    `durable` connections force every commit to disk; others leave that to the next durable one.
    """
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        database.execute("PRAGMA secure_delete=ON")
        database.execute(f"PRAGMA wal_autocheckpoint={_FOLD_AT}")
        database.execute(f"PRAGMA busy_timeout={_WAIT}")
        (version,) = database.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError:  # locked, read-only, full: the file itself may be as good as ever
        database.close()
        raise
    except sqlite3.DatabaseError as error:
        database.close()
        raise damaged(path, error) from error
    if version not in {0, FORMAT}:
        database.close()
        message = f"{path} has format {version}; this version of mnemolog reads format {FORMAT}"
        raise Corrupt(message)
    return database


def damaged(path: Path, error: object) -> Corrupt:
    """Return the error of a file that SQLite cannot make sense of."""
    return Corrupt(f"{path} cannot be read as a mnemolog database ({error}); restore it from a backup")


class SqliteLog:
    """The only partition, 0, of an embedded deployment. Its methods do their work on the caller's thread."""

    def __init__(self, path: Path, clock: Callable[[], int]) -> None:
        """Open or make the file; `clock` returns µs since 1970."""
        self._path = path
        self._clock = clock
        self._durable = connect(path, durable=True)
        self._quick = connect(path, durable=False)
        self._quick.executescript(_SCHEMA + f"PRAGMA user_version={FORMAT};")
        self._generation = -1
        self._head: Sequence[CommandRecord] = ()
        self._tail: Sequence[FactRecord] = ()

    async def append(self, partition: int, commands: Sequence[CommandRecord]) -> Sequence[int]:
        """Append commands and return their offsets, in order."""
        del partition
        times = []
        with _transaction(self._quick) as database:
            (last,) = database.execute('SELECT time FROM commands ORDER BY "offset" DESC LIMIT 1').fetchone() or (0,)
            for _ in commands:
                last = max(self._clock(), last + 1)
                times.append(last)
            database.executemany(
                "INSERT INTO commands (id, key, headers, value, time) VALUES (?, ?, ?, ?, ?)",
                [
                    (c.headers.get("ce_id", ""), c.key, _text(c.headers), c.value, time)
                    for c, time in zip(commands, times, strict=True)
                ],
            )
            end = _sequence(database, "commands")
        offsets = list(range(end - len(commands), end))
        # Whoever decides what comes next gets them as they are, without asking the file.
        self._head = [
            CommandRecord(c.key, c.headers, c.value, at, time)
            for c, at, time in zip(commands, offsets, times, strict=True)
        ]
        return offsets

    async def commands(self, partition: int, start: int, limit: int) -> Sequence[CommandRecord]:
        """Return at most `limit` commands from offset `start` on; offsets are row numbers less one."""
        del partition
        head, self._head = self._head, ()
        if head and head[0].offset == start and len(head) <= limit:
            return head
        fields = '"offset" - 1, key, headers, value, time'
        sql = f'SELECT {fields} FROM commands WHERE "offset" > ? ORDER BY "offset" LIMIT ?'  # noqa: S608 -- ours
        rows = self._quick.execute(sql, (start, limit))
        return [
            CommandRecord(key, canonical.headers(headers), value, at, time) for at, key, headers, value, time in rows
        ]

    async def bounds(self, partition: int) -> tuple[int, int]:
        """Return the first offset that is still kept, and the one that comes next."""
        del partition
        following = _sequence(self._quick, "commands")
        (first,) = self._quick.execute('SELECT min("offset") - 1 FROM commands').fetchone()
        return (following if first is None else first), following

    async def facts(self, partition: int, start: int, limit: int) -> Sequence[FactRecord]:
        """Return at most `limit` records from offset `start` on."""
        del partition
        tail, self._tail = self._tail, ()
        if tail and tail[0].offset == start and len(tail) <= limit:
            return tail
        sql = 'SELECT "offset" - 1, key, headers, value FROM facts WHERE "offset" > ? ORDER BY "offset" LIMIT ?'
        return [_fact(row) for row in self._quick.execute(sql, (start, limit))]

    async def stream(self, name: str) -> Sequence[FactRecord]:
        """Return the records of a stream, named whole or by the id at its end."""
        where = "stream = ?1" if "/" in name else "substr(stream, -length(?1) - 1) = '/' || ?1"
        sql = f'SELECT "offset" - 1, key, headers, value FROM facts WHERE {where} ORDER BY "offset"'  # noqa: S608 -- ours
        return [_fact(row) for row in self._quick.execute(sql, (name,))]

    async def end(self, partition: int) -> int:
        """Return the offset below which every fact record lies."""
        del partition
        return _sequence(self._quick, "facts")

    async def outcome(self, partition: int, command: str) -> OutcomeRecord | None:
        """Return the newest outcome of a command."""
        del partition
        sql = 'SELECT value FROM outcomes WHERE command = ? ORDER BY "offset" DESC LIMIT 1'
        row = self._quick.execute(sql, (command,)).fetchone()
        return OutcomeRecord(command, row[0]) if row else None

    async def outcomes(self, partition: int, start: int, limit: int) -> Sequence[tuple[int, OutcomeRecord]]:
        """Return offset and record of at most `limit` outcomes from `start` on."""
        del partition
        sql = 'SELECT "offset" - 1, command, value FROM outcomes WHERE "offset" > ? ORDER BY "offset" LIMIT ?'
        rows = self._quick.execute(sql, (start, limit))
        return [(at, OutcomeRecord(command, value)) for at, command, value in rows]

    async def outcomes_end(self, partition: int) -> int:
        """Return the offset below which every outcome lies."""
        del partition
        return _sequence(self._quick, "outcomes")

    async def take(self, partition: int) -> None:
        """Fence whoever sequenced before."""
        del partition
        with _transaction(self._durable) as database:
            database.execute("UPDATE sequencing SET generation = generation + 1")
            (self._generation,) = database.execute("SELECT generation FROM sequencing").fetchone()

    async def commit(self, partition: int, transaction: Transaction) -> int:
        """Append all that a batch leaves behind, and force it to disk."""
        del partition
        with _transaction(self._durable) as database:
            (generation,) = database.execute("SELECT generation FROM sequencing").fetchone()
            if generation != self._generation:
                message = "another process sequences this data folder now"
                raise Fenced(message)
            _write(database, transaction, self._clock())
            end = _sequence(database, "facts")
        # Whoever reads on from where he stood before gets them as they are, without asking the file.
        self._head, self._tail = (), _left(transaction, end)
        return end

    async def expire(self, commands_before: int, outcomes_before: int) -> None:
        """Remove commands and outcomes older than these instants (µs), and their dead letters.

        The newest command stays: the position of a quiet log is checked against it.
        """
        with _transaction(self._quick) as database:
            newest = '(SELECT max("offset") FROM commands)'
            sql = f'DELETE FROM commands WHERE time < ? AND "offset" < {newest}'  # noqa: S608 -- ours
            database.execute(sql, (commands_before,))
            database.execute("DELETE FROM outcomes WHERE time < ?", (outcomes_before,))
            database.execute("DELETE FROM dead_letters WHERE time < ?", (commands_before,))

    async def scrub(self) -> bool:
        """Fold the write-ahead log into the file and cut it off, so that nothing erased is left in it.

        False if somebody is reading just now, who may still need it: try again.
        """
        self._durable.execute(f"PRAGMA busy_timeout={_SCRUB_WAIT}")  # writes wait meanwhile
        try:
            (busy, _, _) = self._durable.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self._durable.execute(f"PRAGMA busy_timeout={_WAIT}")
        return not busy

    async def close(self) -> None:
        """Close the file; the write-ahead log is folded in by the last to close."""
        self._quick.close()
        self._durable.close()


class _transaction:  # noqa: N801 -- reads as a statement
    """BEGIN IMMEDIATE … COMMIT, or ROLLBACK on any error."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> sqlite3.Connection:
        self._database.execute("BEGIN IMMEDIATE")
        return self._database

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._database.execute("COMMIT")
        finally:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")


def _write(database: sqlite3.Connection, transaction: Transaction, now: int) -> None:
    """Write the rows of a transaction, null records in place of the facts that they take."""

    def many(sql: str, rows: Sequence[tuple[object, ...]]) -> None:
        if rows:
            database.executemany(sql, rows)

    insert = "INSERT INTO facts (key, stream, headers, value) VALUES (?, ?, ?, ?)"
    many(insert, [(f.key, f.headers["stream"], _text(f.headers), f.value) for f in transaction.facts])
    many("DELETE FROM facts WHERE key = ? AND value IS NOT NULL", [(key,) for key in transaction.tombstones])
    many(insert, [(key, None, "{}", None) for key in transaction.tombstones])
    # One that is not decided yet, a repeat under the same id, is still needed.
    decided = transaction.position.offset
    forget = 'UPDATE commands SET value = NULL WHERE id = ? AND "offset" <= ?'
    many(forget, [(command, decided) for command in transaction.forget])
    if transaction.control:
        database.execute("DELETE FROM facts WHERE key = ?", (CONTROL_KEY,))
        control = _control(transaction)
        database.execute(insert, (CONTROL_KEY, None, _text(control.headers), control.value))
    outcomes = "INSERT INTO outcomes (command, value, time) VALUES (?, ?, ?)"
    many(outcomes, [(o.key, o.value, now) for o in transaction.outcomes])
    dead = "INSERT OR REPLACE INTO dead_letters VALUES (?, ?, ?)"
    many(dead, [(letter.key, letter.reason, now) for letter in transaction.dead_letters])


def _left(transaction: Transaction, end: int) -> Sequence[FactRecord]:
    """Return the records that a transaction has left in the file, which ends there, as `_write` orders them."""
    records = [*transaction.facts, *(FactRecord(key, {}, None) for key in transaction.tombstones)]
    if transaction.control:
        records.append(_control(transaction))
    taken = set(transaction.tombstones)
    begin = end - len(records)
    # A fact that was erased by the same transaction has been deleted again, and its null record stays.
    return [
        FactRecord(r.key, r.headers, r.value, begin + n, r.meant)
        for n, r in enumerate(records)
        if r.value is None or r.key not in taken
    ]


def _control(transaction: Transaction) -> FactRecord:
    return FactRecord(CONTROL_KEY, {"position": str(transaction.position), "command": transaction.last}, b"{}")


def _sequence(database: sqlite3.Connection, table: str) -> int:
    """Return how many rows a table has ever had: the next offset, also when its last rows are gone."""
    row = database.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return int(row[0]) if row else 0


def _text(headers: object) -> str:
    return canonical.plain(headers).decode()


def _fact(row: tuple[int, str, str, bytes | None]) -> FactRecord:
    at, key, headers, value = row
    return FactRecord(key, canonical.headers(headers), value, at)
