"""`mnemolog worker audit`, a process: it signs on its schedule what is written, and ends when it is told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mnemolog.audit import verifier
from mnemolog.runtime.cli import main

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

PATIENCE = 120.0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Return what starts an audit worker on a data folder; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []
    auditor = {"KEY": str(tmp_path / "audit.key"), "HEADS": str(tmp_path / "heads"), "EVERY": "0.2"}
    environment = os.environ | {f"MNEMOLOG_AUDIT_{name}": value for name, value in auditor.items()}

    def run() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "mnemolog.runtime.cli", "worker", "audit", "--data", str(tmp_path / "data")]
        with (tmp_path / "worker.log").open("ab") as said:
            started.append(subprocess.Popen(command, env=environment, stdout=said, stderr=said))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


def wait(process: subprocess.Popen[bytes], held: Callable[[], bool], said: Path) -> None:
    """Wait until something holds, while the process runs."""
    deadline = time.monotonic() + PATIENCE
    while not held():
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(0.05)


def test_the_audit_worker_signs_what_is_written(
    start: Callable[[], subprocess.Popen[bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Head after head, across a restart; they hold, and the last of them speaks of the newest fact."""
    data, heads, said = tmp_path / "data", tmp_path / "heads", tmp_path / "worker.log"

    def slots() -> int:
        found = verifier.read_heads(heads) if any(heads.glob("head-*.json")) else [{"slots": {}}]
        return len(found[-1]["slots"])

    assert main(["clients", "create", "--tenant", "acme", "--data", str(data)]) == 0
    first = start()
    wait(first, lambda: slots() == 1, said)
    assert main(["clients", "create", "--tenant", "bolt", "--data", str(data)]) == 0
    wait(first, lambda: slots() == 2, said)
    first.send_signal(signal.SIGTERM)
    assert first.wait(PATIENCE) == 0
    assert main(["clients", "create", "--tenant", "cat", "--data", str(data)]) == 0
    second = start()
    wait(second, lambda: slots() == 3, said)
    second.kill()
    second.wait()
    found = verifier.read_heads(heads)
    verifier.check_heads(found, found[0]["key"])
    trust = ["--heads", str(heads), "--trust", found[0]["key"]]
    assert main(["audit", "verify", "--data", str(data), *trust]) == 0
    capsys.readouterr()
