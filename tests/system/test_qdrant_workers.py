"""Vectors workers and gateways as processes on a real Kafka, Redis and Qdrant; skipped where no Qdrant can be started.

qdrant-client's local mode cannot stand in here: it belongs to one process. `test_qdrant.py` tells the story on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from mnemolog.runtime.process import ServerProcess
from projections.embedding import HashingEmbedder
from projections.qdrant_wire import Collection, connect
from tests.brokers import Kafka
from tests.qdrants import QdrantServer
from tests.servers_redis import RedisServer, free_port
from tests.system.gateways import Workers, gateway, surround
from workers.kafka_cluster import Cluster

pytestmark = [pytest.mark.system, pytest.mark.timeout(1_200)]
PATIENCE = 120.0


@dataclass
class VectorsWorker:
    """A process of the role `vectors`, and its own page."""

    process: subprocess.Popen[bytes]
    page: str

    def shares(self) -> dict[str, str] | None:
        """Return how it stands with each partition of its share; None before it has one."""
        with contextlib.suppress(httpx.HTTPError):
            said = httpx.get(f"{self.page}/health/ready", trust_env=False).json()["vectors"]
            return said if isinstance(said, dict) else None
        return None


@dataclass
class Deployment:
    """Two gateways without tokens, two vectors workers, and what they stand on."""

    base: Path
    cluster: Cluster
    redis: RedisServer
    qdrant: QdrantServer
    gateways: Sequence[ServerProcess] = ()
    workers: list[VectorsWorker] = field(default_factory=list)

    def start_worker(self, **more: str) -> VectorsWorker:
        """Start one more vectors worker, with further variables."""
        port, number = free_port(), len(self.workers)
        with pytest.MonkeyPatch.context() as patch, (self.base / f"vectors-{number}.log").open("ab") as log:
            surround(patch, self.cluster, self.redis.url, qdrant=self.qdrant.url, health_port=str(port), **more)
            command = [sys.executable, "-m", "mnemolog.runtime.cli", "worker", "vectors"]
            command += ["--data", str(self.base / f"vectors-{number}")]
            process = subprocess.Popen(command, env=os.environ.copy(), stdout=log, stderr=log)
        self.workers.append(VectorsWorker(process, f"http://127.0.0.1:{port}"))
        return self.workers[-1]

    def operate(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `mnemolog …` against the deployment."""
        with pytest.MonkeyPatch.context() as patch:
            surround(patch, self.cluster, self.redis.url, qdrant=self.qdrant.url)
            command = [sys.executable, "-m", "mnemolog.runtime.cli", *arguments]
            return subprocess.run(command, env=os.environ.copy(), capture_output=True, text=True, check=False)

    def spread(self, *workers: VectorsWorker) -> None:
        """Wait until these workers have all the partitions between them, and work on each."""
        deadline = time.monotonic() + PATIENCE
        while True:
            shares = [worker.shares() for worker in workers]
            said = [partition for share in shares for partition in share or ()]
            works = all(share and set(share.values()) == {"works"} for share in shares)
            if works and sorted(said) == [str(p) for p in range(self.cluster.partitions)]:
                return
            assert time.monotonic() < deadline, shares
            time.sleep(0.1)

    def add(self, agent: str, content: str, *, on: int = 0) -> str:
        """Add a memory; return its id."""
        body = {"agentID": agent, "invokerID": "i", "content": content}
        answer = httpx.post(f"{self.gateways[on].url}/v1/memories", json=body, trust_env=False, timeout=30)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def search(self, agent: str, text: str, *, on: int = 1, threshold: float = 0.99) -> httpx.Response:
        """Search an agent's memories."""
        return searched(self.gateways[on], agent, text, threshold)

    def found(self, agent: str, text: str) -> set[str]:
        """Search until it is not refused; return the ids found."""
        deadline = time.monotonic() + PATIENCE
        while (answer := self.search(agent, text)).status_code != 200:
            assert answer.status_code == 503, answer.text
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.1)
        return {row["id"] for row in answer.json()["value"]}


def searched(gateway: ServerProcess, agent: str, text: str, threshold: float) -> httpx.Response:
    """Search an agent's memories through a gateway."""
    body = {"agentID": agent, "invokerID": "i", "query": text, "threshold": threshold, "top": 50}
    return httpx.post(f"{gateway.url}/v1/memories/search", json=body, trust_env=False, timeout=30)


@pytest.fixture(scope="module")
def deployment(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return a deployment of four partitions that is ready."""
    qdrant = QdrantServer()
    base, redis, cluster = tmp_path_factory.mktemp("qdrant"), RedisServer(), kafka.topics(4)
    with contextlib.ExitStack() as stack:
        stack.callback(qdrant.remove)
        stack.callback(redis.remove)
        stack.enter_context(Workers(cluster, redis.url))
        made = Deployment(base, cluster, redis, qdrant)
        stack.callback(lambda: list(map(_killed, [worker.process for worker in made.workers])))
        made.gateways = [
            stack.enter_context(gateway(base / name, cluster, redis.url, "--no-auth", qdrant=qdrant.url))
            for name in ("one", "other")
        ]
        made.spread(made.start_worker(), made.start_worker())
        for process in made.gateways:
            process.wait_ready(60)
        yield made


@pytest.fixture
def pair(deployment: Deployment) -> tuple[VectorsWorker, VectorsWorker]:
    """Return two workers that live and share the partitions, also after a test that killed one."""
    living = [worker for worker in deployment.workers if worker.process.poll() is None]
    while len(living) < 2:
        living.append(deployment.start_worker())
    deployment.spread(*living)
    return living[0], living[1]


def _killed(process: subprocess.Popen[bytes]) -> int:
    process.kill()
    return process.wait()


@pytest.mark.usefixtures("pair")
def test_guarantee_5_what_one_gateway_acknowledged_another_finds_at_once(deployment: Deployment) -> None:
    """The index is the workers'; each search waits for its own scope's last change, through the stored checkpoint."""
    for number in range(20):
        agent = f"at-once-{number % 7}"
        added = deployment.add(agent, f"text number {number}", on=number % 2)
        answer = deployment.search(agent, f"text number {number}", on=1 - number % 2)
        assert answer.status_code == 200, answer.text
        assert [row["id"] for row in answer.json()["value"]] == [added]


def test_guarantee_9_a_vectors_worker_killed_under_load_loses_nothing(
    deployment: Deployment, pair: tuple[VectorsWorker, VectorsWorker], record_property: Callable[[str, object], None]
) -> None:
    """`kill -9` of one of two, amid 300 writes: the other takes its partitions, and every memory is found."""
    victim, survivor = pair
    with ThreadPoolExecutor(8) as threads:
        adding = [threads.submit(deployment.add, f"load-{n % 11}", f"memory {n}", on=n % 2) for n in range(300)]
        adding[60].result()
        _killed(victim.process)
        killed = time.monotonic()
        ids = [future.result() for future in adding]
    deployment.spread(survivor)
    took = f"partitions of a killed vectors worker move on after {time.monotonic() - killed:.1f} s"
    record_property("vectors", took)
    print(took)  # noqa: T201 -- the figure is what one wants to see
    for number in range(300):
        assert ids[number] in deployment.found(f"load-{number % 11}", f"memory {number}")


@pytest.mark.usefixtures("pair")
def test_without_qdrant_writes_and_reads_go_on_and_search_says_so(deployment: Deployment) -> None:
    """`kill -9` of the server: search is 503 and catches up by itself when it is back; readiness stays."""
    before = deployment.add("away", "before")
    deployment.qdrant.kill()
    try:
        during = [deployment.add("away", f"during {n}", on=n % 2) for n in range(10)]
        listed = httpx.get(f"{deployment.gateways[1].url}/v1/memories({during[0]})", trust_env=False)
        assert listed.status_code == 200
        for on in (0, 1):
            refused = deployment.search("away", "before", on=on)
            assert refused.status_code == 503
            assert "the search index is away" in refused.text
            ready = httpx.get(f"{deployment.gateways[on].url}/health/ready", trust_env=False)
            assert ready.status_code == 200, ready.text
    finally:
        deployment.qdrant.start()
    assert before in deployment.found("away", "before")
    for number, identifier in enumerate(during):
        assert identifier in deployment.found("away", f"during {number}")


@pytest.mark.usefixtures("pair")
def test_a_dropped_collection_is_refused_until_it_is_filled_again(deployment: Deployment) -> None:
    """From the log, by itself, in its own time: whatever is answered meanwhile is whole, or 503."""
    ids = {deployment.add("dropped", f"kept {number}", on=number % 2) for number in range(30)}
    prefix = f"{deployment.cluster.prefix}mnemolog"
    where = Collection(prefix, HashingEmbedder.model, HashingEmbedder.dimension)

    async def drop() -> None:
        client = connect(deployment.qdrant.url)
        assert await client.delete_collection(where.name)
        await client.close()

    asyncio.run(drop())
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = deployment.search("dropped", "what is kept", threshold=0.0)
        if answer.status_code == 200:
            break
        assert answer.status_code == 503, answer.text
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.02)
    assert {row["id"] for row in answer.json()["value"]} == ids


def test_a_worker_told_to_stop_hands_over(deployment: Deployment, pair: tuple[VectorsWorker, VectorsWorker]) -> None:
    """SIGTERM ends it with 0, and the other has all partitions."""
    leaving, staying = pair
    leaving.process.send_signal(signal.SIGTERM)
    assert leaving.process.wait(PATIENCE) == 0
    deployment.spread(staying)
    assert deployment.add("left", "behind") in deployment.found("left", "behind")


def test_a_vectors_worker_without_a_server_is_told_so(tmp_path: Path) -> None:
    """The command line is wrong, and the error names the variable."""
    environment = {n: v for n, v in os.environ.items() if not n.startswith("MNEMOLOG_")}
    command = [sys.executable, "-m", "mnemolog.runtime.cli", "worker", "vectors", "--data", str(tmp_path)]
    environment["MNEMOLOG_KAFKA"] = "127.0.0.1:1"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 2
    assert "MNEMOLOG_QDRANT" in done.stderr


@pytest.mark.usefixtures("pair")
def test_a_migration_leaves_searches_right_on_gateways_of_either_model(deployment: Deployment) -> None:
    """While the new index is filled and until the old one is dropped; the new model then finds by meaning."""
    ids = {deployment.add("migrated", f"kept {number}", on=number % 2) for number in range(20)}
    assert deployment.found("migrated", "kept 7")
    model, done, wrong = "all-MiniLM-L6-v2", threading.Event(), list[str]()

    def watch() -> None:
        while not done.is_set():
            answer = deployment.search("migrated", "what is kept", threshold=0.0)
            if answer.status_code != 200 or {row["id"] for row in answer.json()["value"]} != ids:
                wrong.append(answer.text)
            time.sleep(0.05)

    watching = threading.Thread(target=watch)
    watching.start()
    migrated = deployment.operate("vectors", "migrate", "--model", model)
    done.set()
    watching.join()
    assert migrated.returncode == 0, migrated.stderr
    assert "it counts from now on" in migrated.stdout
    assert not wrong, wrong[:3]
    assert "counts already" in deployment.operate("vectors", "migrate", "--model", model).stdout
    deployment.spread(deployment.start_worker(model=model))
    more = {"qdrant": deployment.qdrant.url, "model": model, "search_wait": "60"}
    with gateway(deployment.base / "new", deployment.cluster, deployment.redis.url, "--no-auth", **more) as newcomer:
        newcomer.wait_ready(PATIENCE)
        added = deployment.add("migrated", "The cat sleeps on the sofa.")
        answer = searched(newcomer, "migrated", "Where does my pet rest?", 0.0)
        assert answer.json()["value"][0]["id"] == added, answer.text
        assert added in deployment.found("migrated", "The cat sleeps on the sofa.")
        dropped = deployment.operate("vectors", "migrate", "--model", model, "--drop")
        assert dropped.returncode == 0, dropped.stderr
        assert "is dropped" in dropped.stdout
        answer = searched(newcomer, "migrated", "Where does my pet rest?", 0.0)
        assert answer.json()["value"][0]["id"] == added, answer.text
        refused = deployment.search("migrated", "what is kept", threshold=0.0)
        assert refused.status_code == 503, refused.text
