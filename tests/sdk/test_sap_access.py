"""Who may come in on the SAP face, and as whom: tokens, their ends, subscribers, and the mode that asks nobody."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import time
from typing import Any

import httpx
import pytest
from requests_oauthlib import OAuth2Session
from sap_cloud_sdk.agent_memory import AccessStrategy, AgentMemoryClient, AgentMemoryConfig, create_client
from sap_cloud_sdk.agent_memory.exceptions import AgentMemoryHttpError

from tests.sdk.servers import Credentials, Server
from tests.sdk.wire import Clients, Http, bearer, token_of

pytestmark = pytest.mark.sdk
ZONE = "provider"


@pytest.fixture
def _named_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process resolve `*.localhost`, which Debian's resolver does not; the SDK stays as it is."""
    resolve = socket.getaddrinfo

    def resolve_local(host: Any, *rest: Any, **named: Any) -> Any:
        local = isinstance(host, str) and host.endswith(".localhost")
        return resolve("127.0.0.1" if local else host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_local)


def _subscriber(sap_clients: Clients, server: Server, credentials: Credentials, label: str) -> AgentMemoryClient:
    url = f"http://{ZONE}.localhost:{server.port}/oauth/token"
    return sap_clients(credentials, token_url=url, identityzone=ZONE, subscriber=label)


# ---- credentials and tokens ------------------------------------------------------------------------------------------


def test_wrong_credentials_are_an_error_that_the_sdk_shows(server: Server, tenant: str, sap_clients: Clients) -> None:
    """A wrong secret, an unknown client and strange characters give OAuth2's own error, never an empty answer."""
    good = server.client(tenant)
    for bad in (
        Credentials(good.id, "wrong"),
        Credentials("nobody", good.secret),
        Credentials("größe 東京\n", "\u0000%&=+"),
        Credentials(good.id + " ", good.secret),
        Credentials("x" * 5_000, "y" * 5_000),
    ):
        client = sap_clients(bad)
        for call in (client.count_memories, client.get_retention_config):
            with pytest.raises(AgentMemoryHttpError, match=r"Failed to obtain OAuth2 token: \(invalid_client\)"):
                call()


def test_a_token_is_fetched_once_and_used_for_every_call(
    sap: AgentMemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`expires_in` is long enough for the SDK to keep its token."""
    fetched = _count_fetches(monkeypatch)
    for _ in range(5):
        sap.count_memories()
    assert len(fetched) == 1


def _count_fetches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    fetch, fetched = OAuth2Session.fetch_token, []

    def counted(self: OAuth2Session, token_url: str, **named: Any) -> Any:
        fetched.append(token_url)
        return fetch(self, token_url, **named)

    monkeypatch.setattr(OAuth2Session, "fetch_token", counted)
    return fetched


def test_tokens_that_end_at_once_are_fetched_for_each_call(
    small_server: Server, tenant: str, sap_clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client works with tokens of one second, and one that has ended is refused with 401.

    On a slow machine a token may end on its way to the server: then the SDK fetches another and repeats the call.
    """
    fetched = _count_fetches(monkeypatch)
    client = sap_clients(small_server.client(tenant), small_server)
    made = client.add_memory("a", "i", "hello")
    assert client.get_memory(made.id) == made
    assert len(fetched) >= 2
    old = token_of(small_server, small_server.client(tenant))
    with Http(small_server.url, bearer(old)) as http:
        patience = time.monotonic() + 10
        while http.get("/v1/memories").status_code != 401:
            assert time.monotonic() < patience, "a token of one second goes on opening"


def test_a_401_makes_the_sdk_fetch_a_new_token_and_repeat_once(
    server: Server, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that was revoked and made anew under its id goes on with its new secret; the old token opens nothing."""
    fetched = _count_fetches(monkeypatch)
    name = f"{tenant}-client"
    old = server.client(tenant, "--id", name)
    config = AgentMemoryConfig(server.url, f"{server.url}/oauth/token", old.id, old.secret)
    with create_client(config=config, access_strategy=AccessStrategy.PROVIDER) as client:
        made = client.add_memory("a", "i", "before the rotation")
        server.operate("clients", "revoke", name)
        with pytest.raises(AgentMemoryHttpError, match="invalid_client"):
            client.count_memories()
        config.client_secret = server.client(tenant, "--id", name).secret
        assert client.get_memory(made.id) == made
        del fetched[:]
        old_token = token_of(server, Credentials(name, config.client_secret))
        server.operate("clients", "revoke", name)
        config.client_secret = server.client(tenant, "--id", name).secret
        client.add_memory("a", "i", "after another rotation")  # 401, a new token, and the POST once more
        assert len(fetched) == 1
        assert client.count_memories() == 2
        with Http(server.url, bearer(old_token)) as http:
            assert http.get("/v1/memories").status_code == 401


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer nonsense",
        "Bearer a.b.c",
        "Basic YTpi",
        "Digest x",
        "bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.",
        "Bearer " + "x" * 20_000,
        b"Bearer \xff\xfe",
    ],
)
def test_without_a_valid_token_every_answer_is_401_with_a_body(server: Server, header: Any) -> None:
    """Missing, malformed and forged credentials of any scheme are 401 on both faces, never 500 and never empty."""
    headers = {} if header is None else {"Authorization": header}
    with Http(server.url, headers) as http:
        for method, path in (
            ("GET", "/v1/memories"),
            ("POST", "/v1/memories"),
            ("GET", "/v1/memories(x)"),
            ("PATCH", "/v1/admin/retentionConfig"),
            ("GET", "/api/v2/version/"),
            ("POST", "/api/v2/memory/new/"),
        ):
            answer = http.send(method, path)
            assert answer.status_code == 401, (method, path)
            assert "www-authenticate" in answer.headers


def test_each_token_opens_its_own_face_only(server: Server, tenant: str) -> None:
    """A token of /oauth/token is nobody on /api/v2, an API token is nobody on /v1; schemes are read in any case."""
    oauth, api = token_of(server, server.client(tenant)), server.token(tenant)
    with Http(server.url, {}) as http:
        for scheme in ("Bearer", "bearer", "BEARER"):
            assert http.get("/v1/memories", headers={"Authorization": f"{scheme} {oauth}"}).status_code == 200
        for scheme in ("Token", "Bearer", "token"):
            assert http.get("/api/v2/version/", headers={"Authorization": f"{scheme} {api}"}).status_code == 200
            assert http.get("/api/v2/version/", headers={"Authorization": f"{scheme} {oauth}"}).status_code == 401
            assert http.get("/v1/memories", headers={"Authorization": f"{scheme} {api}"}).status_code == 401


def test_credentials_in_an_authorization_header_are_accepted(
    server: Server, tenant: str, anybody: httpx.Client
) -> None:
    """SDKs up to 0.45 send id and secret as HTTP Basic, unescaped; both styles give the same tenant's token."""
    good = server.client(tenant)
    basic = base64.b64encode(f"{good.id}:{good.secret}".encode()).decode()
    answer = anybody.post(
        "/oauth/token", data={"grant_type": "client_credentials"}, headers={"Authorization": f"Basic {basic}"}
    )
    assert answer.status_code == 200
    token = answer.json()
    assert (token["token_type"].lower(), answer.headers["cache-control"]) == ("bearer", "no-store")
    assert token["expires_in"] > 60
    with (
        Http(server.url, bearer(token_of(server, good))) as new,
        Http(server.url, bearer(token["access_token"])) as old,
    ):
        made = new.post("/v1/memories", {"agentID": "a", "invokerID": "i", "content": "hello"}).json()
        assert old.get(f"/v1/memories({made['id']})").json() == made


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"", 400, "invalid_request"),
        (b"grant_type=", 400, "invalid_request"),
        (b"grant_type=password&username=a&password=b", 400, "unsupported_grant_type"),
        (b"grant_type=client_credentials", 401, "invalid_client"),
        (b"grant_type=client_credentials&client_id=a&client_id=b", 400, "invalid_request"),
        (b"grant_type=client_credentials&client_id=%ff&client_secret=x", 400, "invalid_request"),
        (b"\xff\xfe", 400, "invalid_request"),
        (b'{"grant_type":"client_credentials"}', 400, "invalid_request"),
        (b"grant_type=client_credentials&client_id=" + b"x" * 100_000, 400, "invalid_request"),
    ],
)
def test_a_bad_token_request_is_refused_in_the_shape_of_oauth2(
    server: Server, body: bytes, status: int, error: str
) -> None:
    """Every mistake in a token request is an OAuth2 error with a description."""
    with Http(server.url, {"Content-Type": "application/x-www-form-urlencoded"}) as http:
        answer = http.post("/oauth/token", body)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


def test_a_bad_basic_header_is_invalid_client(server: Server) -> None:
    """Nothing that stands in an Authorization header of a token request can break it."""
    with Http(server.url, {"Content-Type": "application/x-www-form-urlencoded"}) as http:
        for header in ("Basic", "Basic !!!", "Basic /////w==", "Basic YQ==", "Bearer x", "Basic " + "QQ" * 5_000):
            answer = http.post("/oauth/token", b"grant_type=client_credentials", headers={"Authorization": header})
            assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), header


# ---- subscribers -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_named_hosts")
def test_guarantee_8_a_subscriber_is_a_tenant_of_its_own(server: Server, tenant: str, sap_clients: Clients) -> None:
    """The token host's first label alone names a subscriber; nobody else sees its data, equal agents or not."""
    credentials = server.client(tenant, "--identityzone", ZONE)
    clients = {
        "provider": sap_clients(credentials),
        "acme": _subscriber(sap_clients, server, credentials, "acme"),
        "zeta": _subscriber(sap_clients, server, credentials, "zeta"),
    }
    made = {name: client.add_memory("a", "i", f"of {name}") for name, client in clients.items()}
    for name, client in clients.items():
        assert [m.content for m in client.list_memories("a", "i")] == [f"of {name}"]
        assert client.count_memories() == 1
        assert [hit.id for hit in client.search_memories("a", "i", "of someone", 0.0)] == [made[name].id]
        for other, memory in made.items():
            if other != name:
                with pytest.raises(AgentMemoryHttpError) as refused:
                    client.get_memory(memory.id)
                assert refused.value.status_code == 404
    again = _subscriber(sap_clients, server, credentials, "ACME")
    assert [m.content for m in again.list_memories()] == ["of acme"]


@pytest.mark.usefixtures("_named_hosts")
def test_a_label_opens_a_tenant_only_for_clients_with_a_zone(server: Server, tenant: str, sap_clients: Clients) -> None:
    """Without an identity zone the host means nothing; with `--subscribers` other labels are refused."""
    plain = server.client(tenant)
    sap_clients(plain).add_memory("a", "i", "of the tenant")
    for label in ("acme", ZONE):
        assert _subscriber(sap_clients, server, plain, label).count_memories() == 1
    limited = server.client(tenant, "--identityzone", ZONE, "--subscribers", "acme, zeta")
    assert _subscriber(sap_clients, server, limited, "acme").count_memories() == 0
    assert _subscriber(sap_clients, server, limited, "zeta").count_memories() == 0
    with pytest.raises(AgentMemoryHttpError, match="invalid_client"):
        _subscriber(sap_clients, server, limited, "other").count_memories()


def test_the_host_decides_for_whom_a_token_is(server: Server, tenant: str) -> None:
    """The zone, an IP and a single label are the provider, any other label is a subscriber of this provider."""
    credentials = server.client(tenant, "--identityzone", ZONE)
    with Http(server.url, bearer(token_of(server, credentials, "acme.example.com"))) as acme:
        acme.post("/v1/memories", {"agentID": "a", "invokerID": "i", "content": "of acme"})
    counts = {
        host: _count(server, token_of(server, credentials, host))
        for host in ("acme.localhost", "ACME.b.c", "localhost", "127.0.0.1", f"{ZONE}.x.y", "other.x", "acme.x.")
    }
    assert counts == {
        "acme.localhost": 1,
        "ACME.b.c": 1,
        "localhost": 0,
        "127.0.0.1": 0,
        f"{ZONE}.x.y": 0,
        "other.x": 0,
        "acme.x.": 1,
    }


@pytest.mark.parametrize(
    "host", ["a_b.example.com", "-a.example.com", "größe.example.com", "a/b.c", "..", "a..b", "*.x"]
)
def test_a_host_that_is_none_opens_nothing(server: Server, tenant: str, host: str, anybody: httpx.Client) -> None:
    """A label that is no RFC 1123 label is refused for a client with a zone, not read as some tenant."""
    made = server.client(tenant, "--identityzone", ZONE)
    form = {"grant_type": "client_credentials", "client_id": made.id, "client_secret": made.secret}
    answer = anybody.post("/oauth/token", data=form, headers={b"Host": host.encode()})
    assert answer.status_code in {400, 401}, answer.text


def _count(server: Server, token: str) -> int:
    with Http(server.url, bearer(token)) as http:
        return int(http.get("/v1/memories?$top=0&$count=true").json()["@odata.count"])


# ---- without authentication ------------------------------------------------------------------------------------------


def test_the_mode_without_authentication_asks_nobody(open_server: Server, sap_clients: Clients) -> None:
    """A client without token URL works, as does one with credentials; after close() the former raises."""
    config = AgentMemoryConfig(base_url=open_server.url)
    client = create_client(config=config, access_strategy=AccessStrategy.PROVIDER)
    made = client.add_memory("a", "i", "hello there")
    assert client.get_memory(made.id) == made
    assert client.count_memories("a", "i") == 1
    client.update_retention_config(message_days=1)
    assert client.get_retention_config().message_days == 1
    with_credentials = sap_clients(Credentials("anyone", "anything"), open_server)
    assert [m.id for m in with_credentials.list_memories()] == [made.id]
    (hit,) = with_credentials.search_memories("a", "i", "hello there", threshold=0.9)
    assert hit.id == made.id
    client.delete_memory(made.id)
    client.close()
    with pytest.raises(AgentMemoryHttpError):
        client.count_memories()


# ---- odd requests that the SDKs do send ------------------------------------------------------------------------------


def test_two_slashes_before_the_path_are_one(server: Server, tenant: str) -> None:
    """SDKs up to 0.45 keep a slash at the end of the base URL; `//v1/…` and absolute targets lead to the same."""
    headers = bearer(token_of(server, server.client(tenant)))
    body = json.dumps({"agentID": "a", "invokerID": "i", "content": "hello"})
    for target in ("//v1/memories", "///v1/memories", f"{server.url}/v1/memories", "HTTP://proxy.test/v1/memories"):
        status, _ = _exchange(server, "POST", target, headers, body)
        assert status == 201, target
    status, listed = _exchange(server, "GET", "//v1/memories?$filter=agentID%20eq%20'a'&$top=50", headers)
    assert (status, len(json.loads(listed)["value"])) == (200, 4)


def test_reads_and_deletions_may_name_a_content_type_without_content(server: Server, tenant: str) -> None:
    """The SDK sends `Content-Type: application/json` with each call, DELETE with `Content-Length: 0` (G6)."""
    headers = {**bearer(token_of(server, server.client(tenant))), "Content-Type": "application/json"}
    _, made = _exchange(
        server, "POST", "/v1/memories", headers, json.dumps({"agentID": "a", "invokerID": "i", "content": "hello"})
    )
    target = f"/v1/memories({json.loads(made)['id']})"
    assert _exchange(server, "GET", target, headers)[0] == 200
    assert _exchange(server, "GET", target.replace("(", "('").replace(")", "')"), headers)[0] == 200
    assert _exchange(server, "DELETE", target, {**headers, "Content-Length": "0"}) == (204, b"")
    assert _exchange(server, "DELETE", target, {**headers, "Content-Length": "0"})[0] == 404


def _exchange(
    server: Server, method: str, target: str, headers: dict[str, str], body: str | None = None
) -> tuple[int, bytes]:
    """Send a request whose target is what is written here, which no HTTP library tidies up."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.putrequest(method, target)
        for name, value in headers.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body.encode())))
        connection.endheaders(None if body is None else body.encode())
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
