"""Who is asking: tokens are given to whom they belong, open one face each, and stop working when they should."""

from __future__ import annotations

import base64
from typing import Any

import jwt
import pytest

from tests.unit.gateway.fakes import API_TOKEN, KEY, Server, World, client_row, sha256, token_row

pytestmark = pytest.mark.unit

FORM = {"grant_type": "client_credentials", "client_id": "planner", "client_secret": "secret"}
ODD = "p%2B ss:w+\xf6rd"


def basic(client: str, secret: str, encoding: str = "utf-8") -> dict[str, str]:
    """Return the header of HTTP Basic."""
    return {"authorization": "Basic " + base64.b64encode(f"{client}:{secret}".encode(encoding)).decode()}


def claims(response: Any) -> dict[str, Any]:
    """Return what is in a token."""
    options: Any = {"verify_exp": False}
    found: dict[str, Any] = jwt.decode(response.json()["access_token"], KEY, ["HS256"], options)
    return found


# ---- /oauth/token ----------------------------------------------------------------------------------------------------


def test_both_credential_styles_get_a_token() -> None:
    """The newer SDK sends its credentials in the form, the older one as HTTP Basic."""
    server = Server()
    for response in (
        server.send("POST", "/oauth/token", data=FORM),
        server.send(
            "POST", "/oauth/token", data={"grant_type": FORM["grant_type"]}, headers=basic("planner", "secret")
        ),
    ):
        assert response.status_code == 200
        body = response.json()
        assert (body["token_type"], body["expires_in"]) == ("bearer", 43_199)
        assert claims(response)["tenant"] == "acme"
        assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_secret_in_basic_is_taken_raw_and_then_decoded(encoding: str) -> None:
    """A secret with a colon, a plus or a percent sign works as it stands, and percent-encoded as RFC 6749 has it."""
    server = Server(World(clients_by_id={"planner": [client_row(secret_sha256=sha256(ODD))]}))
    grant = {"grant_type": "client_credentials"}
    assert server.send("POST", "/oauth/token", data=grant, headers=basic("planner", ODD, encoding)).status_code == 200
    encoded = "p%252B+ss%3Aw%2B%C3%B6rd"
    assert server.send("POST", "/oauth/token", data=grant, headers=basic("planner", encoded)).status_code == 200
    assert server.send("POST", "/oauth/token", data=FORM | {"client_secret": ODD}).status_code == 200


@pytest.mark.parametrize(
    ("request_", "status", "error"),
    [
        ({"data": FORM | {"client_secret": "wrong"}}, 401, "invalid_client"),
        ({"data": FORM | {"client_id": "nobody"}}, 401, "invalid_client"),
        ({"data": FORM | {"client_id": "a/b?\udcff".encode("utf-8", "replace").decode()}}, 401, "invalid_client"),
        ({"data": {"grant_type": "client_credentials"}}, 401, "invalid_client"),
        (
            {"data": {"grant_type": "client_credentials"}, "headers": {"authorization": "Basic !"}},
            401,
            "invalid_client",
        ),
        ({"data": {"grant_type": "client_credentials"}, "headers": {"authorization": "Basic"}}, 401, "invalid_client"),
        ({"data": FORM | {"grant_type": "password"}}, 400, "unsupported_grant_type"),
        ({"data": {}}, 400, "invalid_request"),
        ({"content": b"grant_type=%ff"}, 400, "invalid_request"),
        ({"content": b"\xff"}, 400, "invalid_request"),
        ({"content": b"grant_type=a&grant_type=b"}, 400, "invalid_request"),
        ({"content": b"x" * 100_000}, 400, "invalid_request"),
    ],
)
def test_a_refused_token_request_says_why(request_: dict[str, Any], status: int, error: str) -> None:
    """Errors have OAuth2's shape with a text, never an empty body."""
    response = Server().send("POST", "/oauth/token", **request_)
    assert (response.status_code, response.json()["error"]) == (status, error)
    assert response.json()["error_description"]
    assert response.headers["content-type"] == "application/json"


def test_of_several_clients_with_one_id_the_secret_decides() -> None:
    """Two tenants may choose the same client id; neither gets the other's tenant."""
    rows = [client_row(), client_row(tenant="globex", secret_sha256=sha256("other"))]
    server = Server(World(clients_by_id={"planner": rows}))
    assert claims(server.send("POST", "/oauth/token", data=FORM))["tenant"] == "acme"
    assert claims(server.send("POST", "/oauth/token", data=FORM | {"client_secret": "other"}))["tenant"] == "globex"


def test_the_host_names_the_subscriber() -> None:
    """The tenant of a subscriber is in its token, and every write is that tenant's."""
    row = client_row(identity_zone="provider", subscribers=["globex"])
    server = Server(World(clients_by_id={"planner": [row]}))
    response = server.send("POST", "/oauth/token", data=FORM, headers={"host": "globex.localhost:18080"})
    assert claims(response)["tenant"] == "acme/globex"
    headers = {"authorization": "Bearer " + response.json()["access_token"]}
    memory = {"agentID": "a", "invokerID": "i", "content": "c"}
    assert server.send("POST", "/v1/memories", json=memory, headers=headers).status_code == 201
    assert server.world.envelopes[0].tenant == "acme/globex"
    refused = server.send("POST", "/oauth/token", data=FORM, headers={"host": "initech.localhost"})
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


def test_credentials_that_cannot_be_read_are_no_refusal() -> None:
    """While the credentials are away, a token request is told to come back."""
    response = Server(World(away=True)).send("POST", "/oauth/token", data=FORM)
    assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")


# ---- tokens ----------------------------------------------------------------------------------------------------------


def test_a_client_token_opens_its_tenant_until_it_expires() -> None:
    """A token works for its time and not longer, by the face's clock."""
    server = Server()
    headers = server.bearer()
    assert server.send("GET", "/v1/memories", headers=headers).status_code == 200
    server.now += 43_199 * 1_000_000
    assert server.send("GET", "/v1/memories", headers=headers).status_code == 401


@pytest.mark.parametrize("rows", [[], [client_row(created=1)], [client_row(tenant="globex")]])
def test_a_revoked_or_replaced_client_is_shut_out_at_once(rows: list[Any]) -> None:
    """Tokens die with their client, also where another client gets its id."""
    server = Server()
    headers = server.bearer()
    server.world.clients_by_id["planner"] = rows
    response = server.send("GET", "/v1/memories", headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["message"]


def test_rights_are_those_of_the_client_as_it_is_now() -> None:
    """Only an admin client changes the retention policy; others get 403, which no SDK repeats."""
    server = Server(World(clients_by_id={"planner": [client_row(admin=False)]}))
    response = server.sap("PATCH", "/v1/admin/retentionConfig", json={"messageDays": 1})
    assert response.status_code == 403
    assert server.world.envelopes == []
    assert server.sap("GET", "/v1/admin/retentionConfig").status_code == 200


def forged() -> list[str]:
    """Return headers that open nothing."""
    good = {"sub": "planner", "tenant": "acme", "zone": "acme", "made": client_row()["created"], "exp": 9_999_999_999}
    deep = base64.urlsafe_b64encode(b"[" * 4_000).decode().rstrip("=")
    return [
        "",
        "Bearer",
        "Bearer x",
        "Bearer a.b.c",
        f"Bearer {deep}.{deep}.{deep}",
        "Bearer " + jwt.encode(good, b"z" * 32, "HS256"),
        "Bearer " + jwt.encode(good, "", "none"),
        "Bearer " + jwt.encode({**good, "exp": "x"}, KEY, "HS256"),
        "Bearer " + jwt.encode({**good, "exp": 10**30, "zone": "globex"}, KEY, "HS256"),
        "Bearer " + jwt.encode({k: v for k, v in good.items() if k != "tenant"}, KEY, "HS256"),
        "Bearer " + jwt.encode({**good, "sub": 7}, KEY, "HS256"),
        "Bearer " + "x" * 100_000,
        "Basic " + base64.b64encode(b"planner:secret").decode(),
        "Token " + API_TOKEN,
        "Bearer " + API_TOKEN,
        "Bearer \xff\xfe",
    ]


@pytest.mark.parametrize("header", forged())
def test_nothing_else_opens_v1(header: str) -> None:
    """Forged, foreign, broken and API tokens get 401 with a body: an empty one would look like success (G1)."""
    response = Server().send("GET", "/v1/memories", headers={"authorization": header.encode("latin-1")})
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "401"


@pytest.mark.parametrize("header", [h for h in forged() if API_TOKEN not in h])
def test_nothing_else_opens_api_v2(header: str) -> None:
    """The other face wants an API token, under either scheme."""
    response = Server().send("GET", "/api/v2/version/", headers={"authorization": header.encode("latin-1")})
    assert response.status_code == 401
    assert isinstance(response.json()["detail"], str)


def test_each_token_opens_one_face() -> None:
    """A client is no user, and a user no client."""
    server = Server()
    assert server.send("GET", "/api/v2/version/", headers=server.bearer()).status_code == 401
    for scheme in ("Token", "Bearer", "token"):
        headers = {"authorization": f"{scheme} {API_TOKEN}"}
        assert server.send("GET", "/api/v2/version/", headers=headers).status_code == 200
        assert server.send("GET", "/v1/memories", headers=headers).status_code == 401


def test_another_tenants_or_users_space_does_not_exist() -> None:
    """A token's tenant and user decide what there is (guarantee 8)."""
    server = Server()
    space = server.api("POST", "memory/new/").json()["memorySpaceId"]
    for row in (token_row(user="bob"), token_row(tenant="globex")):
        server.world.tokens[sha256("other")] = row
        headers = {"authorization": "Token other"}
        assert server.api("GET", f"memory/{space}/", headers=headers).status_code == 404
        assert server.api("GET", f"memory/{space}/sessions/", headers=headers).status_code == 404
        assert server.api("GET", "memory/", headers=headers).json()["total"] == 0


def test_without_authentication_everyone_is_local() -> None:
    """The mode for development asks nobody, and a client with credentials works unchanged."""
    server = Server(no_auth=True, token_key=b"")
    memory = {"agentID": "a", "invokerID": "i", "content": "c"}
    assert server.send("POST", "/v1/memories", json=memory).status_code == 201
    assert server.send("POST", "/v1/memories", json=memory, headers={"authorization": "Bearer x"}).status_code == 201
    assert server.send("PATCH", "/v1/admin/retentionConfig", json={"memoryDays": 1}).status_code == 200
    space = server.send("POST", "/api/v2/memory/new/").json()
    assert (space["tenantId"], space["userId"]) == ("local", "local")
    assert {(e.tenant, e.actor) for e in server.world.envelopes} == {("local", "anonymous")}
    assert server.send("POST", "/oauth/token", data=FORM).json()["token_type"] == "bearer"


def test_a_short_key_is_refused_at_once() -> None:
    """A face that would sign weakly does not start."""
    with pytest.raises(ValueError, match="32 bytes"):
        Server(token_key=b"short")
