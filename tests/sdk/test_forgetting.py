"""Forgetting through both official clients, on each runtime: policies, strategies that act, owners and tenants."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from datarobot.errors import ClientError
from datarobot.models.memory import LifecycleStrategy, MemorySpace, NewEvent, Session
from sap_cloud_sdk.agent_memory import AgentMemoryClient

from tests.sdk.servers import Server
from tests.sdk.wire import Http, known

pytestmark = pytest.mark.sdk
EVENT: NewEvent = {"body": {"content": "hello"}, "emitter": {"type": "user", "id": "ann"}}
_PATIENCE = 300.0


def eventually(holds: Callable[[], bool]) -> bool:
    """Wait until something holds; only what never happens takes long."""
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def hidden(space: MemorySpace, session: Session) -> bool:
    """Tell whether a session cannot be read any more."""
    try:
        Session.get(known(space.id), known(session.id))
    except ClientError as error:
        return bool(error.status_code == 404)
    return False


def test_zero_days_take_a_whole_category_at_the_next_sweep(server: Server, sap: AgentMemoryClient, tenant: str) -> None:
    """Set through the SDK; nothing goes before the sweep, and nothing of another category."""
    sap.add_memory(agent_id="a", invoker_id="b", content="The user prefers dark mode.")
    sap.add_message(agent_id="a", invoker_id="b", message_group="g", role="USER", content="Good morning")
    sap.update_retention_config(memory_days=0)
    counted = server.operate("retention", "sweep", "--tenant", tenant, "--dry-run")
    assert [(row["category"], row["count"]) for row in counted["records"]] == [("memories", 1)]
    assert len(sap.list_memories(agent_id="a", invoker_id="b")) == 1
    swept = server.operate("retention", "sweep", "--tenant", tenant)
    assert [(row["category"], row["count"]) for row in swept["records"]] == [("memories", 1)]
    assert sap.list_memories(agent_id="a", invoker_id="b") == []
    assert sap.search_memories(agent_id="a", invoker_id="b", query="dark mode", threshold=0.0) == []
    assert len(sap.list_messages(agent_id="a", invoker_id="b", message_group="g")) == 1


def test_an_erased_owner_is_hidden_in_the_next_read(sap: AgentMemoryClient, v1: Http) -> None:
    """Lists, counts, search and ids; what is written afterwards is there."""
    kept = sap.add_memory(agent_id="a", invoker_id="c", content="The user prefers light mode.")
    gone = [sap.add_memory(agent_id="a", invoker_id="b", content=f"The user likes tea, {n} times.") for n in range(3)]
    owner = {"kind": "owner", "agentID": "a", "invokerID": "b"}
    assert v1.post("/v1/admin/erasures/preview", json=owner).json()["memories"] == len(gone)
    erased = v1.post("/v1/admin/erasures", json=owner)
    assert erased.status_code == 202
    assert sap.list_memories(agent_id="a", invoker_id="b") == []
    assert sap.count_memories(agent_id="a") == 1
    assert sap.search_memories(agent_id="a", invoker_id="b", query="likes tea", threshold=0.0) == []
    assert v1.get(f"/v1/memories({gone[0].id})").status_code == 404
    assert sap.get_memory(kept.id).content == kept.content
    sap.add_memory(agent_id="a", invoker_id="b", content="The user is back.")
    assert [m.content for m in sap.list_memories(agent_id="a", invoker_id="b")] == ["The user is back."]


def test_the_event_that_reaches_the_count_is_answered_and_hides_its_session(space: MemorySpace) -> None:
    """The agent that posts it gets its event; the session is not there afterwards."""
    strategies: list[LifecycleStrategy] = [{"type": "soft_delete", "trigger": {"eventCount": 2}}]
    session = Session.create(known(space.id), ["ann"], lifecycle_strategies=strategies)
    assert session.post_event(**EVENT).sequence_id == 0
    assert session.post_event(**EVENT).sequence_id == 1
    assert hidden(space, session)
    assert Session.list(known(space.id)) == []


def test_a_session_is_hidden_when_its_time_has_come(space: MemorySpace) -> None:
    """By the retention worker, which nobody has to ask."""
    strategies: list[LifecycleStrategy] = [{"type": "soft_delete", "trigger": {"ttl": 1}}]
    session = Session.create(known(space.id), ["ann"], lifecycle_strategies=strategies)
    assert eventually(lambda: hidden(space, session))


def test_a_due_extraction_waits_for_an_agent(space: MemorySpace, v2: Http) -> None:
    """Listed, its session untouched, until an agent says that it is done."""
    strategies: list[LifecycleStrategy] = [{"type": "extract_memories", "trigger": {"eventCount": 1}}]
    session = Session.create(known(space.id), ["ann"], lifecycle_strategies=strategies)
    waiting = f"/memory/{space.id}/extractions/"
    assert v2.get(waiting).json()["items"] == []
    session.post_event(**EVENT)
    assert [item["id"] for item in v2.get(waiting).json()["items"]] == [session.id]
    assert len(session.events()) == 1
    done = f"/memory/{space.id}/sessions/{session.id}/extraction/"
    assert v2.post(done).status_code == 204
    assert v2.get(waiting).json()["items"] == []
    assert hidden(space, session)
    assert v2.post(done).status_code == 404


def test_a_tenant_is_erased(server: Server, sap: AgentMemoryClient, space: MemorySpace, tenant: str) -> None:
    """Owner by owner, space by space; when the command ends, nothing waits."""
    for invoker in ("b", "c"):
        sap.add_memory(agent_id="a", invoker_id=invoker, content="The user prefers dark mode.")
    Session.create(known(space.id), ["ann"]).post_event(**EVENT)
    counts = server.operate("erase", "tenant", tenant)["erased"]
    assert (counts["owners"], counts["spaces"]) == (2, 1)
    assert sap.count_memories() == 0
    assert MemorySpace.list() == []
    assert [row for row in server.operate("retention", "status") if row["tenant"] == tenant] == []
