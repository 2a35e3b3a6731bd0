"""Waiting: a write names its command and its place, a read waits for that place, and lateness says what to do."""

from __future__ import annotations

import uuid

import pytest

from mnemolog.domain.codec import Envelope
from mnemolog.domain.ids import command_id, slot_of
from mnemolog.domain.outcomes import Accepted, Reason, Rejected
from mnemolog.domain.record import Position
from tests.unit.gateway.fakes import Server, World, id_in

pytestmark = pytest.mark.unit

MEMORY = {"agentID": "planner", "invokerID": "ada", "content": "c"}
SLOT = slot_of("acme", "planner", "ada")


def test_a_write_names_its_command_and_its_place() -> None:
    """The headers are on acceptances and on refusals, and the command is what was sent."""
    server = Server()
    accepted = server.sap("POST", "/v1/memories", json=MEMORY)
    server.world.answer = lambda _: Rejected(Reason.NOT_FOUND, "gone")
    refused = server.sap("DELETE", f"/v1/memories({id_in(5)})")
    for response, envelope, slot in zip((accepted, refused), server.world.envelopes, (SLOT, 5), strict=True):
        assert response.headers["mnemolog-command"] == envelope.id
        assert envelope.slot == slot
    assert accepted.headers["mnemolog-position"] == f"{SLOT}/0:1"
    assert refused.headers["mnemolog-position"] == "5/0:2"


def test_commands_are_random_unless_the_caller_names_them() -> None:
    """With a key, the id hangs on tenant, principal and key; without, each is new. A secret is new each time."""
    server = Server()
    for headers in ({}, {}, {"idempotency-key": "k"}, {"idempotency-key": "k"}):
        server.sap("POST", "/v1/memories", json=MEMORY, headers=headers)
    first, second, third, fourth = server.world.envelopes
    assert len({first.id, second.id, third.id}) == 3
    assert uuid.UUID(first.id).version == 4
    assert third.id == fourth.id == command_id("acme", "client/planner", "k")
    assert len({envelope.secret for envelope in server.world.envelopes}) == 4
    assert {len(envelope.secret) for envelope in server.world.envelopes} == {32}


def test_a_blank_key_is_refused() -> None:
    """It would make all writes one."""
    assert Server().sap("POST", "/v1/memories", json=MEMORY, headers={"idempotency-key": " "}).status_code == 400
    assert Server().api("POST", "memory/new/", headers={"idempotency-key": ""}).status_code == 422


@pytest.mark.parametrize(
    ("trace", "kept"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", False),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", False),
        ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", False),
        ("nonsense", False),
    ],
)
def test_a_trace_goes_along_if_it_is_one(trace: str, kept: bool) -> None:
    """A W3C traceparent is passed on; anything else is not worth a header."""
    server = Server()
    server.sap("POST", "/v1/memories", json=MEMORY, headers={"traceparent": trace})
    assert server.world.envelopes[0].trace == (trace if kept else "")


@pytest.mark.parametrize("world", [World(late=True), World(hangs=True)])
def test_a_late_outcome_names_the_command_and_what_to_do(world: World) -> None:
    """504 on `/v1`, 500 on `/api/v2`, whether the port gives up or the face does."""
    server = Server(world)
    sap = server.sap("POST", "/v1/memories", json=MEMORY)
    api = server.api("POST", "memory/new/", headers={"idempotency-key": "k"})
    assert (sap.status_code, api.status_code) == (504, 500)
    assert world.envelopes[0].id in sap.json()["error"]["message"]
    assert "send an Idempotency-Key" in sap.json()["error"]["message"]
    assert world.envelopes[1].id in api.json()["detail"]
    assert "same Idempotency-Key" in api.json()["detail"]
    assert sap.headers["mnemolog-command"] == world.envelopes[0].id


def test_views_that_are_away_are_said_to_be() -> None:
    """503 on `/v1`, 500 on `/api/v2`: never a short answer."""
    server = Server(no_auth=True)
    server.world.away = True
    sap = server.send("GET", f"/v1/memories({id_in(1)})")
    api = server.send("GET", f"/api/v2/memory/{id_in(1)}/")
    assert (sap.status_code, api.status_code) == (503, 500)
    assert "try again" in sap.json()["error"]["message"]
    assert "try again" in api.json()["detail"]


# ---- positions -------------------------------------------------------------------------------------------------------


def test_a_read_waits_until_the_views_have_come() -> None:
    """The position is asked for until it is reached, then the read is answered."""
    server = Server(World(reached_after=3))
    headers = {"mnemolog-position": "17/0:42"}
    assert server.sap("GET", "/v1/memories", headers=headers).status_code == 200
    assert server.world.looks == [(Position(0, 42), 17)] * 4


def test_a_read_may_wait_for_several_writes() -> None:
    """Positions of several slots are all waited for, also by a search."""
    server = Server()
    headers = {"mnemolog-position": "17/0:42, 3/1:7"}
    body = {"agentID": "a", "invokerID": "i", "query": "dark mode"}
    assert server.sap("POST", "/v1/memories/search", json=body, headers=headers).status_code == 200
    assert server.world.looks == [(Position(0, 42), 17), (Position(1, 7), 3)]


def test_a_position_not_reached_in_time_is_said() -> None:
    """503 on `/v1`, 500 on `/api/v2`, within the wait."""
    server = Server(World(reached_after=10**9))
    headers = {"mnemolog-position": "17/0:42"}
    assert server.sap("GET", "/v1/memories", headers=headers).status_code == 503
    assert server.api("GET", "memory/", headers=headers).status_code == 500


@pytest.mark.parametrize(
    "text", ["x", "1", "1/2", "1/2:3:4", "-1/0:0", "4096/0:1", "1/0:" + "9" * 30, "1/0:1,", "1/0:1," * 20]
)
def test_a_position_that_is_none_is_refused(text: str) -> None:
    """A token that cannot be read is not taken for one that is reached."""
    server = Server()
    headers = {"mnemolog-position": text}
    assert server.sap("GET", "/v1/memories", headers=headers).status_code == 400
    assert server.api("GET", "memory/", headers=headers).status_code == 422
    assert server.world.looks == []


def test_a_write_does_not_wait_for_a_position() -> None:
    """Only reads depend on what views show."""
    server = Server()
    assert server.sap("POST", "/v1/memories", json=MEMORY, headers={"mnemolog-position": "1/0:1"}).status_code == 201
    assert server.world.looks == []


def test_an_accepted_write_that_cannot_be_shown_is_not_called_refused() -> None:
    """The views going away between acceptance and answer: 504 or 500, and the text says not to repeat it."""
    server = Server(no_auth=True)
    decide = server.world.answer_as_usual

    def accept_and_go(envelope: Envelope) -> Accepted | Rejected:
        server.world.away = True
        return decide(envelope)

    for method, path, status in (("POST", "/v1/memories", 504), ("POST", "/api/v2/memory/new/", 500)):
        server.world.away = False
        server.world.answer = accept_and_go
        body = MEMORY if path.startswith("/v1") else {}
        response = server.send(method, path, json=body)
        assert response.status_code == status
        assert f"command {server.world.envelopes[-1].id} was accepted" in response.text
        assert response.headers["mnemolog-position"]


def test_a_reused_key_names_its_command() -> None:
    """The refusal says which command had the key before."""
    server = Server(World(answer=lambda _: Rejected(Reason.KEY_REUSED, "another body")))
    response = server.sap("POST", "/v1/memories", json=MEMORY, headers={"idempotency-key": "k"})
    assert response.status_code == 422
    assert command_id("acme", "client/planner", "k") in response.json()["error"]["message"]
