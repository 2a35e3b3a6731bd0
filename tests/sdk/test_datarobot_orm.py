"""DataRobot's second client, the async ORM of `application_utils.persistence`, on the same routes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import httpx
import pytest
from datarobot.application_utils.persistence import (
    SYSTEM_PARTICIPANT,
    DRConcurrencyField,
    DRDeduplicationKey,
    DREvent,
    DRMemoryBadRequestError,
    DRMemoryNotFoundError,
    DRMemoryServiceClient,
    DRMemoryServiceError,
    DRMemorySpace,
    DRMemoryValidationError,
    DRMemoryVersionConflictError,
    DRRangeKey,
    DRSession,
)

from tests.sdk.servers import Server

pytestmark = pytest.mark.sdk
Run = Callable[[Callable[[DRMemoryServiceClient], Awaitable[None]]], None]


class Chat(DRSession):
    """A session as an application declares it."""

    __description_prefix__ = "chat"
    team: Annotated[str, DRRangeKey]
    topic: Annotated[str, DRRangeKey]
    chat_id: Annotated[str, DRDeduplicationKey]
    rev: Annotated[int, DRConcurrencyField]
    title: str
    tags: list[str] | None = None


class Said(DREvent, session=Chat):
    """An event as an application declares it."""

    score: float | None = None


@pytest.fixture
def run(server: Server, tenant: str) -> Run:
    """Return what runs a story with a client of a fresh tenant."""
    token = server.token(tenant)

    def start(story: Callable[[DRMemoryServiceClient], Awaitable[None]]) -> None:
        async def told() -> None:
            async with (
                httpx.AsyncClient(trust_env=False, timeout=30) as http,
                DRMemoryServiceClient(endpoint=f"{server.url}/api/v2", api_token=token, http_client=http) as client,
            ):
                await story(client)

        asyncio.run(told())

    return start


async def _chat(space: DRMemorySpace, chat_id: str, team: str = "acme", topic: str = "billing", **more: Any) -> Chat:
    return _a_chat(await Chat.post(space, team=team, topic=topic, chat_id=chat_id, title=f"Title of {chat_id}", **more))


async def _found(space: DRMemorySpace, **by: str) -> Chat:
    return _a_chat(await Chat.get(space, **by))


async def _listed(space: DRMemorySpace, **by: str) -> list[Chat]:
    return [_a_chat(session) for session in await Chat.list(space, **by)]


def _a_chat(session: DRSession) -> Chat:
    """Return a session as what it is: the ORM's annotations name its base class only."""
    assert isinstance(session, Chat)
    return session


def test_spaces_are_created_adopted_changed_and_deleted(run: Run) -> None:
    """A second post with the key adopts the first space, also when eight come at once."""

    async def story(client: DRMemoryServiceClient) -> None:
        spaces = await asyncio.gather(
            *(DRMemorySpace.post(client, description=f"by {n}", deduplication_key="mine") for n in range(8))
        )
        assert len({space.id for space in spaces}) == 1
        space = await DRMemorySpace.get(client, spaces[0].id)
        await space.patch(description="changed", custom_instructions="Be brief")
        (listed,) = await DRMemorySpace.list(client, deduplication_key="mine")
        assert (listed.description, listed.custom_instructions) == ("changed", "Be brief")
        await space.delete()
        with pytest.raises(DRMemoryNotFoundError):
            await DRMemorySpace.get(client, space.id)
        assert await DRMemorySpace.list(client) == []

    run(story)


def test_sessions_are_found_by_key_and_by_prefix(run: Run) -> None:
    """Descriptions made of slashes, percent signs and capitals serve as a hierarchy; lists page by themselves."""

    async def story(client: DRMemoryServiceClient) -> None:
        space = await DRMemorySpace.post(client)
        first = await _chat(space, "c-0", tags=["a", "b"])
        assert (first.version, first.rev, first.participants) == (1, 1, [SYSTEM_PARTICIPANT])
        assert (first.title, first.tags) == ("Title of c-0", ["a", "b"])
        assert (await _chat(space, "c-0")).id == first.id
        await _chat(space, "c-1", topic="a/b 100%")
        await _chat(space, "c-2", team="ac")
        assert (await _found(space, chat_id="c-1")).topic == "a/b 100%"
        assert (await _found(space, id=first.id)).tags == ["a", "b"]
        assert [s.chat_id for s in await _listed(space, team="acme")] == ["c-0", "c-1"]
        assert [s.chat_id for s in await _listed(space, team="acme", topic="a/b 100%")] == ["c-1"]
        assert [s.chat_id for s in await _listed(space, participant=SYSTEM_PARTICIPANT)] == ["c-0", "c-1", "c-2"]
        assert await Chat.list(space, participant="0" * 23 + "1") == []
        with pytest.raises(DRMemoryNotFoundError):
            await Chat.get(space, chat_id="c-9")
        await asyncio.gather(*(_chat(space, f"many-{n}", team="many") for n in range(105)))
        assert len(await Chat.list(space, team="many")) == 105

    run(story)


def test_a_stale_session_is_a_version_conflict(run: Run) -> None:
    """Patches carry a bare If-Match; a stale one is a conflict, a reload helps; strategies count as well."""

    async def story(client: DRMemoryServiceClient) -> None:
        space = await DRMemorySpace.post(client)
        session = await _chat(space, "c")
        other = await _found(space, chat_id="c")
        await session.patch(title="first", topic="support")
        assert (session.version, session.rev, session.topic) == (2, 2, "support")
        with pytest.raises(DRMemoryVersionConflictError):
            await other.patch(title="second")
        other = await _found(space, chat_id="c")
        await other.patch(title="second")
        assert (other.title, other.version) == ("second", 3)
        strategies = [{"type": "soft_delete", "trigger": {"idle": 63_072_000}}]
        await other.patch_lifecycle_strategies(strategies)
        await other.patch_lifecycle_strategies(other.lifecycle_strategies)
        assert (other.lifecycle_strategies, other.version) == (strategies, 5)
        with pytest.raises(DRMemoryValidationError):
            await other.patch_lifecycle_strategies([{"type": "soft_delete", "trigger": {"never": True}}])
        await other.delete()
        assert await Chat.list(space) == []

    run(story)


def test_events_are_posted_changed_listed_and_deleted(run: Run) -> None:
    """Single events and batches, the tail, a stale token, a null that clears a field, and deletion."""

    async def story(client: DRMemoryServiceClient) -> None:
        space = await DRMemorySpace.post(client)
        session = await _chat(space, "c", participants=["ba5eba11deadbeefcafebabe"])
        first: Any = await Said.post(
            session, content="Hi", emitter_type="user", emitter_id="ba5eba11deadbeefcafebabe", score=0.5
        )
        rest: Any = await Said.post_batch(session, [{"content": str(n), "emitter_type": "agent"} for n in range(4)])
        assert [event.sequence_id for event in (first, *rest)] == [0, 1, 2, 3, 4]
        assert [event.content for event in await Said.last(session, n=2)] == ["2", "3"]
        (stale,) = await Said.list(session, type="message", limit=1)
        await first.patch(content="Hello", score=None)
        with pytest.raises(DRMemoryVersionConflictError):
            await stale.patch(content="Too late")
        await Said.patch_batch(session, [(rest[1], {"score": 1.5}), (rest[0], {"content": "zero"})])
        listed: Any = await Said.list(session, offset=0)
        assert [(event.content, event.score) for event in listed] == [
            ("Hello", None),
            ("zero", None),
            ("1", 1.5),
            ("2", None),
            ("3", None),
        ]
        await rest[1].delete()
        with pytest.raises(DRMemoryNotFoundError):
            await rest[1].patch(content="gone")
        with pytest.raises(DRMemoryServiceError):
            await Said.patch_batch(session, [(rest[0], {"score": 1.0}), (rest[1], {"score": 1.0})])
        assert [event.sequence_id for event in await Said.list(session)] == [0, 1, 3, 4]
        with pytest.raises(DRMemoryBadRequestError):
            await Said.post(session, content="x", emitter_type="user")
        with pytest.raises(DRMemoryValidationError):
            await Said.post(session, content="", emitter_type="agent")

    run(story)
