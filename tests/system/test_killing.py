"""One kill of each kind under load; `make kill` does them again and again, and prints what it took."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests import qdrants
from tests.brokers import Kafka
from tests.killing.matrix import ACTS, NEEDS_QDRANT, strike
from tests.killing.processes import Deployment
from tests.servers_redis import RedisServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
RATE = 60
"""Commands a second: what a slow machine manages beside all these processes; `make kill` has 220."""


@pytest.fixture(scope="module")
def deployment(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return two processes of each role and two gateways on four partitions; with Qdrant where one can be killed."""
    redis, qdrant = RedisServer(), qdrants.killable()
    folder = tmp_path_factory.mktemp("killing")
    with Deployment(kafka, redis, folder, ("sequencer", "projector"), qdrant) as running:
        yield running
    redis.remove()
    if qdrant is not None:
        qdrant.remove()


@pytest.mark.parametrize("kind", ["sequencer", "projector", "vectors", "gateway", "freeze", "redis", "qdrant"])
def test_guarantee_9_a_process_killed_frozen_or_restarted_under_load_loses_and_doubles_nothing(
    deployment: Deployment, kind: str, record_property: Callable[[str, object], None]
) -> None:
    """All that was acknowledged is there once, without a gap, and the views equal a fold of the log."""
    if kind in NEEDS_QDRANT and deployment.qdrant is None:
        pytest.skip(f"no Qdrant server to start and kill: {qdrants.BINARY} names no program")
    still, rate, facts = strike(deployment, ACTS[kind], RATE)
    record_property("standstill_seconds", round(still, 1))
    record_property("commands_per_second", round(rate))
    assert facts > 0
