"""All that the collection that counts holds on a Qdrant server, for an audit: found by alias, whatever its model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

from qdrant_client import AsyncQdrantClient

from mnemolog.domain.ports import Scope
from mnemolog.domain.stored import StoredPoint
from projections.qdrant_wire import GONE, Collection, answered
from projections.vectors_points import OFFSET, OWNER, PARTITION, TENANT, VERSION, owner, reserved

_PAGE = 500


class QdrantDump:
    """Reads the points of `vectors_qdrant`, never writes. All of it raises Unavailable where the server is away."""

    def __init__(self, client: AsyncQdrantClient, app: str) -> None:
        """Take a client, which is closed with this, and the deployment's name."""
        self._client = client
        self._name = Collection(app, "", 0).alias

    async def checkpoint(self, partition: int) -> int | None:
        """Return the next fact offset to index."""
        with answered():
            records = await self._client.retrieve(self._name, [str(reserved(partition))], [OFFSET])
        return int(records[0].payload[OFFSET]) if records and records[0].payload else None

    async def points(self) -> AsyncIterator[StoredPoint]:
        """Yield every point that is neither a checkpoint nor the marker of one that is gone."""
        following = None
        while True:
            with answered():
                records, following = await self._client.scroll(
                    self._name, limit=_PAGE, offset=following, with_payload=True, with_vectors=True
                )
            for record in records:
                said = record.payload or {}
                if PARTITION in said or GONE in said:
                    continue
                vector = cast("list[float]", record.vector or [])
                tenant, whose = str(said.get(TENANT, "")), str(said.get(OWNER, ""))
                yield StoredPoint(str(record.id), int(said.get(VERSION, -1)), tenant, whose, vector)
            if following is None:
                return

    def owner(self, scope: Scope) -> str:
        """Return how this index spells a scope."""
        return owner(scope)

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()
