"""Guarantee 10: bad input of every kind gets a clear 4xx in the shape of its face, and nothing is stored.

`Http` checks each answer's shape (`wire.check`): bare `application/json`, an object, never empty, no redirect, on
`/api/v2` no status that its SDK repeats. What is wrong for a field is derived from the server's own document.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sdk.servers import Server
from tests.sdk.wire import Http, bearer, token_of

pytestmark = pytest.mark.sdk
VALUES: Mapping[str, tuple[Any, ...]] = {
    "null": (None,),
    "boolean": (True, False),
    "integer": (7, -1, 10**400),
    "number": (1.5,),
    "string": ("x", "7", "true"),
    "array": ([], [1], [[]]),
    "object": ({}, {"x": 1}),
}
BROKEN: tuple[bytes, ...] = (
    b"{",
    b"}",
    b"{'a': 1}",
    b'{"a": 1,}',
    b'{"a": NaN}',
    b'{"a": Infinity}',
    b'{"a": 1e999}',
    b'{"a": "\\ud800"}',
    b'{"\\udfff": 1}',
    b'{"a": "\xff\xfe"}',
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b'{"a": "\n"}',
    b'{"a": ' + b"9" * 5_000 + b"}",
    b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    b'{"a":' * 500 + b"1" + b"}" * 500,
    b"[]",
    b"null",
    b"7",
    b'"x"',
    b"{} {}",
    b"\x00",
)


class Route(NamedTuple):
    """A documented operation that takes a JSON body; `path` leads to something that exists."""

    method: str
    path: str
    schema: dict[str, Any]
    example: dict[str, Any]


class Target(NamedTuple):
    """A tenant with one of everything, and what can be sent to it."""

    http: Http
    routes: tuple[Route, ...]
    reads: tuple[str, ...]
    schemas: dict[str, Any]

    def state(self) -> list[Any]:
        """Read everything there is."""
        return [self.http.get(path).json() for path in self.reads]

    def resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return a schema itself where there is a reference."""
        return self.schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


class _Both(Http):
    """Both faces under one address, each with its credential."""

    def __init__(self, base: str, oauth: str, api: str) -> None:
        super().__init__(base, {})
        self._oauth, self._api = bearer(oauth), {"Authorization": f"Token {api}"}

    def send(self, method: str, path: str, body: Any = None, /, **options: Any) -> Any:
        own = self._api if path.startswith("/api/") else self._oauth
        return super().send(method, path, body, **options | {"headers": own | options.get("headers", {})})


ELSEWHERE = {"/keys/{key}/grant"}
"""Answered only to who has signed the request, by a server with an authority: tests of its own break it."""


@pytest.fixture(scope="module")
def target(server: Server) -> Iterator[Target]:
    """Return a tenant to send bad input to; nothing that is refused may change it, so all tests can share it."""
    with _Both(
        server.url, token_of(server, server.client("victim", "--role", "auditor")), server.token("victim")
    ) as http:
        space = http.post("/api/v2/memory/new/", {"description": "x"}).json()["memorySpaceId"]
        sessions = f"/api/v2/memory/{space}/sessions/"
        session = http.post(sessions, {"participants": ["ada"]}).json()["id"]
        event = {"body": {"content": "x"}, "emitter": {"type": "user", "id": "ada"}}
        http.post(f"{sessions}{session}/events/", event)
        memory = {"agentID": "a", "invokerID": "i", "content": "x"}
        ids = {
            "memories": http.post("/v1/memories", memory).json()["id"],
            "messages": http.post("/v1/messages", {**memory, "messageGroup": "g", "role": "USER"}).json()["id"],
        }
        document = http.get("/openapi.json").json()
        routes = []
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                content = operation.get("requestBody", {}).get("content", {}).get("application/json")
                if content is not None and path not in ELSEWHERE:
                    kind = "messages" if "messages" in path else "memories"
                    real = path.format(space=space, session=session, sequence="0", id=ids[kind])
                    routes.append(Route(method.upper(), real, content["schema"], content["example"]))
        reads = (
            "/v1/memories?$count=true",
            "/v1/messages?$count=true",
            "/v1/admin/retentionConfig",
            "/api/v2/memory/",
            sessions,
            f"{sessions}{session}/events/",
        )
        yield Target(http, tuple(routes), reads, document["components"]["schemas"])


# ---- bodies ----------------------------------------------------------------------------------------------------------


def test_every_example_of_the_document_is_accepted(server: Server, tenant: str, target: Target) -> None:
    """What the tables below break is good before they do: each documented example is a 2xx, on a tenant of its own."""
    del target
    with _Both(server.url, token_of(server, server.client(tenant, "--role", "auditor")), server.token(tenant)) as http:
        document = http.get("/openapi.json").json()["paths"]
        ids = {"sequence": "0"}
        for path in sorted((path for path in document if path not in ELSEWHERE), key=len):
            for method in ("post", "patch"):
                content = document[path].get(method, {}).get("requestBody", {}).get("content", {})
                if "application/json" not in content:
                    continue
                named = ids | ({"id": ids.get(path[4:12], "")} if "{id}" in path else {})
                answer = http.send(method.upper(), path.format(**named), content["application/json"]["example"])
                assert answer.is_success, (method, path, answer.text)
                made = answer.json()
                ids |= {"space": made["memorySpaceId"]} if path.endswith("/new/") else {}
                ids |= {"session": made["id"]} if path.endswith("/sessions/") else {}
                ids |= {path[4:12]: made["id"]} if path in {"/v1/memories", "/v1/messages"} else {}


@pytest.mark.parametrize("raw", BROKEN, ids=[str(body[:12]) for body in BROKEN])
def test_guarantee_10_a_body_that_is_no_json_object_is_refused_on_every_route(target: Target, raw: bytes) -> None:
    """Broken JSON, numbers out of range, half surrogates, deep nesting, invalid UTF-8, other JSON values."""
    before = target.state()
    for route in target.routes:
        for content_type in ("application/json", "text/plain"):
            answer = target.http.send(route.method, route.path, raw, headers={"Content-Type": content_type})
            assert answer.status_code in {400, 422}, (route.method, route.path, answer.status_code)
    assert target.state() == before


def test_guarantee_10_a_body_beyond_the_limit_is_refused_on_every_route(target: Target) -> None:
    """5 MiB are told as too long, with a body that says so: never 413, never a closed connection."""
    before = target.state()
    large = json.dumps({"content": "x" * (5 << 20)}).encode()
    for route in target.routes:
        answer = target.http.send(route.method, route.path, large)
        assert answer.status_code in {400, 422}
        assert "longer than" in answer.text
    assert target.state() == before


def test_guarantee_10_a_field_of_another_type_is_refused(target: Target) -> None:
    """Each field of each route is given every type of JSON that its schema does not allow, or left out if required."""
    before = target.state()
    tried = 0
    for route in target.routes:
        for name, field in route.schema["properties"].items():
            for kind in sorted(set(VALUES) - _allowed(target, field)):
                for value in VALUES[kind]:
                    body = {**route.example, name: value}
                    answer = target.http.send(route.method, route.path, body)
                    assert answer.status_code in {400, 422}, (route.method, route.path, body)
                    assert name in answer.text, (route.method, route.path, body, answer.text)
                    tried += 1
        for name in route.schema.get("required", ()):
            body = {other: value for other, value in route.example.items() if other != name}
            answer = target.http.send(route.method, route.path, body)
            assert answer.status_code in {400, 422}, (route.method, route.path, body)
            assert name in answer.text
            tried += 1
    assert tried > 300
    assert target.state() == before


def _allowed(target: Target, schema: dict[str, Any]) -> set[str]:
    """Return the types of JSON that a schema allows; an integer is a number as well."""
    schema = target.resolved(schema)
    if "anyOf" in schema:
        return set().union(*(_allowed(target, one) for one in schema["anyOf"]))
    kinds = schema.get("type", "string" if "enum" in schema else None)
    assert kinds is not None, schema
    found = {kinds} if isinstance(kinds, str) else set(kinds)
    return found | ({"integer"} if "number" in found else set())


def test_guarantee_10_a_field_beyond_its_limit_is_refused(target: Target) -> None:
    """Every documented limit holds: lengths, sizes of lists, least and greatest numbers, choices."""
    before = target.state()
    tried = 0
    for route in target.routes:
        for name, field in route.schema["properties"].items():
            for value in _beyond(target, field):
                body = {**route.example, name: value}
                answer = target.http.send(route.method, route.path, body)
                assert answer.status_code in {400, 422}, (route.method, route.path, str(body)[:200])
                tried += 1
    assert tried > 30
    assert target.state() == before


def _beyond(target: Target, schema: dict[str, Any]) -> Iterator[Any]:
    schema = target.resolved(schema)
    for one in schema.get("anyOf", ()):
        yield from _beyond(target, one)
    if "enum" in schema:
        yield from ("", "nobody", str(schema["enum"][0]).lower())
    if "maxLength" in schema:
        yield "x" * (schema["maxLength"] + 1)
    if schema.get("minLength"):
        yield "x" * (schema["minLength"] - 1)
    if "maximum" in schema:
        yield schema["maximum"] + 1
    if "minimum" in schema:
        yield schema["minimum"] - 1
    if "maxItems" in schema:
        yield ["x"] * (schema["maxItems"] + 1)
    if schema.get("minItems"):
        yield []


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_guarantee_10_no_json_breaks_a_route(target: Target, data: st.DataObject) -> None:
    """Examples with any JSON in any of their fields, and fields unheard of: accepted or refused, never a 5xx."""
    route = data.draw(st.sampled_from([r for r in target.routes if "{" not in r.path and "search" not in r.path]))
    names = st.sampled_from(sorted(route.schema["properties"])) | st.text(max_size=8)
    body = {**route.example, **data.draw(st.dictionaries(names, _JSON, min_size=1, max_size=3))}
    body.pop("deduplicationKey", None)
    answer = target.http.send(route.method, route.path, json.dumps(body).encode())
    assert answer.status_code < 500, (route.method, route.path, body)


# ---- what stands in paths, queries and headers -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "$filter=",
        "$filter=agentID",
        "$filter=agentID eq",
        "$filter=agentID eq a",
        "$filter=agentID eq 'a",
        "$filter=agentID eq 'a' or invokerID eq 'b'",
        "$filter=agentID ne 'a'",
        "$filter=agentID eq 'a' and",
        "$filter=and agentID eq 'a'",
        "$filter=(agentID eq 'a')",
        "$filter=not agentID eq 'a'",
        "$filter=agentid eq 'a'",
        "$filter=id eq 'a'",
        "$filter=content eq 'a'",
        "$filter=contains(content)",
        "$filter=contains(content, 'a'",
        "$filter=contains(agentID, 'a')",
        "$filter=contains(content, a)",
        "$filter=startswith(content, 'a')",
        "$filter=agentID eq 'a' agentID eq 'b'",
        "$filter=agentID eq 'a'; DROP TABLE view_rows",
        "$filter=" + "agentID eq 'a' and " * 500,
        "$filter=" + "(" * 10_000,
        "$filter='" + "''" * 5_000,
        "$filter=agentID eq 'a'&$filter=agentID eq 'b'",
        "$top=-1",
        "$top=x",
        "$top=",
        "$top=1.5",
        "$top=%D9%A1",
        "$skip=-1",
        "$skip=x",
        "$count=yes",
        "$count=",
        "$orderby=content",
        "$select=content",
        "$search=x",
        "$expand=x",
        "%ff=1",
        "$filter=%ff",
        "$filter=%ed%a0%80",
    ],
)
def test_guarantee_10_a_query_that_cannot_be_read_is_400(target: Target, query: str) -> None:
    """A filter is never read as a wider one; options that are not served are told, not ignored."""
    for path in ("/v1/memories", "/v1/messages"):
        assert target.http.get(f"{path}?{query}").status_code == 400, query


def test_queries_beyond_any_number_are_read(target: Target) -> None:
    """Numbers that no integer type holds are numbers all the same."""
    for query in ("$top=" + "9" * 500, "$skip=" + "9" * 500, "$top=" + str(2**63), "$skip=" + str(2**63), "$top=007"):
        assert target.http.get(f"/v1/memories?{query}").status_code == 200, query


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v2/memory", 404),
        ("GET", "/api/v2/version", 404),
        ("POST", "/api/v2/memory/new", 404),
        ("GET", "/v1/memories/", 404),
        ("POST", "/v1/memories/search/", 404),
        ("GET", "/v1/memories()", 404),
        ("GET", "/v1/memories(a)(b)", 404),
        ("GET", "/v1/nothing", 404),
        ("GET", "/api/v2/nothing/", 404),
        ("GET", "/api/v2", 404),
        ("GET", "/", 404),
        ("GET", "/größe%00%ff", 404),
        ("GET", "/api/v2/memory/%00/", 404),
        ("GET", "/api/v2/memory/%ff%fe/sessions/", 404),
        ("GET", "/v1/memories(%ed%a0%80)", 404),
        ("GET", "/api/v2/memory/" + "x" * 30_000 + "/", 404),
        ("GET", "/v1/memories(" + "x" * 30_000 + ")", 404),
        ("PUT", "/v1/memories", 405),
        ("DELETE", "/v1/memories", 405),
        ("POST", "/v1/memories(x)", 405),
        ("GET", "/v1/memories/search", 405),
        ("DELETE", "/v1/admin/retentionConfig", 405),
        ("GET", "/oauth/token", 405),
        ("PUT", "/api/v2/memory/", 405),
        ("POST", "/api/v2/memory/x/", 405),
        ("GET", "/api/v2/memory/new/", 404),
        ("OPTIONS", "/api/v2/memory/", 405),
        ("TRACE", "/v1/memories", 405),
    ],
)
def test_guarantee_10_paths_and_methods_that_are_none(target: Target, method: str, path: str, status: int) -> None:
    """404 and 405 of the framework have a body as well, and nothing redirects to a path with another end."""
    answer = target.http.send(method, path)
    assert answer.status_code == status or (path == "/api/v2/memory/new/" and answer.status_code == 405)
    if answer.status_code == 405:
        assert answer.headers["allow"]


@pytest.mark.parametrize("position", ["x", "1/2", "1/2:x", "99999/1:1", "1/1:1," * 20, "-1/1:1", "9" * 100])
def test_guarantee_10_a_position_that_is_none_is_refused(target: Target, position: str) -> None:
    """A read that names no position of ours is told, on both faces."""
    for path, status in (("/v1/memories", 400), ("/api/v2/memory/", 422)):
        assert target.http.get(path, headers={"Mnemolog-Position": position}).status_code == status


def test_a_body_is_read_whatever_its_content_type_says(target: Target) -> None:
    """JSON is JSON under any content type or none; an empty body with any content type is `{}` (G6, G7)."""
    body = json.dumps({"agentID": "content types", "invokerID": "i", "content": "x"}).encode()
    kinds = (
        "application/json",
        "application/json; charset=utf-8",
        "text/plain",
        "application/x-www-form-urlencoded",
        "nonsense",
    )
    for kind in kinds:
        made = target.http.post("/v1/memories", body, headers={"Content-Type": kind})
        assert made.status_code == 201, kind
        target.http.delete(f"/v1/memories({made.json()['id']})")
        space = target.http.post("/api/v2/memory/new/", b"", headers={"Content-Type": kind})
        assert space.status_code == 201, kind
        target.http.delete(f"/api/v2/memory/{space.json()['memorySpaceId']}/", headers={"Content-Type": kind})
