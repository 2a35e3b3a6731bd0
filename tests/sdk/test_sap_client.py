"""SAP's client, method by method: what it sends is understood, and what it gets is what was written."""

from __future__ import annotations

from typing import Any

import pytest
from sap_cloud_sdk.agent_memory import AgentMemoryClient, FilterDefinition, MessageRole
from sap_cloud_sdk.agent_memory.exceptions import AgentMemoryHttpError, AgentMemoryNotFoundError

from tests.sdk.servers import Server
from tests.sdk.wire import Clients, Http

pytestmark = pytest.mark.sdk
WHO = ("agent", "invoker")
TEXTS = (
    "O'Brien's dog said 'it''s fine'",
    "salt and pepper' and agentID eq 'x",
    "100% of the users_names",
    "line one\nline two\r\n\ttabbed",
    "brackets ) ( and [commas], contains(content, 'x')",
    "größer que ça, 東京 🦄 e\u0301",
    "a + b & c = d; e? #f / g \\ h \\u0041 %20 %2F",
    '"quoted" {"json": true}',
    "' ",
    "\u0000 nul \u200b \ufeff",
)
IDS = (
    "non-existent-id",
    "a/b?x#y",
    "größe 東京 🦄",
    "x" * 5_000,
    "'quoted'",
    "00000000-0000-0000-0000-000000000000",
    "019a9bd4-5c80-8a2f-9e41-6f0c2b7d8e13",
    "..",
    "%00",
    "a)(b",
    "search",
)


def test_every_public_method_is_known_to_this_suite() -> None:
    """A method that a newer SDK adds must not go untested."""
    methods = {name for name in vars(AgentMemoryClient) if not name.startswith("_")}
    assert methods == {
        "add_memory",
        "get_memory",
        "update_memory",
        "delete_memory",
        "list_memories",
        "count_memories",
        "search_memories",
        "add_message",
        "get_message",
        "delete_message",
        "list_messages",
        "get_retention_config",
        "update_retention_config",
        "close",
    }


# ---- memories --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", TEXTS)
def test_a_memory_is_kept_verbatim_and_found_by_any_of_its_text(sap: AgentMemoryClient, text: str) -> None:
    """Whatever stands in content, ids and metadata comes back, and each filter finds it as a literal."""
    agent, invoker, metadata = f"agent {text}", f"invoker {text}", {"key": text, text: 1}
    made = sap.add_memory(agent, invoker, f"before {text} after", metadata=metadata)
    sap.add_memory(agent, invoker, "something else", metadata={"key": "other"})
    assert made == sap.get_memory(made.id)
    assert (made.agent_id, made.invoker_id, made.content) == (agent, invoker, f"before {text} after")
    assert made.metadata == metadata
    assert sap.list_memories(agent, invoker, filters=[FilterDefinition("content", text)]) == [made]
    assert sap.count_memories(agent, invoker) == 2
    assert sap.list_memories("agent", "invoker") == []


def test_wildcards_and_case_mean_nothing_in_a_filter(sap: AgentMemoryClient) -> None:
    """`contains` is a literal, case-sensitive substring: `%`, `_` and `*` match themselves only."""
    made = [sap.add_memory(*WHO, text) for text in ("100%", "1000", "a_b", "axb", "Dark", "dark")]
    for wanted, found in (("0%", [0]), ("a_b", [2]), ("%", [0]), ("_", [2]), ("*", []), ("Dark", [4]), ("ark", [4, 5])):
        listed = sap.list_memories(*WHO, filters=[FilterDefinition("content", wanted)])
        assert [m.id for m in listed] == [made[index].id for index in found], wanted


def test_metadata_is_matched_on_its_json_text(sap: AgentMemoryClient) -> None:
    """The text is compact JSON in the writer's order, keys and Unicode included; absent metadata matches nothing."""
    metadata: dict[str, Any] = {"z": {"b": None, "a": [1, 2.5, True]}, "größe": "東京", "it's": "O'Brien"}
    made = sap.add_memory(*WHO, "with metadata", metadata=metadata)
    sap.add_memory(*WHO, "without")
    parts = ('"z":{"b":null,"a":[1,2.5,true]}', '"größe":"東京"', "größe", "null", "it's", '{"z"', '"}')
    for part in parts:
        assert [m.id for m in sap.list_memories(*WHO, filters=[FilterDefinition("metadata", part)])] == [made.id], part
    for part in ('"z": ', "\\u", "sap", "{}"):
        assert sap.list_memories(*WHO, filters=[FilterDefinition("metadata", part)]) == [], part
    again = sap.get_memory(made.id).metadata
    assert again == metadata
    assert list(again or {}) == list(metadata)


def test_filters_of_scope_combine_with_and(sap: AgentMemoryClient) -> None:
    """Agent, invoker, both or neither: a list and a count hold just what matches all of it."""
    for agent in ("a", "b"):
        for invoker in ("x", "y"):
            sap.add_memory(agent, invoker, f"{agent}{invoker}")
    cases: tuple[tuple[dict[str, str], list[str]], ...] = (
        ({}, ["ax", "ay", "bx", "by"]),
        ({"agent_id": "a"}, ["ax", "ay"]),
        ({"invoker_id": "y"}, ["ay", "by"]),
        ({"agent_id": "b", "invoker_id": "x"}, ["bx"]),
        ({"agent_id": "A"}, []),
        ({"agent_id": "c"}, []),
    )
    for scope, found in cases:
        assert [m.content for m in sap.list_memories(**scope)] == found, scope
        assert sap.count_memories(**scope) == len(found), scope
    twice = [FilterDefinition("content", "a"), FilterDefinition("content", "x")]
    assert [m.content for m in sap.list_memories(filters=twice)] == ["ax"]


def test_an_update_touches_what_it_names(sap: AgentMemoryClient) -> None:
    """An omitted field stays, metadata is replaced whole, `{}` empties it; the time of update moves alone."""
    made = sap.add_memory(*WHO, "first", metadata={"a": 1, "b": None})
    sap.update_memory(made.id, content="second")
    second = sap.get_memory(made.id)
    assert (second.content, second.metadata) == ("second", {"a": 1, "b": None})
    assert second.create_timestamp == made.create_timestamp
    assert (second.update_timestamp or "") > (made.update_timestamp or "")
    sap.update_memory(made.id, metadata={"c": 2})
    assert sap.get_memory(made.id).metadata == {"c": 2}
    sap.update_memory(made.id, metadata={})
    third = sap.get_memory(made.id)
    assert (third.content, third.metadata) == ("second", {})
    assert (third.agent_id, third.invoker_id) == WHO
    assert sap.list_memories(*WHO) == [third]


def test_an_update_is_searched_anew_and_a_deletion_is_not_found(sap: AgentMemoryClient) -> None:
    """Search follows content: what it was before an update or a deletion is gone at once."""
    made = sap.add_memory(*WHO, "The user loves dark mode and dark themes")
    (hit,) = sap.search_memories(*WHO, "dark mode preference")
    assert (hit.id, hit.content, hit.metadata) == (made.id, made.content, {})
    assert hit.similarity == pytest.approx(0.76, abs=0.01)
    sap.update_memory(made.id, content="Wolves hunt deer")
    assert sap.search_memories(*WHO, "dark mode preference") == []
    (hit,) = sap.search_memories(*WHO, "wolves hunting a deer")
    assert hit.content == "Wolves hunt deer"
    sap.update_memory(made.id, metadata={"seen": True})
    (hit,) = sap.search_memories(*WHO, "wolves hunting a deer")
    assert hit.metadata == {"seen": True}
    sap.delete_memory(made.id)
    assert sap.search_memories(*WHO, "wolves hunting a deer", threshold=0.0) == []
    assert sap.count_memories(*WHO) == 0


def test_a_search_keeps_to_its_scope_limit_and_threshold(sap: AgentMemoryClient) -> None:
    """One agent and invoker are searched; hits come best first, at most `limit`, none under the threshold."""
    for number in range(6):
        sap.add_memory(*WHO, f"The user likes coffee, note {number}")
    sap.add_memory("agent", "somebody else", "The user likes coffee")
    sap.add_memory("another agent", "invoker", "The user likes coffee")
    found = sap.search_memories(*WHO, "Does the user like coffee?", threshold=0.0, limit=50)
    assert len(found) == 6
    scores = [hit.similarity or 0.0 for hit in found]
    assert scores == sorted(scores, reverse=True)
    assert [hit.id for hit in sap.search_memories(*WHO, "Does the user like coffee?", threshold=0.0, limit=2)] == [
        hit.id for hit in found[:2]
    ]
    inclusive = sap.search_memories(*WHO, "Does the user like coffee?", threshold=scores[2], limit=50)
    assert [hit.id for hit in inclusive] == [hit.id for hit in found[:3]]
    assert sap.search_memories(*WHO, "quantum field theory", threshold=1.0) == []


@pytest.mark.parametrize("identifier", IDS)
def test_an_unknown_id_is_not_found_whatever_it_looks_like(sap: AgentMemoryClient, identifier: str) -> None:
    """No form of id is a bad request, and there is no upsert: the SDK says NotFound for all five methods."""
    for call in (sap.get_memory, sap.delete_memory, sap.get_message, sap.delete_message):
        with pytest.raises(AgentMemoryNotFoundError):
            call(identifier)
    with pytest.raises(AgentMemoryNotFoundError):
        sap.update_memory(identifier, content="x")
    assert sap.count_memories() == 0


def test_a_deleted_memory_is_gone_for_every_method(sap: AgentMemoryClient) -> None:
    """After a deletion the id is like one that never was."""
    made = sap.add_memory(*WHO, "soon gone")
    sap.delete_memory(made.id)
    for call in (sap.get_memory, sap.delete_memory):
        with pytest.raises(AgentMemoryNotFoundError):
            call(made.id)
    with pytest.raises(AgentMemoryNotFoundError):
        sap.update_memory(made.id, content="back again")
    assert sap.list_memories() == []


def test_pages_are_stable_and_complete(sap: AgentMemoryClient, v1: Http) -> None:
    """Pages follow the time of creation, hold each memory once, and no `$top` is ever cut."""
    kept = [sap.add_memory(*WHO, f"memory {number}").id for number in range(120)]
    assert [m.id for m in sap.list_memories(*WHO, limit=sap.count_memories(*WHO))] == kept
    assert [m.id for m in sap.list_memories(*WHO)] == kept[:50]
    assert [m.id for offset in range(0, 150, 7) for m in sap.list_memories(*WHO, limit=7, offset=offset)] == kept
    assert sap.list_memories(*WHO, offset=120) == []
    assert [m.id for m in sap.list_memories(*WHO, limit=10**30, offset=118)] == kept[118:]
    sap.delete_memory(kept[3])
    assert [m.id for m in sap.list_memories(*WHO, limit=5)] == [*kept[:3], *kept[4:6]]
    assert len(v1.get("/v1/memories").json()["value"]) == 119


def test_a_count_comes_before_paging_and_is_a_number(sap: AgentMemoryClient, v1: Http) -> None:
    """`$top=0&$count=true` gives the total and an empty list; without `$count` there is none."""
    for number in range(3):
        sap.add_memory(*WHO, f"memory {number}")
    assert v1.get("/v1/memories?$top=0&$count=true").json() == {"@odata.count": 3, "value": []}
    page = v1.get("/v1/memories?$top=1&$skip=1&$count=true").json()
    assert (page["@odata.count"], len(page["value"])) == (3, 1)
    assert "@odata.count" not in v1.get("/v1/memories?$count=false").json()
    assert v1.get("/v1/memories?$filter=agentID eq 'a' and agentID eq 'b'&$count=true").json()["@odata.count"] == 0


# ---- messages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", TEXTS)
def test_a_message_is_kept_verbatim_and_found_by_any_of_its_text(sap: AgentMemoryClient, text: str) -> None:
    """Whatever stands in a message and the ids around it comes back, and each filter finds it as a literal."""
    agent, invoker, group = f"agent {text}", f"invoker {text}", f"group {text}"
    made = sap.add_message(agent, invoker, group, MessageRole.TOOL, f"before {text} after", metadata={"key": text})
    sap.add_message(agent, invoker, group, MessageRole.USER, "something else")
    assert made == sap.get_message(made.id)
    assert (made.agent_id, made.invoker_id, made.message_group) == (agent, invoker, group)
    assert (made.role, made.content, made.metadata) == (MessageRole.TOOL, f"before {text} after", {"key": text})
    assert sap.list_messages(agent, invoker, group, filters=[FilterDefinition("content", text)]) == [made]
    assert sap.list_messages(message_group=group) == sap.list_messages(agent)
    assert sap.list_messages(message_group="group") == sap.list_messages(message_group="group ") == []


def test_messages_are_listed_by_any_part_of_their_scope(sap: AgentMemoryClient) -> None:
    """Agent, invoker, group and role narrow a list in any combination; order is that of writing."""
    said = []
    for group in ("g", "h"):
        for role in MessageRole:
            said.append((group, role))
            sap.add_message("a", "i", group, role, f"{group} {role.value}")
    sap.add_message("b", "i", "g", MessageRole.USER, "b")
    assert [(m.message_group, m.role) for m in sap.list_messages("a")] == said
    assert [m.content for m in sap.list_messages(role=MessageRole.USER)] == ["g USER", "h USER", "b"]
    assert [m.content for m in sap.list_messages("a", "i", "h", "TOOL")] == ["h TOOL"]
    assert [m.content for m in sap.list_messages(message_group="g", limit=2, offset=3)] == ["g TOOL", "b"]
    assert sap.list_messages(role="NOBODY") == []
    assert sap.list_messages(invoker_id="j") == []


def test_a_group_may_be_emptied_and_filled_again(sap: AgentMemoryClient) -> None:
    """Deleting a group's messages leaves nothing that a new one of the same name could inherit."""
    talk = ("a", "i", "g")
    for message in [sap.add_message(*talk, MessageRole.USER, f"old {n}") for n in range(3)]:
        sap.delete_message(message.id)
    assert sap.list_messages(*talk) == []
    new = sap.add_message(*talk, MessageRole.USER, "new")
    assert sap.list_messages(*talk) == [new]


def test_an_unknown_role_is_refused(sap: AgentMemoryClient) -> None:
    """The SDK passes any string on as a role; the server names the mistake."""
    bad: Any = "user"
    with pytest.raises(AgentMemoryHttpError) as refused:
        sap.add_message("a", "i", "g", bad, "hello")
    assert refused.value.status_code == 400
    assert "role" in (refused.value.response_text or "")
    assert sap.list_messages() == []


def test_a_message_cannot_be_changed(sap: AgentMemoryClient, v1: Http) -> None:
    """There is no update of messages: the method is not allowed, and the message stays."""
    made = sap.add_message("a", "i", "g", MessageRole.USER, "hello")
    assert v1.patch(f"/v1/messages({made.id})", {"content": "bye"}).status_code == 405
    assert sap.get_message(made.id) == made


# ---- the retention policy --------------------------------------------------------------------------------------------


def test_the_retention_policy_is_changed_in_part(sap: AgentMemoryClient, v1: Http) -> None:
    """A field that is not named stays; 0 is a value; null, which only raw clients send, switches off."""
    first = sap.get_retention_config()
    assert isinstance(first.id, int)
    assert (first.message_days, first.memory_days, first.usage_log_days) == (None, None, None)
    sap.update_retention_config(message_days=30, memory_days=0)
    sap.update_retention_config(usage_log_days=180)
    second = sap.get_retention_config()
    assert (second.id, second.message_days, second.memory_days, second.usage_log_days) == (first.id, 30, 0, 180)
    assert second.create_timestamp
    assert v1.patch("/v1/admin/retentionConfig", {"memoryDays": None}).status_code in {200, 204}
    third = sap.get_retention_config()
    assert (third.message_days, third.memory_days, third.usage_log_days) == (30, None, 180)
    assert (third.update_timestamp or "") > (second.update_timestamp or "")
    assert third.create_timestamp == second.create_timestamp


@pytest.mark.parametrize("days", [-1, 1.5, "30", True, [], {}, 10**40])
def test_a_retention_that_is_no_number_of_days_is_refused(v1: Http, days: Any) -> None:
    """Only whole numbers from 0 on, and null, are accepted; after a refusal everything is as it was."""
    v1.patch("/v1/admin/retentionConfig", {"memoryDays": 7})
    for body in ({"messageDays": days}, {"memoryDays": 3, "messageDays": days}):
        assert v1.patch("/v1/admin/retentionConfig", body).status_code == 400
    now = v1.get("/v1/admin/retentionConfig").json()
    assert (now["memoryDays"], now["messageDays"]) == (7, None)


def test_only_an_admin_changes_the_retention_policy(server: Server, tenant: str, sap_clients: Clients) -> None:
    """A client made with --no-admin reads the policy of its tenant and is refused a change with 403."""
    sap_clients(server.client(tenant)).update_retention_config(message_days=5)
    plain = sap_clients(server.client(tenant, "--no-admin"))
    assert plain.get_retention_config().message_days == 5
    with pytest.raises(AgentMemoryHttpError) as refused:
        plain.update_retention_config(message_days=6)
    assert refused.value.status_code == 403
    assert plain.get_retention_config().message_days == 5
    plain.add_memory(*WHO, "a plain client may write memories")
