"""Raw HTTP, for what the SDKs would never send, and the rules that every answer keeps (wire contract §0).

Beside it, two helpers for where the annotations of the DataRobot SDK say something else than what it does.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Self, TypeVar

import httpx
from datarobot.client import set_client
from datarobot.rest import RESTClientObject
from sap_cloud_sdk.agent_memory import AgentMemoryClient

from tests.sdk.servers import Credentials, Server

Given = TypeVar("Given")

Clients = Callable[..., AgentMemoryClient]
"""Makes a SAP client: `(credentials, on=server, subscriber=…, **config)`."""

Connect = Callable[..., RESTClientObject]
"""Makes the DataRobot SDK speak for a user: `(tenant, user="ann", **options)`."""

RETRIED = {413, 429, 502, 503, 504}
"""Statuses that the DataRobot SDK repeats ten times, POST included (G3)."""


class Http:
    """A client that checks each answer against the rules of §0 as it comes in."""

    def __init__(self, base: str, headers: dict[str, str]) -> None:
        """Take the address that paths are put behind as they stand, and headers for each request."""
        self.base = base
        self.headers = headers
        self._http = httpx.Client(trust_env=False, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def send(self, method: str, path: str, body: Any = None, /, **options: Any) -> httpx.Response:
        """Send a request; a `body` that is neither bytes nor None goes as JSON."""
        headers = {**self.headers, **options.pop("headers", {})}
        if body is not None:
            options["content"] = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        answer = self._http.request(method, self.base + path, headers=headers, **options)
        check(answer)
        return answer

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Send a GET."""
        return self.send("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """Send a POST."""
        return self.send("POST", path, body, **options)

    def patch(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """Send a PATCH."""
        return self.send("PATCH", path, body, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        """Send a DELETE."""
        return self.send("DELETE", path, **options)


def check(answer: httpx.Response) -> None:
    """Hold an answer against the rules of §0 that none may break."""
    said = f"{answer.request.method} {answer.request.url} → {answer.status_code} {answer.text[:500]}"
    assert answer.status_code not in range(300, 400), said
    if answer.status_code == 204 or answer.request.method == "HEAD":
        assert answer.content == b"", said
        return
    assert answer.headers["content-type"] == "application/json", said
    assert isinstance(answer.json(), dict), said
    if answer.status_code >= 400:
        check_error(answer)


def check_error(answer: httpx.Response) -> None:
    """Hold an error against the shape of its face: both SDKs read theirs, and only theirs."""
    body, path = answer.json(), answer.request.url.path
    if path.startswith("/api/v2"):
        assert answer.status_code not in RETRIED, answer.text
        detail = body["detail"]
        assert detail, body
        if not isinstance(detail, str):
            assert all(entry["msg"] and entry["type"] and isinstance(entry["loc"], list) for entry in detail), body
    elif path == "/oauth/token" and answer.request.method == "POST":
        assert isinstance(body["error"], str), body
        assert body["error_description"], body
    else:
        assert body["error"]["code"] == str(answer.status_code), body
        assert body["error"]["message"], body


def known(field: Given | None) -> Given:
    """Return a field that the server fills: by the DataRobot SDK's annotations every field may be without a value."""
    assert field is not None
    return field


def disconnect() -> None:
    """Let the DataRobot SDK speak for nobody, as it starts."""
    set_client(None)  # type: ignore[arg-type]  # its annotation leaves out the None that it starts with


def bearer(token: str) -> dict[str, str]:
    """Return the header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def token_of(server: Server, credentials: Credentials, host: str = "") -> str:
    """Return an access token, asked for as SAP's SDK does; `host` is the name that the server is called by."""
    form = {
        "grant_type": "client_credentials",
        "client_id": credentials.id,
        "client_secret": credentials.secret,
    }
    headers = {"Host": f"{host}:{server.port}"} if host else {}
    answer = httpx.post(f"{server.url}/oauth/token", data=form, headers=headers, trust_env=False)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])
