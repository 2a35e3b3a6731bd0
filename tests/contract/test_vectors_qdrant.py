"""What only an index that several processes share must promise: late writers, a collection lost between two requests.

Each test runs on qdrant-client's local mode, and on a server where one is named; two adapters are two processes.
"""

from __future__ import annotations

import asyncio
import http.server
import json
import math
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from qdrant_client import models

from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ports import Scope, Vectors
from projections.qdrant_recall import recalls
from projections.qdrant_wire import Collection, Missing, connect
from projections.vectors_points import ModelMismatchError
from projections.vectors_qdrant import QdrantVectors
from tests import qdrants
from tests.contract.test_vectors import DIMENSION, MODEL, SCOPE, identifier, point, vector
from tests.servers_redis import free_port
from tests.system.sequencers import story

pytestmark = pytest.mark.contract


@pytest.fixture(params=["local", "server"])
def shared(request: pytest.FixtureRequest) -> Iterator[qdrants.OwnLoop]:
    """Give a deployment's collection that does not exist yet, and a client of it."""
    made = qdrants.vectors(request.param, MODEL, DIMENSION)
    yield made
    asyncio.run(made.close())


def told(test: Callable[[qdrants.OwnLoop], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on the loop that the client belongs to."""

    def run(shared: qdrants.OwnLoop) -> None:
        shared.run(test(shared))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def another(shared: qdrants.OwnLoop, **more: Any) -> QdrantVectors:
    """Return the adapter of another process."""
    return QdrantVectors(shared.client, shared.where, **more)


async def found(vectors: Vectors, scope: Scope = SCOPE) -> dict[str, int]:
    """Return the ids and versions in a scope."""
    return {hit.id: hit.version for hit in await vectors.search(scope, vector(0), 1_000)}


@told
async def test_an_upsert_of_a_zombie_does_not_bring_back_what_another_has_removed(shared: qdrants.OwnLoop) -> None:
    """The marker is in the collection: it stops whoever comes late, of any version, stored before or not."""
    zombie, heir = another(shared), another(shared)
    await zombie.apply(0, [point(1)], [], 5)
    await heir.checkpoint(0)
    await heir.apply(0, [], [identifier(1), identifier(2)], 9)
    await zombie.apply(0, [point(1, version=7), point(2), point(3)], [], 6)
    assert await found(heir) == {identifier(3): 0}
    assert await heir.count() == 1


@told
async def test_an_upsert_of_a_zombie_does_not_replace_a_newer_text(shared: qdrants.OwnLoop) -> None:
    """Each write says which version it is newer than, and the server compares."""
    zombie, heir = another(shared), another(shared)
    await heir.apply(0, [point(1, version=4, seed=4), point(2, version=1)], [], 5)
    await zombie.apply(0, [point(1, version=3, seed=3), point(2, version=2)], [], 4)
    assert await found(heir) == {identifier(1): 4, identifier(2): 2}
    (hit,) = await heir.search(SCOPE, vector(4), 1)
    assert hit.similarity == pytest.approx(1.0, abs=1e-5)


@told
async def test_a_checkpoint_moves_only_from_where_its_writer_saw_it(shared: qdrants.OwnLoop) -> None:
    """A zombie neither draws it back nor pushes it on; it finds out when it looks again."""
    zombie, heir = another(shared), another(shared)
    await zombie.apply(0, [], [], 5)
    await heir.checkpoint(0)
    await heir.apply(0, [], [], 9)
    for late in (7, 11):
        await zombie.apply(0, [], [], late)
        assert await heir.checkpoint(0) == 9
    assert await zombie.checkpoint(0) == 9
    await zombie.apply(0, [], [], 11)
    assert await heir.checkpoint(0) == 11


@told
async def test_a_loss_is_not_hidden_by_a_batch_that_was_under_way(shared: qdrants.OwnLoop) -> None:
    """Lost, and made anew by another worker: the batch's checkpoint is not written, so its partition is refilled."""
    one, other = another(shared), another(shared)
    await one.apply(0, [point(1)], [], 5)
    await other.apply(1, [point(2)], [], 5)
    await shared.client.delete_collection(shared.where.name)
    assert await other.checkpoint(1) is None
    await other.apply(1, [point(2)], [], 5)
    await one.apply(0, [point(3)], [], 8)
    assert await one.checkpoint(0) is None
    assert await other.checkpoint(1) == 5


@told
async def test_a_collection_that_is_lost_is_made_anew_with_its_alias(shared: qdrants.OwnLoop) -> None:
    """Whoever writes hears of it; the next look says that there is nothing, and the next batch makes it again."""
    made = another(shared)
    await made.apply(0, [point(1)], [], 5)
    await shared.client.delete_collection(shared.where.name)
    assert await found(made) == {}
    assert await made.count() == 0
    with pytest.raises(Missing, match="a vectors worker fills it"):
        await made.apply(0, [point(2)], [], 8)
    assert await made.checkpoint(0) is None
    await made.apply(0, [point(1), point(2)], [], 8)
    assert len(await found(made)) == 2
    aliases = {a.alias_name: a.collection_name for a in (await shared.client.get_aliases()).aliases}
    assert aliases[shared.where.alias] == shared.where.name


@told
async def test_a_collection_restored_from_an_older_state_says_how_far_it_had_come(shared: qdrants.OwnLoop) -> None:
    """Its checkpoint is as old as its points; a batch under way does not move it."""
    made = another(shared)
    await made.apply(0, [point(1)], [], 5)
    await made.apply(0, [point(2)], [], 9)
    restored = another(shared)
    restored._seen[0] = 9
    await restored.apply(0, [], [], 5)
    await shared.client.delete(shared.where.name, [identifier(2)])
    await made.apply(0, [point(3)], [], 12)
    assert await made.checkpoint(0) == 5


@told
async def test_markers_go_after_an_hour(shared: qdrants.OwnLoop) -> None:
    """By whoever writes, at the first batch and every ten minutes; until then they are no points."""
    now = 1_000_000.0
    made = another(shared, clock=lambda: now)
    await made.apply(0, [], [identifier(1)], 1)
    now += 3_500
    await made.apply(0, [], [identifier(2)], 2)
    assert (await shared.client.count(shared.where.name)).count == 3
    now += 700
    await made.apply(0, [point(3)], [], 3)
    left = [point(1), point(2)]
    await made.apply(0, left, [], 4)
    assert await found(made) == {identifier(1): 0, identifier(3): 0}


@told
async def test_a_second_model_in_one_deployment_is_refused(shared: qdrants.OwnLoop) -> None:
    """Vectors of two models are never compared, and the alias says whose count; nothing is made."""
    await another(shared).apply(0, [point(1)], [], 5)
    for model, dimension in (("other@1", DIMENSION), (MODEL, DIMENSION + 1)):
        where = Collection(shared.where.app, model, dimension)
        second = QdrantVectors(shared.client, where)
        assert await second.checkpoint(0) is None
        with pytest.raises(ModelMismatchError, match=model):
            await second.apply(0, [], [], 1)
        assert not await shared.client.collection_exists(where.name)


@told
async def test_the_server_is_told_no_names_and_keeps_no_removed_vector(shared: qdrants.OwnLoop) -> None:
    """Agent and invoker stand in no payload; a removed vector is overwritten, not only marked."""
    made, scope = another(shared), Scope("acme", "agent-of-secrets", "invoker-of-secrets")
    await made.apply(0, [point(1, scope=scope), point(2, scope=scope)], [], 1)
    await made.apply(0, [], [identifier(1)], 2)
    records, _ = await shared.client.scroll(shared.where.name, limit=100, with_payload=True, with_vectors=True)
    stored = {str(record.id): record for record in records}
    assert "of-secrets" not in json.dumps([record.payload for record in records])
    assert stored[identifier(1)].vector == [0.0] * DIMENSION
    assert set(stored[identifier(1)].payload or {}) == {"gone"}
    assert set(stored[identifier(2)].payload or {}) == {"tenant", "owner", "version"}


def test_the_tenant_is_an_index_of_its_own() -> None:
    """On a server: `is_tenant`, which local mode does not have, keeps a tenant's points together."""
    made = qdrants.vectors("server", MODEL, DIMENSION)
    try:
        made.run(made.inner.apply(0, [point(1)], [], 1))
        schema = made.run(made.client.get_collection(made.where.name)).payload_schema
        assert set(schema) == {"tenant", "owner", "gone"}
        assert isinstance(schema["tenant"].params, models.KeywordIndexParams)
        assert schema["tenant"].params.is_tenant
    finally:
        asyncio.run(made.close())


@story
async def test_a_server_that_is_away_is_unavailable() -> None:
    """For every request, as one error that says so."""
    away = QdrantVectors(connect(f"http://127.0.0.1:{free_port()}"), Collection("test", MODEL, DIMENSION))
    for request in (
        away.checkpoint(0),
        away.apply(0, [point(1)], [], 1),
        away.search(SCOPE, vector(1), 1),
        away.count(),
    ):
        with pytest.raises(Unavailable, match="does not answer"):
            await request
    await away.close()


@pytest.mark.parametrize(
    ("status", "says", "must"),
    [
        (200, {"title": "qdrant", "version": "1.16.3"}, "1.16.3 is too old"),
        (401, {"status": {"error": "no key"}}, "MNEMOLOG_QDRANT_KEY"),
        (500, {"status": {"error": "disk is full"}}, "disk is full"),
    ],
)
@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_a_server_that_refuses_is_unavailable_and_says_why(status: int, says: object, must: str) -> None:
    """An old one is not written to: it would take a conditional write for an unconditional one."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(says).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    @story
    async def told() -> None:
        url = f"http://127.0.0.1:{server.server_port}"
        vectors = QdrantVectors(connect(url, "a key"), Collection("test", MODEL, DIMENSION))
        vectors._seen[0] = None
        with pytest.raises(Unavailable, match=must):
            await vectors.apply(0, [point(1)], [], 1)
        await vectors.close()

    server = http.server.HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        told()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@told
async def test_a_crowded_scope_is_searched_through_the_servers_index(shared: qdrants.OwnLoop) -> None:
    """Beyond the limit the index is asked, whose recall can be measured; below it, or if told so, search is exact."""
    asked: list[bool] = []
    query_points = shared.client.query_points

    async def noted(*arguments: Any, **options: Any) -> Any:
        asked.append(bool(options["search_params"].exact))
        return await query_points(*arguments, **options)

    shared.client.query_points = noted  # type: ignore[method-assign]  # to see on its way what is asked
    small = Scope("acme", "planner", "bob")
    await another(shared).apply(0, [point(n) for n in range(30)] + [point(40, scope=small)], [], 1)
    limited = another(shared, exact_up_to=20)
    hits = await limited.search(SCOPE, vector(3), 10)
    assert asked == [False]
    assert hits[0].id == identifier(3)
    assert [hit.similarity for hit in hits] == sorted((hit.similarity for hit in hits), reverse=True)
    await limited.search(small, vector(40), 10)
    await another(shared, exact_up_to=30).search(SCOPE, vector(3), 10)
    await another(shared, exact_up_to=math.inf).search(SCOPE, vector(3), 10)
    assert asked == [False, True, True, True]
    first, second = await recalls(shared.client, shared.where, samples=20)
    assert (first.memories, second.memories) == (30, 1)
    assert min(first.near, first.between, second.near, second.between) > 0.5
