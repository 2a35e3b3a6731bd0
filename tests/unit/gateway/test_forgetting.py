"""Forgetting over HTTP: who may, what is asked of the core, and what is refused before anything is stored."""

from __future__ import annotations

from typing import Any

import pytest

from mnemolog.domain.erasure import Erase
from mnemolog.domain.lifecycle import CompleteExtraction
from mnemolog.domain.owner import EraseOwner
from mnemolog.domain.reads import WholeErased
from mnemolog.domain.times import DAY
from tests.unit.gateway.fakes import NOW, Server, World, client_row

pytestmark = pytest.mark.unit

PREVIEW = "/v1/admin/retentionConfig/preview"
ERASURES = "/v1/admin/erasures"
OWNER = {"kind": "owner", "agentID": "a", "invokerID": "b"}
MEMORY = {"agentID": "a", "invokerID": "b", "content": "text"}


@pytest.mark.parametrize(
    ("path", "body"),
    [(PREVIEW, {"memoryDays": 1}), *((path, OWNER) for path in (ERASURES, f"{ERASURES}/preview"))],
)
def test_only_clients_that_may_decide_about_retention_do(path: str, body: dict[str, Any]) -> None:
    """Created with `--no-admin`, a client gets 403, and nothing is sent."""
    world = World(clients_by_id={"planner": [client_row(admin=False)]})
    server = Server(world)
    assert server.sap("POST", path, json=body).status_code == 403
    assert not world.envelopes


def test_a_preview_counts_by_the_policy_that_is_asked_about() -> None:
    """What is not given is as it is set, null is off, and nothing is changed."""
    server = Server()
    server.sap("POST", "/v1/memories", json=MEMORY)
    server.sap("PATCH", "/v1/admin/retentionConfig", json={"messageDays": 3})
    sent = len(server.world.envelopes)
    said = server.sap("POST", PREVIEW, json={"memoryDays": 2}).json()
    assert (said["memories"], said["messages"]) == (1, 0)
    assert server.world.filters[-4:][0] == ("memories", NOW - 2 * DAY)
    assert ("messages", NOW - 3 * DAY) in server.world.filters
    assert server.sap("POST", PREVIEW, json={"memoryDays": None, "messageDays": None}).json()["memories"] == 0
    assert server.sap("POST", PREVIEW, json={"memoryDays": -1}).status_code == 400
    assert len(server.world.envelopes) == sent


def test_something_is_erased_by_its_id_and_an_owner_by_his_names() -> None:
    """The answer comes when it is hidden; what is not there is 404."""
    server = Server()
    memory = server.sap("POST", "/v1/memories", json=MEMORY).json()["id"]
    said = server.sap("POST", ERASURES, json={"kind": "memory", "id": memory})
    assert (said.status_code, said.json()) == (202, {"kind": "memory", "id": memory})
    erasing = server.world.envelopes[-1].command
    assert isinstance(erasing, Erase)
    assert server.sap("POST", ERASURES, json={"kind": "memory", "id": memory}).status_code == 404
    assert server.sap("POST", ERASURES, json={"kind": "session", "id": "none of ours"}).status_code == 404
    said = server.sap("POST", ERASURES, json={"kind": "owner", "agentID": "a", "invokerID": "b"})
    assert said.status_code == 202
    last = server.world.envelopes[-1].command
    assert isinstance(last, EraseOwner)


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "tenant", "id": "acme"},
        {"kind": "owner", "agentID": "a"},
        {"kind": "owner", "agentID": "a", "invokerID": " "},
        {"kind": "owner", "id": "x", "agentID": "a", "invokerID": "b"},
        {"kind": "memory"},
        {"kind": "memory", "id": "x", "agentID": "a"},
        {},
    ],
)
def test_guarantee_10_what_does_not_say_clearly_what_to_erase_is_refused(body: dict[str, Any]) -> None:
    """With 400, and nothing is sent."""
    server = Server()
    assert server.sap("POST", ERASURES, json=body).status_code == 400
    assert not server.world.envelopes


def test_a_preview_of_an_erasure_counts_and_takes_nothing() -> None:
    """What is not there counts nothing; what is not clearly named is refused as by the erasure itself."""
    server = Server()
    memory = server.sap("POST", "/v1/memories", json=MEMORY).json()["id"]
    space = server.api("POST", "memory/new/").json()["memorySpaceId"]
    sent = len(server.world.envelopes)

    def counted(**asked: str) -> dict[str, Any]:
        said = server.sap("POST", f"{ERASURES}/preview", json=asked).json()
        return {name: count for name, count in said.items() if name not in {"kind", "asOf"}}

    assert counted(kind="memory", id=memory) == {"memories": 1}
    assert counted(kind="message", id="none of ours") == {"messages": 0}
    assert counted(kind="session", id=space) == {"sessions": 0}
    assert counted(kind="space", id="none of ours") == {"spaces": 0}
    assert counted(kind="owner", agentID="a", invokerID="b")["memories"] == 1
    assert counted(kind="tenant").keys() == {"memories", "messages", "spaces", "usageLogs"}
    assert server.sap("POST", f"{ERASURES}/preview", json={"kind": "memory"}).status_code == 400
    assert len(server.world.envelopes) == sent


def test_an_agent_lists_due_extractions_and_completes_them() -> None:
    """In a space of its user; a foreign space does not exist."""
    server = Server()
    space = server.api("POST", "memory/new/").json()["memorySpaceId"]
    body = {"participants": ["p"], "lifecycleStrategies": []}
    session = server.api("POST", f"memory/{space}/sessions/", json=body).json()["id"]
    listed = server.api("GET", f"memory/{space}/extractions/").json()
    assert [item["id"] for item in listed["items"]] == [session]
    assert server.api("POST", f"memory/{space}/sessions/{session}/extraction/").status_code == 204
    assert isinstance(server.world.envelopes[-1].command, CompleteExtraction)
    assert server.api("GET", f"memory/{session}/extractions/").status_code == 404


def test_a_tenant_is_erased_by_who_may_and_says_whether_it_is_done() -> None:
    """The tenant is the asking one; a server without the means says so; an id beside it is refused."""
    asked: list[tuple[str, str]] = []

    async def whole(tenant: str, actor: str) -> WholeErased:
        asked.append((tenant, actor))
        return WholeErased(3, 2, 1, done=False)

    said = Server(whole=whole).sap("POST", ERASURES, json={"kind": "tenant"})
    assert said.status_code == 202
    assert said.json() == {
        "kind": "tenant",
        "id": asked[0][0],
        "owners": 3,
        "spaces": 2,
        "hiddenBefore": 1,
        "done": False,
    }
    assert Server(whole=whole).sap("POST", ERASURES, json={"kind": "tenant", "id": "x"}).status_code == 400
    assert Server().sap("POST", ERASURES, json={"kind": "tenant"}).status_code == 503
    assert len(asked) == 1
