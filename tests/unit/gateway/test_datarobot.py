"""`/api/v2`: what the DataRobot SDKs send is understood, and what they read is there (wire contract §3)."""

from __future__ import annotations

from typing import Any

import pytest

from mnemolog.domain.outcomes import Reason, Rejected
from mnemolog.domain.reads import SessionFilter
from tests.unit.gateway.fakes import Server, World, id_in

pytestmark = pytest.mark.unit

SPACE, SESSION = id_in(3), id_in(3, 1)
DEFAULT = {"type": "soft_delete", "trigger": {"ttl": 15_552_000}}


def space_of(server: Server) -> str:
    """Open a space and return its path."""
    return f"memory/{server.api('POST', 'memory/new/').json()['memorySpaceId']}/"


def session_of(server: Server) -> str:
    """Open a session in a new space and return its path."""
    path = space_of(server) + "sessions/"
    body = {"participants": ["ada"], "lifecycleStrategies": [DEFAULT]}
    return f"{path}{server.api('POST', path, json=body).json()['id']}/"


def detail(response: Any) -> Any:
    """Return what went wrong."""
    return response.json()["detail"]


# ---- spaces ----------------------------------------------------------------------------------------------------------


def test_the_version_is_one_that_every_client_accepts() -> None:
    """A client asks before anything else; 2.49 silences the warnings of both SDK versions."""
    assert Server().api("GET", "version/").json()["versionString"] == "2.49.0"


def test_a_space_is_made_of_nothing() -> None:
    """`POST memory/new/` without a body and without a content type is a space without texts (G7)."""
    response = Server().api("POST", "memory/new/")
    assert response.status_code == 201
    body = response.json()
    identifier = body.pop("memorySpaceId")
    assert len(identifier) == 36
    assert body == {
        "userId": "ada",
        "tenantId": "acme",
        "description": None,
        "llmModelName": None,
        "llmBaseUrl": None,
        "customInstructions": None,
        "createdAt": "2025-11-18T12:26:40.000000Z",
        "deduplicationKey": None,
    }


def test_a_space_lives_and_goes() -> None:
    """Each change answers with the whole space (G5); null clears, `""` stands, unknown fields change nothing."""
    server = Server()
    full = {"description": "d", "llmModelName": "m", "llmBaseUrl": "http://x/y", "customInstructions": "c"}
    created = server.api("POST", "memory/new/", json={**full, "deduplicationKey": "K1", "x": 1})
    path = f"memory/{created.json()['memorySpaceId']}/"
    changed = server.api("PATCH", path, json={"description": None, "customInstructions": ""})
    assert changed.status_code == 200
    assert changed.json() == {**created.json(), "description": None, "customInstructions": ""}
    sent = len(server.world.envelopes)
    assert server.api("PATCH", path, json={"deduplicationKey": "K2"}).json() == changed.json()
    assert server.api("PATCH", path).json() == changed.json()
    assert len(server.world.envelopes) == sent
    assert server.api("GET", "memory/?deduplicationKey=K1").json() == {
        "items": [changed.json()],
        "offset": 0,
        "limit": 100,
        "total": 1,
    }
    assert server.api("DELETE", path).status_code == 204
    assert server.api("GET", path).status_code == 404
    assert detail(server.api("DELETE", path))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("description", "x" * 1_001),
        ("llmModelName", "x" * 201),
        ("customInstructions", "x" * 10_001),
        ("deduplicationKey", ""),
        ("deduplicationKey", "x" * 73),
        ("llmBaseUrl", ""),
        ("llmBaseUrl", "ftp://x"),
        ("llmBaseUrl", "http://" + "x" * 2_083),
        ("description", 7),
        ("llmModelName", ["x"]),
    ],
)
def test_the_limits_of_a_space(field: str, value: Any) -> None:
    """Each limit is 422 with a list whose first entry names the field as the caller wrote it."""
    server = Server()
    response = server.api("POST", "memory/new/", json={field: value})
    assert response.status_code == 422
    assert detail(response)[0]["loc"] == ["body", field]
    assert set(detail(response)[0]) == {"type", "loc", "msg"}
    assert server.world.envelopes == []


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "offset=-1", "limit=", "offset=1e3", "offset=%FF"]
)
def test_a_page_out_of_range_is_422(query: str) -> None:
    """Limits go from 1 to 100, offsets from 0."""
    server = Server()
    assert server.api("GET", f"memory/?{query}").status_code == 422
    assert server.api("GET", f"{space_of(server)}sessions/?{query}").status_code == 422
    assert server.api("GET", f"{session_of(server)}events/?{query}").status_code == 422


@pytest.mark.parametrize("name", ["MemorySpace", "Session"])
@pytest.mark.parametrize("existing", [id_in(9), None])
def test_a_taken_key_names_the_winner(name: str, existing: str | None) -> None:
    """The exact names of the contract's §3.1, and `Location` for the client that reads that."""
    server = Server()
    path, url = "memory/new/", f"/memory/{existing}/"
    body: dict[str, Any] = {"deduplicationKey": "K1"}
    if name == "Session":
        path = space_of(server) + "sessions/"
        url = f"/{path}{existing}/"
        body |= {"participants": ["ada"], "lifecycleStrategies": []}
    server.world.answer = lambda _: Rejected(Reason.KEY_TAKEN, "taken", existing)
    response = server.api("POST", path, json=body)
    assert response.status_code == 409
    assert response.json() == {
        "detail": "taken",
        "errorName": f"{name}DeduplicationConflict",
        "deduplicationKey": "K1",
        f"existing{name}Id": existing,
        f"existing{name}Url": url if existing else None,
    }
    assert response.headers.get("location") == (url if existing else None)


# ---- sessions --------------------------------------------------------------------------------------------------------


def test_a_session_lives_and_goes() -> None:
    """User JSON comes back verbatim, each change answers with the whole session and the next version."""
    server = Server()
    path = space_of(server) + "sessions/"
    metadata = {"OrderID": None, "z": {"URLValue": [None, "ü"]}, "a": 1}
    strategy = {
        "type": "extract_memories",
        "trigger": {"eventCount": 3},
        "opts": {"softDelete": False, "metadata": {"aKey": 1}},
    }
    body = {"participants": ["ada"], "lifecycleStrategies": [strategy], "metadata": metadata, "x": 1}
    created = server.api("POST", path, json=body)
    session = created.json()
    assert created.status_code == 201
    assert (session["metadata"], session["lifecycleStrategies"], session["version"]) == (metadata, [strategy], 1)
    assert list(session["metadata"]) == list(metadata)
    own = f"{path}{session['id']}/"
    changed = server.api("PATCH", own, json={"metadata": None, "description": "d"}, headers={"if-match": '"1"'})
    assert changed.json() == {**session, "metadata": None, "description": "d", "version": 2}
    assert server.api("GET", own).json() == changed.json()
    assert server.api("GET", path).json()["items"] == [changed.json()]
    assert server.api("DELETE", own).status_code == 204
    assert server.api("GET", own).status_code == 404


@pytest.mark.parametrize(
    ("header", "version"), [('"3"', 3), ("3", 3), ('W/"3"', 3), (" 3 ", 3), ("*", None), (None, None)]
)
def test_the_version_comes_in_every_spelling(header: str | None, version: int | None) -> None:
    """One SDK quotes `If-Match`, the other does not, the third sends none: then the last writer wins."""
    server = Server(World(answer=lambda _: Rejected(Reason.VERSION_MISMATCH, "Session version mismatch: …")))
    headers = {} if header is None else {"if-match": header}
    response = server.api("PATCH", f"memory/{SPACE}/sessions/{SESSION}/", json={"description": "d"}, headers=headers)
    assert response.status_code == 409
    assert detail(response).startswith("Session version mismatch")
    assert server.world.envelopes[0].command.target.version == version  # type: ignore[attr-defined]


@pytest.mark.parametrize("header", ["abc", '"3', "-1", "", "1.0", "9" * 30, '"1", "2"'])
def test_a_version_that_is_none_is_422(header: str) -> None:
    """What cannot be a version is not read as its absence: that would overwrite somebody's change."""
    server = Server()
    path = session_of(server)
    sent = len(server.world.envelopes)
    assert server.api("PATCH", path, json={"description": "d"}, headers={"if-match": header}).status_code == 422
    assert len(server.world.envelopes) == sent


def test_a_change_of_nothing_known_is_a_read() -> None:
    """Unknown fields are ignored with 200, and the version does not move."""
    server = Server()
    path = session_of(server)
    sent = len(server.world.envelopes)
    requests: tuple[dict[str, Any], ...] = ({"json": {"x": 1}}, {"json": {}}, {})
    for request in requests:
        response = server.api("PATCH", path, **request)
        assert (response.status_code, response.json()["version"]) == (200, 1)
    assert len(server.world.envelopes) == sent
    assert server.api("PATCH", f"memory/{SPACE}/sessions/{SESSION}/", json={}).status_code == 404


@pytest.mark.parametrize(
    ("change", "loc"),
    [
        ({"participants": []}, ["participants"]),
        ({"participants": ["a", "b"]}, ["participants"]),
        ({"participants": [" "]}, ["participants", 0]),
        ({"participants": "ada"}, ["participants"]),
        ({"description": "x" * 1_001}, ["description"]),
        ({"metadata": []}, ["metadata"]),
        ({"lifecycleStrategies": [DEFAULT] * 6}, ["lifecycleStrategies"]),
        ({"lifecycleStrategies": [{"type": "x", "trigger": {"ttl": 1}}]}, ["lifecycleStrategies", 0, "type"]),
        ({"lifecycleStrategies": [{"type": "soft_delete"}]}, ["lifecycleStrategies", 0, "trigger"]),
        ({"lifecycleStrategies": [7]}, ["lifecycleStrategies", 0]),
    ],
)
def test_the_limits_of_a_session(change: dict[str, Any], loc: list[Any]) -> None:
    """Each mistake is 422 and found where it is."""
    server = Server()
    body = {"participants": ["ada"], "lifecycleStrategies": [], **change}
    response = server.api("POST", f"memory/{SPACE}/sessions/", json=body)
    assert response.status_code == 422
    assert detail(response)[0]["loc"] == ["body", *loc]
    assert server.world.envelopes == []


def test_strategies_cannot_be_emptied() -> None:
    """A change to no strategies is 422; the field is left out to keep them."""
    server = Server()
    assert server.api("PATCH", session_of(server), json={"lifecycleStrategies": []}).status_code == 422


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", SessionFilter()),
        ("description=", SessionFilter()),
        ("description=abc", SessionFilter(description="abc")),
        ("participants=a&participants=b%20c", SessionFilter(("a", "b c"))),
        ("deduplicationKey=K", SessionFilter(deduplication_key="K")),
    ],
)
def test_sessions_are_filtered_as_asked(query: str, wanted: SessionFilter) -> None:
    """Repeated participants, a part of the description, an exact key."""
    server = Server()
    assert server.api("GET", f"{space_of(server)}sessions/?{query}").status_code == 200
    assert server.world.filters == [wanted]


def test_a_short_description_filter_is_422() -> None:
    """Less than three characters is refused; none at all is no filter."""
    server = Server()
    assert server.api("GET", f"{space_of(server)}sessions/?description=ab").status_code == 422


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "path",
    [
        f"memory/{SPACE}/",
        "memory/nonsense/",
        "memory/%FF/",
        f"memory/{SPACE}/sessions/{SESSION}/",
        f"memory/{SPACE}/sessions/{id_in(4)}/",
        f"memory/x/sessions/{'y' * 300}/",
    ],
)
def test_what_is_not_there_is_404(method: str, path: str) -> None:
    """Missing, malformed and ids of two slots are all the same: nothing."""
    response = Server().api(method, path, **({"json": {"description": "d"}} if method == "PATCH" else {}))
    assert response.status_code == 404
    assert isinstance(detail(response), str)
