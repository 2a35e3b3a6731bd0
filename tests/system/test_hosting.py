"""A worker process ends when it must, with a code that says how, whatever becomes of what it hosts."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]
_PATIENCE = 60

HOSTED = """
import asyncio, logging, sys
from pathlib import Path
from workers.faust_host import host

logging.basicConfig(level=logging.INFO)
ended = asyncio.Event()


class Working:
    async def run(self):
        print("working", flush=True)
        await ended.wait()
        print("handed over", flush=True)

    async def stop(self):
        ended.set()


class Failing(Working):
    async def run(self):
        raise RuntimeError("a disk has died")


class Deaf(Working):
    async def run(self):
        while True:
            print("working", flush=True)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue


host("test", [globals()[name]() for name in sys.argv[2:]], Path(sys.argv[1]), patience=2)
"""


def started(folder: Path, *hosted: str) -> subprocess.Popen[str]:
    """Start a process that hosts these."""
    command = [sys.executable, "-c", HOSTED, str(folder), *hosted]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def begun(process: subprocess.Popen[str]) -> None:
    """Wait until what it hosts works."""
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for its end; return its code, what it printed and what it logged."""
    said, logged = process.communicate(timeout=_PATIENCE)
    return process.returncode, said, logged


def test_one_that_fails_ends_the_process_and_the_others_hand_over(tmp_path: Path) -> None:
    """A supervisor sees the code; what another works on goes to others in good order."""
    code, said, logged = ended(started(tmp_path, "Working", "Failing"))
    assert code == 1
    assert "handed over" in said
    assert "Failing has failed; the process ends" in logged
    assert "a disk has died" in logged


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_in_good_order(tmp_path: Path, asked: signal.Signals) -> None:
    """Who stops a worker on purpose sees 0, after everything is handed over."""
    process = started(tmp_path, "Working")
    begun(process)
    process.send_signal(asked)
    code, said, _ = ended(process)
    assert code == 0
    assert "handed over" in said


@pytest.mark.parametrize("other", ["Failing", ""])
def test_one_that_does_not_let_itself_be_stopped_holds_nobody_up(tmp_path: Path, other: str) -> None:
    """Whether another has failed or a signal has come: the process ends with 1, and says what it has left behind."""
    process = started(tmp_path, "Deaf", *filter(None, [other]))
    if not other:
        begun(process)
        process.send_signal(signal.SIGTERM)
    code, _, logged = ended(process)
    assert code == 1
    assert "this does not end" in logged
    assert "has not ended within 2 s and ends now" in logged
