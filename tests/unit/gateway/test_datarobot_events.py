"""Events on `/api/v2`: one by one and in batches, with tokens, listed by page or from the end (contract §3)."""

from __future__ import annotations

from typing import Any

import pytest

from mnemolog.domain.outcomes import Accepted, Landed, Reason, Rejected
from mnemolog.domain.reads import EventFilter
from tests.unit.gateway.fakes import Server, World
from tests.unit.gateway.test_datarobot import SESSION, SPACE, detail, session_of

pytestmark = pytest.mark.unit

EVENT = {"body": {"content": "Hello", "orderId": None, "URLValue": [1]}, "emitter": {"type": "user", "id": "ada"}}


def test_an_event_lives_and_goes() -> None:
    """Requests nest the emitter, answers are flat; the token changes with each change."""
    server = Server()
    path = session_of(server) + "events/"
    first = server.api("POST", path, json={**EVENT, "x": 1})
    assert first.status_code == 201
    created = first.json().pop("createdAt")
    assert first.json() == {
        "sequenceId": 0,
        "body": EVENT["body"],
        "eventType": "message",
        "emitterType": "user",
        "emitterId": "ada",
        "createdAt": created,
    }
    change = {"body": {"content": "x"}, "emitter": {"type": "agent", "note": "ignored"}, "type": "status"}
    changed = server.api("PATCH", path + "0/", json=change, params={"createdAt": "2025-11-18T12:26:40.000001+00:00"})
    assert changed.status_code == 200
    assert (changed.json()["emitterId"], changed.json()["eventType"]) == (None, "status")
    assert changed.json()["createdAt"] != created
    part = server.world.envelopes[-1].command.parts[0]
    assert part.created_at == "2025-11-18T12:26:40.000001+00:00"  # type: ignore[attr-defined]
    assert server.api("GET", path).json()["items"] == [changed.json()]
    assert server.api("DELETE", path + "0/").status_code == 204
    assert server.api("PATCH", path + "0/", json={"type": "x"}).status_code == 404


@pytest.mark.parametrize(
    ("change", "loc"),
    [
        ({"body": None}, ["body"]),
        ({"body": {}}, ["body"]),
        ({"body": {"content": ""}}, ["body"]),
        ({"body": {"content": "x" * 100_001}}, ["body"]),
        ({"body": {"content": 7}}, ["body"]),
        ({"body": "x"}, ["body"]),
        ({"emitter": None}, ["emitter"]),
        ({"emitter": {}}, ["emitter", "type"]),
        ({"emitter": {"type": ""}}, ["emitter", "type"]),
        ({"emitter": {"type": "user", "id": 7}}, ["emitter", "id"]),
        ({"emitter": "user"}, ["emitter"]),
        ({"type": ""}, ["type"]),
        ({"type": 7}, ["type"]),
    ],
)
def test_the_limits_of_an_event(change: dict[str, Any], loc: list[Any]) -> None:
    """The same mistakes are found in one event and in a batch, which then stores nothing."""
    server = Server()
    path = f"memory/{SPACE}/sessions/{SESSION}/events/"
    one = server.api("POST", path, json={**EVENT, **change})
    many = server.api("POST", path + "batch/", json={"events": [EVENT, {**EVENT, **change}]})
    assert (one.status_code, many.status_code) == (422, 422)
    assert detail(one)[0]["loc"] == ["body", *loc]
    assert detail(many)[0]["loc"] == ["body", "events", 1, *loc]
    assert server.world.envelopes == []


def test_a_batch_is_answered_in_order() -> None:
    """One command, consecutive sequence ids, the same order back; changes as well."""
    server = Server()
    path = session_of(server) + "events/"
    sent = len(server.world.envelopes)
    created = server.api("POST", path + "batch/", json={"events": [EVENT] * 200})
    assert created.status_code == 201
    assert [event["sequenceId"] for event in created.json()["items"]] == list(range(200))
    changes = [{"sequenceId": n, "body": {"content": str(n)}} for n in (5, 3)]
    changed = server.api("PATCH", path + "batch/", json={"events": changes})
    assert [event["sequenceId"] for event in changed.json()["items"]] == [5, 3]
    assert len(server.world.envelopes) == sent + 2


@pytest.mark.parametrize(
    "events",
    [
        None,
        [],
        {},
        "x",
        [7],
        [None],
        [{"sequenceId": 0, "type": "x"}] * 201,
        [{"sequenceId": 0, "type": "x"}] * 2,
        [{"sequenceId": 0}],
        [{"sequenceId": 0, "createdAt": "2026-01-01T00:00:00Z"}],
        [{"type": "x"}],
        [{"sequenceId": -1, "type": "x"}],
        [{"sequenceId": "0", "type": "x"}],
        [{"sequenceId": True, "type": "x"}],
        [{"sequenceId": 0, "type": "x", "createdAt": "yesterday"}],
        [{"sequenceId": 0, "type": "x", "createdAt": 7}],
    ],
)
def test_a_wrong_batch_is_422(events: Any) -> None:
    """Empty, too large (never 413), doubled, without a change or out of form: nothing is stored."""
    server = Server()
    path = f"memory/{SPACE}/sessions/{SESSION}/events/batch/"
    for body in ({"events": events}, {}):
        assert server.api("PATCH", path, json=body).status_code == 422
    assert server.world.envelopes == []


@pytest.mark.parametrize("body", [{}, {"x": 1}, {"createdAt": "2026-01-01T00:00:00Z"}, {"sequenceId": 1}])
def test_a_change_of_an_event_changes_something(body: dict[str, Any]) -> None:
    """Without body, type or emitter there is nothing to change: 422. Address and token are not in the body."""
    assert Server().api("PATCH", f"memory/{SPACE}/sessions/{SESSION}/events/0/", json=body).status_code == 422


@pytest.mark.parametrize("token", ["x", "", "2026-13-01T00:00:00Z", "0", "9" * 50])
def test_a_token_that_is_no_time_is_422(token: str) -> None:
    """What cannot be a token is named, with its place in the query."""
    path = f"memory/{SPACE}/sessions/{SESSION}/events/0/"
    response = Server().api("PATCH", path, json={"type": "x"}, params={"createdAt": token})
    assert response.status_code == 422
    assert detail(response)[0]["loc"] == ["query", "createdAt"]


@pytest.mark.parametrize("sequence", ["x", "-1", "1.0", "9" * 40, "%C2%B2", "00x"])
def test_a_sequence_id_that_is_none_is_404(sequence: str) -> None:
    """An address that cannot exist does not exist."""
    path = f"memory/{SPACE}/sessions/{SESSION}/events/{sequence}/"
    assert Server().api("PATCH", path, json={"type": "x"}).status_code == 404
    assert Server().api("DELETE", path).status_code == 404


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.STALE_EVENT, 422),
        (Reason.NOT_PARTICIPANT, 400),
        (Reason.STRATEGY_EXECUTED, 409),
        (Reason.TOO_LARGE, 422),
    ],
)
def test_a_refusal_is_a_text(reason: Reason, status: int) -> None:
    """The domain's text reaches the client word by word: it routes on it."""
    server = Server(World(answer=lambda _: Rejected(reason, "Patch of incorrect version of event")))
    response = server.api("PATCH", f"memory/{SPACE}/sessions/{SESSION}/events/0/", json={"type": "x"})
    assert (response.status_code, response.json()) == (status, {"detail": "Patch of incorrect version of event"})


@pytest.mark.parametrize(
    ("query", "wanted", "paging"),
    [
        ("", EventFilter(), (0, 100)),
        ("offset=2&limit=3&eventType=status", EventFilter("status", None, 2, 3), (2, 3)),
        ("lastN=20", EventFilter(None, 20, 0, 20), (0, 20)),
        ("lastN=20&limit=50", EventFilter(None, 20, 0, 20), (0, 20)),
        ("lastN=20&limit=5", EventFilter(None, 5, 0, 5), (0, 5)),
    ],
)
def test_events_are_listed_as_asked(query: str, wanted: EventFilter, paging: tuple[int, int]) -> None:
    """A page or the last n; with both, no more than `limit` of the last."""
    server = Server()
    response = server.api("GET", f"{session_of(server)}events/?{query}")
    assert server.world.filters == [wanted]
    assert response.json() == {"items": [], "offset": paging[0], "limit": paging[1], "total": 0}


@pytest.mark.parametrize("query", ["lastN=0", "lastN=101", "lastN=x", "lastN=5&offset=0"])
def test_a_wrong_tail_is_422(query: str) -> None:
    """`lastN` goes from 1 to 100 and excludes `offset`."""
    server = Server()
    assert server.api("GET", f"{session_of(server)}events/?{query}").status_code == 422


def test_a_repeated_batch_is_answered_with_what_is_left() -> None:
    """Events that have gone since are left out; with all of them gone, or the session, it is 404."""
    server = Server()
    path = session_of(server)
    server.api("POST", path + "events/batch/", json={"events": [EVENT] * 3})
    landed = tuple(Landed("s", n + 1, f"event/{n}", 0) for n in range(3))
    server.world.answer = lambda _: Accepted(landed, repeated=True)
    (events,) = server.world.written.values()
    del events[1]
    again = server.api("POST", path + "events/batch/", json={"events": [EVENT] * 3})
    assert [event["sequenceId"] for event in again.json()["items"]] == [0, 2]
    kept = dict(events)
    events.clear()
    assert server.api("POST", path + "events/batch/", json={"events": [EVENT] * 3}).status_code == 404
    events.update(kept)
    server.world.rows.clear()
    assert server.api("POST", path + "events/batch/", json={"events": [EVENT] * 3}).status_code == 404
