"""Servers in containers, where a Docker engine answers and has or gets the images: the second choice of the tests.

The first is a server named in the environment, the last one started from this machine's own programs.
"""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import Callable, Mapping
from functools import cache

import docker
from docker.errors import DockerException
from requests.exceptions import RequestException
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from deploy.stack.kafka import free_port

KAFKA_IMAGE = "apache/kafka:4.3.1"
REDIS_IMAGE = "redis:7.4"
QDRANT_IMAGE = "qdrant/qdrant:v1.18.3"
_ENGINE_SECONDS = 3
_PULL_SECONDS = 120
_START_SECONDS = 60


class NotHad(Exception):
    """There is no container; the text says why."""


@cache
def _engine() -> None:
    """See that an engine answers. Raises NotHad."""
    try:
        client = docker.from_env(timeout=_ENGINE_SECONDS)
        with contextlib.closing(client):
            client.ping()
    except (DockerException, RequestException) as error:
        message = "no Docker engine answers"
        raise NotHad(message) from error


def _image(name: str) -> None:
    """See that an image is there, or fetch it. Raises NotHad."""
    _engine()
    try:
        with contextlib.closing(docker.from_env(timeout=_PULL_SECONDS)) as client:
            if not client.images.list(name=name):
                client.images.pull(name)
    except (DockerException, RequestException) as error:
        message = f"the Docker engine does not get the image {name}"
        raise NotHad(message) from error


def kafka(settings: Mapping[str, str]) -> tuple[str, Callable[[], None]]:
    """Return the servers of one broker (KRaft) in a container, and what stops it. Raises NotHad."""
    _image(KAFKA_IMAGE)
    port = free_port()
    ours = {
        "node.id": "1",
        "process.roles": "broker,controller",
        # The broker's own address differs inside: its transactions go to itself, where our port is not.
        "listeners": "PLAINTEXT://:9092,BROKER://:9094,CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port},BROKER://localhost:9094",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,BROKER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "inter.broker.listener.name": "BROKER",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": "1@localhost:9093",
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        **settings,
    }
    container = DockerContainer(KAFKA_IMAGE).with_bind_ports(9092, port)
    for name, value in ours.items():
        container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
    _started(container, "Kafka Server started")
    return f"127.0.0.1:{port}", container.stop


@cache
def redis() -> str:
    """Return the URL of a Redis in a container, which goes with the run. Raises NotHad."""
    _image(REDIS_IMAGE)
    container = DockerContainer(REDIS_IMAGE).with_exposed_ports(6379)
    _started(container, "Ready to accept connections")
    atexit.register(container.stop)
    return f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"


@cache
def qdrant() -> str:
    """Return the URL of a Qdrant in a container, which goes with the run. Raises NotHad."""
    _image(QDRANT_IMAGE)
    container = DockerContainer(QDRANT_IMAGE).with_exposed_ports(6333).with_env("QDRANT__TELEMETRY_DISABLED", "true")
    _started(container, "Qdrant HTTP listening on 6333")
    atexit.register(container.stop)
    return f"http://{container.get_container_host_ip()}:{container.get_exposed_port(6333)}"


def _started(container: DockerContainer, says: str) -> None:
    container.waiting_for(LogMessageWaitStrategy(says).with_startup_timeout(_START_SECONDS))
    try:
        container.start()
    except (DockerException, RequestException, TimeoutError, RuntimeError) as error:
        with contextlib.suppress(DockerException):
            container.stop()
        message = f"the container of {container.image} does not start: {error}"
        raise NotHad(message) from error
