"""Qdrant for tests: a server that is named, else one in a container, else qdrant-client's imitation ("local mode").

`MNEMOLOG_TEST_QDRANT` names a running server, `MNEMOLOG_TEST_QDRANT_BINARY` a program that tests may start, kill and
start again. A run says at its end which it used; what needs a server and has none is skipped with the reason.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Coroutine, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest
from qdrant_client import AsyncQdrantClient, models

from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ports import Hit, Point, Scope
from projections.qdrant_wire import Collection, answered, connect
from projections.vectors_qdrant import QdrantVectors
from tests import containers
from tests.servers_redis import free_port

NAMED, BINARY = "MNEMOLOG_TEST_QDRANT", "MNEMOLOG_TEST_QDRANT_BINARY"
_START_SECONDS = 120
used: dict[str, None] = {}
"""What this run has taken, for its last lines."""

Result = TypeVar("Result")


class QdrantServer:
    """A server of a test's own, in a folder of its own, on loopback."""

    def __init__(self) -> None:
        """Start it."""
        program = os.environ.get(BINARY)
        if not program:
            used[f"none to kill: {BINARY} names no program"] = None
            pytest.skip(f"no Qdrant server to start and kill: {BINARY} names no program")
        self._program = program
        self.folder = Path(tempfile.mkdtemp(prefix="mnemolog-qdrant-"))
        self._ports = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._ports[0]}"
        self.start()

    def start(self) -> None:
        """Start it on what its folder holds, and wait until it answers."""
        settings = {
            "QDRANT__SERVICE__HOST": "127.0.0.1",
            "QDRANT__SERVICE__HTTP_PORT": str(self._ports[0]),
            "QDRANT__SERVICE__GRPC_PORT": str(self._ports[1]),
            "QDRANT__STORAGE__STORAGE_PATH": str(self.folder / "storage"),
            "QDRANT__STORAGE__SNAPSHOTS_PATH": str(self.folder / "snapshots"),
            "QDRANT__TELEMETRY_DISABLED": "true",
        }
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program], cwd=self.folder, env=os.environ | settings, stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._answers():
                used[f"{self._program}, started here"] = None
                return
            time.sleep(0.05)
        pytest.fail(f"Qdrant does not start: {(self.folder / 'log').read_text()[-2_000:]}")

    def _answers(self) -> bool:
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{self.url}/readyz", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        """Kill it with -9."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def remove(self) -> None:
        """Kill it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def killable() -> QdrantServer | None:
    """Return a server of the caller's own; None where there is no program to start."""
    return QdrantServer() if os.environ.get(BINARY) else None


@cache
def named() -> str:
    """Return the URL of the one server of the whole run that the environment names; empty where it names none."""
    if url := os.environ.get(NAMED):
        used[f"the server that {NAMED} names"] = None
        return url
    if not os.environ.get(BINARY):
        return ""
    server = QdrantServer()
    atexit.register(server.remove)
    return server.url


@cache
def _contained() -> tuple[str, str]:
    """Return the URL of a server in a container, or nothing and why there is none."""
    try:
        url = containers.qdrant()
    except containers.NotHad as error:
        why = f"neither {NAMED} nor {BINARY} names a server, and {error}"
        used[f"no server: {why}"] = None
        return "", why
    used[f"a container of {containers.QDRANT_IMAGE}"] = None
    return url, ""


def shared_server() -> str:
    """Return the URL of one server for the whole run, which nobody kills; skip where there is none."""
    if url := named():
        return url
    url, why = _contained()
    return url or pytest.skip(f"no Qdrant server: {why}")


def local_client() -> AsyncQdrantClient:
    """Return the imitation of an empty server, in memory."""
    used.setdefault("qdrant-client's local mode")
    return AsyncQdrantClient(location=":memory:")


def collection(model: str, dimension: int) -> Collection:
    """Return the collection of a deployment that nobody else has."""
    return Collection(f"test-{uuid.uuid4().hex}", model, dimension)


async def versions(client: AsyncQdrantClient, where: Collection) -> dict[str, int]:
    """Return the ids and versions of all memories in a collection; of none where it is away, or there is none yet."""
    named = models.Filter(must_not=[models.IsEmptyCondition(is_empty=models.PayloadField(key="owner"))])
    try:
        with answered():
            records, _ = await client.scroll(where.name, scroll_filter=named, limit=100_000, with_payload=["version"])
    except Unavailable:
        return {}
    return {str(record.id): (record.payload or {})["version"] for record in records}


class OwnLoop:
    """Port `Vectors` on an adapter that belongs to one loop, for tests that call from any: the loop has a thread here.

    Closing it removes the deployment's collection.
    """

    def __init__(self, client: AsyncQdrantClient, where: Collection) -> None:
        """Take a client, and the collection to fill and to remove."""
        self.client = client
        self.where = where
        self.inner = QdrantVectors(client, where)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="qdrant")
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run something on the loop that the client belongs to."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def checkpoint(self, partition: int) -> int | None:
        """Pass on."""
        return self.run(self.inner.checkpoint(partition))

    async def apply(self, partition: int, points: Sequence[Point], gone: Sequence[str], checkpoint: int) -> None:
        """Pass on."""
        self.run(self.inner.apply(partition, points, gone, checkpoint))

    async def search(self, scope: Scope, vector: Sequence[float], top: int) -> Sequence[Hit]:
        """Pass on."""
        return self.run(self.inner.search(scope, vector, top))

    async def count(self) -> int:
        """Pass on."""
        return self.run(self.inner.count())

    async def close(self) -> None:
        """Remove the collection, close the adapter, and end the loop."""
        self.run(self.client.delete_collection(self.where.name))
        self.run(self.inner.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def vectors(kind: str, model: str, dimension: int) -> OwnLoop:
    """Return an empty index: of kind `local`, or `server`, which is skipped where there is none."""
    client = local_client() if kind == "local" else connect(shared_server())
    return OwnLoop(client, collection(model, dimension))
