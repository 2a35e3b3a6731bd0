"""A disk that is full, read-only or damaged, and a vector folder that is half there, under a real server.

Each is a clear error or a clean recovery; what was acknowledged is there afterwards, or the server does not start. The
servers embed by hashing; a full disk is played by a limit on the size of the server's files (`RLIMIT_FSIZE`), which
SQLite meets as a write that fails, and a read-only one by permissions that the server's process cannot override.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mnemolog.runtime.process import ServerProcess, run_json
from tests.system.test_kill import check_folder, eventually

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux", reason="limits of a running process are set by Linux's prlimit"),
]

COMMAND = [sys.executable, "-m", "mnemolog.runtime.cli", "serve", "--port", "0", "--data"]
MEMORIES = 40
PAGE = 4_096
INVOKER = {"agentID": "agent", "invokerID": "ann"}


class Answer(NamedTuple):
    """What the server said."""

    status: int
    body: Any


class Api:
    """A client of `/v1`."""

    def __init__(self, url: str, token: str) -> None:
        """Take the server's address and an access token."""
        self.url, self.token = url, token

    def __call__(self, method: str, path: str, body: Any = None) -> Answer:
        """Send a request."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)  # noqa: S310 -- our own
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 -- our own
                return Answer(answer.status, json.loads(answer.read() or b"null"))
        except urllib.error.HTTPError as error:
            return Answer(error.code, json.loads(error.read()))

    def add(self, number: int) -> Answer:
        """Add a memory of some length."""
        return self("POST", "/v1/memories", {**INVOKER, "content": f"memory {number} " + "of some length " * 150})

    def listed(self) -> list[int]:
        """Return the numbers of all memories."""
        answer = self("GET", "/v1/memories?$top=1000")
        assert answer.status == 200, answer
        return [int(row["content"].split()[1]) for row in answer.body["value"]]

    def ready(self) -> Answer:
        """Ask whether the server takes requests."""
        return self("GET", "/health/ready")


def api_of(server: ServerProcess) -> Api:
    """Return a client with credentials that are made in the running server's folder."""
    made = run_json("clients", "create", "--tenant", "acme", "--data", str(server.data))
    form = f"grant_type=client_credentials&client_id={made['id']}&client_secret={made['secret']}"
    with urllib.request.urlopen(f"{server.url}/oauth/token", form.encode(), timeout=20) as answer:  # noqa: S310 -- ours
        return Api(server.url, json.loads(answer.read())["access_token"])


class Kept(NamedTuple):
    """A stopped server's folder, to be copied, and who may read it."""

    data: Path
    token: str


@pytest.fixture(scope="module", autouse=True)
def _hashing() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNEMOLOG_MODEL", "hashing")
        yield


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Fill a folder once."""
    server = ServerProcess(tmp_path_factory.mktemp("kept") / "data").wait_ready()
    api = api_of(server)
    for number in range(MEMORIES):
        assert api.add(number).status == 201
    assert server.stop() == 0
    return Kept(server.data, api.token)


@pytest.fixture
def data(kept: Kept, tmp_path: Path) -> Path:
    """Return a copy of that folder."""
    shutil.copytree(kept.data, tmp_path / "data")
    return tmp_path / "data"


def refused(data: Path, prefix: list[str] | None = None) -> str:
    """Start a server that must not start; return what it says, which must be no traceback."""
    command = [*(prefix or []), *COMMAND, str(data)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done
    assert " serves " not in done.stdout
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr


# ---- full ------------------------------------------------------------------------------------------------------------


def test_guarantee_9_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    """Writes are refused with the reason, reads go on, `/health/ready` tells; with room again all goes on."""
    server = ServerProcess(tmp_path / "data").wait_ready()
    try:
        api = api_of(server)
        acknowledged = [n for n in range(10) if api.add(n).status == 201]
        assert len(acknowledged) == 10
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        grown = (server.data / "mnemolog.db-wal").stat().st_size
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (grown + 60_000, hard))
        tried = 10
        while (answer := api.add(tried)).status == 201:
            acknowledged.append(tried)
            tried += 1
            assert tried < 100, "the disk was never full"
        assert answer.status in {503, 504}, answer
        assert api.ready().status == 503
        assert "cannot be written" in str(api.ready().body)
        clear = api.add(1_000)
        assert clear.status == 503, clear
        assert "was not taken: the data folder cannot be written" in str(clear.body), clear
        assert set(acknowledged) <= set(api.listed())
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert eventually(api.ready, lambda said: said.status == 200).status == 200
        assert api.add(2_000).status == 201
        found = api.listed()
        assert set(acknowledged) | {2_000} <= set(found)
        assert 1_000 not in found
        assert len(found) == len(set(found))
        assert server.stop() == 0
    finally:
        server.kill()
    check_folder(server.data)


# ---- read-only -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_read_only_disk_is_told(data: Path, what: str) -> None:
    """The server does not start, and says what to look at."""
    prefix: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root ignores permissions, and there is no setpriv to take that from it")
        caps = "-dac_override,-dac_read_search"
        prefix = ["setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}"]
    target = data if what == "folder" else data / "mnemolog.db"
    mode = target.stat().st_mode
    target.chmod(0o555 if what == "folder" else 0o444)
    try:
        said = refused(data, prefix)
    finally:
        target.chmod(mode)
    assert "cannot be written" in said
    assert "check its owner and free space" in said


# ---- damaged ---------------------------------------------------------------------------------------------------------


def cut_in_half(file: Path) -> None:
    """Take the second half off."""
    os.truncate(file, file.stat().st_size // 2)


def cut_a_little(file: Path) -> None:
    """Take a part of the last page off, which SQLite reads as zeros."""
    os.truncate(file, file.stat().st_size - 100)


def overwrite_the_head(file: Path) -> None:
    """Write something else where the format is named."""
    with file.open("r+b") as opened:
        opened.write(b"something else")


@pytest.mark.parametrize(
    "damage", [cut_in_half, cut_a_little, overwrite_the_head, lambda f: os.truncate(f, 0), Path.unlink],
    ids=["half", "tail", "head", "empty", "gone"],
)  # fmt: skip
def test_a_damaged_file_is_never_served(data: Path, damage: Callable[[Path], None]) -> None:
    """Cut short, overwritten, emptied or gone: it is not taken for a new folder, and the way out is named."""
    damage(data / "mnemolog.db")
    said = refused(data)
    assert "mnemolog.db cannot be read" in said
    assert "restore it from a backup" in said


@pytest.mark.parametrize("seed", range(2))
def test_a_file_with_damaged_pages_is_never_silently_short(data: Path, kept: Kept, seed: int) -> None:
    """It is refused at the start, or each read gives all that was acknowledged or an error; a crash has its reason."""
    dice = random.Random(seed)
    file = data / "mnemolog.db"
    with file.open("r+b") as opened:
        for _ in range(6):
            opened.seek(PAGE * dice.randrange(1, file.stat().st_size // PAGE))
            opened.write(dice.randbytes(PAGE))
    with (data.parent / "log").open("wb") as log:
        process = subprocess.Popen([*COMMAND, str(data)], stdout=subprocess.PIPE, stderr=log, text=True)
    with process:
        first = process.stdout.readline() if process.stdout else ""
        if " serves " in first:
            api = Api(first.split(" serves ")[1].split(" ")[0], kept.token)
            with suppress(OSError):  # it may stop by itself
                answer = api("GET", "/v1/memories?$top=1000")
                assert answer.status in {401, 500, 503} or len(answer.body["value"]) == MEMORIES, answer
            process.terminate()
    said = (data.parent / "log").read_text()
    assert process.returncode == 0 or "restore it from a backup" in said or "damaged" in said, said


# ---- vectors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [cut_in_half, lambda file: file.write_bytes(b"?" * 100), Path.unlink],
                         ids=["half", "other", "gone"])  # fmt: skip
def test_a_vector_folder_that_is_half_there_is_filled_again(
    data: Path, kept: Kept, damage: Callable[[Path], None]
) -> None:
    """Each second of its files cut, overwritten or gone: search finds all again, from the log."""
    files = sorted(path for path in (data / "vectors").rglob("*") if path.is_file() and path.stat().st_size)
    assert files
    for path in files[::2]:
        damage(path)
    server = ServerProcess(data).wait_ready()
    try:
        api = Api(server.url, kept.token)

        def found() -> Answer:
            wanted = {**INVOKER, "query": "memory of some length", "top": 50, "threshold": 0}
            return api("POST", "/v1/memories/search", wanted)

        answer = eventually(found, lambda said: said.status == 200 and len(said.body["value"]) >= MEMORIES)
        assert answer.status == 200, answer
        assert len(api.listed()) == MEMORIES
        assert len(answer.body["value"]) == MEMORIES
    finally:
        server.stop()
