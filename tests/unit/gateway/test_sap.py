"""`/v1`: what the SAP SDK sends is understood, and what it reads is there (wire contract §2)."""

from __future__ import annotations

from typing import Any

import pytest

from mnemolog.domain.outcomes import Accepted, Landed, Reason, Rejected
from mnemolog.domain.ports import Match, Scope
from mnemolog.domain.reads import Filter
from tests.unit.gateway.fakes import Server, World, id_in

pytestmark = pytest.mark.unit

WHO = {"agentID": "planner", "invokerID": "ada"}
MEMORY = {**WHO, "content": "Ada prefers dark mode."}
MESSAGE = {**WHO, "messageGroup": "monday", "role": "USER", "content": "Good morning"}
AT = "2025-11-18T12:26:40.000000Z"
VERBATIM: dict[str, Any] = {"URLValue": 1, "order_id": None, "b": [1.5, {"Z": "ü😀"}], "a": {}}


def test_a_memory_lives_and_goes() -> None:
    """Create, read, change, list, search, delete: each answers with what the SDK parses."""
    server = Server()
    created = server.sap("POST", "/v1/memories", json={**MEMORY, "metadata": VERBATIM, "unknown": 1})
    assert created.status_code == 201
    memory = created.json()
    assert memory == {
        **MEMORY,
        "id": memory["id"],
        "metadata": VERBATIM,
        "createTimestamp": memory["createTimestamp"],
        "updateTimestamp": memory["updateTimestamp"],
    }
    assert list(memory["metadata"]) == list(VERBATIM)
    path = f"/v1/memories({memory['id']})"
    assert server.sap("GET", path).json() == memory
    assert server.sap("GET", f"/v1/memories('{memory['id']}')").json() == memory
    changed = server.sap("PATCH", path, json={"metadata": {}})
    assert (changed.status_code, changed.json()["metadata"], changed.json()["content"]) == (200, {}, MEMORY["content"])
    assert server.sap("GET", "/v1/memories?%24top=50").json()["value"][0]["id"] == memory["id"]
    assert server.sap("DELETE", path, headers={"content-type": "application/json"}).status_code == 204
    assert server.sap("GET", path).status_code == 404
    assert server.sap("DELETE", path).status_code == 404


def test_times_are_texts_of_microseconds() -> None:
    """Timestamps are ISO-8601 in UTC, which both SDKs carry without loss."""
    assert Server().sap("POST", "/v1/memories", json=MEMORY).json()["createTimestamp"] == AT


def test_absent_metadata_is_an_empty_object() -> None:
    """Where nothing or null was given, the answer holds `{}`, as the guide prints it."""
    server = Server()
    for body in (MEMORY, {**MEMORY, "metadata": None}):
        assert server.sap("POST", "/v1/memories", json=body).json()["metadata"] == {}
    assert server.sap("POST", "/v1/messages", json=MESSAGE).json()["metadata"] == {}


def test_a_message_lives_and_goes() -> None:
    """Messages are created, read, listed and deleted, and cannot be changed: 405 names what can be done."""
    server = Server()
    created = server.sap("POST", "/v1/messages", json=MESSAGE)
    message = created.json()
    assert (created.status_code, message) == (
        201,
        {**MESSAGE, "id": message["id"], "metadata": {}, "createTimestamp": AT},
    )
    path = f"/v1/messages({message['id']})"
    assert server.sap("GET", path).json() == message
    refused = server.sap("PATCH", path, json={"content": "x"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (405, "405")
    assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD", "DELETE"}
    assert server.sap("GET", "/v1/messages").json() == {"value": [message]}
    assert server.sap("DELETE", path).status_code == 204
    assert server.sap("GET", path).status_code == 404


@pytest.mark.parametrize("identifier", ["non-existent-id", "a%2Fb", "'x'", "%00", "%FF", "1" * 500, id_in(1).upper()])
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_an_id_that_is_none_of_ours_is_404(method: str, identifier: str) -> None:
    """Not 400: the SDK turns 404 into its NotFound error; and nothing is published."""
    server = Server()
    response = server.sap(method, f"/v1/memories({identifier})", json={"content": "x"})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "404")
    assert server.world.envelopes == []


def test_there_is_no_upsert() -> None:
    """A well-formed id that names nothing is 404 on PATCH."""
    server = Server()
    assert server.sap("PATCH", f"/v1/memories({id_in(7)})", json={"content": "x"}).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"content": "x"},
        {**MEMORY, "agentID": ""},
        {**MEMORY, "agentID": " "},
        {**MEMORY, "agentID": 7},
        {**MEMORY, "invokerID": "x" * 5_000},
        {**MEMORY, "content": ""},
        {**MEMORY, "content": None},
        {**MEMORY, "content": ["x"]},
        {**MEMORY, "metadata": "x"},
        {**MEMORY, "metadata": [1]},
        {**WHO, "agentid": "x"},
    ],
)
def test_a_wrong_memory_is_400_and_nothing_is_stored(body: dict[str, Any]) -> None:
    """Missing, empty and wrongly typed fields are named in wire names."""
    server = Server()
    response = server.sap("POST", "/v1/memories", json=body)
    assert response.status_code == 400
    assert any(name in response.json()["error"]["message"] for name in ("agentID", "invokerID", "content", "metadata"))
    assert server.world.envelopes == []


@pytest.mark.parametrize("change", [{"role": "user"}, {"role": None}, {"role": "BOT"}, {"messageGroup": ""}])
def test_a_wrong_message_is_400(change: dict[str, Any]) -> None:
    """The SDK does not check roles, so the face does."""
    assert Server().sap("POST", "/v1/messages", json={**MESSAGE, **change}).status_code == 400


@pytest.mark.parametrize("body", [{}, {"content": ""}, {"content": None}, {"id": "x"}, {"agentID": "x"}])
def test_a_wrong_change_is_400(body: dict[str, Any]) -> None:
    """A change must change something, and ids and owners never change."""
    server = Server()
    identifier = server.sap("POST", "/v1/memories", json=MEMORY).json()["id"]
    assert server.sap("PATCH", f"/v1/memories({identifier})", json=body).status_code == 400


# ---- lists -----------------------------------------------------------------------------------------------------------


def test_a_list_asks_for_exactly_what_was_filtered() -> None:
    """Filter, paging and the missing cap reach the queries as sent."""
    server = Server()
    query = {"$filter": "agentID eq 'O''B' and contains(metadata, '\"a\":')", "$top": "100000", "$skip": "3"}
    assert server.sap("GET", "/v1/memories", params=query).json() == {"value": []}
    assert server.world.filters == [(Filter(agent="O'B", contains=(Match("metadata", '"a":'),)), 3, 100_000)]


def test_a_count_is_a_number_before_paging() -> None:
    """`$top=0&$count=true` is how the SDK counts."""
    server = Server()
    for _ in range(3):
        server.sap("POST", "/v1/memories", json=MEMORY)
    counted = server.sap("GET", "/v1/memories?%24top=0&%24count=true").json()
    assert counted == {"@odata.count": 3, "value": []}
    assert server.sap("GET", "/v1/messages?%24top=0&%24count=true").json()["@odata.count"] == 0


def test_a_contradiction_is_an_empty_list() -> None:
    """Two different values for one field match nothing, and are counted as nothing."""
    server = Server()
    server.sap("POST", "/v1/memories", json=MEMORY)
    query = {"$filter": "agentID eq 'a' and agentID eq 'b'", "$count": "true"}
    assert server.sap("GET", "/v1/memories", params=query).json() == {"@odata.count": 0, "value": []}
    assert server.world.filters == []


@pytest.mark.parametrize(
    "query", ["%24filter=x", "%24top=-1", "%24top=x", "%24orderby=id", "%24filter=%FF", "%24count=1", "%24filter="]
)
def test_a_wrong_query_is_400(query: str) -> None:
    """A query that cannot be read is refused with a text, never answered with more than was asked for."""
    response = Server().sap("GET", f"/v1/memories?{query}")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "400")


# ---- search ----------------------------------------------------------------------------------------------------------


def test_a_search_has_one_scope_and_answers_only_value() -> None:
    """The scope is the token's tenant with exactly this agent and invoker; defaults are 0.6 and 10."""
    server = Server()
    server.sap("POST", "/v1/memories", json=MEMORY)
    response = server.sap("POST", "/v1/memories/search", json={**WHO, "query": "dark mode"})
    assert list(response.json()) == ["value"]
    assert response.json()["value"][0]["similarity"] == 0.75
    assert response.json()["value"][0]["content"] == MEMORY["content"]
    assert server.world.searches == [(Scope("acme", "planner", "ada"), "dark mode", 0.6, 10)]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"query": "x" * 5}, 200),
        ({"query": "x" * 5_000}, 200),
        ({"threshold": 0}, 200),
        ({"threshold": 1}, 200),
        ({"top": 50}, 200),
        ({"query": "four"}, 400),
        ({"query": "x" * 5_001}, 400),
        ({"query": 12_345}, 400),
        ({"threshold": -0.01}, 400),
        ({"threshold": 1.01}, 400),
        ({"threshold": True}, 400),
        ({"threshold": "0.5"}, 400),
        ({"threshold": None}, 400),
        ({"threshold": 10**400}, 400),
        ({"top": 0}, 400),
        ({"top": 51}, 400),
        ({"top": 1.5}, 400),
        ({"top": True}, 400),
        ({"agentID": ""}, 400),
    ],
)
def test_the_limits_of_a_search(change: dict[str, Any], status: int) -> None:
    """Query 5 to 5000 characters, threshold 0 to 1, top 1 to 50."""
    body = {**WHO, "query": "dark mode", **change}
    assert Server().sap("POST", "/v1/memories/search", json=body).status_code == status


def test_a_search_behind_its_scope_is_503() -> None:
    """An index that is away or late is said so, never an empty result."""
    server = Server(World(late=True))
    response = server.sap("POST", "/v1/memories/search", json={**WHO, "query": "dark mode"})
    assert response.status_code == 503
    assert "search again" in response.json()["error"]["message"]


# ---- the retention policy --------------------------------------------------------------------------------------------


def test_the_policy_exists_from_the_start_and_changes_in_parts() -> None:
    """Null is off, 0 is everything; what is not given stays."""
    server = Server()
    path = "/v1/admin/retentionConfig"
    start = server.sap("GET", path).json()
    assert start == {
        "id": 1,
        "messageDays": None,
        "memoryDays": None,
        "usageLogDays": None,
        "createTimestamp": None,
        "updateTimestamp": None,
    }
    assert server.sap("PATCH", path, json={"messageDays": 30, "memoryDays": 0}).json()["messageDays"] == 30
    changed = server.sap("PATCH", path, json={"messageDays": None}).json()
    assert (changed["messageDays"], changed["memoryDays"], changed["updateTimestamp"]) == (None, 0, AT)


@pytest.mark.parametrize("days", [-1, 1.5, "30", True, 10**9])
def test_a_wrong_number_of_days_is_400(days: Any) -> None:
    """Days are whole numbers from 0."""
    response = Server().sap("PATCH", "/v1/admin/retentionConfig", json={"messageDays": days})
    assert response.status_code == 400
    assert "messageDays" in response.json()["error"]["message"]


# ---- repeats and refusals --------------------------------------------------------------------------------------------


def test_a_repeated_create_is_answered_with_the_resource_as_it_is_now() -> None:
    """The first acceptance names the memory; gone since, it is 404."""
    server = Server()
    headers = {"idempotency-key": "k"}
    first = server.sap("POST", "/v1/memories", json=MEMORY, headers=headers).json()
    server.sap("PATCH", f"/v1/memories({first['id']})", json={"content": "newer"})
    server.world.answer = lambda _: Accepted((Landed("s", 0, first["id"], 0),), repeated=True)
    assert server.sap("POST", "/v1/memories", json=MEMORY, headers=headers).json()["content"] == "newer"
    server.world.rows.clear()
    assert server.sap("POST", "/v1/memories", json=MEMORY, headers=headers).status_code == 404
    assert server.sap("DELETE", f"/v1/memories({first['id']})", headers=headers).status_code == 204


@pytest.mark.parametrize(
    ("reason", "status"), [(Reason.TOO_LARGE, 400), (Reason.INVALID, 400), (Reason.MALFORMED, 400)]
)
def test_a_refusal_has_its_status_and_text(reason: Reason, status: int) -> None:
    """What the domain says is what the caller reads."""
    server = Server(World(answer=lambda _: Rejected(reason, "because")))
    response = server.sap("POST", "/v1/memories", json=MEMORY)
    assert (response.status_code, response.json()["error"]) == (status, {"code": str(status), "message": "because"})
