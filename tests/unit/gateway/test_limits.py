"""Requests of a tenant: as many as it may, for each alone, and whoever comes too often is told when to come again."""

from __future__ import annotations

import pytest

from mnemolog.gateway.limits import Limits
from tests.unit.gateway.fakes import API_TOKEN, NOW, Server

pytestmark = pytest.mark.unit
SECOND = 1_000_000
TOKEN = {"authorization": f"Token {API_TOKEN}"}


def test_a_burst_passes_and_then_the_rate() -> None:
    """Two a second after four at once; a bucket holds no more than its burst, however long nobody came."""
    limits = Limits(2, 4)
    assert [limits.refused("acme", NOW) for _ in range(5)] == [0, 0, 0, 0, 1]
    assert [limits.refused("acme", NOW + SECOND // 2) for _ in range(2)] == [0, 1]
    assert [limits.refused("acme", NOW + 3_600 * SECOND) for _ in range(5)] == [0, 0, 0, 0, 1]


def test_guarantee_8_one_tenants_requests_are_not_counted_for_another() -> None:
    """However many it makes."""
    limits = Limits(1, 1)
    assert [limits.refused("acme", NOW) for _ in range(3)] == [0, 1, 1]
    assert limits.refused("globex", NOW) == 0


def test_a_clock_that_is_set_back_fills_nothing_and_stops_nobody() -> None:
    """From then on its time counts."""
    limits = Limits(1, 1)
    assert limits.refused("acme", NOW) == 0
    assert limits.refused("acme", NOW - 3_600 * SECOND) == 1
    assert limits.refused("acme", NOW - 3_599 * SECOND) == 0


def test_without_a_rate_there_is_no_limit() -> None:
    """The default."""
    limits = Limits(0)
    assert not any(limits.refused("acme", NOW) for _ in range(10_000))


def test_buckets_that_are_full_again_are_not_kept() -> None:
    """A million tenants that came once are no million buckets; those that wait still do."""
    limits = Limits(1, 1)
    for number in range(9_999):
        limits.refused(f"t{number}", NOW)
    limits.refused("acme", NOW + 10 * SECOND)
    limits.refused("another", NOW + 10 * SECOND)
    assert len(limits._buckets) == 2
    assert limits.refused("acme", NOW + 10 * SECOND) == 1


@pytest.mark.parametrize("path", ["/v1/memories", "/api/v2/memory/"])
def test_one_request_too_many_is_429_with_the_time_to_come_again(path: str) -> None:
    """On both faces, in their shapes; nothing was done, so even a POST may be repeated. Others are not held up."""
    server = Server(tenant_rate=1, tenant_burst=1)
    headers = server.bearer() if path.startswith("/v1") else TOKEN
    assert server.send("GET", path, headers=headers).status_code == 200
    refused = server.send("GET", path, headers=headers)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["content-type"] == "application/json"
    assert "come again in 1 s" in refused.text
    assert server.send("GET", "/health/live").status_code == 200
    server.now += SECOND
    assert server.send("GET", path, headers=headers).status_code == 200


def test_nothing_is_published_for_a_request_too_many() -> None:
    """It is counted before its body is read."""
    server = Server(tenant_rate=1, tenant_burst=1)
    body = {"agentID": "a", "invokerID": "i", "content": "x"}
    headers = server.bearer()
    sent = [server.send("POST", "/v1/memories", headers=headers, json=body).status_code for _ in range(3)]
    assert sent == [201, 429, 429]
    assert len(server.world.envelopes) == 1
