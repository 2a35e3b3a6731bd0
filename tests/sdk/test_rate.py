"""A tenant's rate, as the official clients feel it: DataRobot's waits and goes on, SAP's says so."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
from datarobot.client import Client
from datarobot.models.memory import MemorySpace, Session
from sap_cloud_sdk.agent_memory import AccessStrategy, AgentMemoryConfig, create_client
from sap_cloud_sdk.agent_memory.exceptions import AgentMemoryHttpError

from tests.sdk.servers import Embedded, Server
from tests.sdk.wire import disconnect, known

pytestmark = pytest.mark.sdk


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server that takes two requests a second of a tenant, and four at once."""
    base = tmp_path_factory.mktemp("slow")
    runtime = Embedded(base, base / "models")
    with runtime.serve(model="hashing", tenant_rate="2", tenant_burst="4") as running:
        yield running


def test_datarobots_client_waits_and_loses_nothing(slow: Server, tenant: str) -> None:
    """It comes again after `Retry-After`, also with POST: ten writes are ten events, in their order."""
    with warnings.catch_warnings():
        # urllib3 deprecates the way in which the SDK asks for retries; any other warning is an error.
        warnings.filterwarnings("ignore", "Using an empty collection for 'allowed_methods'", FutureWarning)
        client = Client(token=slow.token(tenant), endpoint=f"{slow.url}/api/v2")
        try:
            space = MemorySpace.create()
            session = Session.create(known(space.id), ["ann"])
            made = [session.post_event({"content": str(n)}, {"type": "agent"}).sequence_id for n in range(10)]
            kept = session.events()
        finally:
            disconnect()
            client.close()
    assert made == list(range(10))
    assert [event.body["content"] for event in kept if event.body] == [str(n) for n in range(10)]


def test_saps_client_is_told(slow: Server, tenant: str) -> None:
    """429 and what to do, which it does not repeat by itself."""
    credentials = slow.client(tenant)
    config = AgentMemoryConfig(
        base_url=slow.url,
        token_url=f"{slow.url}/oauth/token",
        client_id=credentials.id,
        client_secret=credentials.secret,
    )
    client = create_client(config=config, access_strategy=AccessStrategy.PROVIDER)

    def ask_often() -> None:
        for _ in range(100):
            client.list_memories(agent_id="a", invoker_id="i")

    try:
        with pytest.raises(AgentMemoryHttpError) as refused:
            ask_often()
    finally:
        client.close()
    assert refused.value.status_code == 429
    assert "come again in" in str(refused.value.response_text)
