"""All that an embedded vector index holds, for an audit: opened as it is, with nothing thrown away or repaired."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import qdrant_edge as engine

from mnemolog.domain.errors import Corrupt, Unavailable
from mnemolog.domain.ports import Scope
from mnemolog.domain.stored import StoredPoint
from projections.edge_folder import SHARD
from projections.vectors_points import OFFSET, OWNER, PARTITION, TENANT, VERSION, owner, reserved

_PAGE = 500


class EdgeDump:
    """Reads the folder of `vectors_edge`, whose format it shares, while nobody else has it open."""

    def __init__(self, folder: Path) -> None:
        """Open the folder. Raises Unavailable if there is none or another has it, Corrupt if it cannot be read."""
        if not (folder / SHARD).is_dir():
            message = f"there is no vector index in {folder}"
            raise Unavailable(message)
        try:
            self._shard = engine.EdgeShard.load(str(folder / SHARD))
        except BaseException as error:
            if "WouldBlock" in str(error):
                message = f"another process has the vector index in {folder} open"
                raise Unavailable(message) from error
            # The engine may panic over damaged files, which is no Exception in Python.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            message = f"the vector index in {folder} cannot be read"
            raise Corrupt(message) from error

    async def checkpoint(self, partition: int) -> int | None:
        """Return the next fact offset to index."""
        records = self._shard.retrieve([reserved(partition)], [OFFSET], False)  # noqa: FBT003 -- the engine's order
        return int(records[0].payload[OFFSET]) if records and records[0].payload else None

    async def points(self) -> AsyncIterator[StoredPoint]:
        """Yield every point that is no checkpoint."""
        following = None
        while True:
            request = engine.ScrollRequest(offset=following, limit=_PAGE, with_payload=True, with_vector=True)
            records, following = self._shard.scroll(request)
            for record in records:
                said = record.payload or {}
                if PARTITION not in said:
                    version = said.get(VERSION, -1)
                    tenant, whose = str(said.get(TENANT, "")), str(said.get(OWNER, ""))
                    yield StoredPoint(str(record.id), int(version), tenant, whose, list(record.vector or []))  # type: ignore[arg-type]
            if following is None:
                return

    def owner(self, scope: Scope) -> str:
        """Return how this index spells a scope."""
        return owner(scope)

    async def close(self) -> None:
        """Let go of the folder."""
        self._shard.close()
