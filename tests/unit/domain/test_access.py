"""What a tenant's credentials decide."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mnemolog.domain.access import ClientCreated, ClientRevoked, KeyCreated, KeyRevoked, TokenCreated, TokenRevoked
from mnemolog.domain.decision import AccessState
from mnemolog.domain.ids import slot_of
from mnemolog.domain.outcomes import Reason
from tests.given import given
from tests.wishes import SHA, create_client, create_key, create_token, revoke_client, revoke_key, revoke_token

pytestmark = pytest.mark.unit


def test_a_client_is_let_in_and_shut_out() -> None:
    """Its id is unique among the tenant's valid ones; a revoked id may be used again."""
    story = given(create_client(roles=["auditor"]))
    story.then(ClientCreated(client="sb", secret_sha256=SHA, roles=["auditor"]))
    assert story.facts[0].slot == slot_of("acme")
    story.when(create_client()).refused(Reason.KEY_TAKEN)
    story.when(create_client(), tenant="other").then(ClientCreated)
    story.when(revoke_client()).then(ClientRevoked(client="sb"))
    story.when(revoke_client()).refused(Reason.NOT_FOUND)
    story.when(create_client()).then(ClientCreated)
    assert [fact.version for fact, _ in story.log if fact.tenant == "acme"] == [0, 1, 2]


def test_a_token_is_let_in_and_shut_out() -> None:
    """Tokens and clients have names of their own."""
    story = given(create_client("x"), create_token("x", user="u1"))
    story.then(TokenCreated(token="x", token_sha256=SHA, user="u1"))
    story.when(create_token("x")).refused(Reason.KEY_TAKEN)
    story.when(revoke_token("y")).refused(Reason.NOT_FOUND)
    story.when(revoke_token("x")).then(TokenRevoked(token="x"))
    assert story.body("acme/access") == AccessState(clients=("x",))


def test_a_key_is_let_sign_and_shut_out() -> None:
    """Its public half and its actor are kept; its id is unique among the tenant's valid keys."""
    story = given(create_key("x", "agent/a")).then(KeyCreated(key="x", public_key=SHA, actor="agent/a"))
    story.when(create_key("x")).refused(Reason.KEY_TAKEN)
    assert story.body("acme/access") == AccessState(keys=("x",))
    story.when(revoke_key("y")).refused(Reason.NOT_FOUND)
    story.when(revoke_key("x")).then(KeyRevoked(key="x"))
    assert story.body("acme/access") == AccessState()


@pytest.mark.parametrize("actor", ["operator/cli", "worker/eraser", "client/sb", "token/t", "oidc/0"])
def test_guarantee_8_no_key_signs_as_a_part_of_the_service(actor: str) -> None:
    """Actors of gateways, workers and operators are refused: a key speaks for an agent."""
    given().when(create_key(actor=actor)).refused(Reason.INVALID)


def test_guarantee_8_a_foreign_credential_does_not_exist() -> None:
    """Another tenant cannot revoke it."""
    story = given(create_client())
    story.when(revoke_client(), tenant="evil").refused(Reason.NOT_FOUND)


@pytest.mark.parametrize("client", ["", "a b", "a/b", "é", "x" * 129, "a\n"])
def test_guarantee_10_a_credential_has_a_plain_id(client: str) -> None:
    """Ids are written into URLs and logs: letters, digits and . _ ~ - only."""
    with pytest.raises(ValidationError):
        create_client(client)


@pytest.mark.parametrize(
    "fields", [{"identity_zone": "a.b"}, {"identity_zone": "A"}, {"subscribers": ["-a"]}, {"roles": ["root"]}]
)
def test_guarantee_10_what_a_client_may_do_is_known(fields: dict[str, Any]) -> None:
    """Zones and subscribers are RFC 1123 labels, roles are known ones."""
    with pytest.raises(ValidationError):
        create_client(**fields)
