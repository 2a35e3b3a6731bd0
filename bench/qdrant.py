"""Search on a Qdrant server: all memories of an owner compared, or the server's own index asked, and what that finds.

`MNEMOLOG_QDRANT=http://… make bench ARGS=qdrant`, or `python -m bench.qdrant URL [MEMORIES]`. The vectors are those of
as many texts: where an index is good depends on where vectors lie.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import statistics
import sys
import time
import uuid
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from qdrant_client import AsyncQdrantClient, models

from bench.search import scan, sentences
from mnemolog.domain.ports import Point, Scope
from mnemolog.runtime import interpreter
from mnemolog.runtime.process import run, users_models
from projections.embedding_onnx import OnnxEmbedder
from projections.models import PACKAGED
from projections.onnx_export import folder_for
from projections.qdrant_recall import recalls
from projections.qdrant_wire import Collection, connect
from projections.vectors_qdrant import EXACT_UP_TO, QdrantVectors

MEMORIES = 120_000
_BATCH = 1_000
_QUERIES = 100
_PATIENCE = 3_600.0
_QUIET = 5
_SCOPE = Scope("bench", "a", "i")


def qdrant(_: Path) -> dict[str, float]:
    """Return figures of the server that the environment names."""
    url = os.environ.get("MNEMOLOG_QDRANT")
    if not url:
        sys.exit("MNEMOLOG_QDRANT must name the Qdrant server to measure, such as http://127.0.0.1:6333")
    return measured(url)


def measured(url: str, memories: int = MEMORIES) -> dict[str, float]:
    """Return figures in milliseconds, per second, and shares of what is truly nearest."""
    exported = users_models()
    run("models", "export", "--models", str(exported), "--model", PACKAGED)
    embedder = OnnxEmbedder(folder_for(PACKAGED, exported))
    rows = np.asarray(embedder.embed(sentences(memories + _QUERIES, seed=7)))
    where = Collection(f"bench-{uuid.uuid4().hex[:8]}", embedder.model, embedder.dimension)
    found = asyncio.run(_measured(url, where, rows[:memories], rows[memories:]))
    return found | {f"reference: bare scan of {memories:,} vectors, p50 ms": scan(memories, embedder.dimension)}


async def _measured(
    url: str, where: Collection, rows: NDArray[np.float32], queries: NDArray[np.float32]
) -> dict[str, float]:
    client = connect(url, seconds=300)
    vectors = QdrantVectors(client, where, exact_up_to=math.inf)
    through = QdrantVectors(client, where, exact_up_to=min(EXACT_UP_TO, len(rows) // 2))
    begun = time.perf_counter()
    for first in range(0, len(rows), _BATCH):
        points = [Point(str(uuid.uuid4()), 0, _SCOPE, row.tolist()) for row in rows[first : first + _BATCH]]
        await vectors.apply(0, points, [], first + _BATCH)
    filled = time.perf_counter() - begun
    await _until_indexed(client, where)
    settled = time.perf_counter() - begun
    found = {
        "memories of one owner": len(rows),
        "upserted per second": round(len(rows) / filled),
        "until the server's index was built, s": round(settled),
        "all of them compared, p50 ms": await _p50(vectors, queries),
        "through the server's index, p50 ms": await _p50(through, queries),
    }
    (recall,) = await recalls(client, where, scopes=1, samples=_QUERIES)
    found |= {
        "recall of the first ten, queries near a memory": round(recall.near, 3),
        "recall of the first ten, queries between two": round(recall.between, 3),
        "recall of the first ten, other texts": await _recall(vectors, through, queries),
    }
    await client.delete_collection(where.name)
    await client.close()
    return found


async def _until_indexed(client: AsyncQdrantClient, where: Collection) -> None:
    """Wait until the server has had nothing left to index for some seconds: it begins a moment after the last write."""
    deadline, quiet = time.monotonic() + _PATIENCE, 0
    while quiet < _QUIET:
        if time.monotonic() > deadline:
            sys.exit(f"the server has not built its index within {_PATIENCE:.0f} s")
        await asyncio.sleep(1)
        status = (await client.get_collection(where.name)).status
        quiet = quiet + 1 if status == models.CollectionStatus.GREEN else 0


async def _p50(vectors: QdrantVectors, queries: NDArray[np.float32]) -> float:
    took = []
    for query in queries:
        begun = time.perf_counter()
        await vectors.search(_SCOPE, query.tolist(), 10)
        took.append(time.perf_counter() - begun)
    return round(statistics.median(took) * 1e3, 2)


async def _recall(exact: QdrantVectors, through: QdrantVectors, queries: NDArray[np.float32]) -> float:
    shares = []
    for query in queries.tolist():
        true, ours = [{hit.id for hit in await one.search(_SCOPE, query, 10)} for one in (exact, through)]
        shares.append(len(true & ours) / len(true))
    return round(statistics.mean(shares), 3)


def main() -> None:
    """Measure and print JSON."""
    interpreter.set_up()
    url, *size = sys.argv[1:]
    print(json.dumps(measured(url, *(int(one) for one in size)), indent=2))


if __name__ == "__main__":
    main()
