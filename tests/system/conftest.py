"""What several system tests start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers_redis import RedisServer


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """Return a Redis of this test's own."""
    server = RedisServer()
    yield server
    server.remove()
