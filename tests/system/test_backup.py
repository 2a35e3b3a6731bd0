"""A backup is taken while the server writes, and a server goes on from it."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from mnemolog.runtime.process import ServerProcess

pytestmark = pytest.mark.system
_OWNER = {"agentID": "a", "invokerID": "b"}


def ask(port: int, method: str, path: str, body: Any = None) -> Any:
    """Send a request, which must be answered with success, and return what it says."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        raw = answer.read()
    finally:
        connection.close()
    assert answer.status < 300, raw
    return json.loads(raw) if raw else None


def run(*arguments: str | Path) -> str:
    """Run a command of the command line, which must succeed, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "mnemolog.runtime.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_backup_of_a_writing_server_holds_what_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything acknowledged before it began is in it, what was erased after is not restored; a server searches it."""
    monkeypatch.setenv("MNEMOLOG_MODEL", "hashing")
    data, backup, new = tmp_path / "data", tmp_path / "backup", tmp_path / "new"
    acknowledged: list[str] = []
    stop, enough = threading.Event(), threading.Event()
    server = ServerProcess(data, "--no-auth")
    try:
        port = int(server.wait_ready().url.rsplit(":", 1)[1])

        def write() -> None:
            while not stop.is_set():
                text = f"thing number {len(acknowledged)}"
                acknowledged.append(ask(port, "POST", "/v1/memories", {**_OWNER, "content": text})["id"])
                if len(acknowledged) == 100:
                    enough.set()

        writer = threading.Thread(target=write)
        writer.start()
        assert enough.wait(120)
        before = list(acknowledged)
        run("backup", backup, "--data", data)
        stop.set()
        writer.join()
        ask(port, "DELETE", f"/v1/memories({before[7]})")
        run("erasures", "list", tmp_path / "list", "--data", data)
    finally:
        stop.set()
        server.stop()
    run("restore", backup, "--erasures", tmp_path / "list", "--data", new)
    assert "nothing differs" in run("audit", "verify", "--data", new)
    restored = ServerProcess(new, "--no-auth")
    try:
        port = int(restored.wait_ready().url.rsplit(":", 1)[1])
        for number in (0, 7, 8, 99):
            search = {**_OWNER, "query": f"thing number {number}", "threshold": 0.99, "top": 1}
            found = [hit["id"] for hit in ask(port, "POST", "/v1/memories/search", search)["value"]]
            assert found == ([] if number == 7 else [before[number]])
    finally:
        restored.stop()
