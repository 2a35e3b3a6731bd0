"""DataRobot's events: appending, the token that guards an update, batches, lists."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from datarobot.errors import ClientError
from datarobot.models.memory import Emitter, EventUpdate, Session

from tests.sdk.wire import Http, known

pytestmark = pytest.mark.sdk
USER: Emitter = {"type": "user", "id": "ann"}
AGENT: Emitter = {"type": "agent"}
STALE = "Patch of incorrect version of event"


@pytest.fixture
def path(v2: Http) -> str:
    """Return the path of the events of a session with the participant `ann`, for raw requests."""
    sessions = f"/memory/{v2.post('/memory/new/').json()['memorySpaceId']}/sessions/"
    made = v2.post(sessions, {"participants": ["ann"], "lifecycleStrategies": []}).json()
    return f"{sessions}{made['id']}/events/"


def _status(call: Any, *positional: Any, **named: Any) -> int:
    with pytest.raises(ClientError) as refused:
        call(*positional, **named)
    return int(refused.value.status_code)


def _post(session: Session, *contents: str) -> None:
    session.post_events([{"body": {"content": content}, "emitter": USER} for content in contents])


def _said(session: Session, **asked: Any) -> list[str]:
    return [(event.body or {})["content"] for event in session.events(**asked)]


def test_an_event_is_kept_as_it_was_posted(session: Session) -> None:
    """Body, type and emitter come back from the post and from a list; the type is `message` unless it is named."""
    body = {"content": "O'Brien 東京 🦄\n", "tool": {"name": "x", "args": [1, None, {"deep": False}]}, "score": 0.25}
    first = session.post_event(body, USER)
    second = session.post_event(
        {"content": "x" * 100_000}, {"type": "agent", "id": "agent-001"}, event_type="tool_output"
    )
    third = session.post_event({"content": "x"}, AGENT, event_type="my own type")
    assert first.body == body
    assert [vars(event) for event in session.events()] == [vars(first), vars(second), vars(third)]
    assert [(e.sequence_id, e.event_type, e.emitter_type, e.emitter_id) for e in (first, second, third)] == [
        (0, "message", "user", "ann"),
        (1, "tool_output", "agent", "agent-001"),
        (2, "my own type", "agent", None),
    ]
    assert first.created_at is not None
    assert first.created_at.tzinfo is not None


@pytest.mark.parametrize("body", [{}, {"content": ""}, {"content": 5}, {"text": "x"}, {"content": "x" * 100_001}])
def test_a_body_without_content_is_refused(session: Session, body: dict[str, Any]) -> None:
    """`body.content` is a string of 1 to 100,000 characters, on post and on update, alone and in a batch."""
    session.post_event({"content": "first"}, USER)
    assert _status(session.post_event, body, USER) == 422
    assert _status(session.update_event, 0, body=body) == 422
    assert (
        _status(session.post_events, [{"body": {"content": "x"}, "emitter": USER}, {"body": body, "emitter": USER}])
        == 422
    )
    assert _status(session.update_events, [{"sequence_id": 0, "body": body}]) == 422
    assert _said(session) == ["first"]


def test_a_user_must_be_a_participant(session: Session) -> None:
    """An emitter of type `user` is a participant, else 400; agents are free, with or without an id."""
    session.post_event({"content": "x"}, USER)
    for emitter in ({"type": "user", "id": "bob"}, {"type": "user"}):
        assert _status(session.post_event, {"content": "y"}, emitter) == 400
        assert _status(session.update_event, 0, emitter=emitter) == 400
        assert _status(session.post_events, [{"body": {"content": "y"}, "emitter": e} for e in (USER, emitter)]) == 400
    assert _said(session) == ["x"]


# ---- updates and their token -----------------------------------------------------------------------------------------


def test_an_update_replaces_what_it_names_and_gives_a_new_token(session: Session) -> None:
    """Body and emitter are replaced whole, the rest stays; each update gives another `created_at`, which it returns."""
    event = session.post_event({"content": "a", "extra": 1}, USER)
    tokens = {event.created_at}
    assert session.update_event(0) is None
    updated = session.update_event(0, body={"content": "b"}, created_at=event.created_at)
    assert updated is not None
    assert (updated.body, updated.event_type, updated.emitter_id) == ({"content": "b"}, "message", "ann")
    tokens.add(updated.created_at)
    for change in ({"event_type": "status"}, {"emitter": AGENT}, {"emitter": AGENT}, {"body": {"content": "b"}}):
        updated = session.update_event(0, created_at=updated.created_at, **change)
        assert updated is not None
        tokens.add(updated.created_at)
    assert len(tokens) == 6
    assert (updated.body, updated.event_type, updated.emitter_type, updated.emitter_id) == (
        {"content": "b"},
        "status",
        "agent",
        None,
    )
    assert [vars(found) for found in session.events()] == [vars(updated)]


def test_a_stale_event_is_422_until_it_is_read_again(session: Session) -> None:
    """The exact text tells a stale token from other mistakes; a reload helps; no token is the last writer's."""
    event = session.post_event({"content": "a"}, USER)
    session.update_event(0, body={"content": "b"})
    for stale in (event.created_at, datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)):
        with pytest.raises(ClientError) as refused:
            session.update_event(0, body={"content": "c"}, created_at=stale)
        assert (refused.value.status_code, refused.value.json["detail"]) == (422, STALE)
    (fresh,) = session.events()
    updated = session.update_event(0, body={"content": "c"}, created_at=fresh.created_at)
    assert updated is not None
    assert updated.body == {"content": "c"}
    assert _status(session.update_event, 1, body={"content": "x"}) == 404


def test_tokens_are_compared_as_instants(v2: Http, path: str) -> None:
    """However a client spells the instant, it is the same token; a naive one is UTC, a microsecond off is another."""
    token = v2.post(path, {"body": {"content": "0"}, "emitter": AGENT}).json()["createdAt"]
    at = datetime.fromisoformat(token)
    spellings: tuple[Callable[[datetime], str], ...] = (
        lambda t: t.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        lambda t: t.isoformat(),
        lambda t: t.replace(tzinfo=None).isoformat(),
        lambda t: t.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat(),
        lambda t: t.isoformat().replace("T", " "),
        lambda t: t.replace(tzinfo=None).isoformat() + "000Z",
    )
    for number, spelled in enumerate(spellings, start=1):
        body = {"body": {"content": str(number)}}
        for off in (timedelta(microseconds=1), timedelta(microseconds=-1), timedelta(hours=1)):
            answer = v2.patch(f"{path}0/", body, params={"createdAt": spelled(at + off)})
            assert (answer.status_code, answer.json()["detail"]) == (422, STALE), spelled(at + off)
        answer = v2.patch(f"{path}0/", body, params={"createdAt": spelled(at)})
        assert answer.status_code == 200, (spelled(at), answer.text)
        assert answer.json()["createdAt"] != token
        token = answer.json()["createdAt"]
        at = datetime.fromisoformat(token)
    for nonsense in ("yesterday", "", "5", "2026-13-01T00:00:00Z", "9" * 1_000):
        answer = v2.patch(f"{path}0/", {"body": {"content": "x"}}, params={"createdAt": nonsense})
        assert answer.status_code == 422, nonsense
        assert STALE not in answer.text
    assert v2.get(path).json()["items"][0]["body"] == {"content": "6"}


@pytest.mark.parametrize("sequence", ["1", "-1", "x", "0x0", "9" * 30, "1.0", "%20", "\u0966"])
def test_an_unknown_sequence_id_is_404(v2: Http, path: str, sequence: str) -> None:
    """No form of sequence id is a bad request."""
    v2.post(path, {"body": {"content": "0"}, "emitter": AGENT})
    assert v2.patch(f"{path}{sequence}/", {"body": {"content": "x"}}).status_code == 404
    assert v2.delete(f"{path}{sequence}/").status_code == 404


def test_guarantee_1_sequence_ids_are_never_used_again(v2: Http, path: str) -> None:
    """A deleted event is hidden and unknown to updates; the next one takes the next number."""
    for number in range(3):
        v2.post(path, {"body": {"content": str(number)}, "emitter": AGENT})
    for sequence in (2, 0):
        assert v2.delete(f"{path}{sequence}/").status_code == 204
        assert v2.delete(f"{path}{sequence}/").status_code == 404
        assert v2.patch(f"{path}{sequence}/", {"body": {"content": "x"}}).status_code == 404
    batch = {"events": [{"body": {"content": str(number)}, "emitter": AGENT} for number in (3, 4)]}
    assert [event["sequenceId"] for event in v2.post(f"{path}batch/", batch).json()["items"]] == [3, 4]
    listed = v2.get(path).json()
    assert [event["sequenceId"] for event in listed["items"]] == [1, 3, 4]
    assert listed["total"] == 3
    assert [event["sequenceId"] for event in v2.get(f"{path}?lastN=2").json()["items"]] == [3, 4]


# ---- batches ---------------------------------------------------------------------------------------------------------


def test_a_batch_of_200_is_appended_in_order(session: Session) -> None:
    """A batch takes consecutive numbers after what is there, and comes back in its order."""
    session.post_event({"content": "first"}, USER)
    made = session.post_events(
        [{"body": {"content": str(n)}, "emitter": AGENT, "event_type": f"type {n % 2}"} for n in range(200)]
    )
    assert [event.sequence_id for event in made] == list(range(1, 201))
    assert [(event.body or {})["content"] for event in made] == [str(n) for n in range(200)]
    read = [vars(e) for offset in (1, 101) for e in session.events(offset=offset, limit=100)]
    assert read == [vars(event) for event in made]


def test_guarantee_2_a_batch_is_stored_whole_or_not_at_all(session: Session) -> None:
    """Too many, none, or one bad event among good ones: nothing is stored, and the next number is unchanged."""
    good: Any = {"body": {"content": "x"}, "emitter": USER}
    assert _status(session.post_events, [good] * 201) == 422
    assert _status(session.post_events, []) == 422
    for bad in ({"body": {"content": ""}, "emitter": USER}, {"body": {"content": "x"}, "emitter": {"id": "ann"}}):
        assert _status(session.post_events, [good, bad, good]) == 422
    assert session.events() == []
    assert session.post_event({"content": "x"}, USER).sequence_id == 0


def test_guarantee_2_a_batch_of_updates_is_applied_whole_or_not_at_all(session: Session) -> None:
    """A stale, doubled, unknown or empty item rolls every change back; a good batch changes all and all tokens."""
    _post(session, "a", "b", "c")
    before = session.events()
    session.update_event(1, body={"content": "B"})
    change: EventUpdate = {"sequence_id": 0, "body": {"content": "A"}, "created_at": known(before[0].created_at)}
    stale: EventUpdate = {"sequence_id": 1, "body": {"content": "x"}, "created_at": known(before[1].created_at)}
    with pytest.raises(ClientError) as refused:
        session.update_events([change, stale])
    assert (refused.value.status_code, refused.value.json["detail"]) == (422, STALE)
    assert _status(session.update_events, [change, change]) == 422
    assert _status(session.update_events, [change, {"sequence_id": 1}]) == 422
    assert _status(session.update_events, [change, {"sequence_id": 1, "body": None}]) == 422
    assert _status(session.update_events, [change, {"sequence_id": 9, "event_type": "x"}]) == 404
    assert _status(session.update_events, []) == 422
    assert _status(session.update_events, [{"sequence_id": n, "event_type": "x"} for n in range(201)]) == 422
    assert _said(session) == ["a", "B", "c"]
    updated = session.update_events(
        [{"sequence_id": 2, "event_type": "status"}, change, {"sequence_id": 1, "emitter": AGENT}]
    )
    assert sorted(known(event.sequence_id) for event in updated) == [0, 1, 2]
    after = session.events()
    assert [(e.body, e.event_type, e.emitter_type) for e in after] == [
        ({"content": "A"}, "message", "user"),
        ({"content": "B"}, "message", "agent"),
        ({"content": "c"}, "status", "user"),
    ]
    assert not {e.created_at for e in after} & {e.created_at for e in before}
    assert _status(session.update_events, [change]) == 422


# ---- lists -----------------------------------------------------------------------------------------------------------


def test_events_are_listed_by_page_type_and_from_the_end(session: Session) -> None:
    """Offset and limit page from the beginning; last_n comes after the type filter, oldest first."""
    for number in range(10):
        session.post_event({"content": str(number)}, AGENT, event_type="even" if number % 2 == 0 else "odd")
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, "0123456789"),
        ({"limit": 3}, "012"),
        ({"offset": 8}, "89"),
        ({"offset": 3, "limit": 3}, "345"),
        ({"offset": 10}, ""),
        ({"last_n": 3}, "789"),
        ({"last_n": 100}, "0123456789"),
        ({"last_n": 2, "event_type": "even"}, "68"),
        ({"event_type": "odd", "offset": 1, "limit": 2}, "35"),
        ({"event_type": "EVEN"}, ""),
        ({"last_n": 3, "limit": 2}, "89"),
    )
    for asked, found in cases:
        assert "".join(_said(session, **asked)) == found, asked
    for bad in ({"last_n": 0}, {"last_n": 101}, {"limit": 0}, {"limit": 101}, {"offset": -1}):
        assert _status(session.events, **bad) == 422


def test_offset_and_last_n_exclude_each_other(v2: Http, path: str) -> None:
    """The SDK does not send both; who does is refused."""
    assert v2.get(f"{path}?lastN=5&offset=0").status_code == 422
    assert v2.get(f"{path}?lastN=5&limit=5").status_code == 200


def test_an_event_of_a_raw_client_is_kept_verbatim(v2: Http, path: str) -> None:
    """The server converts no key and drops no null; an emitter in an answer is flat."""
    body = {
        "content": "x",
        "snake_key": None,
        "camelKey": {"b": None, "a": [None, {"c": None}]},
        "": 0,
        "Order ID": 1e3,
    }
    made = v2.post(path, {"body": body, "emitter": {**AGENT, "id": None, "unknown": 1}, "unknown": 1}).json()
    assert made["body"] == body
    assert list(made["body"]) == list(body)
    assert (made["eventType"], made["emitterType"], made["emitterId"]) == ("message", "agent", None)
    assert v2.get(path).json()["items"] == [made]
