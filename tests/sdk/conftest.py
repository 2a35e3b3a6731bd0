"""Fixtures of the sdk suite: servers of either runtime, and both official clients, unmodified, for fresh tenants.

`runtime` is the seam: every test that takes one, or a server of one, runs on the embedded and on the distributed one.
Servers end with the suite: the processes of a deployment are never quite idle.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from datarobot.client import Client
from datarobot.models.memory import MemorySpace, Session
from datarobot.rest import RESTClientObject
from sap_cloud_sdk.agent_memory import AccessStrategy, AgentMemoryClient, AgentMemoryConfig, create_client

from tests import qdrants, servers_redis
from tests.sdk.servers import Credentials, Distributed, Embedded, Runtime, Server
from tests.sdk.wire import Clients, Connect, Http, bearer, disconnect, known, token_of

WHOLE = "MNEMOLOG_TEST_SECURED"
"""Set, the whole suite runs on secured servers as well."""
_GUIDES = {"test_sap_guide.py", "test_datarobot_guide.py"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of the suite on secured servers, keep what both user guides say: TLS and logins are the same for every request.

    The whole of it runs where it is asked for.
    """
    if os.environ.get(WHOLE):
        return
    left = [
        item
        for item in items
        if isinstance(item, pytest.Function)
        and item.path.parent == Path(__file__).parent
        and hasattr(item, "callspec")
        and item.callspec.params.get("runtime") == "secured"
        and item.path.name not in _GUIDES
    ]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in set(left)]


@pytest.fixture(autouse=True, scope="session")
def _plain_http() -> Iterator[None]:
    """Let the OAuth libraries speak plain HTTP: the servers of these tests are on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="package", params=["embedded", "kafka", "secured"])
def runtime(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, exported_models: Path
) -> Iterator[Runtime]:
    """Return what servers run on."""
    base = tmp_path_factory.mktemp("servers")
    if request.param == "embedded":
        yield Embedded(base, exported_models)
        return
    if request.param == "secured":
        both = request.getfixturevalue("secured")
        yield Distributed(base, exported_models, both.kafka, both.redis)
        return
    kafka = request.getfixturevalue("kafka")  # skips where there is none, so before anything is started
    redis = servers_redis.RedisServer()
    yield Distributed(base, exported_models, kafka, {"redis": redis.url, "qdrant": qdrants.named()})
    redis.remove()


@pytest.fixture(scope="package")
def server(runtime: Runtime) -> Iterator[Server]:
    """Return the one server of the whole suite, with the real embedding model."""
    with runtime.serve() as running:
        yield running


@pytest.fixture(scope="package")
def small_server(runtime: Runtime) -> Iterator[Server]:
    """Return a server with a hash as its model, OAuth2 tokens of one second, and the trigger `never` enabled."""
    with runtime.serve(model="hashing", token_seconds="1", never="true") as running:
        yield running


@pytest.fixture(scope="package")
def open_server(runtime: Runtime) -> Iterator[Server]:
    """Return a server that lets everyone in."""
    with runtime.serve("--no-auth", model="hashing") as running:
        yield running


@pytest.fixture
def sap_clients(server: Server) -> Iterator[Clients]:
    """Return a maker of SAP clients: for credentials, on a server, of a subscriber if one is named."""
    made: list[AgentMemoryClient] = []

    def make(credentials: Credentials, on: Server = server, **config: str) -> AgentMemoryClient:
        subscriber = config.pop("subscriber", None)
        given: dict[str, Any] = {
            "base_url": on.url,
            "token_url": f"{on.url}/oauth/token",
            "client_id": credentials.id,
            "client_secret": credentials.secret,
        }
        client = create_client(
            config=AgentMemoryConfig(**given | config),
            access_strategy=AccessStrategy.SUBSCRIBER if subscriber else AccessStrategy.PROVIDER,
            tenant=subscriber,
        )
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def sap(server: Server, tenant: str, sap_clients: Clients) -> AgentMemoryClient:
    """Return a SAP client of a fresh tenant."""
    return sap_clients(server.client(tenant))


@pytest.fixture
def connect(server: Server) -> Iterator[Connect]:
    """Return what makes the DataRobot SDK speak for a user; what it spoke for before comes back at the end."""
    made: list[RESTClientObject] = []

    def make(tenant: str, user: str = "ann", **options: Any) -> RESTClientObject:
        given: dict[str, Any] = {"token": server.token(tenant, user), "endpoint": f"{server.url}/api/v2"} | options
        with warnings.catch_warnings():
            # urllib3 deprecates the way in which the SDK asks for retries; any other warning is an error.
            warnings.filterwarnings("ignore", "Using an empty collection for 'allowed_methods'", FutureWarning)
            made.append(Client(**given))
        return made[-1]

    yield make
    disconnect()
    for client in made:
        client.close()


@pytest.fixture
def space(connect: Connect, tenant: str) -> MemorySpace:
    """Return a space of a fresh tenant, through the DataRobot SDK, which goes on speaking for its user `ann`."""
    connect(tenant)
    return MemorySpace.create(description="a test")


@pytest.fixture
def session(space: MemorySpace) -> Session:
    """Return a session of that space with the participant `ann`."""
    return Session.create(known(space.id), ["ann"])


@pytest.fixture
def v1(server: Server, tenant: str) -> Iterator[Http]:
    """Return raw HTTP on the SAP face, for what the SDK would never send."""
    with Http(server.url, bearer(token_of(server, server.client(tenant)))) as http:
        yield http


@pytest.fixture
def v2(server: Server, tenant: str) -> Iterator[Http]:
    """Return raw HTTP on the DataRobot face, for what the SDK would never send."""
    with Http(server.url + "/api/v2", {"Authorization": f"Token {server.token(tenant)}"}) as http:
        yield http


@pytest.fixture
def anybody(server: Server) -> Iterator[httpx.Client]:
    """Return HTTP without credentials."""
    with httpx.Client(base_url=server.url, trust_env=False) as http:
        yield http
