"""Requests are watched by their route's template, and the figures are for whoever has the token for them."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from mnemolog.gateway.gate import Gate
from mnemolog.gateway.watching import Watching
from tests.unit.gateway.fakes import API_TOKEN, Server

pytestmark = pytest.mark.unit
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OURS = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"


@dataclasses.dataclass
class Seen:
    """A watcher that remembers, with a span of its own if it is given one."""

    trace: str = ""
    begun_with: list[tuple[str, bool]] = dataclasses.field(default_factory=list)
    answers: list[tuple[str, str, int, str]] = dataclasses.field(default_factory=list)

    def begun(self, trace: str, *, traced: bool) -> Seen:
        """Remember."""
        self.begun_with.append((trace, traced))
        return self

    def answered(self, *how: Any) -> None:
        """Remember."""
        self.answers.append(how)


def ask(app: ASGIApp, method: str, url: str, **request: Any) -> httpx.Response:
    """Send one request to an app."""

    async def sent() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.request(method, url, **request)

    return asyncio.run(sent())


async def figures() -> bytes:
    """Return a page."""
    return b"mnemolog_info 1.0\n"


MEMORY = {"agentID": "a", "invokerID": "b", "content": "tea"}


def test_a_request_is_named_by_its_route() -> None:
    """An id in a path, and a path or method that there is not, become no label; a write names its command."""
    seen, server = Seen(), Server(no_auth=True)
    app = Watching(server.app, seen)
    added = ask(app, "POST", "/v1/memories", json=MEMORY)
    ask(app, "GET", f"/v1/memories({added.json()['id']})")
    ask(app, "GET", "/secret/of/a/caller")
    ask(app, "BREW", "/secret")
    assert seen.answers == [
        ("POST", "/v1/memories", 201, added.headers["mnemolog-command"]),
        ("GET", "/v1/memories({id})", 200, ""),
        ("GET", "unmatched", 404, ""),
        ("OTHER", "unmatched", 404, ""),
    ]


def test_what_is_refused_at_the_door_is_watched_too() -> None:
    """A gateway that has not reached Kafka counts its refusals, and shows health and figures."""
    seen, server = Seen(), Server(figures=figures, no_auth=True)
    app = Watching(Gate(server.app, lambda: False), seen)
    assert [ask(app, "GET", path).status_code for path in ("/v1/memories", "/health/live", "/metrics")] == [
        503,
        200,
        200,
    ]
    assert [how[1:3] for how in seen.answers] == [("unmatched", 503), ("/health/live", 200), ("/metrics", 200)]


def test_an_app_that_breaks_has_answered_500() -> None:
    """Also where no answer was sent at all."""

    async def broken(*_: object) -> None:
        raise RuntimeError

    seen = Seen()
    with pytest.raises(RuntimeError):
        asyncio.run(Watching(broken, seen)({"type": "http", "path": "/", "method": "GET", "headers": []}, None, None))  # type: ignore[arg-type]
    assert seen.answers == [("GET", "unmatched", 500, "")]


@pytest.mark.parametrize(("ours", "carried"), [("", CALLER), (OURS, OURS)])
def test_a_command_carries_the_span_of_its_request(ours: str, carried: str) -> None:
    """Traced here, that of this server, a child of the caller's; else the caller's own; also on `POST /commands`."""
    seen, server = Seen(ours), Server(no_auth=True)
    app = Watching(server.app, seen)
    ask(app, "POST", "/v1/memories", json=MEMORY, headers={"traceparent": CALLER})
    event = {
        "specversion": "1.0",
        "type": "memory.add-memory.v1",
        "source": "here",
        "id": "1",
        "data": {"target": {"agent": "a", "invoker": "b"}, "parts": [{"content": "tea", "metadata": {}}]},
    }
    headers = {"traceparent": CALLER, "content-type": "application/cloudevents+json"}
    assert ask(app, "POST", "/commands", json=event, headers=headers).status_code == 202
    assert seen.begun_with == [(CALLER, True)] * 2
    assert [envelope.trace for envelope in server.world.envelopes] == [carried] * 2


@pytest.mark.parametrize("path", ["/metrics", "/health/live", "/health/ready"])
def test_what_machines_ask_every_second_is_not_traced(path: str) -> None:
    """It is counted all the same."""
    seen = Seen()
    ask(Watching(Server(figures=figures, no_auth=True).app, seen), "GET", path)
    assert seen.begun_with == [("", False)]
    assert seen.answers == [("GET", path, 200, "")]


def bearer(token: str) -> dict[str, str]:
    """Return a header."""
    return {"authorization": f"Bearer {token}"}


def test_guarantee_8_figures_of_all_tenants_are_for_whoever_runs_the_server() -> None:
    """A tenant's credential opens them as little as none does; the token set for them does."""
    server = Server(figures=figures, metrics_token="for prometheus")
    refused: list[Callable[[], httpx.Response]] = [
        lambda: server.send("GET", "/metrics"),
        lambda: server.send("GET", "/metrics", headers=bearer("another")),
        lambda: server.send("GET", "/metrics", headers={"authorization": "Basic for prometheus"}),
        lambda: server.send("GET", "/metrics", headers={"authorization": "Bearer ünicode".encode()}),
        lambda: server.sap("GET", "/metrics"),
        lambda: server.send("GET", "/metrics", headers={"authorization": f"Token {API_TOKEN}"}),
    ]
    for attempt in refused:
        answer = attempt()
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "mnemolog_info" not in answer.text
    opened = server.send("GET", "/metrics", headers=bearer("for prometheus"))
    assert (opened.status_code, opened.text) == (200, "mnemolog_info 1.0\n")
    assert opened.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_without_a_token_the_figures_are_closed() -> None:
    """And the answer says which setting opens them; without authentication they are as open as all else."""
    server = Server(figures=figures)
    for headers in ({}, bearer(""), bearer("x")):
        answer = server.send("GET", "/metrics", headers=headers)
        assert answer.status_code == 401
        assert "MNEMOLOG_METRICS_TOKEN" in answer.text
    assert Server(figures=figures, no_auth=True).send("GET", "/metrics").text == "mnemolog_info 1.0\n"
