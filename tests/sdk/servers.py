"""Servers to test against: real processes, real sockets, and the operator's commands on them.

A runtime is what a server runs on; every test that takes one runs on each (see `tests/conftest.py`).
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

from mnemolog.runtime.cli import main
from mnemolog.runtime.process import ServerProcess
from tests.brokers import Kafka
from tests.sdk.front import front

_PARTITIONS = 4


class Credentials(NamedTuple):
    """An OAuth2 client as the operator got it."""

    id: str
    secret: str


class Server:
    """A running server: its address, and the operator's commands beside it."""

    def __init__(self, url: str, *where: str) -> None:
        """Take the address and the options that lead the command line to the same data."""
        self.url = url
        self._where = where

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rsplit(":", 1)[1])

    def operate(self, *arguments: str) -> Any:
        """Run `mnemolog …` and return the JSON it prints; in this process, which spares a start of Python."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            code = main([*arguments, *self._where, "--json"])
        assert code == 0, printed.getvalue()
        return json.loads(printed.getvalue())

    def client(self, tenant: str, *options: str) -> Credentials:
        """Create an OAuth2 client, for the SAP face."""
        made = self.operate("clients", "create", "--tenant", tenant, *options)
        return Credentials(made["id"], made["secret"])

    def token(self, tenant: str, user: str = "ann") -> str:
        """Create an API token, for the DataRobot face."""
        return str(self.operate("tokens", "create", "--tenant", tenant, "--user", user)["token"])


class Runtime(Protocol):
    """What starts servers."""

    def serve(self, *options: str, **settings: str) -> contextlib.AbstractContextManager[Server]:
        """Start a server of its own data that is ready; `settings` are `MNEMOLOG_…` variables in lower case."""


class Embedded:
    """The embedded runtime: one process, one folder."""

    def __init__(self, base: Path, models: Path) -> None:
        """Take the folder to keep the servers' folders in, and that of exported models."""
        self._base = base
        self._models = models
        self._numbers = itertools.count()

    @contextlib.contextmanager
    def serve(self, *options: str, **settings: str) -> Iterator[Server]:
        """Start a server, wait until it is ready, and stop it at the end."""
        data = self._base / str(next(self._numbers)) / "data"
        data.parent.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("MNEMOLOG_")]:
                patch.delenv(name)  # what a developer has set is nobody's test
            for name, value in {"models": str(self._models), **settings}.items():
                patch.setenv(f"MNEMOLOG_{name.upper()}", value)
            process = ServerProcess(data, *options)
        try:
            yield Server(process.wait_ready().url, "--data", str(data))
        finally:
            process.stop()


class Distributed:
    """The distributed runtime: four partitions, two workers that have every role, two gateways behind one address."""

    def __init__(self, base: Path, models: Path, kafka: Kafka, settings: Mapping[str, Any]) -> None:
        """Take the folder to keep all data in, that of exported models, Kafka, and how the other servers are reached.

        Without Qdrant, each gateway keeps its own index.
        """
        self._base = base
        self._models = models
        self._kafka = kafka
        self._settings = settings

    @contextlib.contextmanager
    def serve(self, *options: str, **settings: str) -> Iterator[Server]:
        """Start a deployment, wait until both gateways are ready, and stop it at the end."""
        topics = self._kafka.topics(_PARTITIONS)
        folder = self._base / topics.prefix
        folder.mkdir()
        file = folder / "mnemolog.toml"
        written = {
            "runtime": "kafka",
            "kafka": topics.servers,
            "partitions": topics.partitions,
            "topic_prefix": topics.prefix,
            "token_key": "5e" * 32,
            **self._kafka.settings,
            **self._settings,
        }
        # JSON's texts, numbers and booleans are TOML's, too
        file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in written.items()))
        where = ("--config", str(file))
        with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("MNEMOLOG_")]:
                patch.delenv(name)
            for name, value in {"models": str(self._models), **settings}.items():
                patch.setenv(f"MNEMOLOG_{name.upper()}", value)
            for number in range(2):
                stack.callback(_ended, _worker(folder / f"worker-{number}", *where))
            gateways = []
            for number in range(2):
                (folder / f"gateway-{number}").mkdir()
                gateways.append(ServerProcess(folder / f"gateway-{number}" / "data", *where, *options))
                stack.callback(gateways[-1].stop)
            address = stack.enter_context(front([one.wait_ready().url for one in gateways]))
            patch.undo()
            yield Server(address, *where)


def _worker(data: Path, *where: str) -> subprocess.Popen[bytes]:
    with data.with_suffix(".log").open("ab") as log:
        command = [sys.executable, "-m", "mnemolog.runtime.cli", "worker", "all", "--data", str(data), *where]
        return subprocess.Popen(command, stdout=log, stderr=log)


def _ended(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    assert process.wait() == 0
