"""DataRobot's `Session`: creation, versions and If-Match, filters, lifecycle strategies, user JSON."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from datarobot.errors import ClientError, MemorySessionDeduplicationError
from datarobot.models.memory import Emitter, MemorySpace, Session

from tests.sdk.servers import Server
from tests.sdk.wire import Http, known

pytestmark = pytest.mark.sdk
DEFAULT = [{"type": "soft_delete", "trigger": {"ttl": 15_552_000}}]
USER: Emitter = {"type": "user", "id": "ann"}
EXTRACT = {
    "type": "extract_memories",
    "trigger": {"eventCount": 100},
    "opts": {"softDelete": False, "agentId": "support-bot", "metadata": {"team": "a"}},
}


@pytest.fixture
def path(v2: Http) -> str:
    """Return the path of the sessions of a space, for raw requests."""
    return f"/memory/{v2.post('/memory/new/').json()['memorySpaceId']}/sessions/"


def _status(call: Any, *positional: Any, **named: Any) -> int:
    with pytest.raises(ClientError) as refused:
        call(*positional, **named)
    return int(refused.value.status_code)


def test_a_session_is_kept_as_it_was_created(space: MemorySpace) -> None:
    """Every field comes back, at its limit and verbatim, from create, get and list alike; the version starts at 1."""
    made = Session.create(
        known(space.id),
        ["ba5eba11deadbeefcafebabe"],
        lifecycle_strategies=[{"type": "soft_delete", "trigger": {"ttl": 604_800}}],
        description="ü" * 1_000,
        metadata={"a": [1, 2.5, None, {"b": True}], "text": "O'Brien 東京 🦄\n", "empty": {}, "large": 2**60},
        deduplication_key="k" * 72,
    )
    assert (made.version, made.participants, made.memory_space_id) == (1, ["ba5eba11deadbeefcafebabe"], space.id)
    assert (made.description, made.deduplication_key) == ("ü" * 1_000, "k" * 72)
    assert made.metadata == {"a": [1, 2.5, None, {"b": True}], "text": "O'Brien 東京 🦄\n", "empty": {}, "large": 2**60}
    assert made.lifecycle_strategies == [{"type": "soft_delete", "trigger": {"ttl": 604_800}}]
    assert vars(Session.get(known(space.id), known(made.id))) == vars(made)
    assert [vars(found) for found in Session.list(known(space.id))] == [vars(made)]
    plain = Session.create(known(space.id), ["x"])
    assert (plain.description, plain.metadata, plain.deduplication_key) == (None, None, None)
    assert plain.lifecycle_strategies == DEFAULT


def test_a_session_that_cannot_be_is_refused(space: MemorySpace) -> None:
    """No participant, two, blank ones, and texts beyond their limits are 422; nothing is stored."""
    for participants in ([], ["a", "b"], [""], [" "]):
        assert _status(Session.create, space.id, participants) == 422
    assert _status(Session.create, space.id, ["a"], description="x" * 1_001) == 422
    assert _status(Session.create, space.id, ["a"], deduplication_key="") == 422
    assert _status(Session.create, space.id, ["a"], deduplication_key="x" * 73) == 422
    assert _status(Session.create, space.id, ["a"], lifecycle_strategies=DEFAULT * 6) == 422
    assert Session.list(known(space.id)) == []


def test_users_json_round_trips_through_the_sdks_case_conversion(space: MemorySpace, v2: Http, path: str) -> None:
    """The SDK turns keys to camel case and back and drops None members; the server keeps keys and nulls verbatim."""
    metadata = {"order_id": 1, "nested": {"inner_key": [{"deep_key": "x_y"}]}, "keep": "snake_value", "gone": None}
    made = Session.create(known(space.id), ["ann"], metadata=metadata)
    del metadata["gone"]
    assert Session.get(known(space.id), known(made.id)).metadata == metadata
    raw = {"snake_key": None, "camelKey": {"b": None, "a": [None, {"c": None}]}, "": 1, "Order ID": {}, "größe": "é"}
    answer = v2.post(path, {"participants": ["ann"], "metadata": raw, "lifecycleStrategies": []}).json()
    assert answer["metadata"] == raw
    assert list(answer["metadata"]) == list(raw)
    assert v2.get(f"{path}{answer['id']}/").json() == answer


# ---- versions --------------------------------------------------------------------------------------------------------


def test_an_update_makes_the_version_one_higher_and_events_leave_it(session: Session) -> None:
    """Each update counts, an identical one too; posting and changing events does not touch the version."""
    session.update(description="same")
    session.update(description="same")
    assert session.version == 3
    session.post_event({"content": "x"}, USER)
    session.update_event(0, body={"content": "y"})
    session.post_events([{"body": {"content": "z"}, "emitter": USER}])
    session.update(metadata={"a": 1})
    assert (session.version, session.description, session.metadata) == (4, "same", {"a": 1})
    session.update()
    session.update(description=None, metadata=None)
    found = Session.get(known(session.memory_space_id), known(session.id))
    assert (found.version, found.description, found.metadata) == (5, None, None)
    session.update(description="")
    assert session.description == ""


def test_a_stale_session_is_409_until_it_is_read_again(session: Session) -> None:
    """A version that is not the stored one changes nothing; a reload helps; None opts out; an integer overrides."""
    stale = Session.get(known(session.memory_space_id), known(session.id))
    session.update(description="first")
    with pytest.raises(ClientError) as refused:
        stale.update(description="second")
    assert refused.value.status_code == 409
    assert refused.value.json["detail"] == "Session version mismatch: expected 1, current 2"
    assert _status(stale.update, description="future", if_match=3) == 409
    fresh = Session.get(known(session.memory_space_id), known(session.id))
    assert (fresh.description, fresh.version) == ("first", 2)
    fresh.update(description="second")
    stale.update(description="last writer", if_match=None)
    assert stale.version == 4
    stale.update(description="overridden", if_match=4)
    assert stale.version == 5


def test_if_match_is_read_quoted_bare_weak_and_absent(v2: Http, path: str) -> None:
    """The SDK quotes the version, the ORM does not; `*` and none are the last writer's; nonsense is 422."""
    made = f"{path}{v2.post(path, {'participants': ['ann']}).json()['id']}/"
    for version, header in enumerate(('"1"', "2", 'W/"3"', "4", "*", None), start=1):
        headers = {} if header is None else {"If-Match": header}
        answer = v2.patch(made, {"description": "x"}, headers=headers)
        assert (answer.status_code, answer.json()["version"]) == (200, version + 1), header
    for stale in ('"1"', "1", '"999999999999999999"'):
        assert v2.patch(made, {"description": "x"}, headers={"If-Match": stale}).status_code == 409
    for nonsense in ('"x"', "7.0", '"7', "-7", '"1", "7"', "9" * 50):
        assert v2.patch(made, {"description": "x"}, headers={"If-Match": nonsense}).status_code == 422, nonsense
    unknown = v2.patch(made, {"unknown": 1})
    assert (unknown.status_code, unknown.json()["version"]) == (200, 7)


# ---- keys ------------------------------------------------------------------------------------------------------------


def test_a_taken_key_names_the_session_that_has_it(space: MemorySpace) -> None:
    """The SDK's own error carries key, id and address; another space's keys are its own; deletion frees a key."""
    first = Session.create(known(space.id), ["ann"], deduplication_key="S1")
    with pytest.raises(MemorySessionDeduplicationError) as taken:
        Session.create(known(space.id), ["bob"], deduplication_key="S1")
    error = taken.value
    assert (error.status_code, error.deduplication_key) == (409, "S1")
    assert error.existing_session_id == first.id
    assert error.existing_session_url == f"/memory/{space.id}/sessions/{first.id}/"
    other = MemorySpace.create()
    assert Session.create(known(other.id), ["ann"], deduplication_key="S1").id != first.id
    first.delete()
    assert Session.create(known(space.id), ["ann"], deduplication_key="S1").id != first.id


def test_of_concurrent_creators_one_wins_and_the_others_adopt(space: MemorySpace) -> None:
    """Eight creators with one key make one session, and each loser learns its id."""

    def create(_: int) -> tuple[str, str | None]:
        try:
            return "made", Session.create(known(space.id), ["ann"], deduplication_key="race").id
        except MemorySessionDeduplicationError as taken:
            return "adopted", taken.existing_session_id

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(create, range(8)))
    assert sorted(how for how, _ in found) == ["adopted"] * 7 + ["made"]
    assert {identifier for _, identifier in found} == {Session.list(known(space.id))[0].id}
    assert len(Session.list(known(space.id))) == 1


# ---- lists -----------------------------------------------------------------------------------------------------------


def test_sessions_are_listed_by_participants_and_part_of_their_description(space: MemorySpace) -> None:
    """Any of the participants named; a part of the description, 3 characters or more, in any case; all at once."""
    kept = {
        text: Session.create(known(space.id), [who], description=text).id
        for text, who in (("Order STATUS 100%", "ann"), ("order_größe", "bob"), ("Straße nach Köln", "cid"))
    }
    ids = list(kept.values())
    assert [s.id for s in Session.list(known(space.id))] == ids
    cases: tuple[tuple[dict[str, Any], list[int]], ...] = (
        ({"participants": ["ann"]}, [0]),
        ({"participants": ["ann", "cid"]}, [0, 2]),
        ({"participants": ["an"]}, []),
        ({"description": "order"}, [0, 1]),
        ({"description": "STATUS 100%"}, [0]),
        ({"description": "00%"}, [0]),
        ({"description": "%%%"}, []),
        ({"description": "r_g"}, [1]),
        ({"description": "GRÖSSE"}, [1]),
        ({"description": "köln"}, [2]),
        ({"description": ""}, [0, 1, 2]),
        ({"description": "order", "participants": ["bob", "cid"]}, [1]),
        ({"limit": 2}, [0, 1]),
        ({"offset": 1, "limit": 1}, [1]),
        ({"offset": 3}, []),
        ({"description": "order", "offset": 1, "limit": 1}, [1]),
    )
    for asked, found in cases:
        assert [s.id for s in Session.list(known(space.id), **asked)] == [ids[index] for index in found], asked
    assert _status(Session.list, space.id, description="ab") == 422
    assert _status(Session.list, space.id, limit=0) == 422
    assert _status(Session.list, space.id, limit=101) == 422


def test_pages_of_sessions_hold_each_once(space: MemorySpace) -> None:
    """Pages are stable and complete."""
    kept = [Session.create(known(space.id), ["ann"]).id for _ in range(11)]
    assert [s.id for offset in range(0, 16, 4) for s in Session.list(known(space.id), offset=offset, limit=4)] == kept


# ---- lifecycle strategies --------------------------------------------------------------------------------------------


def test_strategies_are_kept_as_written_and_replaced_whole(space: MemorySpace) -> None:
    """What was sent comes back through the SDK, re-sent as read it stays the same, and an update replaces the list."""
    both: list[Any] = [EXTRACT, {"type": "soft_delete", "trigger": {"idle": 3_600}}]
    made = Session.create(known(space.id), ["ann"], lifecycle_strategies=both)
    read = Session.get(known(space.id), known(made.id)).lifecycle_strategies or []
    assert read[0]["trigger"] == {"event_count": 100}
    assert read[0]["opts"] == {"soft_delete": False, "agent_id": "support-bot", "metadata": {"team": "a"}}
    made.update(lifecycle_strategies=read)
    assert made.lifecycle_strategies == read
    made.update(lifecycle_strategies=[{"type": "soft_delete", "trigger": {"tokenCount": 5}}])
    assert Session.get(known(space.id), known(made.id)).lifecycle_strategies == [
        {"type": "soft_delete", "trigger": {"token_count": 5}}
    ]
    made.update(description="untouched strategies")
    assert len(made.lifecycle_strategies or []) == 1
    assert _status(made.update, lifecycle_strategies=[]) == 422


@pytest.mark.parametrize(
    "bad",
    [
        {"type": "soft_delete"},
        {"trigger": {"ttl": 1}},
        {"type": "explode", "trigger": {"ttl": 1}},
        {"type": "soft_delete", "trigger": {}},
        {"type": "soft_delete", "trigger": {"ttl": 1, "idle": 1}},
        {"type": "soft_delete", "trigger": {"ttl": 0}},
        {"type": "soft_delete", "trigger": {"ttl": 63_072_001}},
        {"type": "soft_delete", "trigger": {"ttl": 1.5}},
        {"type": "soft_delete", "trigger": {"ttl": "1"}},
        {"type": "soft_delete", "trigger": {"ttl": True}},
        {"type": "soft_delete", "trigger": {"idle": -1}},
        {"type": "soft_delete", "trigger": {"eventCount": 1_000_001}},
        {"type": "soft_delete", "trigger": {"tokenCount": 100_000_001}},
        {"type": "soft_delete", "trigger": {"never": True}},
        {"type": "soft_delete", "trigger": {"never": False}},
        {"type": "soft_delete", "trigger": {"sometimes": 1}},
        {"type": "soft_delete", "trigger": {"ttl": 1}, "opts": {"softDelete": True}},
        {"type": "extract_memories", "trigger": {"ttl": 1}, "opts": {"softDelete": "yes"}},
        {"type": "extract_memories", "trigger": {"ttl": 1}, "opts": {"agentId": 5}},
        {"type": "extract_memories", "trigger": {"ttl": 1}, "opts": {"metadata": []}},
        "soft_delete",
        7,
        [],
    ],
)
def test_a_strategy_that_cannot_be_is_422(v2: Http, path: str, bad: Any) -> None:
    """Each mistake in a strategy is refused, on create and on update, and leaves everything as it was."""
    made = v2.post(path, {"participants": ["ann"]}).json()
    assert v2.post(path, {"participants": ["ann"], "lifecycleStrategies": [bad]}).status_code == 422
    answer = v2.patch(f"{path}{made['id']}/", {"description": "x", "lifecycleStrategies": [*DEFAULT, bad]})
    assert answer.status_code == 422
    assert v2.get(path).json()["items"] == [made]


def test_never_is_accepted_where_it_is_enabled(small_server: Server, tenant: str) -> None:
    """A server told to allow `never` stores it."""
    headers = {"Authorization": f"Token {small_server.token(tenant)}"}
    with Http(f"{small_server.url}/api/v2", headers) as http:
        space = http.post("/memory/new/").json()["memorySpaceId"]
        strategies = [{"type": "soft_delete", "trigger": {"never": True}}]
        body = {"participants": ["ann"], "lifecycleStrategies": strategies}
        answer = http.post(f"/memory/{space}/sessions/", body)
    assert (answer.status_code, answer.json()["lifecycleStrategies"]) == (201, strategies)


# ---- deletion --------------------------------------------------------------------------------------------------------


def test_a_deleted_session_is_gone_with_its_events(session: Session) -> None:
    """It is hidden from get and list, its events are unreadable, and a second deletion is 404."""
    session.post_event({"content": "hello"}, USER)
    session.delete()
    where = known(session.memory_space_id)
    assert Session.list(where) == []
    assert _status(Session.get, where, session.id) == 404
    assert _status(session.events) == 404
    assert _status(session.update, description="x") == 404
    assert _status(session.post_event, {"content": "x"}, USER) == 404
    assert _status(session.delete) == 404


def test_a_session_belongs_to_its_space(session: Session) -> None:
    """Through another space of the same user a session is 404 for every method."""
    other = MemorySpace.create()
    assert _status(Session.get, other.id, session.id) == 404
    session.memory_space_id = other.id
    for call in (session.events, session.delete):
        assert _status(call) == 404
    assert _status(session.update, description="x") == 404
    assert _status(session.post_event, {"content": "x"}, USER) == 404
