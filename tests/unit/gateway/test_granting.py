"""The next grant of a key, over HTTP: for whoever has it, as long as it has not been revoked."""

from __future__ import annotations

from typing import Any

import pytest

from mnemolog.domain.proving import AHEAD
from mnemolog.domain.reads import KeyRow
from mnemolog.domain.signature import Key, read_grant, renewal_message
from mnemolog.domain.times import DAY, to_text
from tests.signing import ACTOR, AGENT, granted
from tests.unit.gateway.fakes import NOW, Server, World

pytestmark = pytest.mark.unit


def row(tenant: str = "acme", key: Key = AGENT) -> KeyRow:
    """Return a valid key."""
    return KeyRow(id="k-1", tenant=tenant, actor=ACTOR, public_key=key.public, created=NOW)


def grants(tenant: str, actor: str, identifier: str, key: str) -> tuple[str, str]:
    """Grant a key for a day."""
    assert key == AGENT.public
    return granted(tenant=tenant, actor=actor, identifier=identifier, ends=NOW + DAY), to_text(NOW + DAY)


def asked(key: Key = AGENT, tenant: str = "acme", at: int = NOW, identifier: str = "k-1") -> dict[str, str]:
    """Return what a key's holder asks with."""
    time = to_text(at)
    return {"tenant": tenant, "time": time, "signature": key.sign(renewal_message(tenant, identifier, time))}


def test_the_holder_of_a_key_gets_its_next_grant() -> None:
    """It is for the tenant and actor that the key was made for; another tenant's key of this id is another one."""
    world = World(keys_by_id={"k-1": [row("other", Key(b"o" * 32)), row()]})
    answer = Server(world, grants=grants).send("POST", "/keys/k-1/grant", json=asked())
    assert answer.status_code == 200
    assert answer.json()["ends"] == to_text(NOW + DAY)
    grant = read_grant(answer.json()["grant"])
    assert grant is not None
    assert (grant.tenant, grant.actor, grant.id, grant.key) == ("acme", ACTOR, "k-1", AGENT.public)
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "body",
    [
        asked(Key(b"x" * 32)),
        asked(tenant="other"),
        asked(identifier="k-2"),
        asked(at=NOW - AHEAD - 1),
        asked(at=NOW + AHEAD + 1),
        {**asked(), "time": to_text(NOW + 1)},
        {**asked(), "time": "now"},
        {**asked(), "signature": "no hex"},
        {**asked(), "signature": ""},
    ],
)
def test_guarantee_8_nobody_else_gets_a_grant(body: dict[str, str]) -> None:
    """Another key, tenant, id, time, or no signature at all: 401, and not which of them it was."""
    world = World(keys_by_id={"k-1": [row()]})
    assert Server(world, grants=grants).send("POST", "/keys/k-1/grant", json=body).status_code == 401


def test_a_key_that_was_revoked_gets_no_grant() -> None:
    """It is in no view any more, and answered as one that never was."""
    server = Server(World(), grants=grants)
    revoked = server.send("POST", "/keys/k-1/grant", json=asked())
    never = server.send("POST", "/keys/k-9/grant", json=asked(identifier="k-9"))
    assert (revoked.status_code, revoked.json()) == (never.status_code, never.json()) == (401, never.json())


@pytest.mark.parametrize("body", [{}, {"tenant": 1}, {**asked(), "signature": None}])
def test_guarantee_10_a_request_of_the_wrong_form_is_refused(body: dict[str, Any]) -> None:
    """With a sentence that names the field."""
    server = Server(World(keys_by_id={"k-1": [row()]}), grants=grants)
    answer = server.send("POST", "/keys/k-1/grant", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_a_server_without_an_authority_says_so() -> None:
    """404, with the setting that is missing."""
    answer = Server(World(keys_by_id={"k-1": [row()]})).send("POST", "/keys/k-1/grant", json=asked())
    assert answer.status_code == 404
    assert "MNEMOLOG_AUTHORITY_KEY" in answer.json()["error"]["message"]
