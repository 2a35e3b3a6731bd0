"""After an erasure, no file of the data folder holds the text or its vector: guarantee 7, on a running server."""

from __future__ import annotations

import http.client
import json
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnemolog.runtime.process import ServerProcess
from projections.embedding import HashingEmbedder

pytestmark = pytest.mark.system
TEXT = "the launch code of the red button is seventeen"
_PATIENCE = 300.0


class Asked:
    """A server that lets everyone in."""

    def __init__(self, data: Path) -> None:
        """Start it."""
        self.data = data
        self._process = ServerProcess(data, "--no-auth")
        self._port = int(self._process.wait_ready().url.rsplit(":", 1)[1])

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request, which must be answered with success, and return what it says."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            raw = answer.read()
        finally:
            connection.close()
        assert answer.status < 300, raw
        return json.loads(raw) if raw else None

    def stop(self) -> None:
        """End it."""
        self._process.stop()


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """Return a server without a grace, which embeds by hashing."""
    monkeypatch.setenv("MNEMOLOG_MODEL", "hashing")
    monkeypatch.setenv("MNEMOLOG_GRACE_DAYS", "0")
    server = Asked(tmp_path / "data")
    yield server
    server.stop()


def forms(text: str) -> dict[str, bytes]:
    """Return the bytes of a text and of its vector: as the engine's segments hold it, and its log (CBOR)."""
    (vector,) = HashingEmbedder().embed([text])
    row = np.asarray(vector, dtype=np.float32)
    first = int(np.flatnonzero(row)[0])
    logged = [_cbor(float(number)) for number in row[first : first + 12]]
    return {"text": text.encode(), "segment": row.tobytes(), "log": b"".join(logged)}


def _cbor(number: float) -> bytes:
    """Return a number as CBOR has it: in half the bytes where that loses nothing."""
    half = struct.pack(">e", number)
    return b"\xf9" + half if struct.unpack(">e", half)[0] == number else b"\xfa" + struct.pack(">f", number)


def files_with(data: Path, *wanted: bytes) -> set[str]:
    """Return the files under a folder that hold any of these bytes; one that goes away meanwhile holds nothing."""
    found = set()
    for path in data.rglob("*"):
        try:
            content = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:
            continue
        if any(form in content for form in wanted):
            found.add(path.name)
    return found


def test_guarantee_7_erased_bytes_are_in_no_file(ask: Asked) -> None:
    """A memory, a message, an event, an owner, a session whose grace has passed: text and vector, within seconds."""
    owner = {"agentID": "a", "invokerID": "b"}
    memory = ask("POST", "/v1/memories", {**owner, "content": TEXT, "metadata": {"note": TEXT}})["id"]
    ask("POST", "/v1/messages", {**owner, "messageGroup": "g", "role": "USER", "content": TEXT})
    space = ask("POST", "/api/v2/memory/new/", {"description": TEXT})["memorySpaceId"]
    body = {"participants": ["p"], "lifecycleStrategies": [], "description": TEXT}
    sessions = f"/api/v2/memory/{space}/sessions/"
    session = ask("POST", sessions, body)["id"]
    event = {"body": {"content": TEXT}, "emitter": {"type": "user", "id": "p"}}
    for _ in range(2):
        ask("POST", f"{sessions}{session}/events/", event)
    found = ask("POST", "/v1/memories/search", {**owner, "query": TEXT, "threshold": 0.0, "top": 5})["value"]
    assert [hit["id"] for hit in found] == [memory]
    wanted = forms(TEXT)
    for form in wanted.values():
        assert files_with(ask.data, form), "the search for bytes must find them while they are there"

    ask("DELETE", f"/v1/memories({memory})")
    ask("POST", "/v1/admin/erasures", {"kind": "owner", **owner})
    ask("DELETE", f"{sessions}{session}/events/0/")
    ask("DELETE", f"/api/v2/memory/{space}/")
    deadline = time.monotonic() + _PATIENCE
    while (left := files_with(ask.data, *wanted.values())) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left


def test_guarantee_7_a_server_that_is_never_idle_forgets_as_well(ask: Asked) -> None:
    """Memories are added without a pause, so there is never a moment without work: within seconds all the same."""
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            ask("POST", "/v1/memories", {"agentID": "a", "invokerID": "busy", "content": f"something else, {number}"})

    memory = ask("POST", "/v1/memories", {"agentID": "a", "invokerID": "b", "content": TEXT})["id"]
    wanted = forms(TEXT)
    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        ask("DELETE", f"/v1/memories({memory})")
        deadline = time.monotonic() + _PATIENCE
        while (left := files_with(ask.data, *wanted.values())) and time.monotonic() < deadline:
            time.sleep(0.2)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert not left


def test_guarantee_7_an_erased_owners_name_is_in_no_file(ask: Asked) -> None:
    """Who searched his memories is told to auditors until he is erased; then neither they nor a file know the name."""
    name = "an-invoker-who-leaves"
    owner = {"agentID": "a", "invokerID": name}

    def told() -> list[tuple[str, int, int]]:
        records = ask("GET", f"/audit/usage?agentID=a&invokerID={name}&actor=anonymous")["records"]
        return [(r["action"], r["calls"], r["found"]) for r in records if r["action"] != "audit"]

    ask("POST", "/v1/memories", {**owner, "content": TEXT})
    for _ in range(2):
        ask("POST", "/v1/memories/search", {**owner, "query": TEXT, "threshold": 0.0})
    deadline = time.monotonic() + _PATIENCE
    while told() != [("search", 2, 2)]:
        assert time.monotonic() < deadline, told()
        time.sleep(0.2)
    assert files_with(ask.data, name.encode())

    ask("POST", "/v1/admin/erasures", {"kind": "owner", **owner})
    while left := files_with(ask.data, name.encode()):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)
    everything = ask("GET", "/audit/usage")["records"]
    assert not [record for record in everything if record["scope"].get("invoker") == name]
