"""Guarantee 8: what one tenant owns, no other can read, change, count, search or detect, through any route.

The routes come from the server's own document, so a route that is added is tried as well, or fails this suite.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from tests.sdk.servers import Server
from tests.sdk.wire import Http, bearer, token_of

pytestmark = pytest.mark.sdk
ZONE = "provider"
MEMORY = {"agentID": "a", "invokerID": "i", "content": "The treasure is under the oak", "metadata": {"secret": "oak"}}
MESSAGE = {"agentID": "a", "invokerID": "i", "messageGroup": "g", "role": "USER", "content": "The treasure"}
SEARCH = {"agentID": "a", "invokerID": "i", "query": "Where is the treasure?", "threshold": 0.0, "top": 50}
DELETE = "memory.delete-memory.v1"
AUDITOR = ("--role", "auditor")
OWN = {"/oauth/token", "/health/live", "/health/ready", "/openapi.json", "/docs", "/metrics"}
"""Paths that hold nobody's data."""


class Party(NamedTuple):
    """Somebody with both kinds of credentials."""

    v1: Http
    v2: Http

    def send(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """Send a request to the face of the path."""
        return (self.v2 if path.startswith("/api/") else self.v1).send(method, path, body, **options)


@contextlib.contextmanager
def _party(server: Server, oauth: str, api: str) -> Iterator[Party]:
    with Http(server.url, bearer(oauth)) as v1, Http(server.url, {"Authorization": f"Token {api}"}) as v2:
        yield Party(v1, v2)


def _owned(owner: Party) -> dict[str, str]:
    """Make one of everything with keys that anyone might choose; return the values of the routes' parameters."""
    space = owner.v2.post("/api/v2/memory/new/", {"deduplicationKey": "key", "description": "oak"}).json()
    sessions = f"/api/v2/memory/{space['memorySpaceId']}/sessions/"
    session = owner.v2.post(
        sessions, {"participants": ["ann"], "deduplicationKey": "key", "metadata": {"secret": "oak"}}
    ).json()
    events = f"{sessions}{session['id']}/events/"
    owner.v2.post(events, {"body": {"content": "the oak"}, "emitter": {"type": "user", "id": "ann"}})
    memory = owner.v1.post("/v1/memories", MEMORY).json()
    message = owner.v1.post("/v1/messages", MESSAGE).json()
    owner.v1.patch("/v1/admin/retentionConfig", {"messageDays": 123})
    return {
        "space": space["memorySpaceId"],
        "session": session["id"],
        "sequence": "0",
        "memory": memory["id"],
        "message": message["id"],
        "key": "nobody-has-such-a-key",
    }


def _path(route: str, ids: dict[str, str]) -> str:
    named = {**ids, "id": ids["message" if "messages" in route else "memory"]}
    return route.format(**named)


def _state(party: Party, ids: dict[str, str]) -> list[Any]:
    """Read everything that a party has."""
    space = f"/api/v2/memory/{ids['space']}/"
    session = f"{space}sessions/{ids['session']}/"
    found = [party.v2.get(path).json() for path in (space, f"{space}sessions/", session, f"{session}events/")]
    lists = ("/v1/memories?$count=true", "/v1/messages?$count=true", "/v1/admin/retentionConfig")
    found += [party.v1.get(path).json() for path in lists]
    return [*found, party.v1.post("/v1/memories/search", SEARCH).json()]


STRANGERS: dict[str, Callable[[Server, str], tuple[tuple[str, str], tuple[str, str]]]] = {}
"""By name: a function that returns the tokens (of /v1, of /api/v2) of an owner and of the stranger."""


def _stranger(make: Callable[[Server, str], tuple[tuple[str, str], tuple[str, str]]]) -> None:
    STRANGERS[make.__name__.strip("_")] = make


@_stranger
def _another_tenant(server: Server, tenant: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return (
        (token_of(server, server.client(tenant, *AUDITOR)), server.token(tenant, "ann")),
        (token_of(server, server.client(f"{tenant}-b", *AUDITOR)), server.token(f"{tenant}-b", "ann")),
    )


@_stranger
def _a_tenant_of_nearly_the_same_name(server: Server, tenant: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return (
        (token_of(server, server.client(tenant, *AUDITOR)), server.token(tenant, "ann")),
        (token_of(server, server.client(tenant.upper(), *AUDITOR)), server.token(f"{tenant} ", "ann")),
    )


@_stranger
def _a_subscriber_of_the_owner(server: Server, tenant: str) -> tuple[tuple[str, str], tuple[str, str]]:
    client = server.client(tenant, "--identityzone", ZONE, *AUDITOR)
    return (
        (token_of(server, client, f"{ZONE}.example.com"), server.token(tenant, "ann")),
        (token_of(server, client, "acme.example.com"), server.token(tenant, "bob")),
    )


@_stranger
def _the_provider_of_the_owner(server: Server, tenant: str) -> tuple[tuple[str, str], tuple[str, str]]:
    client = server.client(tenant, "--identityzone", ZONE, *AUDITOR)
    return (
        (token_of(server, client, "acme.example.com"), server.token(tenant, "ann")),
        (token_of(server, client, "localhost"), server.token(tenant, "a/nn")),
    )


@pytest.fixture(params=sorted(STRANGERS))
def parties(request: pytest.FixtureRequest, server: Server, tenant: str) -> Iterator[tuple[Party, Party]]:
    """Return an owner and a stranger."""
    mine, theirs = STRANGERS[request.param](server, tenant)
    with _party(server, *mine) as owner, _party(server, *theirs) as stranger:
        yield owner, stranger


def _operations(party: Party) -> list[tuple[str, str, Any]]:
    """Return (method, path, example of a body) of every operation that is documented."""
    paths = party.v1.get("/openapi.json").json()["paths"]
    found = []
    for path, methods in paths.items():
        for method, operation in methods.items():
            contents = operation.get("requestBody", {}).get("content", {})
            found.append((method.upper(), path, contents.get("application/json", {}).get("example")))
    return found


def test_guarantee_8_foreign_ids_are_like_ids_that_never_were(parties: tuple[Party, Party]) -> None:
    """Every route with an id answers a stranger 404, just as it answers an id that nobody has; nothing changes."""
    owner, stranger = parties
    ids = _owned(owner)
    before = _state(owner, ids)
    never = {name: name if name == "sequence" else _like(value) for name, value in ids.items()} | {"sequence": "0"}
    tried = 0
    for method, route, body in _operations(owner):
        if "{" not in route:
            continue
        foreign = stranger.send(method, _path(route, ids), body)
        unknown = stranger.send(method, _path(route, never), body)
        assert (foreign.status_code, unknown.status_code) == (404, 404), (method, route)
        assert foreign.json() == unknown.json(), (method, route)
        assert set(foreign.headers) == set(unknown.headers), (method, route)
        tried += 1
    assert tried >= 16
    assert _state(owner, ids) == before


def _like(identifier: str) -> str:
    """Return an id of the same form and the same place that nobody has."""
    return identifier[:-6] + uuid.uuid4().hex[:6]


def test_guarantee_8_routes_without_ids_show_a_stranger_nothing(parties: tuple[Party, Party], tenant: str) -> None:
    """Lists, counts, filters, searches, the policy and equal keys: a stranger finds what is his, which is nothing."""
    owner, stranger = parties
    ids = _owned(owner)
    before = _state(owner, ids)
    routes = {(method, route) for method, route, _ in _operations(owner) if "{" not in route and route not in OWN}
    for path in ("/v1/memories", "/v1/messages"):
        for query in ("", "?$count=true", "?$top=0&$count=true", "?$filter=agentID eq 'a' and contains(content, 'tr')"):
            found = stranger.v1.get(path + query).json()
            assert (found["value"], found.get("@odata.count", 0)) == ([], 0), path + query
        routes.remove(("GET", path))
    assert stranger.v1.post("/v1/memories/search", SEARCH).json() == {"value": []}
    routes.remove(("POST", "/v1/memories/search"))
    policy = stranger.v1.get("/v1/admin/retentionConfig").json()
    assert (policy["messageDays"], policy["createTimestamp"]) == (None, None)
    assert stranger.v1.patch("/v1/admin/retentionConfig", {"messageDays": 5}).status_code == 200
    routes -= {("GET", "/v1/admin/retentionConfig"), ("PATCH", "/v1/admin/retentionConfig")}
    routes -= _audits(stranger, ids, tenant) | _forgets(stranger, ids) | _publishes(stranger, ids)
    for query in ("", "?deduplicationKey=key"):
        assert stranger.v2.get(f"/api/v2/memory/{query}").json()["total"] == 0
    mine = stranger.v2.post("/api/v2/memory/new/", {"deduplicationKey": "key"})
    assert mine.status_code == 201
    assert mine.json()["memorySpaceId"] != ids["space"]
    routes -= {("GET", "/api/v2/memory/"), ("POST", "/api/v2/memory/new/")}
    for path, body in (("/v1/memories", MEMORY), ("/v1/messages", MESSAGE)):
        made = stranger.v1.post(path, {**body, "content": "mine"}).json()
        assert [item["id"] for item in stranger.v1.get(path).json()["value"]] == [made["id"]]
        routes.remove(("POST", path))
    assert routes == {("GET", "/api/v2/version/")}, "a new route must be tried here"
    assert _state(owner, ids) == before


def _audits(stranger: Party, ids: dict[str, str], tenant: str) -> set[tuple[str, str]]:
    """An auditor sees of another tenant's past what he sees of something that never was."""
    moment = "asOf=2100-01-01T00:00:00Z"
    for path in ("/audit/history?", f"/audit/state?{moment}&"):
        for identifier in (ids["memory"], ids["message"]):
            unknown = _like(identifier)
            answers = [stranger.v1.get(f"{path}stream={one}") for one in (identifier, unknown)]
            assert answers[0].status_code == answers[1].status_code
            assert answers[0].text.replace(identifier, unknown) == answers[1].text
        answers = [stranger.v1.get(f"{path}agentID={agent}&invokerID=i") for agent in ("a", "never")]
        assert answers[0].text.replace('"a"', '"never"') == answers[1].text
    past = {"agentID": "a", "invokerID": "i", "query": "treasure", "asOf": "2100-01-01T00:00:00Z", "threshold": 0.0}
    assert "oak" not in stranger.v1.post("/audit/search", past).text
    usage = stranger.v1.get("/audit/usage?limit=10000")
    tenants = {record["tenant"] for record in usage.json()["records"]}
    assert len(tenants) <= 1
    if tenants != {tenant}:  # whoever audits the tenant of the space itself may know what was read of it
        assert ids["session"] not in usage.text
        assert ids["space"] not in usage.text
    return {("GET", "/audit/history"), ("GET", "/audit/state"), ("POST", "/audit/search"), ("GET", "/audit/usage")}


def _forgets(stranger: Party, ids: dict[str, str]) -> set[tuple[str, str]]:
    """Who may erase all that is his counts and erases nothing of another tenant."""
    counted = stranger.v1.post("/v1/admin/retentionConfig/preview", {"messageDays": 0, "memoryDays": 0}).json()
    assert {value for name, value in counted.items() if name != "asOf"} == {0}
    for kind in ("memory", "message"):
        bodies = [{"kind": kind, "id": one} for one in (ids[kind], _like(ids[kind]))]
        answers = [stranger.v1.post("/v1/admin/erasures", body) for body in bodies]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert answers[0].json() == answers[1].json()
    owners = [{"kind": "owner", "agentID": agent, "invokerID": "i"} for agent in ("a", "never")]
    answers = [stranger.v1.post("/v1/admin/erasures", owner) for owner in owners]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].json() == answers[1].json()
    previews = [stranger.v1.post("/v1/admin/erasures/preview", owner).json() for owner in owners]
    previews += [stranger.v1.post("/v1/admin/erasures/preview", {"kind": "memory", "id": ids["memory"]}).json()]
    assert {preview.get(what, 0) for preview in previews for what in ("memories", "messages", "spaces")} == {0}
    routes = ("/v1/admin/retentionConfig/preview", "/v1/admin/erasures/preview", "/v1/admin/erasures")
    return {("POST", route) for route in routes}


def _publishes(stranger: Party, ids: dict[str, str]) -> set[tuple[str, str]]:
    """A published command about another tenant's memory is rejected as one about a memory that never was."""
    found = []
    for number, identifier in enumerate((ids["memory"], _like(ids["memory"]))):
        data = {"target": {"memory": identifier}, "parts": []}
        event = {
            "specversion": "1.0",
            "id": f"{number}",
            "source": "x",
            "type": "memory.delete-memory.v1",
            "data": data,
        }
        options = {"headers": {"Content-Type": "application/cloudevents+json", "Prefer": "wait=10"}}
        outcome = stranger.v1.send("POST", "/commands", event, **options).json()["outcome"]
        found.append({name: outcome[name] for name in ("status", "reason", "detail")})
    assert found[0] == found[1]
    assert found[0]["status"] == "rejected"
    return {("POST", "/commands")}


def test_guarantee_8_equal_idempotency_keys_of_strangers_do_not_meet(parties: tuple[Party, Party]) -> None:
    """A key that another tenant or user has used, with whatever body, is new to a stranger."""
    owner, stranger = parties
    for path, body in (("/v1/memories", MEMORY), ("/v1/messages", MESSAGE), ("/api/v2/memory/new/", {})):
        first = owner.send("POST", path, body, headers={"Idempotency-Key": path})
        other = stranger.send("POST", path, body, headers={"Idempotency-Key": path})
        assert (first.status_code, other.status_code) == (201, 201)
        assert first.headers["mnemolog-command"] != other.headers["mnemolog-command"]
        assert first.json().get("id", first.json().get("memorySpaceId")) not in other.text


def test_guarantee_8_foreign_parents_do_not_open_own_children(parties: tuple[Party, Party]) -> None:
    """A stranger's own session is not found through the owner's space, nor the owner's through the stranger's."""
    owner, stranger = parties
    ids = _owned(owner)
    theirs = _owned(stranger)
    for space, session in ((ids["space"], theirs["session"]), (theirs["space"], ids["session"])):
        for party in (owner, stranger):
            where = f"/api/v2/memory/{space}/sessions/{session}/"
            assert party.v2.get(where).status_code == 404
            assert party.v2.get(f"{where}events/").status_code == 404
            assert party.v2.patch(where, {"description": "x"}).status_code == 404
            event = {"body": {"content": "x"}, "emitter": {"type": "user", "id": "ann"}}
            assert party.v2.post(f"{where}events/", event).status_code == 404
