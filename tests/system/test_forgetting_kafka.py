"""Erasure on the distributed runtime, with the real worker process: rows, Redis' files, and the usage log on Kafka."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mnemolog.runtime.process import ServerProcess
from tests.brokers import Kafka
from tests.killing.processes import PATIENCE, Deployment, Node
from tests.servers_redis import RedisServer
from tests.waiting import until

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
TEXT = "the launch code of the red button is seventeen"
NAME = "an-invoker-who-leaves"


class Whole:
    """One worker with every role and one gateway, which lets everyone in."""

    def __init__(self, kafka: Kafka, redis: RedisServer, folder: Path) -> None:
        """Start them."""
        deployment = Deployment(kafka, redis, folder, (), redis_rewrite="1", grace_days="0")
        self.redis = redis
        self.environment = deployment.environment
        self.worker = Node("all", folder / "worker", self.environment)
        self.worker.start()
        (folder / "gateway").mkdir()
        self.gateway = ServerProcess(folder / "gateway" / "data", "--no-auth", environment=self.environment)
        self._client = httpx.Client(base_url=self.gateway.wait_ready(PATIENCE).url, trust_env=False, timeout=30)

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request, which must be answered with success."""
        answer = self._client.request(method, path, json=body)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def operate(self, *arguments: str) -> Any:
        """Run `mnemolog …` and return the JSON it prints."""
        command = [sys.executable, "-m", "mnemolog.runtime.cli", *arguments, "--json"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def files_with(self, text: str) -> set[str]:
        """Return the files of Redis that hold a text; one that goes away meanwhile holds nothing."""
        found = set()
        for path in self.redis.folder.rglob("*"):
            try:
                if path.is_file() and text.encode() in path.read_bytes():
                    found.add(path.name)
            except FileNotFoundError:
                continue
        return found

    def names_in_usage(self) -> list[str]:
        """Return whose memories were searched or listed, of all that is told; the question itself names nobody."""
        records = self("GET", "/audit/usage")["records"]
        return [record["scope"].get("invoker", "") for record in records]

    def stop(self) -> None:
        """End them."""
        self._client.close()
        self.gateway.stop()
        self.worker.stop()


@pytest.fixture
def whole(kafka: Kafka, redis: RedisServer, tmp_path: Path) -> Iterator[Whole]:
    """Return a deployment."""
    found = Whole(kafka, redis, tmp_path)
    yield found
    found.stop()


def test_guarantee_7_an_erased_owner_leaves_redis_its_files_and_the_usage_log(whole: Whole) -> None:
    """Within seconds; what waits for the cleaner is told by the command, and the figures say that Redis is clean."""
    owner = {"agentID": "a", "invokerID": NAME}
    whole("POST", "/v1/memories", {**owner, "content": TEXT})
    whole("POST", "/v1/memories", {"agentID": "a", "invokerID": "stays", "content": "likes tea"})
    found = whole("POST", "/v1/memories/search", {**owner, "query": TEXT, "threshold": 0.0})["value"]
    assert [hit["content"] for hit in found] == [TEXT]
    whole("POST", "/v1/memories/search", {"agentID": "a", "invokerID": "stays", "query": TEXT})
    until(lambda: {NAME, "stays"} <= set(whole.names_in_usage()))
    assert whole.files_with(TEXT)
    assert whole.files_with(NAME)

    whole("POST", "/v1/admin/erasures", {"kind": "owner", **owner})
    assert whole("GET", "/v1/memories?$count=true")["@odata.count"] == 1
    until(lambda: not whole.files_with(TEXT) and not whole.files_with(NAME))
    until(lambda: NAME not in whole.names_in_usage())
    assert "stays" in whole.names_in_usage()
    until(lambda: 'mnemolog_erased_not_gone{place="redis files"} 0.0' in whole.worker.metrics())
    assert 'mnemolog_erased_not_gone_seconds{place="hidden"} 0.0' in whole.worker.metrics()
    told = {row["kind"]: row for row in whole.operate("retention", "status", "--log")}
    assert told["facts"]["count"] == 2  # the memory, and the fact that hid its owner
    assert told["facts"]["seconds"] >= 0
    assert told["commands"]["count"] >= 3
    assert set(told) == {"facts", "commands"}
