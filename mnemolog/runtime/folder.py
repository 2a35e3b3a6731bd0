"""A data folder: one SQLite file, one vector folder, a key, and the lock of who sequences.

The lock is on sequencing only: other commands read beside a running server, and hand it their
commands through the file.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from mnemolog.domain.errors import Unavailable
from workers.log_sqlite import SqliteLog, connect, damaged
from workers.usage_sqlite import SqliteUsage

_KEY_FILE = "token.key"


def now() -> int:
    """Return the time in µs since 1970."""
    return time.time_ns() // 1_000


class Folder:
    """Paths and connections of one data folder."""

    def __init__(self, path: Path) -> None:
        """Make the folder if there is none. Raises Unavailable if that cannot be."""
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"the data folder {path} cannot be made: {error.strerror}; choose another with --data"
            raise Unavailable(message) from error

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.path / "mnemolog.db"

    @property
    def vectors(self) -> Path:
        """The folder of the vector index."""
        return self.path / "vectors"

    @property
    def usage_places(self) -> Path:
        """The file that says up to where erasures have been followed for the usage log."""
        return self.path / "usage-erasures"

    def log(self) -> SqliteLog:
        """Open the log. Raises Unavailable, or Corrupt if it has been lost or cut short."""
        self._check_there()
        with self.told():
            self._check_whole()
            return SqliteLog(self.database, now)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Say in our words what SQLite raises. Raises Unavailable or Corrupt."""
        try:
            yield
        except sqlite3.OperationalError as error:
            message = f"the data folder {self.path} cannot be written ({error}); check its owner and free space"
            raise Unavailable(message) from error
        except sqlite3.DatabaseError as error:
            raise damaged(self.database, error) from error

    def _check_there(self) -> None:
        """Notice a file that is gone or empty, which SQLite takes for a new one, before it does.

        It must not be opened for that: to close it again would drop the locks that SQLite has on it in this process.
        """
        there = self.database.exists() and self.database.stat().st_size
        if not there and (self.path / _KEY_FILE).exists():
            raise damaged(self.database, "the folder has been served before, but the file is gone or empty")

    def _check_whole(self) -> None:
        """Notice a file that was cut short within its last page, which SQLite fills up with zeros.

        It is measured where the write-ahead log is empty only: else that may hold the pages that lie further on.
        """
        ahead = self.database.with_name(self.database.name + "-wal")
        if not self.database.exists() or (ahead.exists() and ahead.stat().st_size):
            return
        with closing(sqlite3.connect(self.database)) as database:
            (pages,), (page,) = (database.execute(f"PRAGMA page_{what}").fetchone() for what in ("count", "size"))
        size = self.database.stat().st_size
        if size < pages * page:
            raise damaged(self.database, f"it has been cut short: {size} of {pages * page} bytes")

    def connection(self) -> sqlite3.Connection:
        """Open a connection that leaves forcing to disk to the log's."""
        return connect(self.database, durable=False)

    def usage(self) -> SqliteUsage:
        """Open the usage log. Raises Unavailable."""
        return SqliteUsage(self.database)

    def token_key(self) -> bytes:
        """Return the key that access tokens are signed with, made at first use and readable by its owner only."""
        path = self.path / _KEY_FILE
        if not path.exists():
            # Written whole beside it, then put in place: a process killed meanwhile leaves no key that is cut short.
            fresh = self.path / f"token.key.{secrets.token_hex(4)}"
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        return path.read_bytes()


class SequencingLock:
    """Held by the one process that sequences a data folder; goes with the process, however it ends."""

    def __init__(self, folder: Folder) -> None:
        """Name the folder."""
        self._path = folder.path / "sequencing.lock"
        self._file: int | None = None

    def acquire(self) -> bool:
        """Take the lock; False if another process has it."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Let go of the lock."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        """Hold the lock. Raises Unavailable if another process has it."""
        if not self.acquire():
            message = (
                f"another mnemolog server runs on the data folder {self._path.parent};"
                " stop it, or give this one a folder of its own with --data"
            )
            raise Unavailable(message)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the lock."""
        self.release()
