"""A worker's own page tells the truth: what it works on, what it waits for, and how far behind it is."""

from __future__ import annotations

import re
import time
from pathlib import Path

import httpx
import pytest

from tests.brokers import Kafka
from tests.killing.processes import PATIENCE, Deployment, Node
from tests.servers_redis import RedisServer
from tests.waiting import until

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
ALL = range(4)


def shared(one: dict[int, str] | None, other: dict[int, str] | None) -> bool:
    """Tell whether both have a share, and no partition is without a worker or has two."""
    return bool(one) and bool(other) and sorted([*(one or ()), *(other or ())]) == list(ALL)


def status(node: Node) -> int:
    """Return the status of a node's readiness."""
    return httpx.get(f"{node.url}/health/ready", trust_env=False, timeout=5).status_code


def test_a_worker_is_ready_while_it_works_and_says_what_it_waits_for(
    kafka: Kafka, redis: RedisServer, tmp_path: Path
) -> None:
    """One projector: all partitions are its own; with Redis away it lives, is not ready, and says why."""
    deployment = Deployment(kafka, redis, tmp_path, ("projector",))
    node, spare = deployment.nodes
    node.start()
    try:
        until(lambda: node.partitions() == dict.fromkeys(ALL, "works"))
        assert status(node) == 200
        assert httpx.get(f"{node.url}/metrics", trust_env=False, timeout=5).status_code == 401
        metrics = node.metrics()
        assert 'mnemolog_partitions{role="projector"} 4.0' in metrics
        for number in ALL:
            assert f'mnemolog_partition_works{{partition="{number}",role="projector"}} 1.0' in metrics
            assert f'mnemolog_gap_records{{partition="{number}",role="projector"}} 0.0' in metrics
        redis.kill()
        until(lambda: all(how != "works" for how in (node.partitions() or {0: "works"}).values()))
        assert node.live()
        assert status(node) == 503
        assert re.search(r"mnemolog_partition_works\{.*\} 0.0", node.metrics())
        redis.start()
        until(lambda: node.partitions() == dict.fromkeys(ALL, "works"))
        spare.start()
        until(lambda: shared(node.partitions(), spare.partitions()))
        began = time.monotonic()
        assert node.stop() == 0
        assert time.monotonic() - began < PATIENCE
        until(lambda: spare.partitions() == dict.fromkeys(ALL, "works"))
    finally:
        codes = [one.stop() for one in (node, spare) if one.runs]
    assert codes == [0]
