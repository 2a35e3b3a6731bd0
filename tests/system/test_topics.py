"""`mnemolog topics` on a real Kafka: made as declared, compared in full, and never changed silently."""

from __future__ import annotations

import asyncio
import json
import uuid

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from mnemolog.domain.topics import TOPICS
from mnemolog.runtime.cli import main
from mnemolog.runtime.kafka import prepare_client
from tests.brokers import Kafka

pytestmark = pytest.mark.system


@pytest.fixture
def prefix() -> str:
    """Return a prefix that nobody has used."""
    return f"t{uuid.uuid4().hex[:8]}."


def test_what_create_makes_is_as_declared(kafka: Kafka, prefix: str) -> None:
    """Before, check names every topic; after, none; made again, nothing happens."""
    code, said = kafka.command("check", partitions=2, prefix=prefix)
    assert (code, said.count("is missing")) == (1, len(TOPICS))
    code, said = kafka.command("create", partitions=2, prefix=prefix)
    assert (code, said.count("created")) == (0, len(TOPICS))
    assert kafka.command("check", partitions=2, prefix=prefix) == (0, "5 topics are as declared\n")
    code, said = kafka.command("create", partitions=2, prefix=prefix)
    assert (code, said.count("is there, as declared")) == (0, len(TOPICS))


def test_create_changes_no_topic_that_is_there(kafka: Kafka, prefix: str) -> None:
    """A topic made by somebody else keeps its settings; what differs is said, the others are made."""

    async def made_by_hand() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.servers)
        await admin.start()
        await admin.create_topics([NewTopic(f"{prefix}memory.facts", 1, 1, None, {"cleanup.policy": "delete"})])
        await admin.close()

    asyncio.run(made_by_hand())
    code, said = kafka.command("create", partitions=2, prefix=prefix)
    assert code == 1
    facts = [line for line in said.splitlines() if "memory.facts" in line]
    assert f"{prefix}memory.facts: cleanup.policy is delete, expected compact; it was not changed" in facts
    assert f"{prefix}memory.facts: has 1 partitions, MNEMOLOG_PARTITIONS says 2; it was not changed" in facts
    code, said = kafka.command("check", partitions=2, prefix=prefix, json=True)
    assert code == 1
    differences = json.loads(said)["differences"]
    assert len(differences) == len(facts)
    assert all("memory.facts" in line for line in differences)


def test_check_compares_replicas_if_asked(kafka: Kafka, prefix: str) -> None:
    """Production says `--replication 3 --min-insync 2`; what a test cluster has by default is not compared."""
    kafka.command("create", partitions=1, prefix=prefix, replication=1)
    assert kafka.command("check", partitions=1, prefix=prefix)[0] == 0
    code, said = kafka.command("check", partitions=1, prefix=prefix, replication=3, min_insync=2)
    assert code == 1
    assert said.count("has 1 replicas, expected 3") == said.count("min.insync.replicas is 1, expected 2") == 5


def test_the_command_line_reads_options_and_variables(
    kafka: Kafka, prefix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Servers and partitions come from either; wrong ones are named; show prints what is in force."""
    monkeypatch.setenv("MNEMOLOG_TOPIC_PREFIX", prefix)
    assert main(["topics", "create"]) == 2
    assert "MNEMOLOG_KAFKA" in capsys.readouterr().err
    monkeypatch.setenv("MNEMOLOG_KAFKA", kafka.servers)
    assert main(["topics", "create", "--partitions", "3"]) == 2
    assert "power of two" in capsys.readouterr().err
    assert main(["topics", "create", "--partitions", "2"]) == 0
    assert main(["topics", "check", "--partitions", "4"]) == 1
    capsys.readouterr()
    assert main(["topics", "show", "--json"]) == 0
    shown = {topic["name"]: topic for topic in json.loads(capsys.readouterr().out)}
    assert shown[f"{prefix}memory.facts"]["partitions"] == 2
    assert shown[f"{prefix}memory.facts"]["settings"]["cleanup.policy"] == "compact"
    assert main(["topics", "show", "--kafka", "127.0.0.1:1"]) == 1
    assert "127.0.0.1:1" in capsys.readouterr().err


def test_the_client_still_has_the_constant_that_makes_transactions_fast() -> None:
    """It is no setting: a later version of the client may have it no more."""
    from aiokafka.producer import sender

    prepare_client()
    assert sender.BACKOFF_OVERRIDE == 0.001
