"""Search and indexing through HTTP with the real embedding model, beside the bare embedder in the same run.

The memories that only have to be many get vectors that are made up near real ones; what is added and searched while
time is taken is embedded as always.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import statistics
import threading
import time
import urllib.parse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core import record_of
from bench.line import Line
from mnemolog.domain.memory import AddMemory, NewMemory, Owner
from mnemolog.domain.ports import Embedder, Point, Scope
from mnemolog.domain.rules import Rules
from mnemolog.domain.streams import own_id
from mnemolog.runtime.folder import Folder
from mnemolog.runtime.process import ServerProcess, run, run_json, users_models
from projections.embedding_onnx import OnnxEmbedder
from projections.models import PACKAGED
from projections.onnx_export import folder_for
from projections.projector import Projector
from projections.store_sqlite import SqliteStore
from projections.vectors_edge import EdgeVectors
from workers.sequencing import Sequencing
from workers.snapshot_sqlite import SqliteSnapshot

_TENANT, _AGENT, _INVOKER = "bench", "a", "i"
_SIZES = (10_000, 100_000)
_QUERIES = 150
_EARLY = 20
_WARM = 20.0
"""Seconds of searches before those that are timed: by then what speeds up the searches of a large owner is there."""
_CLIENTS = 8
_EACH = 40
_ROUNDS = 3
_ADDED = {1: 300, 16: 960}
_BATCH = 1_000
_WORDS = (
    *("the", "user", "asked", "about", "billing", "weather", "in", "Lisbon", "and", "a", "late", "train", "to"),
    *("Porto", "prefers", "dark", "mode", "metric", "units", "coffee", "without", "sugar", "meeting", "moved"),
    *("Friday", "invoice", "refund", "garden", "bicycle", "allergic", "peanuts", "Spanish", "lessons", "server"),
)


def search(path: Path, sizes: Sequence[int] = _SIZES) -> dict[str, float]:
    """Return latencies in milliseconds, rates per second, and ratios to the bare embedder's."""
    models = users_models()
    # A search stands for the end of indexing here, however long that takes on a machine that has other work.
    os.environ |= {"MNEMOLOG_MODEL": PACKAGED, "MNEMOLOG_MODELS": str(models), "MNEMOLOG_SEARCH_WAIT": "300"}
    run("models", "export", "--models", str(models))
    embedder = OnnxEmbedder(folder_for(PACKAGED, models))
    found: dict[str, float] = {}
    for size in sizes:
        data = path / str(size)
        data.mkdir(parents=True)
        asyncio.run(_fill(Folder(data / "data"), size, embedder))
        started = time.perf_counter()
        server = ServerProcess(data / "data").wait_ready()
        found[f"{size:,} memories: start until ready, s"] = round(time.perf_counter() - started, 2)
        try:
            client = _client(server)
            found |= {f"{size:,} memories: {name}": value for name, value in _searches(client, embedder).items()}
            found[f"{size:,} memories: bare scan of as many vectors, p50 ms"] = scan(size, embedder.dimension)
            if size == min(sizes):
                found |= _adding(client, embedder)
            found[f"{size:,} memories: resident memory of the server, MiB"] = _resident(server.pid)
        finally:
            server.stop()
    return found


async def _fill(folder: Folder, size: int, embedder: Embedder) -> None:
    """Keep memories of one owner as a server would, but with vectors made up near those of real texts."""
    log, connection = folder.log(), folder.connection()
    store = SqliteStore(folder.connection)
    rules = Rules()
    sequencing = Sequencing(log, lambda: SqliteSnapshot(connection, rules), rules)
    projector = Projector(log, store)
    vectors = EdgeVectors.open(folder.vectors, model=embedder.model, dimension=embedder.dimension)
    scope, draws = Scope(_TENANT, _AGENT, _INVOKER), np.random.default_rng(0)
    seeds = np.asarray(embedder.embed(sentences(200, seed=0)))
    await sequencing.start()
    for start in range(0, size, _BATCH):
        texts = sentences(_BATCH, seed=start + 1)
        target = Owner(agent=_AGENT, invoker=_INVOKER)
        await log.append(0, [record_of(AddMemory(target=target, parts=(NewMemory(content=t),))) for t in texts])
        ids: list[str] = []
        while (transaction := await sequencing.step()) is not None:
            ids += [own_id(fact.headers["stream"]) for fact in transaction.facts]
        while await projector.step():
            pass
        rows = seeds[draws.integers(0, len(seeds), len(ids))] + 0.05 * draws.normal(size=(len(ids), seeds.shape[1]))
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        points: list[Any] = [Point(key, 0, scope, row) for key, row in zip(ids, rows, strict=True)]
        await vectors.apply(0, points, [], await log.end(0))
    sequencing.save()
    await vectors.close()
    await store.close()
    connection.close()
    await log.close()


# ---- searching -------------------------------------------------------------------------------------------------------


def _searches(client: _Client, embedder: Embedder) -> dict[str, float]:
    """Time a search and the bare embedding of another query in turn, then many of each at once, in turn again."""
    queries = iter(sentences(2 * _QUERIES + 2 * _ROUNDS * _CLIENTS * _EACH + _EARLY, seed=99))
    early = [_seconds(lambda: client.search(next(queries))) for _ in range(_EARLY)]
    warm = time.perf_counter() + _WARM
    for seed in itertools.takewhile(lambda _: time.perf_counter() < warm, itertools.count(1_000_000)):
        client.search(*sentences(1, seed))
    ours, bare = [], []
    for _ in range(_QUERIES):
        ours.append(_seconds(lambda: client.search(next(queries))))
        bare.append(_seconds(lambda: embedder.embed([next(queries)])))
    together, alone = [], []
    for _ in range(_ROUNDS):
        together.append(
            _rate(_CLIENTS, [next(queries) for _ in range(_CLIENTS * _EACH)], lambda: client.again().search)
        )
        alone.append(_rate(_CLIENTS, [next(queries) for _ in range(_CLIENTS * _EACH)], lambda: _embed_one(embedder)))
    above = [one - other for one, other in zip(sorted(ours), sorted(bare), strict=True)]
    return {
        f"the first {_EARLY} searches after a start, p50 ms": _ms(statistics.median(early)),
        "search, p50 ms": _ms(statistics.median(ours)),
        "bare embedder, p50 ms": _ms(statistics.median(bare)),
        "search above the embedder, p50 ms": _ms(statistics.median(above)),
        f"searches per second, {_CLIENTS} clients": round(statistics.median(together)),
        f"bare embedder, queries per second, {_CLIENTS} threads": round(statistics.median(alone)),
        f"ratio to the bare embedder, {_CLIENTS} clients": round(
            statistics.median(one / other for one, other in zip(together, alone, strict=True)), 2
        ),
    }


def scan(size: int, dimension: int) -> float:
    """Return what numpy needs for as many scalar products and the best ten of them: what no exact search beats."""
    draws = np.random.default_rng(0)
    rows = draws.normal(size=(size, dimension)).astype(np.float32)
    queries = draws.normal(size=(_QUERIES, dimension)).astype(np.float32)

    def best(query: NDArray[np.float32]) -> object:
        return np.argpartition(rows @ query, -10)

    return _ms(statistics.median(_seconds(partial(best, query)) for query in queries))


def _embed_one(embedder: Embedder) -> Callable[[str], object]:
    return lambda text: embedder.embed([text])


def _adding(client: _Client, embedder: Embedder) -> dict[str, float]:
    """Add memories of owners of their own until the last can be found, and embed as many with the bare model."""
    found: dict[str, float] = {}
    for clients, count in _ADDED.items():
        ratios, rates = [], []
        for number in range(_ROUNDS):
            owner = f"{clients}-{number}"
            texts = sentences(2 * count, seed=1_000 * clients + number)
            rates.append(count / _until_found(client.again(owner), clients, texts[:count]))
            ratios.append(rates[-1] / (count / _embedded(embedder, texts[count:])))
        who = "1 client" if clients == 1 else f"{clients} clients"
        found[f"memories per second until searchable, {who}"] = round(statistics.median(rates))
        found[f"ratio to the bare embedder in batches, {who}"] = round(statistics.median(ratios), 2)
    return found


def _until_found(client: _Client, clients: int, texts: Sequence[str]) -> float:
    """Add memories; return the seconds until the last of them can be found."""
    start = time.perf_counter()
    _rate(clients, texts, lambda: client.again().add)
    client.search(texts[0])  # it waits for the last change of its scope
    return time.perf_counter() - start


def _embedded(embedder: Embedder, texts: Sequence[str]) -> float:
    return _seconds(lambda: embedder.embed(texts))


def _rate(workers: int, items: Sequence[str], work: Callable[[], Callable[[str], object]]) -> float:
    """Return how many items a second some threads get done, each with what it has made for itself."""

    def run_all(mine: Sequence[str]) -> None:
        do = work()
        for item in mine:
            do(item)

    threads = [threading.Thread(target=run_all, args=[items[n::workers]]) for n in range(workers)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(items) / (time.perf_counter() - start)


def sentences(count: int, seed: int) -> list[str]:
    """Return distinct short texts of about 15 words, the same for the same seed."""
    draws = random.Random(seed)
    return [f"{' '.join(draws.choices(_WORDS, k=14))} {seed} {n}" for n in range(count)]


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 2)


def _resident(pid: int) -> float:
    """Return a process' resident memory in MiB; 0 where the system does not say."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    except OSError:
        return 0
    return round(next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024)


# ---- the client ------------------------------------------------------------------------------------------------------


def _client(server: ServerProcess) -> _Client:
    made = run_json("clients", "create", "--tenant", _TENANT, "--data", str(server.data))
    form = {"grant_type": "client_credentials", "client_id": made["id"], "client_secret": made["secret"]}
    line = Line(server.url, "")
    answered = line.ask(line.request("POST", "/oauth/token", urllib.parse.urlencode(form)))
    return _Client(Line(server.url, f"Bearer {json.loads(answered)['access_token']}"))


class _Client:
    """One keep-alive connection on the SAP face, for the memories of one invoker."""

    def __init__(self, line: Line, invoker: str = _INVOKER) -> None:
        self._line, self._invoker = line, invoker

    def again(self, invoker: str | None = None) -> _Client:
        """Return another connection."""
        return _Client(self._line.again(), invoker or self._invoker)

    def add(self, text: str) -> None:
        """Keep a memory."""
        self._post("/v1/memories", {"content": text})

    def search(self, text: str) -> None:
        """Search; something must be found."""
        assert self._post("/v1/memories/search", {"query": text, "threshold": 0.0, "top": 10})["value"]

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return self._line.json("POST", path, {"agentID": _AGENT, "invokerID": self._invoker, **body})
