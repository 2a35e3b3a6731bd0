"""Another mnemolog process, started and awaited: for the demo, which lives through a kill as a user would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Self

from mnemolog.domain.errors import Unavailable

_COMMAND = [sys.executable, "-m", "mnemolog.runtime.cli"]
_READY_SECONDS = 180
_POLL = 0.1


class ServerProcess:
    """`mnemolog serve` on a folder, in a process of its own."""

    def __init__(self, data: Path, *options: str, port: int = 0, environment: Mapping[str, str] | None = None) -> None:
        """Start the server, with these variables if any are given. Its log goes to `server.log` beside the data."""
        self.data = data
        self._log = (data.parent / "server.log").open("ab")
        self._process = subprocess.Popen(  # noqa: S603 -- our own command
            [*_COMMAND, "serve", "--data", str(data), "--port", str(port), *options],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
        )
        self.url = self._announced()

    def _announced(self) -> str:
        lines = self._process.stdout
        first = lines.readline() if lines else ""
        if " serves " not in first:
            message = f"the server did not start; see {self._log.name}"
            raise Unavailable(message)
        if lines:  # read on, or the server would wait for a reader some day
            threading.Thread(target=_read_off, args=[lines], daemon=True).start()
        return first.split(" serves ")[1].split(" ")[0]

    def wait_ready(self, seconds: float = _READY_SECONDS) -> Self:
        """Wait until the server answers writes and searches. Raises Unavailable."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/health/ready", timeout=5) as answer:  # noqa: S310 -- our own
                    if answer.status == 200:  # noqa: PLR2004 -- HTTP's OK
                        return self
            except (urllib.error.URLError, OSError):
                time.sleep(_POLL)
        message = f"the server did not become ready; see {self._log.name}"
        raise Unavailable(message)

    def kill(self) -> None:
        """End the server as a power cut would: no warning, no clean-up."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._log.close()

    def stop(self) -> int:
        """Ask the server to stop; return its exit code."""
        self._process.terminate()
        code = self._process.wait()
        self._log.close()
        return code

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid


def _read_off(lines: IO[str]) -> None:
    with lines:
        lines.read()


def run(*arguments: str) -> str:
    """Run a mnemolog command and return what it prints. Raises Unavailable with what it complained of."""
    done = subprocess.run(  # noqa: S603 -- our own command
        [*_COMMAND, *arguments], capture_output=True, text=True, check=False, env=os.environ
    )
    if done.returncode:
        raise Unavailable(done.stderr.strip())
    return done.stdout


def run_json(*arguments: str) -> Any:
    """Run a mnemolog command with `--json` and return what it prints."""
    return json.loads(run(*arguments, "--json"))


def users_models() -> Path:
    """Return where a user's exported models outlive the folders of his demonstrations and measurements."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "mnemolog" / "models"
