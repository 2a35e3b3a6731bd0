"""An audit of the vectors on a Qdrant server: no false alarm, and each single change of a point is found."""

from __future__ import annotations

import asyncio
import os
import random
import uuid
from collections.abc import Iterator

import pytest
from qdrant_client import AsyncQdrantClient, models

from mnemolog.audit.found import Found
from mnemolog.audit.reading import pages
from mnemolog.audit.vectors import Memories, compare_vectors, memories
from mnemolog.audit.views import Folded
from mnemolog.domain.stored import StoredPoint
from projections.dump_qdrant import QdrantDump
from projections.embedding import HashingEmbedder
from projections.projector import Projector, project
from projections.store_memory import MemoryStore
from projections.vectors import Indexer
from projections.vectors_points import OWNER, TENANT, VERSION
from tests import qdrants
from tests.histories import Told

pytestmark = pytest.mark.contract

CHANGES = int(os.environ.get("MNEMOLOG_TEST_TAMPERINGS", "60"))
EMBEDDER = HashingEmbedder()


@pytest.fixture(params=["local", "server"])
def shared(request: pytest.FixtureRequest) -> Iterator[qdrants.OwnLoop]:
    """Give a deployment's collection that does not exist yet, and a client of it."""
    made = qdrants.vectors(request.param, EMBEDDER.model, EMBEDDER.dimension)
    yield made
    asyncio.run(made.close())


async def remembered(shared: qdrants.OwnLoop) -> dict[int, Memories]:
    """Fill the collection with what random clients said; return what should be in it."""
    told, store = await Told(41, 1).more(1_000), MemoryStore()
    projector, indexer = Projector(told.log, store), Indexer(told.log, store, shared.inner, EMBEDDER)
    while await projector.step():
        pass
    while await indexer.step():
        pass
    folded = Folded(project)
    async for page in pages(told.log, 0):
        folded.take_records(page)
    return {0: memories(folded)}


async def put(client: AsyncQdrantClient, name: str, point: StoredPoint) -> None:
    """Write a point as it is said."""
    said = {TENANT: point.tenant, OWNER: point.owner, VERSION: point.version}
    struct = models.PointStruct(id=point.id, vector=list(point.vector), payload=said)
    await client.upsert(name, [struct], wait=True)


async def unnoticed(shared: qdrants.OwnLoop) -> list[str]:
    """Make single changes, each taken back afterwards; return those that are not found."""
    wanted, dump, name = await remembered(shared), QdrantDump(shared.client, shared.where.app), shared.where.name

    async def differences() -> int:
        found = Found()
        await compare_vectors(dump, wanted, found, EMBEDDER.embed)
        return found.count

    points, missed = [point async for point in dump.points()], []
    assert len(points) > 3
    assert await differences() == 0
    for number in range(CHANGES):
        dice = random.Random(number)
        before = dice.choice(points)
        how = dice.choice(["drop", "version", "owner", "tenant", "vector", "more"])
        after = {
            "version": before._replace(version=before.version + 1),
            "owner": before._replace(owner="0" * 64),
            "tenant": before._replace(tenant="other"),
            "vector": before._replace(vector=list(before.vector)[::-1]),
            "more": before._replace(id=str(uuid.UUID(int=dice.getrandbits(128), version=4))),
        }.get(how)
        if after is None:
            await shared.client.delete(name, [before.id], wait=True)
        else:
            await put(shared.client, name, after)
        if not await differences():
            missed.append(f"{how} {before.id}")
        if how == "more" and after is not None:
            await shared.client.delete(name, [after.id], wait=True)
        else:
            await put(shared.client, name, before)
    assert await differences() == 0, "each change was taken back"
    return missed


def test_every_change_of_a_vector_is_found(shared: qdrants.OwnLoop) -> None:
    """One that is missing, left over, of another version, owner, tenant or text; nothing where nothing changed."""
    assert shared.run(unnoticed(shared)) == []
