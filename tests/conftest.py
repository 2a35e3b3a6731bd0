"""Fixtures that several suites share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnemolog.runtime.kafka import prepare_client
from mnemolog.runtime.process import run
from projections.models import PACKAGED
from tests import brokers, qdrants, servers_redis
from tests.secured import Secured, started


@pytest.fixture
def tenant() -> str:
    """Return a tenant that nobody has used before."""
    return f"tenant-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def exported_models(pytestconfig: pytest.Config) -> Path:
    """Return the folder with the export of the packaged model, which is made by the first run that needs it."""
    models = pytestconfig.cache.mkdir("models")
    run("models", "export", "--model", PACKAGED, "--models", str(models))  # whatever a test's variables say
    return models


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[brokers.Kafka]:
    """Return the one Kafka of the whole run, its clients set up as the workers' are."""
    prepare_client()
    yield from brokers.kafka(tmp_path_factory.mktemp("kafka"))


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Return the one Kafka and the one Redis of the whole run that let nobody in without TLS and a login."""
    prepare_client()
    with started(tmp_path_factory.mktemp("secured")) as both:
        yield both


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which servers the run has used."""
    for what, which in brokers.used.items():
        terminalreporter.write_line(f"{what}: {which}")
    for server in servers_redis.used:
        terminalreporter.write_line(f"Redis: {server}")
    for server in qdrants.used:
        terminalreporter.write_line(f"Qdrant: {server}")
