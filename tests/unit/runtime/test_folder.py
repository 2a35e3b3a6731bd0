"""A data folder: one process sequences it, its key is its owner's and stays, and errors say what to do."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mnemolog.domain.errors import Corrupt, Unavailable
from mnemolog.runtime.folder import Folder, SequencingLock

pytestmark = pytest.mark.unit

_HOLD = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX | fcntl.LOCK_NB)
print("held", flush=True)
sys.stdin.read()
"""


def other_process(folder: Folder) -> subprocess.Popen[str]:
    """Start a process that takes the folder's lock, and holds it until its input ends; it ends at once if it cannot."""
    command = [sys.executable, "-c", _HOLD, str(folder.path / "sequencing.lock")]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)


def test_the_lock_has_one_holder(tmp_path: Path) -> None:
    """A second holder is refused, in this process too, until the first lets go."""
    folder = Folder(tmp_path)
    first, second = SequencingLock(folder), SequencingLock(folder)
    assert first.acquire()
    assert not second.acquire()
    second.release()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()


def test_another_process_is_refused(tmp_path: Path) -> None:
    """What this process holds, no other can take."""
    folder = Folder(tmp_path)
    with SequencingLock(folder), other_process(folder) as process:
        assert process.communicate()[0] == ""
    assert process.returncode == 1


def test_the_lock_goes_with_its_process(tmp_path: Path) -> None:
    """However the other process ends, its lock is free then: no stale file keeps a server from starting."""
    folder = Folder(tmp_path)
    with other_process(folder) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert not SequencingLock(folder).acquire()
        process.kill()
    assert (tmp_path / "sequencing.lock").exists()
    lock = SequencingLock(folder)
    assert lock.acquire()
    lock.release()


def test_a_refused_server_is_told_what_to_do(tmp_path: Path) -> None:
    """The error names the folder and the option; the holder keeps the lock, and lets go at its end."""
    folder = Folder(tmp_path)
    with SequencingLock(folder):
        with (
            pytest.raises(Unavailable, match=f"runs on the data folder {tmp_path};.*--data"),
            SequencingLock(folder),
        ):
            pytest.fail("two servers on one folder")
        assert not SequencingLock(folder).acquire()
    with SequencingLock(folder):
        pass


def test_the_key_is_its_owners_and_stays(tmp_path: Path) -> None:
    """32 bytes, mode 0600 whatever the umask, the same at every start, another in every folder."""
    before = os.umask(0)
    try:
        key = Folder(tmp_path / "a").token_key()
    finally:
        os.umask(before)
    path = tmp_path / "a" / "token.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(key) == 32
    assert Folder(tmp_path / "a").token_key() == key == path.read_bytes()
    assert Folder(tmp_path / "b").token_key() != key
    assert [entry.name for entry in (tmp_path / "a").iterdir()] == ["token.key"]


def test_a_key_is_never_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies while it makes the key leaves none: the next one makes its own."""

    def dies(count: int) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mnemolog.runtime.folder.secrets.token_bytes", dies)
        with pytest.raises(KeyboardInterrupt):
            Folder(tmp_path).token_key()
    assert not (tmp_path / "token.key").exists()
    assert len(Folder(tmp_path).token_key()) == 32


def test_the_folder_is_made_where_there_is_none(tmp_path: Path) -> None:
    """With the folders above it; one that is there is taken as it is."""
    deep = tmp_path / "a" / "b"
    assert Folder(deep).database == deep / "mnemolog.db"
    assert Folder(deep).path.is_dir()


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    """A file in its place or above it is an error with the path and the option."""
    file = tmp_path / "file"
    file.write_text("no folder")
    for path in (file, file / "below"):
        with pytest.raises(Unavailable, match=f"the data folder {path} cannot be made.*--data"):
            Folder(path)


def test_what_is_no_database_is_named(tmp_path: Path) -> None:
    """A folder in its place is said to be unwritable, foreign bytes to be none of ours."""
    (tmp_path / "a" / "mnemolog.db").mkdir(parents=True)
    with pytest.raises(Unavailable, match=r"the data folder .* cannot be written"):
        Folder(tmp_path / "a").log()
    folder = Folder(tmp_path / "b")
    folder.database.write_bytes(b"these are no pages of SQLite" * 99)
    with pytest.raises(Corrupt, match=r"mnemolog\.db cannot be read as a mnemolog database"):
        folder.log()
