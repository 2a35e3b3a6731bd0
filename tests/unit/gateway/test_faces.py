"""The rules that hold for every response (wire contract §0), for input of every kind, and the pages about the face."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.routing import Route

from mnemolog.gateway.app import operations
from tests.unit.gateway.fakes import Server, World, id_in

pytestmark = pytest.mark.unit

MEMORY = {"agentID": "planner", "invokerID": "ada", "content": "c"}
SPACE = f"/api/v2/memory/{id_in(1)}/"
SESSION = f"{SPACE}sessions/{id_in(1, 1)}/"
BODIES = [
    ("POST", "/v1/memories"),
    ("POST", "/v1/memories/search"),
    ("PATCH", f"/v1/memories({id_in(1)})"),
    ("POST", "/v1/messages"),
    ("PATCH", "/v1/admin/retentionConfig"),
    ("POST", "/api/v2/memory/new/"),
    ("PATCH", SPACE),
    ("POST", SPACE + "sessions/"),
    ("PATCH", SESSION),
    ("POST", SESSION + "events/"),
    ("PATCH", SESSION + "events/0/"),
    ("POST", SESSION + "events/batch/"),
    ("PATCH", SESSION + "events/batch/"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["agentID", "invokerID", "content", "metadata", "role", "messageGroup", "query", "threshold", "top"]
FIELDS += ["messageDays", "description", "llmBaseUrl", "participants", "lifecycleStrategies", "body", "emitter"]
FIELDS += ["type", "events", "sequenceId", "createdAt", "deduplicationKey"]


def checked(response: Any) -> Any:
    """Assert what holds for every error, and return its body."""
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert isinstance(body, dict)
    if response.url.path.lstrip("/").startswith("api/v2"):
        assert response.status_code not in {413, 429, 502, 503, 504}
        assert body["detail"]
    else:
        assert body["error"]["code"] == str(response.status_code)
        assert body["error"]["message"]
    return body


# ---- what the framework answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nothing",
        "/v1",
        "/v1/memories/",
        "/v1/nothing",
        "/v1/memories(a/b?x",
        "/v1/memories()",
        "/oauth/token/",
        "/api/v2",
        "/api/v2/",
        "/api/v2/memory",
        "/api/v2/version",
        f"{SPACE}sessions",
        "/api/v2/memory/%2F/",
        "/%FF%FE",
        "/api/v2/%FF/",
        "/" + "x" * 5_000,
    ],
)
def test_a_path_that_leads_nowhere_is_404_without_a_redirect(path: str) -> None:
    """Slashes are exact on both faces (G4), and the 404 has a body in the shape of its face (G1, G2)."""
    response = Server().send("GET", path)
    assert response.status_code == 404
    checked(response)


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "TRACE", "FOO"])
def test_a_method_that_is_not_there_is_405(method: str) -> None:
    """The 405 has a body, and names all methods of the path."""
    for path, allowed in (("/v1/memories", {"GET", "HEAD", "POST"}), (SPACE, {"GET", "HEAD", "PATCH", "DELETE"})):
        response = Server().send(method, path)
        assert response.status_code == 405
        assert set(response.headers["allow"].split(", ")) == allowed
        checked(response)


def test_bent_paths_are_straightened() -> None:
    """`//v1/…` of the older SDK and a proxy's absolute target lead where they should."""
    server = Server()
    assert server.sap("GET", "http://server//v1/memories").status_code == 200
    assert raw(server, path="http://server/health/live")[0] == 200
    assert raw(server, path="http://server")[0] == 404


@pytest.mark.parametrize("host", [b"", b"a b", b"[", b"[::1", b"\xff\xfe", b"evil.example", b"x:y:z"])
def test_any_host_is_served(host: bytes) -> None:
    """There is no list of allowed hosts (G8), and a broken one breaks nothing."""
    assert raw(Server(), headers=[(b"host", host)])[0] == 200
    status, body = raw(Server(), path="/v1/memories", headers=[(b"host", host)])
    assert (status, json.loads(body)["error"]["code"]) == (401, "401")


def test_a_get_or_delete_may_carry_a_content_type_without_a_body() -> None:
    """The SAP SDK sends `Content-Type: application/json` on every call (G6)."""
    server = Server()
    headers = {"content-type": "application/json"}
    assert server.sap("GET", "/v1/memories", headers=headers).status_code == 200
    identifier = server.sap("POST", "/v1/memories", json=MEMORY).json()["id"]
    assert server.sap("DELETE", f"/v1/memories({identifier})", headers=headers).status_code == 204


def test_a_surprise_is_500_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the answer nor the log repeats a message that may hold what a caller wrote."""
    server = Server(World(broken=True), no_auth=True)
    for path in (f"/v1/memories({id_in(1)})", SPACE):
        with caplog.at_level(logging.ERROR):
            response = server.send("GET", path)
        assert response.status_code == 500
        assert "must not be shown" not in json.dumps(checked(response))
    assert "RuntimeError" in caplog.text
    assert "a text that must not be shown" not in re.sub(r'message = ".*"', "", caplog.text)


def test_head_is_served() -> None:
    """A GET can be asked for its head."""
    assert Server().send("HEAD", "/health/live").status_code == 200


# ---- input of every kind ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), BODIES)
@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"nonsense",
        b"\xff\xfe{}",
        b'{"content": "\xff"}',
        b"[]",
        b"null",
        b"7",
        b'"x"',
        b'{"content": NaN}',
        b'{"content": 1e999}',
        b'{"content": ' + b"9" * 5_000 + b"}",
        rb'{"content": "\ud800"}',
        rb'{"\ud800": 1}',
        b'{"content": ' + b"[" * 100_000,
        b'{"metadata": ' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001,
        b'{"metadata": ' + b"[" * 120 + b"]" * 120 + b"}",
        b"\xef\xbb\xbf{}",
        b"{}{}",
    ],
)
def test_a_body_that_is_no_json_object_is_a_mistake_of_the_caller(method: str, path: str, content: bytes) -> None:
    """Broken JSON, broken UTF-8, numbers without bound, half surrogates, deep nesting: 400 or 422, nothing stored."""
    server = Server(no_auth=True)
    response = server.send(method, path, content=content)
    assert response.status_code == (422 if path.startswith("/api") else 400)
    assert len(response.content) < 1_000
    checked(response)
    assert server.world.envelopes == []


def test_nesting_is_kept_to_its_limit() -> None:
    """A hundred levels are kept verbatim."""
    server = Server(no_auth=True)
    metadata: dict[str, Any] = {}
    for _ in range(98):
        metadata = {"a": metadata}
    assert server.send("POST", "/v1/memories", json={**MEMORY, "metadata": metadata}).json()["metadata"] == metadata
    assert server.send("POST", "/v1/memories", json={**MEMORY, "metadata": {"a": metadata}}).status_code == 400


@pytest.mark.parametrize(("method", "path"), BODIES)
def test_a_body_that_is_too_large_is_refused_in_time(method: str, path: str) -> None:
    """400 on `/v1` and 422 on `/api/v2`, never 413 there: that would be sent again ten times (G3)."""
    server = Server(no_auth=True, max_body=1_000)
    response = server.send(method, path, content=b'{"content": "' + b"x" * 2_000 + b'"}')
    assert response.status_code == (422 if path.startswith("/api") else 400)
    assert "1000 bytes" in json.dumps(checked(response))
    assert server.world.envelopes == []


@pytest.mark.parametrize("declared", [b"99999999999", b"9" * 30, b"nonsense", b"-1"])
def test_a_declared_length_is_believed_only_if_it_is_too_large(declared: bytes) -> None:
    """A body announced beyond all measure is refused unread; a length that is none does no harm."""
    status, _ = raw(Server(no_auth=True), "POST", "/v1/memories", [(b"content-length", declared)], [b"{}"])
    assert status == 400


def test_an_endless_body_is_cut_off() -> None:
    """A stream without end is read for a while, never kept, and refused."""
    server = Server(no_auth=True, max_body=1_000)
    status, body = raw(server, "POST", "/v1/memories", [], [b"x" * (1 << 20)] * 1_000)
    assert (status, json.loads(body)["error"]["code"]) == (400, "400")


def test_a_body_that_ends_too_early_is_no_surprise(caplog: pytest.LogCaptureFixture) -> None:
    """A client that hangs up is nobody's error."""
    assert raw(Server(no_auth=True), "POST", "/v1/memories", [], None)[0] == 400
    assert caplog.text == ""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(BODIES), st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5))
def test_no_json_object_is_a_surprise(route: tuple[str, str], body: dict[str, Any]) -> None:
    """Any values in any fields: accepted, or refused by a 4xx that its SDK can read."""
    method, path = route
    response = Server(no_auth=True).send(method, path, json=body)
    assert response.status_code < 500
    if response.status_code >= 400:
        checked(response)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["/v1/memories", "/v1/messages", "/api/v2/memory/", SPACE + "sessions/", SESSION + "events/"]),
    st.binary(max_size=40)
    | st.sampled_from([b"%24filter=%ff", b"limit=%ff", b"\xff=\xff", b"%", b"&&==;", b"a" * 9_000]),
    st.lists(st.tuples(st.sampled_from([b"authorization", b"mnemolog-position", b"host"]), st.binary(max_size=20))),
)
def test_no_query_and_no_header_is_a_surprise(path: str, query: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """Raw bytes in the query string and in headers: an answer or a 4xx, never a 500."""
    status, body = raw(Server(no_auth=True), path=path, headers=headers, query=query)
    assert status < 500
    assert isinstance(json.loads(body), dict)


# ---- health and pages ------------------------------------------------------------------------------------------------


def test_health_says_what_is_missing() -> None:
    """Live as long as the process runs, ready when nothing is missing."""
    server = Server()
    assert server.send("GET", "/health/live").json() == {"status": "live"}
    assert server.send("GET", "/health/ready").json() == {"status": "ready"}
    server.reasons = {"vectors": "the model is being loaded"}
    response = server.send("GET", "/health/ready")
    assert (response.status_code, response.json()["reasons"]) == (503, server.reasons)
    assert server.send("GET", "/health/live").status_code == 200


def test_every_route_is_in_the_document_and_every_entry_is_a_route() -> None:
    """The document is made from the table that the routes are made from; this says so from outside."""
    server = Server()
    document = server.send("GET", "/openapi.json").json()
    described = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    routes = [route for route in server.app.routes if isinstance(route, Route)]
    assert len(routes) == len(server.app.routes)
    served = {(route.path, method) for route in routes for method in route.methods or () if method != "HEAD"}
    assert described == served


def test_the_document_is_whole() -> None:
    """References lead somewhere, operations have names of their own, parameters are those of the path."""
    document = Server().send("GET", "/openapi.json").json()
    text = json.dumps(document)
    for name in re.findall(r'"\$ref": "([^"]*)"', text):
        assert name.removeprefix("#/components/schemas/") in document["components"]["schemas"]
    assert "$defs" not in text
    entries = [(path, one) for path, methods in document["paths"].items() for one in methods.values()]
    assert len({one["operationId"] for _, one in entries}) == len(entries)
    for path, one in entries:
        names = {p["name"] for p in one["parameters"] if p["in"] == "path"}
        assert names == set(re.findall(r"{(\w+)}", path))


def test_every_example_of_the_document_is_accepted() -> None:
    """What the document shows works: each body example gets its status or, where its target is missing, 404."""
    for operation in operations():
        if operation.body is None:
            continue
        path = re.sub(r"{sequence}", "0", re.sub(r"{(id|space|session)}", id_in(1), operation.path))
        response = Server(no_auth=True).send(operation.method, path, json=operation.example)
        assert response.status_code in {operation.status, 404}, operation.path


def test_the_page_needs_nobody() -> None:
    """The page shows every path, and asks no other server for anything."""
    response = Server().send("GET", "/docs")
    assert response.headers["content-type"].startswith("text/html")
    assert all(operation.path in response.text for operation in operations())
    assert "<script" not in response.text
    assert not re.search(r'(src|href)="(http|//)', response.text)


# ---- a request without a client's help -------------------------------------------------------------------------------


def raw(
    server: Server,
    method: str = "GET",
    path: str = "/health/live",
    headers: list[tuple[bytes, bytes]] | None = None,
    chunks: list[bytes] | None = None,
    query: bytes = b"",
) -> tuple[int, bytes]:
    """Send what no client would, straight into the app; without chunks the client hangs up instead."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "root_path": "",
        "headers": headers or [],
        "server": ("server", 80),
        "client": ("client", 1),
    }
    left = list(chunks or [])
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if not left:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(server.app(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])
