"""A worker process that cannot work says so; what becomes of one that is killed, `test_killing` shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.brokers import Kafka
from tests.servers_redis import RedisServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]
WORKER = [sys.executable, "-m", "mnemolog.runtime.cli", "worker", "all"]
PATIENCE = 150.0
"""Seconds: the client alone asks 40 for a topic that is not there."""


def test_a_worker_without_its_topics_ends_with_an_error(redis: RedisServer, kafka: Kafka, tmp_path: Path) -> None:
    """A role that cannot work ends the process with a code that is not 0, so that a supervisor sees it."""
    settings = {
        "MNEMOLOG_KAFKA": kafka.servers,
        "MNEMOLOG_TOPIC_PREFIX": "nobody-made-these.",
        "MNEMOLOG_REDIS": redis.url,
    }
    environment = {n: v for n, v in os.environ.items() if not n.startswith("MNEMOLOG_")} | settings
    command = [*WORKER, "--data", str(tmp_path / "worker")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode != 0
    assert "mnemolog topics" in done.stderr
