"""SQLite's write-ahead log, folded into its file on a thread of its own: no commit waits for it.

SQLite folds it in within the commit that makes it long enough, and whoever waits for that commit waits until pages that
lie anywhere in the file are written and forced to disk. This thread does the same beside the commits, little by little:

1. A passive checkpoint writes the pages, and stops nobody. What is committed meanwhile stays for the next one.
2. It is forced to disk here as well: SQLite does that only for a checkpoint that has left nothing over, and under load
   none is. The commit that makes the log long enough to begin anew would have all of it to force.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

_log = logging.getLogger(__name__)
_EVERY = 120
"""Rows after which it is worth it: some hundred pages. With more, a commit that comes meanwhile waits for the disk."""
_ANYWHERE = 10
"""How many new rows one that is erased counts for: they lie side by side, and what it leaves lies anywhere."""
_DESCRIPTORS = Path("/dev/fd")


class Folding:
    """One thread tells what it has committed; this one folds it in."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], path: Path) -> None:
        """Take how to open a connection to the file, and where it is."""
        self._connect = connect
        self._path = path
        self._rows = 0
        self._due = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="mnemolog-folding")

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def committed(self, rows: int, erased: int = 0) -> None:
        """Take note of a commit that has written so many rows, and erased so many others."""
        self._rows += rows + _ANYWHERE * erased
        if self._rows >= _EVERY:
            self._rows = 0
            self._due.set()

    def stop(self) -> None:
        """Finish what is under way, and end the thread."""
        self._stopping = True
        self._due.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        database = self._connect()
        try:
            while self._due.wait() and not self._stopping:
                self._due.clear()
                try:
                    database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                    for descriptor in _open_on(self._path):
                        os.fsync(descriptor)
                        break
                except (sqlite3.Error, OSError) as error:
                    # The next commit meets the same disk, and says so to whoever waits for it.
                    _log.warning("the write-ahead log cannot be folded in now: %s", error)
        finally:
            database.close()


def _open_on(path: Path) -> Iterator[int]:
    """Yield the descriptors that SQLite has open on a file; none where the system does not tell.

    The file must not be opened for that: to close it again would drop the locks that SQLite has on it in this process.
    """
    wanted = path.stat()
    for entry in _DESCRIPTORS.iterdir() if _DESCRIPTORS.exists() else ():
        try:
            found = os.fstat(int(entry.name))
        except OSError:  # closed meanwhile, as the one that the listing itself was read from
            continue
        if os.path.samestat(found, wanted):
            yield int(entry.name)
