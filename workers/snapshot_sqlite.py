"""A snapshot in SQLite: the same file as the log when embedded, one file per partition when distributed.

1. Disposable: made by other code (`fingerprint`), or under other rules, it is cleared, and the state replayed from the
   facts. One in a file of its own that is no database any more is removed (`opened`).
2. Not forced to disk: after a power loss an older snapshot stands there, and the tail to replay is longer.
3. Acceptances that have left the window are removed as others come.
4. A disk that does not answer raises Unavailable, a file that is damaged Corrupt: neither is the fault of the command
   that is being decided.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgpack

import mnemolog.domain
from mnemolog.domain.decision import (
    Acceptance,
    AccessState,
    Answered,
    Body,
    Delta,
    Ended,
    GroupState,
    Head,
    MemoryState,
    Owned,
    OwnerState,
    PolicyState,
    SessionState,
    Slot,
    SpaceState,
    Strategy,
    Stream,
    Token,
    Written,
)
from mnemolog.domain.errors import Corrupt, Unavailable
from mnemolog.domain.record import START, Position
from mnemolog.domain.rules import Rules
from workers.log_sqlite import connect

_log = logging.getLogger(__name__)
_BODIES: tuple[type[Body], ...] = (
    SpaceState, SessionState, MemoryState, GroupState, OwnerState, PolicyState, AccessState, Ended,
)  # fmt: skip
_SCHEMA = """
CREATE TABLE IF NOT EXISTS state_meta (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state_slots (slot INTEGER PRIMARY KEY, ordinal INTEGER, last INTEGER);
CREATE TABLE IF NOT EXISTS state_streams (id INTEGER PRIMARY KEY, name TEXT UNIQUE, row BLOB);
CREATE TABLE IF NOT EXISTS state_keys (mark BLOB PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state_groups (message TEXT PRIMARY KEY, stream TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state_tokens (stream INTEGER, sequence INTEGER, at INTEGER, tokens INTEGER, live INTEGER,
    PRIMARY KEY (stream, sequence)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state_window (slot INTEGER, ordinal INTEGER, command TEXT, row BLOB,
    PRIMARY KEY (slot, ordinal)) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS state_window_command ON state_window (slot, command);
CREATE TABLE IF NOT EXISTS state_written (stream INTEGER, version INTEGER, subject TEXT, ordinal INTEGER, link BLOB,
    command TEXT, nth INTEGER, time INTEGER, PRIMARY KEY (stream, version)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state_erasing (stream TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state_owned (owner BLOB, ordinal INTEGER, stream TEXT, subject TEXT,
    PRIMARY KEY (owner, ordinal)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS state_written_subject ON state_written (stream, subject);
"""
_AT_ONCE = (1, 8, 64, 400)
"""How many commands or streams a statement asks for: few forms, so that they stay prepared, and at most 999 values."""
_KNOWN = (
    "SELECT w.slot, w.command FROM (VALUES %s) AS asked"
    " CROSS JOIN state_window AS w ON w.slot = asked.column1 AND w.command = asked.column2"
)
"""CROSS JOIN, so that each command is looked up: for `IN (VALUES …)` SQLite reads the whole window."""
_TABLES = ("meta", "slots", "streams", "keys", "groups", "tokens", "window", "written", "erasing", "owned")
_NUMBERS = "SELECT name, id FROM state_streams WHERE name IN"
_STREAM = "(SELECT id FROM state_streams WHERE name = ?)"
_WRITTEN = "SELECT version, subject, ordinal, link, command, nth, time FROM state_written"


@cache
def fingerprint() -> bytes:
    """Return the hash of the code that folds and of this module: another code's state is not trusted."""
    digest = hashlib.sha256()
    here = Path(__file__)
    for path in [*sorted(Path(mnemolog.domain.__path__[0]).glob("*.py")), here.with_name("state.py"), here]:
        digest.update(path.read_bytes())
    return digest.digest()


def opened(file: Path) -> sqlite3.Connection:
    """Open a file that holds a snapshot and nothing else; one that is damaged is removed, and the facts replayed."""
    damage = _damage(file)
    if damage:
        _log.warning("the snapshot %s is removed, and all facts are replayed: %s", file, damage)
        for suffix in ("", "-wal", "-shm"):
            file.with_name(file.name + suffix).unlink(missing_ok=True)
    return connect(file, durable=False)


def _damage(file: Path) -> str:
    """Return what is wrong with a file; nothing if it is whole, or not there yet."""
    try:
        database = connect(file, durable=False)
    except Corrupt as error:
        return str(error)
    try:
        (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        return str(error)
    finally:
        database.close()
    return "" if verdict == "ok" else str(verdict)


class SqliteSnapshot:
    """Keeps a state in the tables `state_*` of a database that it shares or owns."""

    def __init__(self, database: sqlite3.Connection, rules: Rules) -> None:
        """Open the tables, and clear them if other code wrote them. The connection is in autocommit mode."""
        self._db = database
        self._rules = rules
        self._db.executescript(_SCHEMA)
        if self._meta("fingerprint") != self._made_by():
            self.clear()

    def start(self) -> tuple[bytes, int, Position, str]:
        """Return where the last save stood."""
        stand = self._meta("stand")
        offset, position, last = msgpack.unpackb(stand) if stand else (0, str(START), "")
        return self._meta("key") or b"", offset, Position.parse(position), last

    def save(self, changed: Delta, offset: int, position: Position, last: str) -> None:
        """Keep what has changed, and how far the fold has come, in one transaction."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._write(changed)
            self._put_meta("stand", msgpack.packb((offset, str(position), last)))
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def clear(self) -> None:
        """Forget everything and take a new key; the tables are made anew, as other code may have made others."""
        self._db.execute("BEGIN IMMEDIATE")
        for table in _TABLES:
            self._db.execute(f"DROP TABLE state_{table}")
        for statement in _SCHEMA.split(";"):
            self._db.execute(statement)
        self._put_meta("key", secrets.token_bytes(32))
        self._put_meta("fingerprint", self._made_by())
        self._db.execute("COMMIT")

    def _made_by(self) -> bytes:
        """Return whose state is trusted: this code's, under these rules, whose window it is pruned by."""
        return fingerprint() + bytes.fromhex(self._rules.hash)

    def _write(self, changed: Delta) -> None:
        many = self._db.executemany
        many("INSERT OR REPLACE INTO state_slots VALUES (?, ?, ?)", ((s, *row) for s, row in changed.slots.items()))
        many(
            "INSERT INTO state_streams (name, row) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET row = excluded.row",
            ((name, _pack_stream(row)) for name, row in changed.streams.items()),
        )
        names = {*changed.streams, *(name for name, _ in changed.tokens), *(name for name, _ in changed.written)}
        numbers = self._numbers(names)
        keys = (((mark,), None if value is None else (value,)) for mark, value in changed.keys.items())
        _replace(self._db, "state_keys VALUES (?, ?)", "state_keys WHERE mark = ?", keys)
        groups = (((message,), None if stream is None else (stream,)) for message, stream in changed.groups.items())
        _replace(self._db, "state_groups VALUES (?, ?)", "state_groups WHERE message = ?", groups)
        _replace(
            self._db,
            "state_tokens VALUES (?, ?, ?, ?, ?)",
            "state_tokens WHERE stream = ? AND sequence = ?",
            (((numbers.get(name), sequence), row) for (name, sequence), row in changed.tokens.items()),
        )
        many(
            "INSERT OR REPLACE INTO state_window VALUES (?, ?, ?, ?)",
            (
                (slot, row.ordinal, command, msgpack.packb((row.time, row.facts)))
                for (slot, command), row in changed.acceptances.items()
            ),
        )
        _replace(
            self._db,
            "state_written VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            "state_written WHERE stream = ? AND version = ?",
            (((numbers.get(name), version), row and row[1:]) for (name, version), row in changed.written.items()),
        )
        waits = (((name,), () if waiting else None) for name, waiting in changed.erasing.items())
        _replace(self._db, "state_erasing VALUES (?)", "state_erasing WHERE stream = ?", waits)
        owned = ((at, row and row[1:]) for at, row in changed.owned.items())
        _replace(self._db, "state_owned VALUES (?, ?, ?, ?)", "state_owned WHERE owner = ? AND ordinal = ?", owned)
        for slot in {slot for slot, _ in changed.acceptances}:
            # Each acceptance has an ordinal of its own: below so many of them none has left the window.
            if slot not in changed.slots or changed.slots[slot].ordinal > self._rules.window_size:
                self._prune(slot)

    def _numbers(self, names: Iterable[str]) -> dict[str, int]:
        """Return the numbers that these streams have in the tables."""
        found: dict[str, int] = {}
        left: list[str | None] = list(names)
        while left:
            size = _lot(len(left))
            some, left = left[:size], left[size:]
            marks = ", ".join("?" * size)
            found.update(self._rows(f"{_NUMBERS} ({marks})", *some, *[None] * (size - len(some))))
        return found

    def _prune(self, slot: int) -> None:
        self._db.execute(
            "DELETE FROM state_window WHERE slot = ?1 AND ordinal < (SELECT ordinal FROM state_window WHERE slot = ?1"
            " ORDER BY ordinal DESC LIMIT 1 OFFSET ?2)",
            (slot, self._rules.window_size - 1),
        )

    # ---- reads -------------------------------------------------------------------------------------------------------

    def slots(self) -> dict[int, Slot]:
        """Return the counters of every slot."""
        rows = self._rows("SELECT slot, ordinal, last FROM state_slots")
        return {slot: Slot(ordinal, last) for slot, ordinal, last in rows}

    def erasing(self) -> set[str]:
        """Return the streams that wait for the eraser."""
        return {name for (name,) in self._rows("SELECT stream FROM state_erasing")}

    def stream(self, name: str) -> Stream | None:
        """Return a stream's state."""
        row = self._one("SELECT row FROM state_streams WHERE name = ?", name)
        return _unpack_stream(row) if row else None

    def key(self, mark: bytes) -> str | None:
        """Return what a mark stands for."""
        value: str | None = self._one("SELECT value FROM state_keys WHERE mark = ?", mark)
        return value

    def group_of(self, message: str) -> str | None:
        """Return the stream of the group that holds a message."""
        value: str | None = self._one("SELECT stream FROM state_groups WHERE message = ?", message)
        return value

    def token(self, stream: str, sequence: int) -> Token | None:
        """Return an event's token."""
        sql = f"SELECT at, tokens, live FROM state_tokens WHERE stream = {_STREAM} AND sequence = ?"  # noqa: S608
        rows = self._rows(sql, stream, sequence)
        return Token(rows[0][0], rows[0][1], live=bool(rows[0][2])) if rows else None

    def acceptance(self, slot: int, command: str) -> Acceptance | None:
        """Return an acceptance."""
        sql = "SELECT ordinal, row FROM state_window WHERE slot = ? AND command = ?"
        rows = self._rows(sql, slot, command)
        if not rows:
            return None
        ordinal, row = rows[0]
        time, facts = msgpack.unpackb(row)
        return Acceptance(ordinal, time, tuple(Answered(*fact) for fact in facts))

    def accepted(self, commands: Sequence[tuple[int, str]]) -> set[tuple[int, str]]:
        """Return those of these commands, each with its slot, that have an acceptance."""
        found: set[tuple[int, str]] = set()
        left = list(commands)
        while left:
            size = _lot(len(left))
            some, left = left[:size], left[size:]
            some += some[:1] * (size - len(some))
            found.update(self._rows(_KNOWN % ",".join(["(?,?)"] * size), *(value for at in some for value in at)))
        return found

    def newest(self, slot: int, size: int) -> Sequence[tuple[int, str]]:
        """Return ordinal and command id of the newest acceptances of a slot, newest first."""
        sql = "SELECT ordinal, command FROM state_window WHERE slot = ? ORDER BY ordinal DESC LIMIT ?"
        return self._rows(sql, slot, size)

    def written(self, stream: str, subject: str | None, limit: int, above: int = -1) -> Sequence[Written]:
        """Return a stream's first facts above a version that are not erased."""
        where = f"{_WRITTEN} WHERE stream = {_STREAM} AND version > ?"
        if subject is None:
            rows = self._rows(f"{where} ORDER BY version LIMIT ?", stream, above, limit)
        else:
            rows = self._rows(f"{where} AND subject = ? ORDER BY version LIMIT ?", stream, above, subject, limit)
        return [Written(*row) for row in rows]

    def written_versions(self, stream: str, versions: Sequence[int]) -> Sequence[Written]:
        """Return those of a stream's facts with these versions that are not erased."""
        sql = f"{_WRITTEN} WHERE stream = {_STREAM} AND version = ?"
        return [Written(*row) for version in versions for row in self._rows(sql, stream, version)]

    def owned(self, owner: bytes, limit: int, above: int = -1) -> Sequence[Owned]:
        """Return the first things above an ordinal that go with an owner."""
        sql = (
            "SELECT ordinal, stream, subject FROM state_owned WHERE owner = ? AND ordinal > ? ORDER BY ordinal LIMIT ?"
        )
        return [Owned(*row) for row in self._rows(sql, owner, above, limit)]

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _rows(self, sql: str, *arguments: object) -> list[Any]:
        try:
            return self._db.execute(sql, arguments).fetchall()
        except sqlite3.OperationalError as error:
            message = f"the sequencer's snapshot cannot be read now: {error}"
            raise Unavailable(message) from error
        except sqlite3.DatabaseError as error:
            message = f"the sequencer's snapshot is damaged: {error}"
            raise Corrupt(message) from error

    def _one(self, sql: str, argument: object) -> Any:
        rows = self._rows(sql, argument)
        return rows[0][0] if rows else None

    def _meta(self, name: str) -> bytes | None:
        value: bytes | None = self._one("SELECT value FROM state_meta WHERE name = ?", name)
        return value

    def _put_meta(self, name: str, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO state_meta VALUES (?, ?)", (name, value))


_Values = tuple[Any, ...]


def _replace(
    database: sqlite3.Connection, into: str, where: str, changed: Iterable[tuple[_Values, _Values | None]]
) -> None:
    """Insert or replace what has, behind its key, a row; delete what has None."""
    puts: list[_Values] = []
    drops: list[_Values] = []
    for key, row in changed:
        if row is None:
            drops.append(key)
        else:
            puts.append(key + row)
    database.executemany(f"INSERT OR REPLACE INTO {into}", puts)
    database.executemany(f"DELETE FROM {where}", drops)  # noqa: S608 -- the texts are this module's own


def _lot(count: int) -> int:
    return next((size for size in _AT_ONCE if size >= count), _AT_ONCE[-1])


def _pack_stream(row: Stream) -> bytes:
    fields = () if isinstance(row.body, Ended) else row.body
    packed: bytes = msgpack.packb((row.head, _BODIES.index(type(row.body)), fields))
    return packed


def _unpack_stream(raw: bytes) -> Stream:
    head, body, fields = msgpack.unpackb(raw, use_list=False)
    kind = _BODIES[body]
    if kind is SessionState:
        at = SessionState._fields.index("strategies")
        fields = (*fields[:at], tuple(Strategy(*s) for s in fields[at]), *fields[at + 1 :])
    return Stream(Head(*head), kind(*fields))
