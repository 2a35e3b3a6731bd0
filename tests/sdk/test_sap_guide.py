"""SAP's user guide, chapter by chapter: its own examples, in its order, on one tenant.

Where today's SDK differs from the guide, contract §4 holds: a client names its access strategy, `to_dict()` says
`agentID` and `createTimestamp`, and similarities are what the model says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sap_cloud_sdk.agent_memory as guide
from sap_cloud_sdk.agent_memory import (
    AccessStrategy,
    AgentMemoryClient,
    AgentMemoryConfig,
    FilterDefinition,
    Memory,
    Message,
    MessageRole,
    create_client,
)
from sap_cloud_sdk.agent_memory.exceptions import (
    AgentMemoryConfigError,
    AgentMemoryError,
    AgentMemoryHttpError,
    AgentMemoryNotFoundError,
    AgentMemoryValidationError,
)

from tests.sdk.servers import Credentials, Server

pytestmark = pytest.mark.sdk
PREFIX = "CLOUD_SDK_CFG_HANA_AGENT_MEMORY_DEFAULT"
WHO = {"agent_id": "my-agent", "invoker_id": "user-123"}
DARK = "The user prefers dark mode and metric units."
ASKED = "User last asked about display settings on 2025-01-10."
CORPUS = (
    "Trains cross bridges",
    "Clouds block sunlight",
    "Rivers carve valleys",
    "Wolves hunt deer",
    "Engines power ships",
)


@pytest.fixture(scope="module")
def credentials(server: Server) -> Credentials:
    """Return the credentials that the guide's reader has."""
    return server.client("guide")


@pytest.fixture(scope="module")
def config(server: Server, credentials: Credentials) -> AgentMemoryConfig:
    """Return the guide's custom configuration."""
    return AgentMemoryConfig(
        base_url=server.url,
        token_url=f"{server.url}/oauth/token",
        client_id=credentials.id,
        client_secret=credentials.secret,
    )


@pytest.fixture(scope="module")
def client(config: AgentMemoryConfig) -> Iterator[AgentMemoryClient]:
    """Return the client that the chapters share."""
    with create_client(config=config, access_strategy=AccessStrategy.PROVIDER) as made:
        yield made


def _uaa(server: Server, credentials: Credentials) -> str:
    return json.dumps({"clientid": credentials.id, "clientsecret": credentials.secret, "url": server.url})


def _bound(monkeypatch: pytest.MonkeyPatch, server: Server, credentials: Credentials) -> None:
    monkeypatch.setenv(f"{PREFIX}_APPLICATION_URL", server.url)
    monkeypatch.setenv(f"{PREFIX}_UAA", _uaa(server, credentials))


def test_quick_start(
    monkeypatch: pytest.MonkeyPatch, server: Server, credentials: Credentials, config: AgentMemoryConfig
) -> None:
    """A client is made from the environment or from a configuration, works as a context manager and after close()."""
    _bound(monkeypatch, server, credentials)
    assert set(guide.__all__) >= {"create_client", "AgentMemoryConfig", "FilterDefinition", "MessageRole"}
    with pytest.raises(AgentMemoryConfigError, match="tenant is required"):
        create_client()  # as the guide has it; today's SDK wants to know for whom
    from_environment = create_client(access_strategy=AccessStrategy.PROVIDER)
    assert from_environment.list_memories(agent_id="my-agent", invoker_id="user-123") == []
    configured = create_client(config=config, access_strategy=AccessStrategy.PROVIDER)
    assert configured.list_memories(agent_id="my-agent", invoker_id="user-123") == []
    with create_client(access_strategy=AccessStrategy.PROVIDER) as managed:
        assert managed.list_memories(agent_id="my-agent", invoker_id="user-123") == []
    for made in (from_environment, configured, managed):
        made.close()
        assert made.list_memories(agent_id="my-agent", invoker_id="user-123") == []
        made.close()


def test_semantic_search_primer(client: AgentMemoryClient) -> None:
    """The query for the sky finds the clouds first, at 0.52: not with the default threshold of 0.6, but with 0.3."""
    for text in CORPUS:
        client.add_memory(agent_id="primer", invoker_id="user-123", content=text)
    assert client.search_memories("primer", "user-123", "Sky illumination") == []
    assert client.search_memories("primer", "user-123", "Sky illumination", threshold=0.6) == []
    (only,) = client.search_memories("primer", "user-123", "Sky illumination", threshold=0.3)
    assert only.content == "Clouds block sunlight"
    assert only.similarity == pytest.approx(0.52, abs=0.01)
    ranked = client.search_memories("primer", "user-123", "Sky illumination", threshold=0.0)
    assert ranked[0].content == "Clouds block sunlight"
    assert all((hit.similarity or 0) <= 0.04 for hit in ranked[1:])


def test_memories(client: AgentMemoryClient) -> None:
    """Create, get, update, delete and list do what the guide prints."""
    memory = client.add_memory(**WHO, content=DARK, metadata={"source": "preferences"})
    assert memory.id
    assert client.get_memory(memory_id=memory.id).content == DARK
    new = "user prefers dark mode, metric units, and large font."
    client.update_memory(memory_id=memory.id, content=new, metadata={"source": "preferences", "version": 2})
    changed = client.get_memory(memory_id=memory.id)
    assert (changed.content, changed.metadata) == (new, {"source": "preferences", "version": 2})
    client.delete_memory(memory_id=memory.id)
    with pytest.raises(AgentMemoryNotFoundError):
        client.get_memory(memory_id=memory.id)
    client.add_memory(**WHO, content=DARK, metadata={"source": "preferences"})
    client.add_memory(**WHO, content="The user's timezone is Europe/Berlin.")
    memories = client.list_memories(**WHO, limit=20)
    assert [m.content for m in memories] == [DARK, "The user's timezone is Europe/Berlin."]


def test_filters_and_count(client: AgentMemoryClient) -> None:
    """Filters match substrings of content and of the metadata's JSON, all of them at once; counting fetches nothing."""
    dark = FilterDefinition(target="content", contains="dark mode")
    assert [m.content for m in client.list_memories(**WHO, filters=[dark])] == [DARK]
    both = [dark, FilterDefinition(target="metadata", contains="preferences")]
    assert [m.content for m in client.list_memories(**WHO, filters=both)] == [DARK]
    contradiction = [
        FilterDefinition(target="content", contains="user prefers"),
        FilterDefinition(target="content", contains="user doesn't prefer"),
    ]
    assert client.list_memories(**WHO, filters=contradiction) == []
    assert client.count_memories(**WHO) == 2


def test_semantic_search(client: AgentMemoryClient) -> None:
    """The guide's question finds one memory at 0.6 and both at 0.3: the similarity is the model's plain cosine."""
    client.add_memory(**WHO, content=ASKED)
    query = "What are the user's display preferences?"
    strict = client.search_memories(**WHO, query=query, threshold=0.6, limit=5)
    assert [hit.content for hit in strict] == [ASKED]
    loose = client.search_memories(**WHO, query=query, threshold=0.3, limit=5)
    assert [hit.content for hit in loose][:2] == [ASKED, DARK]
    assert [hit.similarity for hit in loose][:2] == pytest.approx([0.68, 0.46], abs=0.01)


def test_messages(client: AgentMemoryClient) -> None:
    """Create, get, list, filter by role and delete do what the guide prints."""
    talk = {**WHO, "message_group": "conv-001"}
    message = client.add_message(**talk, role=MessageRole.USER, content="What is the weather like today?")
    assert message.id
    again = client.get_message(message_id=message.id)
    assert (again.role, again.content) == (MessageRole.USER, "What is the weather like today?")
    client.delete_message(message_id=message.id)
    with pytest.raises(AgentMemoryNotFoundError):
        client.get_message(message_id=message.id)
    client.add_message(**talk, role=MessageRole.USER, content="What is the weather like today?")
    client.add_message(**talk, role=MessageRole.ASSISTANT, content="It's sunny and 22°C in Berlin.")
    messages = client.list_messages(**talk, limit=50)
    assert [(m.role, m.content) for m in messages] == [
        (MessageRole.USER, "What is the weather like today?"),
        (MessageRole.ASSISTANT, "It's sunny and 22°C in Berlin."),
    ]
    assert [m.role for m in client.list_messages(**talk, role=MessageRole.USER)] == [MessageRole.USER]


def test_message_filters(client: AgentMemoryClient) -> None:
    """The filters of memories hold for messages."""
    talk = {**WHO, "message_group": "conversation-001", "role": MessageRole.USER}
    client.add_message(**talk, content="My invoice is wrong", metadata={"tag": "escalated"})
    client.add_message(**talk, content="Thank you")
    tagged = FilterDefinition(target="metadata", contains="escalated")
    found = client.list_messages(**WHO, message_group="conversation-001", filters=[tagged])
    assert [m.content for m in found] == ["My invoice is wrong"]
    found = client.list_messages(**WHO, filters=[FilterDefinition(target="content", contains="invoice")])
    assert [m.content for m in found] == ["My invoice is wrong"]


def test_data_models(client: AgentMemoryClient) -> None:
    """`to_dict()` holds every field, under the wire's names; absent metadata is `{}`, as the guide prints it."""
    made = client.add_memory(**WHO, content="A memory without metadata")
    found = client.get_memory(memory_id=made.id).to_dict()
    assert found == {
        "id": made.id,
        "agentID": "my-agent",
        "invokerID": "user-123",
        "content": "A memory without metadata",
        "metadata": {},
        "createTimestamp": made.create_timestamp,
        "updateTimestamp": made.create_timestamp,
    }


def test_error_handling(
    client: AgentMemoryClient, monkeypatch: pytest.MonkeyPatch, server: Server, credentials: Credentials
) -> None:
    """Each branch of the guide's error handling is taken by what it is for."""
    with pytest.raises(AgentMemoryValidationError, match="Required field\\(s\\) must be non-empty: 'agent_id'"):
        client.add_memory(agent_id="", invoker_id="user-123", content="hello")
    with pytest.raises(AgentMemoryNotFoundError) as missing:
        client.get_memory(memory_id="non-existent-id")
    assert missing.value.status_code == 404
    assert json.loads(missing.value.response_text or "")["error"]["message"]
    with pytest.raises(AgentMemoryHttpError) as refused:
        client.add_memory(agent_id="x" * 5_000, invoker_id="user-123", content="hello")
    assert refused.value.status_code == 400
    _bound(monkeypatch, server, Credentials(credentials.id, "another secret"))
    with create_client(access_strategy=AccessStrategy.PROVIDER) as stranger, pytest.raises(AgentMemoryError):
        stranger.list_memories(agent_id="my-agent")


def test_admin(client: AgentMemoryClient) -> None:
    """The retention configuration exists from the start and is updated field by field."""
    first = client.get_retention_config()
    assert (first.message_days, first.memory_days, first.usage_log_days) == (None, None, None)
    client.update_retention_config(message_days=30, memory_days=90, usage_log_days=180)
    second = client.get_retention_config()
    assert (second.message_days, second.memory_days, second.usage_log_days) == (30, 90, 180)


def test_scenario_of_a_prompt(client: AgentMemoryClient) -> None:
    """Relevant memories become a text for a prompt; where there are none, nothing does."""
    for content in ("The user loves dark mode and dark themes", "The user has two cats"):
        client.add_memory(agent_id="prompt", invoker_id="user-123", content=content)
    assert _context(client, "prompt", "user-123", "dark mode preference") == (
        "Relevant context from memory:\n- The user loves dark mode and dark themes"
    )
    assert _context(client, "prompt", "nobody", "dark mode preference") == ""


def _context(client: AgentMemoryClient, agent_id: str, invoker_id: str, user_query: str) -> str:
    results = client.search_memories(
        agent_id=agent_id, invoker_id=invoker_id, query=user_query, threshold=0.65, limit=5
    )
    if not results:
        return ""
    lines = [f"- {r.content}" for r in results]
    return "Relevant context from memory:\n" + "\n".join(lines)


def test_scenario_of_a_conversation(client: AgentMemoryClient) -> None:
    """A thread comes back whole and in order, in one list and page by page."""
    talk = {"agent_id": "thread", "invoker_id": "user-123", "message_group": "g"}
    said = []
    for turn in range(5):
        for role in (MessageRole.USER, MessageRole.ASSISTANT):
            said.append(f"{role.value} {turn}")
            client.add_message(**talk, role=role, content=said[-1])
    assert [m.content for m in client.list_messages(**talk, limit=100)] == said
    assert [m.content for m in _all_messages(client, **talk, page_size=3)] == said


def _all_messages(
    client: AgentMemoryClient, agent_id: str, invoker_id: str, message_group: str, page_size: int
) -> Iterator[Message]:
    offset = 0
    while True:
        page = client.list_messages(
            agent_id=agent_id, invoker_id=invoker_id, message_group=message_group, limit=page_size, offset=offset
        )
        yield from page
        if len(page) < page_size:
            break
        offset += page_size


def test_scenario_of_paging_memories(client: AgentMemoryClient) -> None:
    """All memories come, whether asked for with the count as the limit or page by page."""
    who = {"agent_id": "paging", "invoker_id": "user-123"}
    assert client.count_memories(**who) == 0
    kept = [client.add_memory(**who, content=f"fact {n}").id for n in range(7)]
    total = client.count_memories(**who)
    assert total == 7
    assert [m.id for m in client.list_memories(**who, limit=total)] == kept
    assert [m.id for m in _all_memories(client, "paging", "user-123", 3)] == kept


def _all_memories(client: AgentMemoryClient, agent_id: str, invoker_id: str, page_size: int) -> Iterator[Memory]:
    offset = 0
    while True:
        page = client.list_memories(agent_id=agent_id, invoker_id=invoker_id, limit=page_size, offset=offset)
        yield from page
        if len(page) < page_size:
            break
        offset += page_size


def test_troubleshooting(client: AgentMemoryClient) -> None:
    """The advice works: a larger limit shows all there is, a lower threshold finds what 0.6 hides."""
    who = {"agent_id": "trouble", "invoker_id": "user-123"}
    for number in range(55):
        client.add_memory(**who, content=f"User preference number {number} is about the display")
    assert len(client.list_memories(**who)) == 50
    assert len(client.list_memories(**who, limit=200)) == 55
    assert client.search_memories(**who, query="user display preferences", threshold=0.3)


def test_configuration_by_mounted_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: Server, credentials: Credentials
) -> None:
    """A service binding in files leads to the same data."""
    folder = tmp_path / "hana-agent-memory" / "default"
    folder.mkdir(parents=True)
    (folder / "application_url").write_text(server.url)
    (folder / "uaa").write_text(_uaa(server, credentials))
    monkeypatch.setenv("SERVICE_BINDING_ROOT", str(tmp_path))
    with create_client(access_strategy=AccessStrategy.PROVIDER) as bound:
        assert bound.count_memories(agent_id="trouble", invoker_id="user-123") in {0, 55}


def test_star_import() -> None:
    """The guide's star import brings every name that its examples use."""
    names: dict[str, Any] = {name: getattr(guide, name) for name in guide.__all__}
    wanted = {"create_client", "AgentMemoryConfig", "FilterDefinition", "Memory", "Message", "MessageRole"}
    assert wanted | {"RetentionConfig", "SearchResult"} <= set(names)
