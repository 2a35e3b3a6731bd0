"""Audits of the distributed runtime: verified on real servers, moved to a data folder and back, signed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    KafkaAdminClient,
    NewTopic,
    ResourcePattern,
    ResourceType,
)
from kafka.errors import KafkaError

from mnemolog.audit import verifier
from mnemolog.domain.outcomes import Accepted
from mnemolog.domain.schema import Command
from mnemolog.runtime.cli import main
from projections import redis_wire
from projections.projector import Projector
from projections.store_redis import RedisStore
from tests.brokers import Kafka
from tests.servers_redis import shared_redis
from tests.system.sequencers import Sequencers
from tests.wishes import add_memory, add_message, delete_memory
from workers.kafka_cluster import Cluster
from workers.log_kafka import KafkaLog

pytestmark = pytest.mark.system

PARTITIONS = 4


def use(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> None:
    """Let commands run on these topics."""
    for name, value in {
        "RUNTIME": "kafka",
        "KAFKA": cluster.servers,
        "PARTITIONS": str(cluster.partitions),
        "TOPIC_PREFIX": cluster.prefix,
        "REDIS": shared_redis(),
    }.items():
        monkeypatch.setenv(f"MNEMOLOG_{name}", value)


async def lived(cluster: Cluster, folder: Path, *, owners: int) -> None:
    """Let owners remember something, erase some of it, and project all into Redis."""
    folder.mkdir()  # noqa: ASYNC240 -- a test has no other to hold up
    async with Sequencers(cluster, folder) as sequencers:
        ids = [await said(sequencers, add_memory(f"text {n}", invoker=f"i{n}")) for n in range(owners)]
        for n in range(owners):
            await said(sequencers, add_message(f"text {n}", invoker=f"i{n}"))
        for identifier in ids[::3]:
            await said(sequencers, delete_memory(identifier))
    await projected(cluster)


async def said(sequencers: Sequencers, command: Command) -> str:
    """Have a command decided; return the id that is new with it."""
    outcome = await sequencers.tell(command)
    assert isinstance(outcome.result, Accepted)
    return outcome.result.facts[0].subject.rpartition("/")[2]


async def projected(cluster: Cluster) -> None:
    """Bring the views up to date."""
    log, store = KafkaLog(cluster), RedisStore(redis_wire.connect(shared_redis()), app=f"{cluster.prefix}mnemolog")
    for partition in range(cluster.partitions):
        projector = Projector(log, store, partition)
        while await projector.step():
            pass
    await store.close()
    await log.close()


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run a command; return its exit code and what it printed."""
    code = main(["audit", *arguments])
    return code, capsys.readouterr().out


@pytest.mark.timeout(600)
def test_a_deployment_is_verified_signed_and_moved(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kafka to a data folder to other topics: sound everywhere, and as the heads that were signed at first say."""
    monkeypatch.chdir(tmp_path)
    first, second = kafka.topics(PARTITIONS), kafka.topics(PARTITIONS // 2)
    use(monkeypatch, first)
    asyncio.run(lived(first, tmp_path / "state", owners=30))
    code, out = ran(capsys, "verify", "--jobs", "2")
    assert (code, out.splitlines()[-1]) == (0, "nothing differs"), out
    assert "0 folded as they stand" in out, "on Kafka the commands of erased facts are still there"
    signer = ("--key", "audit.key", "--heads", "heads")
    assert ran(capsys, "sign", *signer)[0] == 0
    heads = ("--heads", "heads", "--trust", str(verifier.read_heads(Path("heads"))[0]["key"]))
    assert ran(capsys, "export", "out")[0] == 0
    assert verifier.main(["export", "out", *heads]) == 0

    monkeypatch.setenv("MNEMOLOG_RUNTIME", "embedded")
    assert ran(capsys, "import", "out", "--data", "data")[0] == 0
    assert main(["clients", "create", "--tenant", "acme", "--data", "data"]) == 0
    assert ran(capsys, "verify", "--data", "data", *heads)[0] == 0
    assert ran(capsys, "export", "back", "--data", "data")[0] == 0

    use(monkeypatch, second)
    assert ran(capsys, "import", "back")[0] == 0
    asyncio.run(projected(second))
    code, out = ran(capsys, "verify", *heads)
    assert (code, out.splitlines()[-1]) == (0, "nothing differs"), out
    assert ran(capsys, "sign", *signer)[0] == 0, "the heads go on, wherever the log lies"
    asyncio.run(lived(second, tmp_path / "state-2", owners=3))
    assert ran(capsys, "verify", *heads)[0] == 0


@pytest.mark.timeout(600)
def test_a_changed_row_in_redis_is_found(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command line, on real servers."""
    monkeypatch.chdir(tmp_path)
    cluster = kafka.topics(PARTITIONS)
    use(monkeypatch, cluster)
    asyncio.run(lived(cluster, tmp_path / "state", owners=4))

    async def change() -> str:
        client = redis_wire.connect(shared_redis())
        (row, *_) = await client.keys(f"{cluster.prefix}mnemolog:1:*:r:acme/memory/*")
        assert isinstance(row, bytes)
        await client.hset(row, "content", '"forged"')
        await client.aclose(close_connection_pool=True)
        return str(row.decode().rpartition("/")[2])

    changed = asyncio.run(change())
    code, out = ran(capsys, "verify")
    assert code == 1
    assert f"DIFFERS  row acme/memory/{changed} differs from the log in content" in out


def permit_reading_facts_only(cluster: Cluster) -> None:
    """Let everybody read and describe the fact topic, and do nothing else to any topic of a deployment."""

    def grant(who: str, operation: ACLOperation, topic: str) -> ACL:
        pattern = ResourcePattern(ResourceType.TOPIC, cluster.prefix + topic)
        return ACL(f"User:{who}", "*", operation, ACLPermissionType.ALLOW, pattern)

    rights = [grant("ANONYMOUS", one, "memory.facts") for one in (ACLOperation.READ, ACLOperation.DESCRIBE)]
    others = ("commands", "outcomes", "usage", "dead-letters")
    rights += [grant("nobody", ACLOperation.ALL, f"memory.{name}") for name in others]
    admin = KafkaAdminClient(bootstrap_servers=cluster.servers)
    try:
        if admin.create_acls(rights)["failed"]:
            pytest.skip("these servers take no access rules")
    except KafkaError as error:
        pytest.skip(f"these servers take no access rules: {error!r}")
    finally:
        admin.close()


async def witnessed(cluster: Cluster, topic: str) -> list[bytes]:
    """Return the values in the only partition of a topic."""
    consumer = AIOKafkaConsumer(bootstrap_servers=cluster.servers, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([where := TopicPartition(topic, 0)])
    end = (await consumer.end_offsets([where]))[where]
    found: list[bytes] = []
    while await consumer.position(where) < end:
        found += [record.value for some in (await consumer.getmany(timeout_ms=1_000)).values() for record in some]
    await consumer.stop()
    return found


@pytest.mark.timeout(600)
def test_an_auditor_signs_with_no_more_than_the_right_to_read(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Read and describe on the fact topic are all that it needs; its heads go to a topic of somebody else's."""
    monkeypatch.chdir(tmp_path)
    cluster = kafka.topics(PARTITIONS)
    witness = f"{cluster.prefix}witness"
    use(monkeypatch, cluster)
    asyncio.run(lived(cluster, tmp_path / "state", owners=2))
    admin = KafkaAdminClient(bootstrap_servers=cluster.servers)
    admin.create_topics([NewTopic(witness, 1, 1)])
    admin.close()
    permit_reading_facts_only(cluster)
    for _ in range(2):
        place = ("--also", f"kafka://{cluster.servers}/{witness}")
        assert ran(capsys, "sign", "--key", "audit.key", "--heads", "heads", *place)[0] == 0
    heads = verifier.read_heads(Path("heads"))
    verifier.check_heads(heads, heads[0]["key"])
    assert [json.loads(value) for value in asyncio.run(witnessed(cluster, witness))] == heads
    assert main(["clients", "create", "--tenant", "acme"]) != 0, "the rules hold: no command can be written"
