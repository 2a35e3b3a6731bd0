"""A soft-deleted session is unreadable through every route of a running server, also after `kill -9` and a restart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mnemolog.runtime.process import ServerProcess

pytestmark = pytest.mark.system
TEXT = "what the session said"


class Served:
    """A data folder and the server on it, which lets everyone in."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._start()

    def _start(self) -> None:
        self._process = ServerProcess(self._data, "--no-auth")
        self.http = httpx.Client(base_url=self._process.wait_ready().url, trust_env=False, timeout=60)

    def restart(self, *, kill: bool) -> None:
        """End the server, in order or with -9, and start another."""
        (self._process.kill if kill else self._process.stop)()
        self.http.close()
        self._start()

    def stop(self) -> None:
        """End it."""
        self.http.close()
        self._process.stop()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Return a server that embeds by hashing."""
    monkeypatch.setenv("MNEMOLOG_MODEL", "hashing")
    found = Served(tmp_path / "data")
    yield found
    found.stop()


def bodies(operation: dict[str, Any]) -> Any:
    """Return the example of an operation's body, as its own document gives it."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return content.get("example")


def hidden(http: httpx.Client, space: str, session: str) -> None:
    """Expect 404 of every route that names the session, and of every list that it is not in it."""
    paths = http.get("/openapi.json").json()["paths"]
    tried = 0
    for route, methods in paths.items():
        if "{session}" not in route:
            continue
        path = re.sub(r"{sequence}", "0", route.replace("{space}", space).replace("{session}", session))
        for method, operation in methods.items():
            answer = http.request(method.upper(), path, json=bodies(operation))
            assert answer.status_code == 404, (method, route, answer.status_code, answer.text)
            assert TEXT not in answer.text
            tried += 1
    assert tried >= 8, "the document names the routes of a session"
    for query in ("", "?participants=p", "?description=says", "?deduplicationKey=k"):
        listed = http.get(f"/api/v2/memory/{space}/sessions/{query}").json()
        assert (listed["total"], listed["items"]) == (0, [])
    assert http.get(f"/api/v2/memory/{space}/extractions/").json()["total"] == 0


def test_guarantee_7_a_soft_deleted_session_is_unreadable_through_every_route(served: Served) -> None:
    """At once, after a restart, after `kill -9`; and writes repeated under their keys bring nothing back."""
    space = served.http.post("/api/v2/memory/new/", json={}).json()["memorySpaceId"]
    sessions = f"/api/v2/memory/{space}/sessions/"
    new = {"participants": ["p"], "description": f"says {TEXT}", "deduplicationKey": "k"}
    session = served.http.post(sessions, json=new, headers={"Idempotency-Key": "new"}).json()["id"]
    event = {"body": {"content": TEXT}, "emitter": {"type": "user", "id": "p"}}
    events = f"{sessions}{session}/events/"
    for number in range(3):
        assert served.http.post(events, json=event, headers={"Idempotency-Key": f"event {number}"}).is_success
    assert served.http.delete(f"{sessions}{session}/", headers={"Idempotency-Key": "gone"}).status_code == 204

    hidden(served.http, space, session)
    for kill in (False, True):
        served.restart(kill=kill)
        hidden(served.http, space, session)
        for number in range(3):
            again = served.http.post(events, json=event, headers={"Idempotency-Key": f"event {number}"})
            assert (again.status_code, TEXT in again.text) == (404, False)
        assert served.http.post(sessions, json=new, headers={"Idempotency-Key": "new"}).status_code == 404
        gone = served.http.delete(f"{sessions}{session}/", headers={"Idempotency-Key": "gone"})
        assert gone.status_code == 204
        hidden(served.http, space, session)
