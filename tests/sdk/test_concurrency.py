"""What holds when many write at once, when a reader follows a writer, and when a write is repeated."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from datarobot.errors import ClientError
from datarobot.models.memory import Emitter, MemorySpace, Session
from sap_cloud_sdk.agent_memory import AgentMemoryClient, MessageRole
from sap_cloud_sdk.agent_memory.exceptions import AgentMemoryNotFoundError

from tests.sdk.servers import Server
from tests.sdk.wire import Clients, Http, known

pytestmark = pytest.mark.sdk
WRITERS = 8
APPENDS = 25
ROUNDS = 50
AGENT: Emitter = {"type": "agent"}


def _at_once(work: Callable[[int], Any]) -> list[Any]:
    """Run the same work in eight threads that start together."""
    start = Barrier(WRITERS)

    def run(number: int) -> Any:
        start.wait()
        return work(number)

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(run, range(WRITERS)))


# ---- guarantees 1 and 4 ----------------------------------------------------------------------------------------------


def test_guarantee_4_concurrent_appends_lose_nothing(session: Session) -> None:
    """8 writers with 25 appends each keep 200 of 200, numbered 0 to 199, each writer's own in order (guarantee 1)."""

    def append(writer: int) -> list[int]:
        made = [session.post_event({"content": f"{writer}/{n}"}, AGENT) for n in range(APPENDS)]
        return [known(event.sequence_id) for event in made]

    numbers = _at_once(append)
    assert sorted(number for own in numbers for number in own) == list(range(200))
    assert all(own == sorted(own) for own in numbers)
    kept = [event for offset in (0, 100) for event in session.events(offset=offset, limit=100)]
    assert [event.sequence_id for event in kept] == list(range(200))
    said = [event.body["content"] for event in kept if event.body]
    assert sorted(said) == sorted(f"{writer}/{n}" for writer in range(WRITERS) for n in range(APPENDS))
    assert all(said[number] == f"{writer}/{n}" for writer, own in enumerate(numbers) for n, number in enumerate(own))


def test_guarantee_4_of_concurrent_updates_of_an_event_with_one_token_one_wins(session: Session) -> None:
    """Eight updates of an event with the same `created_at`: one is accepted, seven are 422, the winner's stays."""
    for turn in range(5):
        event = session.post_event({"content": "first"}, AGENT)

        def update(writer: int, event: Any = event) -> tuple[int, Any]:
            body = {"content": f"by {writer}"}
            try:
                session.update_event(event.sequence_id, body=body, created_at=event.created_at)
            except ClientError as refused:
                return refused.status_code, refused.json["detail"]
            return 200, writer

        answers = _at_once(update)
        winners = [writer for status, writer in answers if status == 200]
        assert len(winners) == 1
        assert answers.count((422, "Patch of incorrect version of event")) == WRITERS - 1
        assert session.events(offset=turn)[0].body == {"content": f"by {winners[0]}"}


def test_guarantee_4_of_concurrent_updates_of_a_session_with_one_version_one_wins(session: Session) -> None:
    """Eight updates of a session with the same If-Match: one is accepted, seven are 409, the version moves by one."""
    space = known(session.memory_space_id)
    for turn in range(1, 6):

        def update(writer: int, turn: int = turn) -> tuple[int, Any]:
            try:
                Session.get(space, known(session.id)).update(description=f"by {writer}", if_match=turn)
            except ClientError as refused:
                return refused.status_code, refused.json["detail"]
            return 200, writer

        answers = _at_once(update)
        winners = [writer for status, writer in answers if status == 200]
        assert len(winners) == 1
        assert answers.count((409, f"Session version mismatch: expected {turn}, current {turn + 1}")) == WRITERS - 1
        now = Session.get(space, known(session.id))
        assert (now.version, now.description) == (turn + 1, f"by {winners[0]}")


def test_guarantee_1_messages_of_concurrent_writers_are_all_kept_in_one_order(sap: AgentMemoryClient) -> None:
    """Every message of eight writers into one group is kept, each writer's in its order; pages agree with the list."""

    def write(writer: int) -> list[str]:
        return [sap.add_message("a", "i", "g", MessageRole.USER, f"{writer}/{n}").id for n in range(10)]

    written = _at_once(write)
    listed = [message.id for message in sap.list_messages("a", "i", "g", limit=1_000)]
    assert sorted(listed) == sorted(identifier for own in written for identifier in own)
    assert all([i for i in listed if i in set(own)] == own for own in written)
    pages = [m.id for offset in range(0, 80, 9) for m in sap.list_messages("a", "i", "g", limit=9, offset=offset)]
    assert pages == listed


# ---- guarantee 5 -----------------------------------------------------------------------------------------------------


def test_guarantee_5_a_memory_is_seen_by_the_first_read_after_its_write(
    server: Server, tenant: str, sap: AgentMemoryClient, sap_clients: Clients
) -> None:
    """50 of 50: get, list, count and search of another client see each memory at once, its update and its deletion."""
    reader = sap_clients(server.client(tenant))
    for number in range(ROUNDS):
        made = sap.add_memory("a", "i", f"The user owns bicycle number {number}")
        hits = reader.search_memories("a", "i", f"The user owns bicycle number {number}", threshold=0.0, limit=50)
        assert made.id in {hit.id for hit in hits}
        assert reader.count_memories("a", "i") == 1
        assert [m.id for m in reader.list_memories("a", "i")] == [made.id]
        assert reader.get_memory(made.id) == made
        sap.update_memory(made.id, content=f"The user sold bicycle number {number}")
        (hit,) = reader.search_memories("a", "i", "bicycle", threshold=0.0)
        assert hit.content == f"The user sold bicycle number {number}"
        sap.delete_memory(made.id)
        assert reader.search_memories("a", "i", "bicycle", threshold=0.0) == []
        assert reader.count_memories("a", "i") == 0
        with pytest.raises(AgentMemoryNotFoundError):
            reader.get_memory(made.id)


def test_guarantee_5_a_message_is_seen_by_the_first_read_after_its_write(sap: AgentMemoryClient) -> None:
    """50 of 50: a list sees each message at once, and each deletion."""
    for number in range(ROUNDS):
        made = sap.add_message("a", "i", "g", MessageRole.USER, str(number))
        assert sap.list_messages("a", "i", "g") == [made] == sap.list_messages(role="USER")
        sap.delete_message(made.id)
        assert sap.list_messages() == []


def test_guarantee_5_sessions_and_events_are_seen_by_the_first_read_after_their_write(space: MemorySpace) -> None:
    """50 of 50: gets, lists and totals see each session, event, change and deletion at once."""
    for number in range(ROUNDS):
        session = Session.create(known(space.id), ["ann"], description=f"session {number}")
        assert [found.id for found in Session.list(known(space.id))] == [session.id]
        session.update(description=f"changed {number}")
        assert [found.id for found in Session.list(known(space.id), description=f"changed {number}")] == [session.id]
        event = session.post_event({"content": "x"}, AGENT)
        assert [vars(found) for found in session.events()] == [vars(event)]
        session.update_event(0, body={"content": "y"}, created_at=event.created_at)
        assert [found.body for found in session.events(last_n=1)] == [{"content": "y"}]
        session.delete()
        assert Session.list(known(space.id)) == []


def test_guarantee_5_concurrent_writers_each_read_their_own(sap: AgentMemoryClient) -> None:
    """Eight writers at once: each finds what it wrote, by every way of reading, while the others go on writing."""

    def write(writer: int) -> None:
        for number in range(8):
            text = f"Writer {writer} planted tree {number}"
            made = sap.add_memory("a", f"i{writer % 2}", text)
            assert sap.get_memory(made.id) == made
            assert made.id in {m.id for m in sap.list_memories("a", f"i{writer % 2}", limit=1_000)}
            assert made.id in {h.id for h in sap.search_memories("a", f"i{writer % 2}", text, limit=50)}

    _at_once(write)
    assert sap.count_memories("a") == 64


# ---- guarantee 3 -----------------------------------------------------------------------------------------------------


def _memory(content: str = "once") -> dict[str, str]:
    return {"agentID": "a", "invokerID": "i", "content": content}


def test_guarantee_3_a_repeated_write_returns_the_first_acceptance(v1: Http) -> None:
    """With one Idempotency-Key a POST makes one memory, however often it comes; another key makes another."""
    key = {"Idempotency-Key": "k1"}
    first = v1.post("/v1/memories", _memory(), headers=key)
    for _ in range(3):
        again = v1.post("/v1/memories", _memory(), headers=key)
        assert (again.status_code, again.json()) == (201, first.json())
        assert again.headers["mnemolog-command"] == first.headers["mnemolog-command"]
    v1.post("/v1/memories", _memory(), headers={"Idempotency-Key": "k2"})
    v1.post("/v1/memories", _memory())
    assert v1.get("/v1/memories?$top=0&$count=true").json()["@odata.count"] == 3


def test_guarantee_3_concurrent_repeats_make_one(v1: Http) -> None:
    """Eight equal requests with one key at the same time make one memory, and all get it."""
    answers = _at_once(lambda _: v1.post("/v1/memories", _memory(), headers={"Idempotency-Key": "k"}))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert v1.get("/v1/memories?$top=0&$count=true").json()["@odata.count"] == 1


def test_guarantee_3_a_key_with_another_body_is_422(v1: Http, v2: Http) -> None:
    """A key that was used for something else is refused on both faces, and nothing is stored."""
    key = {"Idempotency-Key": "k"}
    made = v1.post("/v1/memories", _memory(), headers=key).json()
    assert v1.post("/v1/memories", _memory("twice"), headers=key).status_code == 422
    assert v1.patch(f"/v1/memories({made['id']})", {"content": "x"}, headers=key).status_code == 422
    assert [m["content"] for m in v1.get("/v1/memories").json()["value"]] == ["once"]
    v2.post("/memory/new/", {"description": "a"}, headers=key)
    assert v2.post("/memory/new/", {"description": "b"}, headers=key).status_code == 422
    assert v2.get("/memory/").json()["total"] == 1


def test_guarantee_3_a_repeated_deletion_is_204(v1: Http, v2: Http) -> None:
    """A DELETE with a key may be repeated; without one the second is 404."""
    made = v1.post("/v1/memories", _memory()).json()
    for _ in range(3):
        assert v1.delete(f"/v1/memories({made['id']})", headers={"Idempotency-Key": "d"}).status_code == 204
    assert v1.delete(f"/v1/memories({made['id']})").status_code == 404
    space = v2.post("/memory/new/").json()["memorySpaceId"]
    for _ in range(3):
        assert v2.delete(f"/memory/{space}/", headers={"Idempotency-Key": "d"}).status_code == 204


def test_guarantee_3_repeated_appends_and_updates_change_nothing_more(v2: Http) -> None:
    """Repeats of events, batches and session updates keep their numbers, tokens and versions."""
    sessions = f"/memory/{v2.post('/memory/new/').json()['memorySpaceId']}/sessions/"
    session = f"{sessions}{v2.post(sessions, {'participants': ['ann']}).json()['id']}/"
    event = {"body": {"content": "x"}, "emitter": AGENT}
    requests: tuple[tuple[str, str, Any, dict[str, str]], ...] = (
        ("POST", f"{session}events/", event, {}),
        ("POST", f"{session}events/batch/", {"events": [event] * 3}, {}),
        ("PATCH", f"{session}events/0/", {"body": {"content": "y"}}, {}),
        ("PATCH", session, {"description": "x"}, {"If-Match": '"1"'}),
    )
    for number, (method, path, body, headers) in enumerate(requests):
        named = {**headers, "Idempotency-Key": f"key {number}"}
        first, again = (v2.send(method, path, body, headers=named) for _ in range(2))
        assert (again.status_code, again.json()) == (first.status_code, first.json())
        assert first.status_code in {200, 201}
    assert v2.get(f"{session}events/").json()["total"] == 4
    assert v2.get(session).json()["version"] == 2


@pytest.mark.parametrize("key", ["x" * 5_000, "größe".encode(), b"\xff\xfe", ""])
def test_guarantee_3_any_key_is_a_key_or_a_clear_refusal(v1: Http, key: Any) -> None:
    """Long keys and keys of any bytes work; a blank one is refused."""
    answers = [v1.post("/v1/memories", _memory(), headers={"Idempotency-Key": key}) for _ in range(2)]
    if isinstance(key, str) and not key.strip():
        assert [answer.status_code for answer in answers] == [400, 400]
    else:
        assert [answer.status_code for answer in answers] == [201, 201]
        assert answers[0].json() == answers[1].json()
