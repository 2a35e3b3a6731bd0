"""Kafka with SASL over TLS, Redis with TLS and an ACL user: every client of ours gets in, none without all of it."""

from __future__ import annotations

import asyncio
import gc
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from mnemolog.domain.errors import Unavailable
from mnemolog.domain.outcomes import Accepted
from mnemolog.runtime.audit_sign import _produced
from mnemolog.runtime.cli import main
from mnemolog.runtime.config import Settings
from mnemolog.runtime.kafka import redis
from mnemolog.runtime.secured import kafka_options
from producers import Away, Invalid, NotAllowed, Publisher
from projections.redis_wire import Wire
from tests.secured import Secured
from tests.system.deciding import Deciding
from workers.kafka_cluster import Cluster

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]
WAIT = 60.0
MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@pytest.fixture(scope="module")
def cluster(secured: Secured) -> Cluster:
    """Return topics on the secured Kafka, made by its admin client."""
    return secured.kafka.topics(1)


@pytest.fixture
def surrounded(secured: Secured, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lead the command line to the secured servers, as an operator's environment does."""
    where = {"kafka": cluster.servers, "topic_prefix": cluster.prefix, "runtime": "kafka", "token_key": "5e" * 32}
    for name, value in {**secured.settings, **where}.items():
        monkeypatch.setenv(f"MNEMOLOG_{name.upper()}", json.dumps(value) if isinstance(value, bool) else value)


def settings(secured: Secured, **other: Any) -> Settings:
    """Return the settings that open both servers, some of them others."""
    return Settings(kafka=secured.kafka.servers, **{**secured.settings, **other})


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_publisher_logs_in_with_each_mechanism(
    mechanism: str, secured: Secured, cluster: Cluster, tmp_path: Path
) -> None:
    """kafka-python publishes and hears the outcome; aiokafka decides, both by the same options."""
    options = kafka_options(settings(secured, kafka_sasl=mechanism))
    with (
        Deciding(cluster, tmp_path),
        Publisher(cluster.servers, tenant="acme", actor="agent/x", topic_prefix=cluster.prefix, **options) as agent,
    ):
        outcome = agent.outcome(agent.add_memory(agent="a", invoker="i", content=f"by {mechanism}"), WAIT)
    assert isinstance(outcome.result, Accepted)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kafka_password": "another"},
        {"kafka_user": "nobody"},
        {"kafka_ca": "stranger"},
        {"kafka_tls": False, "kafka_ca": ""},
        {"kafka_sasl": ""},
    ],
)
def test_a_publisher_without_all_of_it_is_told_so(wrong: dict[str, Any], secured: Secured, cluster: Cluster) -> None:
    """Another password or user, another authority, no TLS, no login: no connection, no password in the text.

    The broker may say that it refuses a login, or hang up before that is heard; either text names the login.
    """
    if wrong.get("kafka_ca"):
        wrong = {"kafka_ca": str(secured.stranger.ca)}
    options = {**kafka_options(settings(secured, **wrong)), "bootstrap_timeout_ms": 2_000}
    with pytest.raises((NotAllowed, Away), match="login") as refused:
        Publisher(cluster.servers, tenant="acme", actor="agent/x", topic_prefix=cluster.prefix, **options)
    assert secured.kafka.settings["kafka_password"] not in str(refused.value)


def test_an_option_that_no_client_knows_is_refused(cluster: Cluster) -> None:
    """A misspelt login is no silent connection without one."""
    with pytest.raises(Invalid, match="sasl_mechanisn"):
        Publisher(cluster.servers, tenant="acme", actor="agent/x", sasl_mechanisn="PLAIN")


@pytest.mark.usefixtures("surrounded")
def test_the_operators_commands_get_in(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`topics check`, `publish`, `outcomes tail` and `projections status`, by the variables alone."""
    monkeypatch.chdir(tmp_path)
    lines = tmp_path / "lines"
    lines.write_text(
        json.dumps(
            {
                "type": "memory.add-memory.v1",
                "target": {"agent": "a", "invoker": "i"},
                "parts": [{"content": "by the operator"}],
            }
        )
    )
    assert main(["config", "check"]) == 0
    assert main(["topics", "check"]) == 0
    with Deciding(cluster, tmp_path):
        assert main(["publish", str(lines), "--tenant", "acme"]) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert main(["outcomes", "tail", "--last", "1", "--json"]) == 0
    assert "facts" in json.loads(capsys.readouterr().out)
    assert main(["projections", "status", "--json"]) == 0


@pytest.mark.usefixtures("surrounded")
def test_a_wrong_login_of_an_operator_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an exit code, and without a word of the password."""
    monkeypatch.setenv("MNEMOLOG_KAFKA_PASSWORD", "quite-another")
    assert main(["topics", "check"]) == 1
    said = capsys.readouterr().err
    assert "Kafka at" in said
    assert "quite-another" not in said


@pytest.mark.parametrize(
    "wrong",
    [
        {"redis_password": "another"},
        {"redis_user": ""},
        {"redis_ca": "stranger"},
        {"redis_certificate": "", "redis_key": ""},
        {"redis": "redis"},
    ],
)
def test_redis_lets_nobody_in_without_all_of_it(wrong: dict[str, str], secured: Secured) -> None:
    """Another password, no user, another authority, no certificate of one's own, no TLS."""
    if "redis_ca" in wrong:
        wrong = {"redis_ca": str(secured.stranger.ca)}
    if "redis" in wrong:
        wrong = {"redis": secured.redis["redis"].replace("rediss://", "redis://")}

    async def asked(found: Settings) -> None:
        wire = Wire(redis(found))
        try:
            assert await wire.ask(("PING",)) == [b"PONG"]
        finally:
            await wire.close()

    asyncio.run(asked(settings(secured)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the client leaves what it could not open to the collector
        with pytest.raises(Unavailable):
            asyncio.run(asked(settings(secured, **wrong)))
        gc.collect()


def test_signed_heads_go_to_a_secured_kafka(secured: Secured, cluster: Cluster, tmp_path: Path) -> None:
    """The audit worker's producer logs in like every other client."""
    place = f"kafka://{cluster.servers}/{cluster.topic('memory.dead-letters')}"
    options = kafka_options(settings(secured))
    asyncio.run(_produced(place, b"a head", options))

    async def read() -> bytes:
        topic = cluster.topic("memory.dead-letters")
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=cluster.servers, auto_offset_reset="earliest", **options)
        await consumer.start()
        try:
            value: bytes = (await consumer.getone()).value
            return value
        finally:
            await consumer.stop()

    assert asyncio.run(read()) == b"a head"
