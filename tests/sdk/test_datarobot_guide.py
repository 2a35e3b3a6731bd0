"""DataRobot's user guide: its own examples, in its order, in one story."""

from __future__ import annotations

import pytest
from datarobot.errors import ClientError
from datarobot.models.memory import MemorySpace, Session

from tests.sdk.wire import Connect, known

pytestmark = pytest.mark.sdk
SHIPPED = "Your order has shipped and is scheduled to arrive within two business days."


def test_the_guide_from_the_first_example_to_the_last(connect: Connect, tenant: str) -> None:
    """Every example of the guide works, in order, and prints what the guide says it prints."""
    connect(tenant)
    memory_space = _spaces()
    _sessions_and_events(memory_space)
    memory_space.delete()
    with pytest.raises(ClientError) as gone:
        MemorySpace.get(known(memory_space.id))
    assert gone.value.status_code == 404


def _spaces() -> MemorySpace:
    memory_space = MemorySpace.create(description="Customer support assistant memory", llm_model_name="gpt-4o")
    assert memory_space.id
    memory_space.update(description="Customer support assistant -- production")
    told = ("Customer support assistant -- production", "gpt-4o")
    assert (memory_space.description, memory_space.llm_model_name) == told
    memory_space.update(llm_model_name=None)
    assert memory_space.llm_model_name is None
    memory_spaces = MemorySpace.list()
    assert [one.id for one in memory_spaces] == [memory_space.id]
    assert MemorySpace.list(offset=len(memory_spaces), limit=20) == []
    assert MemorySpace.get(memory_space.id).description == "Customer support assistant -- production"
    return memory_space


def _sessions_and_events(memory_space: MemorySpace) -> None:
    participant_id = "ba5eba11deadbeefcafebabe"
    agent_id = "agent-001"
    session = Session.create(
        memory_space_id=known(memory_space.id),
        participants=[participant_id],
        description="Order status inquiry",
        metadata={"channel": "web", "priority": "high"},
    )
    user_event = session.post_event(
        body={"content": "Can you check the status of my order?"},
        emitter={"type": "user", "id": participant_id},
        event_type="message",
    )
    assert user_event.sequence_id == 0
    agent_event = session.post_event(
        body={"content": "Let me check that for you."},
        emitter={"type": "agent", "id": agent_id},
        event_type="message",
    )
    assert agent_event.sequence_id == 1
    updated = session.update_event(
        sequence_id=agent_event.sequence_id, body={"content": SHIPPED}, created_at=agent_event.created_at
    )
    assert updated is not None
    assert updated.body == {"content": SHIPPED}
    recent = session.events(last_n=50, event_type="message")
    assert [event.sequence_id for event in recent] == [0, 1]
    first_page = session.events(offset=0, limit=100)
    assert [(event.body or {})["content"] for event in first_page] == ["Can you check the status of my order?", SHIPPED]
    assert session.events(offset=len(first_page), limit=100) == []
    session.update(metadata={"channel": "web", "priority": "low"})  # carries If-Match: "1", two events later
    assert (session.metadata, session.version) == ({"channel": "web", "priority": "low"}, 2)
    session.delete()
    with pytest.raises(ClientError) as gone:
        session.events()
    assert gone.value.status_code == 404


def test_one_participant_per_session(space: MemorySpace) -> None:
    """The server rejects a session with more than one participant, as the guide warns."""
    with pytest.raises(ClientError) as refused:
        Session.create(known(space.id), ["ba5eba11deadbeefcafebabe", "ba5eba11deadbeefcafebabf"])
    assert refused.value.status_code == 422
    assert Session.list(known(space.id)) == []
