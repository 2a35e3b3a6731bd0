"""Worker processes and gateways on a real Kafka and Redis, each of which can be killed, frozen and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import httpx

from deploy.stack.kafka import free_port
from mnemolog.runtime.process import ServerProcess
from tests.brokers import Kafka
from tests.qdrants import QdrantServer
from tests.servers_redis import RedisServer
from workers.kafka_cluster import Cluster

PATIENCE = 90.0
METRICS_TOKEN = "figures"
_LOOK = 0.05
_HTTP = httpx.Client(trust_env=False, verify=False)  # noqa: S501 -- pages of our own, over plain HTTP
"""One for all looks: each new client would read all certificates, which costs more than what it looks at."""


class Node:
    """One worker process with one role, and its page."""

    def __init__(self, role: str, folder: Path, environment: dict[str, str]) -> None:
        """Name the role, its folder, and the variables it runs with."""
        self.role = role
        self._folder = folder
        self._environment = environment
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it on the folder that it had before, if it had one."""
        self._port = free_port()
        environment = self._environment | {"MNEMOLOG_HEALTH_PORT": str(self._port)}
        with self._folder.with_suffix(".log").open("ab") as log:
            command = [sys.executable, "-m", "mnemolog.runtime.cli", "worker", self.role, "--data", str(self._folder)]
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def kill(self) -> None:
        """Kill it with -9."""
        self._running().kill()
        self._running().wait()

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does."""
        self._running().send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Let it go on as if nothing had been."""
        self._running().send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """Ask it to end; return its exit code."""
        self.terminate()
        return self.wait()

    def terminate(self) -> None:
        """Ask it to end, and do not wait."""
        self._running().terminate()

    def wait(self) -> int:
        """Wait until it has ended; return its exit code."""
        return self._running().wait()

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it was never started"
        return self._process

    @property
    def url(self) -> str:
        """Where its page is."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def partitions(self) -> dict[int, str] | None:
        """Return what it says of its partitions; None if it says nothing, or is waiting for its share."""
        try:
            page = _HTTP.get(f"{self.url}/health/ready", timeout=5).json()
        except httpx.HTTPError:
            return None
        share = page[self.role]
        return {int(number): how for number, how in share.items()} if isinstance(share, dict) else None

    def metrics(self) -> str:
        """Return its metrics."""
        headers = {"authorization": f"Bearer {METRICS_TOKEN}"}
        return _HTTP.get(f"{self.url}/metrics", headers=headers, timeout=10).text

    def live(self) -> bool:
        """Tell whether its page answers."""
        with contextlib.suppress(httpx.HTTPError):
            return _HTTP.get(f"{self.url}/health/live", timeout=5).is_success
        return False


class Deployment:
    """Two processes of each role, and two gateways."""

    def __init__(
        self,
        kafka: Kafka,
        redis: RedisServer,
        folder: Path,
        roles: tuple[str, ...],
        qdrant: QdrantServer | None = None,
        **more: str,
    ) -> None:
        """Name the servers, the folder for everything, the roles, and further variables; Qdrant brings its own role."""
        self.kafka = kafka
        self.redis = redis
        self.qdrant = qdrant
        self.cluster: Cluster = kafka.topics(4)
        self.app = f"{self.cluster.prefix}mnemolog"
        self._folder = folder
        settings = {
            "runtime": "kafka",
            "kafka": self.cluster.servers,
            "partitions": str(self.cluster.partitions),
            "topic_prefix": self.cluster.prefix,
            "redis": redis.url,
            "token_key": "5e" * 32,
            "model": "hashing",
            "qdrant": qdrant.url if qdrant else "",
            "metrics_token": METRICS_TOKEN,
            **more,
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MNEMOLOG_")}
        self.environment = inherited | {f"MNEMOLOG_{name.upper()}": value for name, value in settings.items()}
        roles = (*roles, "vectors") if qdrant else roles
        self.nodes = [Node(role, folder / f"{role}-{n}", self.environment) for role in roles for n in range(2)]
        self.gateways: list[ServerProcess] = []

    def __enter__(self) -> Self:
        """Start everything and wait until it works."""
        for node in self.nodes:
            node.start()
        for number in range(2):
            (self._folder / f"gateway-{number}").mkdir()
            self.gateways.append(self._gateway(number))
        self.settle()
        for gateway in self.gateways:
            gateway.wait_ready(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        for gateway in self.gateways:
            gateway.stop()
        for node in self.nodes:
            node.stop()

    def _gateway(self, number: int) -> ServerProcess:
        return ServerProcess(self._folder / f"gateway-{number}" / "data", "--no-auth", environment=self.environment)

    def replace_gateway(self, number: int) -> None:
        """Kill a gateway with -9 and start another in its place."""
        self.gateways[number].kill()
        self.gateways[number] = self._gateway(number)
        self.gateways[number].wait_ready(PATIENCE)

    def renew_gateway(self, number: int) -> tuple[int, float]:
        """Ask a gateway to end, start another in its place; return the exit code and how long the end took."""
        began = time.monotonic()
        code = self.gateways[number].stop()
        seconds = time.monotonic() - began
        self.gateways[number] = self._gateway(number)
        self.gateways[number].wait_ready(PATIENCE)
        return code, seconds

    def another(self, role: str) -> Node:
        """Return a process of a role that has no partitions; not started."""
        more = {
            "MNEMOLOG_AUDIT_KEY": str(self._folder / "audit.key"),
            "MNEMOLOG_AUDIT_HEADS": str(self._folder / "heads"),
        }
        return Node(role, self._folder / role, self.environment | more)

    def heads(self) -> int:
        """Return how many files of signed heads there are."""
        return sum(path.is_file() for path in (self._folder / "heads").rglob("*"))

    def holder(self, role: str) -> Node:
        """Return the node of a role that has the most partitions."""
        return max((node for node in self.nodes if node.role == role), key=lambda node: len(node.partitions() or ()))

    def settle(self) -> None:
        """Wait until each role works on every partition, each in one process, and both processes have their share."""
        roles = {node.role for node in self.nodes}
        deadline = time.monotonic() + PATIENCE
        while not all(self._settled(role) for role in roles):
            assert time.monotonic() < deadline, [(n.role, n.partitions()) for n in self.nodes]
            time.sleep(_LOOK)

    def _settled(self, role: str) -> bool:
        shares = [node.partitions() for node in self.nodes if node.role == role]
        found = [(number, how) for share in shares for number, how in (share or {}).items()]
        return all(shares) and sorted(found) == [(n, "works") for n in range(self.cluster.partitions)]
