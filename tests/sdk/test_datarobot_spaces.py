"""DataRobot's `MemorySpace`, method by method, and what every route of its face has in common."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from typing import Any

import datarobot
import pytest
from datarobot.errors import ClientError, MemorySpaceDeduplicationError
from datarobot.models.memory import Event, MemorySpace, Session

from tests.sdk.servers import Server
from tests.sdk.wire import Connect, Http, known

pytestmark = pytest.mark.sdk
TEXTS = ("description", "llm_model_name", "llm_base_url", "custom_instructions")


def _public(model: type) -> set[str]:
    return {name for name, value in vars(model).items() if not name.startswith("_") and callable(getattr(model, name))}


def test_every_public_method_is_known_to_this_suite() -> None:
    """A method that a newer SDK adds must not go untested."""
    assert _public(MemorySpace) == {"create", "list", "get", "update", "delete"}
    events = {"post_event", "events", "update_event", "post_events", "update_events"}
    assert _public(Session) == {"create", "list", "get", "update", "delete"} | events
    assert _public(Event) == set()


@pytest.mark.parametrize("token_type", ["Token", "Bearer"])
def test_the_version_is_one_that_the_client_accepts_in_silence(connect: Connect, tenant: str, token_type: str) -> None:
    """Making a client asks for the version and warns of nothing; any warning would fail this test."""
    client = connect(tenant, token_type=token_type)
    version = client.get("version/").json()
    assert version["versionString"].startswith("2.")
    assert MemorySpace.list() == []


def test_a_wrong_token_is_told_as_such(connect: Connect, tenant: str) -> None:
    """A token that nobody has is 401 in the client's own words."""
    with pytest.raises(ClientError, match="Unable to authenticate") as refused:
        connect(tenant, token="wrong")
    assert refused.value.status_code == 401


def test_a_revoked_token_opens_nothing_at_once(connect: Connect, server: Server, tenant: str) -> None:
    """Revoking acts on the next request of a client that is connected."""
    connect(tenant)
    assert MemorySpace.list() == []
    (mine,) = [row for row in server.operate("tokens", "list") if row["tenant"] == tenant]
    server.operate("tokens", "revoke", mine["id"])
    with pytest.raises(ClientError) as refused:
        MemorySpace.list()
    assert refused.value.status_code == 401


def test_a_space_without_arguments(connect: Connect, tenant: str) -> None:
    """`create()` sends an empty body, which makes a space of the caller with nothing set."""
    connect(tenant, "ann")
    made = MemorySpace.create()
    assert (made.user_id, made.tenant_id) == ("ann", tenant)
    assert [getattr(made, name) for name in (*TEXTS, "deduplication_key")] == [None] * 5
    assert made.created_at is not None
    assert made.created_at.tzinfo is not None
    assert made.created_at.utcoffset() == UTC.utcoffset(None)
    assert vars(MemorySpace.get(known(made.id))) == vars(made)


def test_every_field_of_a_space_is_kept_changed_and_cleared(connect: Connect, tenant: str) -> None:
    """Each field is kept at its limit and verbatim; an update changes what it names, None clears, "" is a text."""
    connect(tenant)
    given = {
        "description": "ü" * 1_000,
        "llm_model_name": "m" * 200,
        "llm_base_url": "https://llm.example.com/" + "x" * 2_000,
        "custom_instructions": "Say 'hello'\n" + "i" * 9_988,
        "deduplication_key": "k" * 72,
    }
    made = MemorySpace.create(**given)
    assert {name: getattr(MemorySpace.get(known(made.id)), name) for name in given} == given
    made.update()
    made.update(custom_instructions="new")
    assert [getattr(made, name) for name in TEXTS] == [*[given[name] for name in TEXTS[:3]], "new"]
    made.update(description="", llm_model_name="", custom_instructions="")
    assert (made.description, made.llm_model_name, made.custom_instructions) == ("", "", "")
    made.update(**dict.fromkeys(TEXTS))
    found = MemorySpace.get(known(made.id))
    assert [getattr(found, name) for name in TEXTS] == [None] * 4
    assert found.deduplication_key == "k" * 72
    assert found.created_at == made.created_at


@pytest.mark.parametrize(
    "bad",
    [
        {"description": "x" * 1_001},
        {"llm_model_name": "x" * 201},
        {"custom_instructions": "x" * 10_001},
        {"llm_base_url": ""},
        {"llm_base_url": "no url"},
        {"llm_base_url": "https://x.example.com/" + "x" * 2_083},
        {"deduplication_key": ""},
        {"deduplication_key": "x" * 73},
    ],
)
def test_a_field_beyond_its_limit_is_refused(connect: Connect, tenant: str, bad: dict[str, str]) -> None:
    """A create is 422 and makes nothing; an update is 422 and changes nothing, its valid fields included."""
    connect(tenant)
    with pytest.raises(ClientError) as refused:
        MemorySpace.create(**bad)
    assert refused.value.status_code == 422
    assert MemorySpace.list() == []
    if "deduplication_key" not in bad:
        made = MemorySpace.create(description="before")
        with pytest.raises(ClientError) as refused:
            made.update(**({"description": "after", "llm_model_name": "other"} | bad))
        assert refused.value.status_code == 422
        assert vars(MemorySpace.get(known(made.id))) == vars(made)


def test_spaces_are_listed_in_order_and_by_key(connect: Connect, tenant: str) -> None:
    """Pages follow the time of creation and hold each space once; the key is matched exactly."""
    connect(tenant)
    kept = [MemorySpace.create(deduplication_key=f"key {n}%_'").id for n in range(7)]
    assert [s.id for s in MemorySpace.list()] == kept
    assert [s.id for offset in (0, 3, 6, 9) for s in MemorySpace.list(offset=offset, limit=3)] == kept
    assert [s.id for s in MemorySpace.list(deduplication_key="key 3%_'")] == [kept[3]]
    for other in ("key 3", "KEY 3%_'", "%", "key _%_'"):
        assert MemorySpace.list(deduplication_key=other) == []


def test_a_taken_key_names_the_space_that_has_it(connect: Connect, tenant: str) -> None:
    """The SDK's own error carries key, id and address; None never collides; another user's keys are his."""
    connect(tenant)
    first = MemorySpace.create(deduplication_key="K1")
    MemorySpace.create()
    MemorySpace.create()
    with pytest.raises(MemorySpaceDeduplicationError) as taken:
        MemorySpace.create(deduplication_key="K1", description="another")
    error = taken.value
    assert (error.status_code, error.deduplication_key) == (409, "K1")
    assert error.existing_memory_space_id == first.id
    assert error.existing_memory_space_url == f"/memory/{first.id}/"
    assert MemorySpace.get(known(error.existing_memory_space_id)).description is None
    connect(tenant, "bob")
    assert MemorySpace.create(deduplication_key="K1").id != first.id


def test_of_concurrent_creators_one_wins_and_the_others_adopt(connect: Connect, tenant: str) -> None:
    """Eight creators with one key make one space, and each loser learns its id."""
    connect(tenant)

    def create(number: int) -> tuple[str, str | None]:
        try:
            return "made", MemorySpace.create(deduplication_key="race", description=str(number)).id
        except MemorySpaceDeduplicationError as taken:
            return "adopted", taken.existing_memory_space_id

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(create, range(8)))
    assert sorted(how for how, _ in found) == ["adopted"] * 7 + ["made"]
    assert len({identifier for _, identifier in found}) == 1
    assert [s.id for s in MemorySpace.list()] == [found[0][1]]


def test_a_deleted_space_is_gone_with_all_it_held_and_its_key_is_free(connect: Connect, tenant: str) -> None:
    """Reads, lists and writes of a deleted space, its sessions and events are 404; its key may be used again."""
    connect(tenant)
    made = MemorySpace.create(deduplication_key="free me")
    session = Session.create(known(made.id), ["ann"])
    session.post_event({"content": "hello"}, {"type": "user", "id": "ann"})
    made.delete()
    assert MemorySpace.list() == MemorySpace.list(deduplication_key="free me") == []
    calls: list[Any] = [
        lambda: MemorySpace.get(known(made.id)),
        lambda: made.update(description="x"),
        made.delete,
        lambda: Session.list(known(made.id)),
        lambda: Session.create(known(made.id), ["ann"]),
        lambda: Session.get(known(made.id), known(session.id)),
        lambda: session.update(description="x"),
        session.delete,
        session.events,
        lambda: session.post_event({"content": "x"}, {"type": "user", "id": "ann"}),
        lambda: session.update_event(0, body={"content": "x"}),
    ]
    for call in calls:
        with pytest.raises(ClientError) as gone:
            call()
        assert gone.value.status_code == 404
    assert MemorySpace.create(deduplication_key="free me").id != made.id


@pytest.mark.parametrize(
    "identifier", ["nothing", "x" * 3_000, "größe", "new", "..%2f", "deadbeef-cafe-babe-feed-cafebabe0000"]
)
def test_an_unknown_space_is_404_whatever_its_id_looks_like(connect: Connect, tenant: str, identifier: str) -> None:
    """No form of id is a bad request."""
    connect(tenant)
    for call in (MemorySpace.get, Session.list, lambda space: Session.get(space, identifier)):
        with pytest.raises(ClientError) as missing:
            call(identifier)
        assert missing.value.status_code in {404, 405}


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=-1", "limit=x", "limit=", "offset=-1", "offset=1.5"])
def test_a_page_out_of_range_is_422(v2: Http, query: str) -> None:
    """`limit` is 1 to 100, `offset` 0 or more."""
    answer = v2.get(f"/memory/?{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", query.partition("=")[0]]


def test_a_list_says_which_part_of_what_it_is(v2: Http) -> None:
    """The ORM reads `total`; without parameters a page is the first 100."""
    for _ in range(3):
        v2.post("/memory/new/")
    whole = v2.get("/memory/").json()
    assert {name: whole[name] for name in ("offset", "limit", "total")} == {"offset": 0, "limit": 100, "total": 3}
    part = v2.get("/memory/?offset=2&limit=2").json()
    assert (part["items"], part["offset"], part["limit"], part["total"]) == (whole["items"][2:], 2, 2, 3)


def test_a_client_of_the_environment(connect: Connect, tenant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two variables are all that a script needs."""
    client = connect(tenant)
    monkeypatch.setenv("DATAROBOT_ENDPOINT", client.endpoint)
    monkeypatch.setenv("DATAROBOT_API_TOKEN", client.token)
    connect(tenant, token=None, endpoint=None)
    assert datarobot.client.get_client().token == client.token
    assert MemorySpace.create().tenant_id == tenant
