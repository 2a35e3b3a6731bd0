"""The write-ahead log is folded in beside the commits: what they have written comes into the file by itself."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.waiting import until
from workers import folding_sqlite
from workers.folding_sqlite import Folding
from workers.log_sqlite import connect

ENOUGH = folding_sqlite._EVERY


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the database is."""
    return tmp_path / "mnemolog.db"


@pytest.fixture
def database(path: Path) -> Iterator[sqlite3.Connection]:
    """Open it, with a table."""
    with closing(connect(path, durable=True)) as opened:
        opened.execute("CREATE TABLE said (text TEXT)")
        yield opened


def holds(path: Path, text: str) -> bool:
    """Tell whether the file itself, without its write-ahead log, holds a text.

    Another process reads it: to open and close it in this one would drop the locks that SQLite has on it.
    """
    return subprocess.run(["grep", "-q", text, str(path)], check=False).returncode == 0  # noqa: S607 -- ours


def test_what_was_committed_comes_into_the_file_and_no_commit_does_it(path: Path, database: sqlite3.Connection) -> None:
    """Each time that enough has been committed; never before."""
    folding = Folding(lambda: connect(path, durable=False), path)
    folding.start()
    try:
        for text in ("first", "second"):
            database.execute("INSERT INTO said VALUES (?)", (text,))
            folding.committed(ENOUGH - 1)
            assert not holds(path, text)
            folding.committed(1)
            until(lambda text=text: holds(path, text))  # type: ignore[misc]
    finally:
        folding.stop()


def test_little_is_left_to_the_commits_until_the_end(path: Path, database: sqlite3.Connection) -> None:
    """One that is stopped has nothing more to do, and one that was never started can be stopped."""
    folding = Folding(lambda: connect(path, durable=False), path)
    folding.stop()
    folding = Folding(lambda: connect(path, durable=False), path)
    folding.start()
    database.execute("INSERT INTO said VALUES ('few')")
    folding.committed(1)
    folding.stop()
    assert not holds(path, "few")


def test_the_locks_of_this_process_stay_while_it_folds(path: Path, database: sqlite3.Connection) -> None:
    """Another process that closes the database must not take itself for the last one, and remove the log."""
    folding = Folding(lambda: connect(path, durable=False), path)
    folding.start()
    try:
        database.execute("INSERT INTO said VALUES ('kept')")
        folding.committed(ENOUGH)
        until(lambda: holds(path, "kept"))
    finally:
        folding.stop()
    visit = (
        "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute('PRAGMA user_version').fetchone(); d.close()"
    )
    subprocess.run([sys.executable, "-c", visit, str(path)], check=True)
    assert path.with_name(path.name + "-wal").exists()


def test_the_file_is_forced_to_disk_by_a_descriptor_that_sqlite_has(path: Path, database: sqlite3.Connection) -> None:
    """None is opened for it."""
    assert list(folding_sqlite._open_on(path))
    other = path.with_name("other")
    other.touch()
    assert not list(folding_sqlite._open_on(other))


def test_a_failure_is_told_and_the_thread_goes_on(
    path: Path, database: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """The next commits wake it again."""
    failing = [True]

    def interrupted() -> sqlite3.Connection:
        opened = connect(path, durable=False)
        opened.set_progress_handler(lambda: failing[0], 1)  # SQLite ends any statement with an error where it says so
        return opened

    caplog.set_level(logging.WARNING)
    folding = Folding(interrupted, path)
    folding.start()
    try:
        database.execute("INSERT INTO said VALUES ('late')")
        folding.committed(ENOUGH)
        until(lambda: "cannot be folded in" in caplog.text)
        assert not holds(path, "late")
        failing[0] = False
        folding.committed(ENOUGH)
        until(lambda: holds(path, "late"))
    finally:
        folding.stop()
