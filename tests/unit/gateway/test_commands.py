"""`POST /commands`: commands as CloudEvents, structured and in batches, with receipts and with outcomes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mnemolog.domain import cloud_event
from mnemolog.domain.ids import command_id
from mnemolog.domain.outcomes import Reason, Rejected
from mnemolog.domain.rules import COMMAND_LIMIT
from tests.unit.gateway.fakes import API_TOKEN, Server, World, client_row, id_in

pytestmark = pytest.mark.unit
OWNER = {"agent": "planner", "invoker": "ada"}
USER = {"authorization": f"Token {API_TOKEN}"}


def event(identifier: str = "e1", kind: str = "memory.add-memory.v1", **fields: Any) -> dict[str, Any]:
    """Return a CloudEvent, of a memory to add if nothing else is said."""
    data = {"target": fields.pop("target", OWNER), "parts": fields.pop("parts", [{"content": "x"}])}
    found = {"specversion": "1.0", "id": identifier, "type": kind, "source": "agent/x", "data": data}
    return {name: value for name, value in (found | fields).items() if value is not ...}


def space(identifier: str = "s1", user: str = "ada") -> dict[str, Any]:
    """Return a CloudEvent of a space to open."""
    return event(identifier, "space.create-space.v1", target={"user": user}, parts=[{}])


def post(server: Server, body: Any, *, headers: dict[str, str] | None = None, kind: str = "", prefer: str = "") -> Any:
    """Send one event or a list of them."""
    kind = kind or (cloud_event.BATCH if isinstance(body, list) else cloud_event.STRUCTURED)
    sent = {"content-type": kind, **(server.bearer() if headers is None else headers)}
    if prefer:
        sent["prefer"] = prefer
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return server.send("POST", "/commands", content=content, headers=sent)


def test_a_command_is_taken_and_its_receipt_says_where() -> None:
    """202, with the id that it was sent under, and the command's own, made from it, the tenant and the actor."""
    server = Server()
    answer = post(server, event())
    (envelope,) = server.world.envelopes
    assert answer.status_code == 202
    assert answer.json() == {
        "id": "e1",
        "command": command_id("acme", "client/planner", "e1"),
        "topic": "memory.commands",
        "partition": 0,
        "offset": 0,
        "slot": envelope.slot,
    }
    assert (envelope.id, envelope.tenant, envelope.actor) == (answer.json()["command"], "acme", "client/planner")


def test_a_batch_has_a_receipt_each_in_its_order() -> None:
    """Of a batch of one, too."""
    server = Server()
    answer = post(server, [event(f"e{n}") for n in range(3)])
    assert [item["id"] for item in answer.json()["items"]] == ["e0", "e1", "e2"]
    assert [item["offset"] for item in answer.json()["items"]] == [0, 1, 2]
    assert len(post(server, [event()]).json()["items"]) == 1


def test_who_prefers_to_wait_gets_the_outcomes() -> None:
    """RFC 7240: 200 with outcomes as on their topic, a rejected one too; `Preference-Applied` says how long at most."""
    server = Server(write_wait=5.0)
    first = post(server, event(), prefer="respond-async, wait=60; foo")
    assert (first.status_code, first.headers["preference-applied"]) == (200, "wait=5")
    assert first.json()["outcome"]["status"] == "accepted"
    assert first.json()["outcome"]["position"] == "0:1"
    assert post(server, event(), prefer="wait=3").headers["preference-applied"] == "wait=3"
    assert post(server, event(), prefer="wait").headers["preference-applied"] == "wait=5"
    server.world.answer = lambda _: Rejected(Reason.KEY_REUSED, "use a new key")
    refused = post(server, [event()], prefer="wait=1")
    assert (refused.status_code, refused.json()["items"][0]["outcome"]["reason"]) == (200, "key-reused")


def test_outcomes_that_do_not_come_in_time_are_left_out() -> None:
    """202: the receipt is there, the outcome is not; without a preference it never is."""
    server = Server()
    for prefer in ("", "wait=0", "respond-async", "wait=x"):
        answer = post(server, event(), prefer=prefer)
        assert (answer.status_code, "outcome" in answer.json()) == (202, False), prefer
    server.world.slow = True
    answer = post(server, event(), prefer="wait=1")
    assert (answer.status_code, "outcome" in answer.json()) == (202, False)


@pytest.mark.parametrize(
    "kind", ["application/json", "text/x", "application/cloudevents", "application/cloudevents+xml"]
)
def test_other_media_types_are_415(kind: str) -> None:
    """The answer names the two that are served; parameters and case do not matter."""
    server = Server()
    answer = post(server, event(), kind=kind)
    assert answer.status_code == 415
    assert cloud_event.BATCH in answer.json()["error"]["message"]
    assert post(server, event(), kind="Application/CloudEvents+JSON; charset=utf-8").status_code == 202


BAD: list[tuple[Any, str]] = [
    (b"{", "not valid JSON"),
    (b"\xff", "not valid JSON"),
    (7, "valid dictionary"),
    (event(specversion="0.3"), "specversion"),
    (event(specversion=...), "specversion"),
    (event(id=7), "id"),
    (event(identifier=" "), "id"),
    (event(identifier="i" * 129), "id"),
    (event(source=...), "source"),
    (event(datacontenttype="text/xml"), "datacontenttype"),
    (event(kind="memory.forget.v1"), "names no command"),
    (event(target={"agent": "a"}), "target.invoker: Field required"),
    (event(parts=[{"content": ""}]), "content"),
    (event(parts=[{"content": "x", "hidden words": 1}]), "Extra inputs"),
    (event(data={"target": OWNER, "parts": [{"content": "x"}], "more": 1}), "Extra inputs"),
    (event(data=...), "data: Field required"),
    ([], "an array of 1 to 500"),
    ([event()] * 501, "an array of 1 to 500"),
    ([event(), event(parts=[])], "1"),
]


@pytest.mark.parametrize(("body", "says"), BAD, ids=[says for _, says in BAD])
def test_guarantee_10_what_is_not_valid_is_refused_and_nothing_is_published(body: Any, says: str) -> None:
    """400, with the place of the mistake and none of the caller's words; of a batch, nothing is published."""
    server = Server()
    answer = post(server, body)
    assert answer.status_code == 400, answer.text
    assert says in answer.json()["error"]["message"]
    assert "hidden words" not in answer.text
    assert server.world.envelopes == []


def test_what_cannot_exist_is_404_and_nothing_is_published() -> None:
    """As on the other faces: an id that is none of ours names nothing. In a batch, the item is named."""
    server = Server()
    gone = event(kind="memory.delete-memory.v1", target={"memory": "none"}, parts=[])
    assert post(server, gone).status_code == 404
    answer = post(server, [event(), gone])
    assert (answer.status_code, answer.json()["error"]["message"][:7]) == (404, "item 1:")
    assert server.world.envelopes == []


def test_a_body_or_a_command_that_is_too_long_is_refused() -> None:
    """A command is at most 4 MiB, also where it grows when it is written again."""
    server = Server()
    long = event(parts=[{"content": "x" * COMMAND_LIMIT}])
    assert "longer than" in post(server, long).json()["error"]["message"]
    grows = json.dumps(event(parts=[{"content": "x", "metadata": {"a": ["N"] * 70_000}}])).replace('"N"', "1e15")
    assert post(server, grows.encode()).status_code == 202
    huge = json.dumps(event(parts=[{"content": "x", "metadata": {"a": ["N"] * 700_000}}])).replace('"N"', "1e9")
    assert "longer than" in post(server, huge.encode()).json()["error"]["message"]
    assert len(server.world.envelopes) == 1


def test_guarantee_8_the_tenant_is_the_credential_s() -> None:
    """Another tenant in the event is refused; its own or none is fine; nobody without a credential gets in."""
    server = Server()
    assert post(server, event(tenant="beta")).status_code == 403
    assert post(server, event(tenant="acme")).status_code == 202
    nobody = post(server, event(), headers={})
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Bearer")
    assert post(server, event(), headers={"authorization": "Bearer no"}).status_code == 401
    assert len(server.world.envelopes) == 1


def test_guarantee_8_one_id_of_two_callers_is_two_commands() -> None:
    """Nobody can speak under another one's command id, whatever id he sends."""
    server = Server()
    stolen = post(server, event()).json()["command"]
    server.world.clients_by_id["planner"] = [client_row(tenant="beta")]
    assert post(server, event(stolen)).json()["command"] != stolen
    assert len({envelope.id for envelope in server.world.envelopes}) == 2


def test_each_credential_opens_what_it_opens_elsewhere() -> None:
    """An API token: its user's spaces and sessions. A client: memories, messages, and the policy if it may."""
    server = Server()
    assert post(server, space(), headers=USER).status_code == 202
    assert post(server, space(), headers={"authorization": f"Bearer {API_TOKEN}"}).status_code == 202
    policy = event(kind="policy.set-retention.v1", target={}, parts=[{"memory_days": 1}])
    token = event(kind="access.revoke-token.v1", target={"token": "t"}, parts=[])
    erase = event(kind="erasure.erase-range.v1", target={"kind": "memory", "id": id_in(7)}, parts=[])
    for body in (space(user="bob"), event(), policy, token, erase):
        assert post(server, body, headers=USER).status_code == 403, body
    for body in (space(), token, erase):
        assert post(server, body).status_code == 403, body
    assert post(server, policy).status_code == 202
    server.world.clients_by_id["planner"] = [client_row(admin=False)]
    assert post(server, policy).status_code == 403
    owner = event(kind="owner.erase-owner.v1", target={"agent": "a", "invoker": "b"}, parts=[])
    assert post(server, owner).status_code == 403
    assert post(server, [event(), policy]).json()["error"]["message"].startswith("item 1:")
    assert len(server.world.envelopes) == 3


def test_without_authentication_one_credential_is_everyone() -> None:
    """In the no-auth mode one may publish everything, spaces as the one user that there is."""
    server = Server(no_auth=True)
    assert post(server, [event(), space(user="local")], headers={}).status_code == 202
    assert post(server, space(user="ada"), headers={}).status_code == 403


def test_the_secret_is_the_server_s() -> None:
    """A secret in the data, as on the topic, is not used: nobody chooses salts over HTTP."""
    server = Server()
    data = {"secret": "00" * 32, "target": OWNER, "parts": [{"content": "x"}]}
    assert post(server, event(data=data)).status_code == 202
    assert server.world.envelopes[0].secret != bytes(32)


def test_a_trace_goes_along() -> None:
    """A valid traceparent stands in the envelope; another one does not."""
    server = Server()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    post(server, [event("a", traceparent=trace), event("b", traceparent="nonsense")])
    assert [envelope.trace for envelope in server.world.envelopes] == [trace, ""]


def test_if_it_is_not_known_what_was_taken_the_answer_says_that_sending_again_is_safe() -> None:
    """504, outside `/api/v2`."""
    server = Server(World(late=True))
    answer = post(server, event())
    assert answer.status_code == 504
    assert "safe" in answer.json()["error"]["message"]


def test_it_stands_in_the_openapi_document() -> None:
    """With both media types, both credentials, and receipts as its answer."""
    described = Server().send("GET", "/openapi.json").json()["paths"]["/commands"]["post"]
    assert set(described["requestBody"]["content"]) == {cloud_event.STRUCTURED, cloud_event.BATCH}
    assert described["security"] == [{"client": []}, {"token": []}]
    assert {"200", "202", "400", "403", "415", "504"} <= set(described["responses"])


def test_an_event_that_is_written_is_read() -> None:
    """The publisher's own events are those that the face takes."""
    raw = cloud_event.written("i", "memory.add-memory.v1", OWNER, [{"content": "é"}], source="s", tenant="acme")
    found, command = cloud_event.read(json.loads(raw))
    assert (found.id, found.tenant, command.TYPE) == ("i", "acme", "memory.add-memory.v1")
