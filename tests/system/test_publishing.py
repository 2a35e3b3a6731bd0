"""Publishing to a real Kafka: nothing lost, nothing doubled, whatever happens to the broker, whoever else publishes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from deploy.stack.kafka import Broker, CannotStart, libraries
from mnemolog.domain.codec import encode_command
from mnemolog.domain.ids import partition_of
from mnemolog.domain.outcomes import Accepted, Outcome, Reason, Rejected
from mnemolog.domain.rules import Rules
from mnemolog.runtime.cli import main
from producers import Late, NotAllowed, Publisher, Receipt, TopicMissing
from tests import wishes
from tests.brokers import Kafka, mortal
from tests.examples import run_example
from tests.publishing import InSession
from tests.signing import AUTHORITY, granted
from tests.system import fuzz
from tests.system.deciding import Deciding
from tests.system.sequencers import envelope
from workers.kafka_cluster import Cluster

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
COMMANDS = int(os.environ.get("MNEMOLOG_TEST_COMMANDS", "5000"))
FUZZED = int(os.environ.get("MNEMOLOG_TEST_FUZZED", "10000"))
WAIT = 240.0


@pytest.fixture
def cluster(kafka: Kafka) -> Cluster:
    """Return topics of four partitions."""
    return replace(kafka.topics(), poll=0.02, fetch_wait=20)


@pytest.fixture
def deciding(cluster: Cluster, tmp_path: Path) -> Iterator[Deciding]:
    """Run their sequencers."""
    with Deciding(cluster, tmp_path) as running:
        yield running


def publisher(cluster: Cluster, **options: Any) -> Publisher:
    """Return a publisher to a cluster."""
    return Publisher(
        cluster.servers, **{"tenant": "acme", "actor": "agent/x", "topic_prefix": cluster.prefix, **options}
    )


def made(outcome: Outcome) -> str:
    """Return the id of what a command has made."""
    assert isinstance(outcome.result, Accepted), outcome
    return outcome.result.facts[0].subject


def session(agent: Publisher) -> InSession:
    """Open a space and a session in it; return how events name it."""
    space = made(agent.outcome(agent.create_space(user="u"), WAIT))
    opened = made(agent.outcome(agent.create_session(user="u", space_id=space, participant="u"), WAIT))
    return {"user": "u", "space_id": space, "session_id": opened}


def said_once(agent: Publisher, content: str) -> Receipt:
    """Publish a memory with the one key."""
    return agent.add_memory(agent="a", invoker="i", content=content, key="k")


def said(number: int) -> list[dict[str, Any]]:
    """Return one event."""
    return [{"body": {"content": f"number {number}"}, "emitter": {"type": "user", "id": "u"}}]


@pytest.mark.usefixtures("deciding")
def test_guarantee_1_many_commands_of_one_agent_are_numbered_without_a_gap(cluster: Cluster) -> None:
    """Every outcome is read, at the offset of its receipt; sequence ids are 0, 1, 2 … in the order of publishing."""
    with publisher(cluster) as agent:
        where = session(agent)
        receipts = [agent.append_events(**where, events=said(n)) for n in range(COMMANDS)]
        outcomes = agent.outcomes(receipts, WAIT)
    assert [made(outcome) for outcome in outcomes] == [f"event/{n}" for n in range(COMMANDS)]
    assert [outcome.source and outcome.source.offset for outcome in outcomes] == [r.offset for r in receipts]
    assert [outcome.command for outcome in outcomes] == [receipt.id for receipt in receipts]


def test_guarantee_3_a_key_used_twice_is_one_command(cluster: Cluster, deciding: Deciding) -> None:
    """By two publishers; each hears his own outcome: the acceptance, the same again, and a refusal for another text."""
    with publisher(cluster) as one, publisher(cluster) as other:
        first, again = said_once(one, "x"), said_once(other, "x")
        accepted = [one.outcome(first, WAIT), other.outcome(again, WAIT)]
        refused = other.outcome(said_once(other, "y"), WAIT)
    assert first.id == again.id
    assert len({made(outcome) for outcome in accepted}) == 1
    assert {o.result.repeated for o in accepted if isinstance(o.result, Accepted)} == {False, True}
    assert isinstance(refused.result, Rejected)
    assert refused.result.reason is Reason.KEY_REUSED
    assert len(deciding.facts()) == 1


def test_a_missing_topic_is_named_and_never_made(kafka: Kafka) -> None:
    """The error says how to make it; the cluster is as it was."""
    with pytest.raises(TopicMissing, match=r"no topic nobody-made-this.memory.commands .* `mnemolog topics create`"):
        Publisher(kafka.servers, tenant="acme", actor="agent/x", topic_prefix="nobody-made-this.")
    consumer = KafkaConsumer(bootstrap_servers=kafka.servers, allow_auto_create_topics=False)
    assert not [topic for topic in consumer.topics() if topic.startswith("nobody-made-this")]
    consumer.close()


def test_who_may_not_read_outcomes_publishes_all_the_same(kafka: Kafka) -> None:
    """Without a topic to hear, commands are taken, and only asking for an outcome is refused."""
    prefix = f"deaf{uuid.uuid4().hex[:8]}."
    topic = {prefix + "memory.commands": {"cleanup.policy": "delete"}}
    asyncio.run(kafka._create([NewTopic(name, 2, 1, None, settings) for name, settings in topic.items()]))
    with Publisher(kafka.servers, tenant="acme", actor="agent/x", topic_prefix=prefix) as agent:
        receipt = agent.add_memory(agent="a", invoker="i", content="x")
        assert receipt.offset == 0
        with pytest.raises(NotAllowed, match="cannot be seen"):
            agent.outcome(receipt)


def test_topics_that_are_no_ones_of_ours_are_refused(kafka: Kafka) -> None:
    """Three partitions are none that a slot can be computed for."""
    made_by_hand = {"memory.commands": {"cleanup.policy": "delete"}}
    cluster = kafka.topics(1, made_by_hand)
    asyncio.run(_widened(cluster))
    with pytest.raises(TopicMissing, match="power of two"):
        publisher(cluster)


async def _widened(cluster: Cluster) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.servers)
    await admin.start()
    await admin.create_partitions({cluster.topic("memory.commands"): NewPartitions(3)})
    await admin.close()


def test_an_outcome_that_nobody_decides_is_late(cluster: Cluster) -> None:
    """Without a sequencer, the command is in the log, and its outcome is not there; the error says what to look at."""
    with publisher(cluster) as agent:
        receipt = agent.add_memory(agent="a", invoker="i", content="x")
        assert receipt.offset == 0
        with pytest.raises(Late, match=r"whether .* a sequencer runs"):
            agent.outcome(receipt, 0.5)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """Start a broker that may be restarted."""
    yield from mortal(tmp_path / "kafka")


def test_guarantee_2_a_broker_restart_in_the_middle_loses_and_doubles_nothing(broker: Broker, tmp_path: Path) -> None:
    """Killed and started again under a publisher that goes on: each command has its event exactly once, in order."""
    cluster = replace(Kafka(broker.servers, broker).topics(2), poll=0.02, fetch_wait=20)
    restarted = threading.Event()

    def restart() -> None:
        try:
            broker.kill()
            broker.start()
        finally:
            restarted.set()

    (tmp_path / "state").mkdir()
    patient = {"delivery_timeout_ms": 400_000}
    with Deciding(cluster, tmp_path / "state") as deciding, publisher(cluster, **patient) as agent:
        where = session(agent)
        receipts = [agent.append_events(**where, events=said(n)) for n in range(300)]
        killing = threading.Thread(target=restart)
        killing.start()
        number = 300
        while not restarted.is_set() or number < 600:
            receipts.append(agent.append_events(**where, events=said(number)))
            number += 1
            if number > 600:
                restarted.wait(0.02)
        killing.join()
        outcomes = agent.outcomes(receipts, WAIT)
        assert [made(outcome) for outcome in outcomes] == [f"event/{n}" for n in range(number)]
        contents = [json.loads(f.value or b"")["body"] for f in deciding.facts() if "event-appended" in str(f.headers)]
    assert [body["body"]["content"] for body in contents] == [f"number {n}" for n in range(number)]


def test_guarantee_10_fuzzed_records_each_get_an_outcome_or_a_dead_letter(cluster: Cluster, tmp_path: Path) -> None:
    """Random and mutated records, seeded: the partitions move on, no sequencer dies, and what is sound is accepted."""
    several = list(fuzz.records(20_261_121, FUZZED, cluster.partitions))
    producer = KafkaProducer(bootstrap_servers=cluster.servers, linger_ms=5, max_request_size=4 << 20)
    sent = [producer.send(cluster.topic("memory.commands"), r.value, r.key, r.headers, r.partition) for r in several]
    producer.flush()
    placed = {(answer.get().partition, answer.get().offset) for answer in sent}
    producer.close()
    with Deciding(cluster, tmp_path) as deciding, publisher(cluster) as agent:
        for number in range(64):  # one in each partition at least, behind all of the others
            assert made(agent.outcome(agent.add_memory(agent=f"a{number}", invoker="i", content="x"), WAIT))
        facts = deciding.facts()
    outcomes = read(cluster, "memory.outcomes")
    named = Counter(fuzz.ids(several))
    told = Counter(key for key, _ in outcomes)
    assert {identifier: told[identifier] for identifier in named} == named
    letters = {key.rpartition("@") for key, _ in read(cluster, "memory.dead-letters")}
    dead = {(int(topic.rpartition("@")[2]), int(position.partition(":")[2])) for topic, _, position in letters}
    silent = [r for r in several if not r.named]
    assert len(dead) >= len(silent) > 0
    assert dead <= placed
    accepted = {json.loads(value)["source"] for key, value in outcomes if json.loads(value)["status"] == "accepted"}
    assert len(accepted) > 64
    assert len({(fact.headers["stream"], fact.headers["version"]) for fact in facts if fact.value}) == len(
        [fact for fact in facts if fact.value]
    )


def read(cluster: Cluster, topic: str) -> list[tuple[str, bytes]]:
    """Return key and value of every committed record of a topic, with kafka-python."""
    consumer = KafkaConsumer(
        bootstrap_servers=cluster.servers, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    partitions = [TopicPartition(cluster.topic(topic), number) for number in range(cluster.partitions)]
    consumer.assign(partitions)
    ends = consumer.end_offsets(partitions)
    found = []
    while any(consumer.position(at) < end for at, end in ends.items()):
        for records in consumer.poll(timeout_ms=200).values():
            found += [((one.key or b"").decode("utf-8", "replace"), one.value) for one in records]
    consumer.close()
    return found


def test_a_publisher_that_uses_transactions_does_not_disturb(cluster: Cluster, tmp_path: Path) -> None:
    """Committed ones are decided, aborted ones never; one left open holds its partition no longer than its timeout."""
    foreign = KafkaProducer(
        bootstrap_servers=cluster.servers, transactional_id=f"{cluster.prefix}foreign", transaction_timeout_ms=3_000
    )
    foreign.init_transactions()
    spoken = [envelope(wishes.add_memory(f"text {n}", agent="a")) for n in range(12)]

    def send(numbers: range) -> None:
        foreign.begin_transaction()
        for number in numbers:
            record, one = encode_command(spoken[number]), spoken[number]
            headers = [(name, text.encode()) for name, text in record.headers.items()]
            where = partition_of(one.slot, cluster.partitions)
            foreign.send(cluster.topic("memory.commands"), record.value, record.key.encode(), headers, where)
        foreign.flush()

    with Deciding(cluster, tmp_path) as deciding, publisher(cluster) as agent:
        send(range(4))
        foreign.commit_transaction()
        send(range(4, 8))
        foreign.abort_transaction()
        send(range(8, 12))  # and never ends it: the broker aborts it when its timeout is over
        last = agent.add_memory(agent="a", invoker="ann", content="behind all of them")
        assert made(agent.outcome(last, WAIT))
        decided = [fact.headers["command"] for fact in deciding.facts()]
    foreign.close(timeout=1)
    assert decided == [*(one.id for one in spoken[:4]), last.id]
    assert deciding.holes >= 8


@pytest.mark.usefixtures("deciding")
def test_the_command_line_publishes_and_tails(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`mnemolog publish` and `mnemolog outcomes tail` on Kafka, as configured; twice changes nothing."""
    settings = {"KAFKA": cluster.servers, "PARTITIONS": str(cluster.partitions), "TOPIC_PREFIX": cluster.prefix}
    for name, value in {**settings, "RUNTIME": "kafka"}.items():
        monkeypatch.setenv(f"MNEMOLOG_{name}", value)
    file = tmp_path / "in.jsonl"
    command = {"type": "memory.add-memory.v1", "target": {"agent": "a", "invoker": "i"}}
    file.write_text("".join(json.dumps({**command, "parts": [{"content": f"n {n}"}]}) + "\n" for n in range(600)))
    reports = []
    for _ in range(2):
        assert main(["publish", str(file), "--tenant", "acme", "--json"]) == 0
        reports.append(json.loads(capsys.readouterr().out))
    assert [(report["accepted"], report["repeated"]) for report in reports] == [(600, 0), (0, 600)]
    assert main(["outcomes", "tail", "--last", "5", "--json"]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["status"], one["repeated"]) for one in shown] == [("accepted", True)] * 5


@pytest.mark.usefixtures("deciding")
def test_another_language_publishes_by_the_contract_alone(cluster: Cluster) -> None:
    """examples/java/Publish.java, which has none of our code: accepted, repeated, refused, as documented."""
    done = in_java(cluster)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all is as the contract says" in done.stdout


def test_another_language_signs_by_the_contract_alone(cluster: Cluster, tmp_path: Path) -> None:
    """The same where the tenant must sign: with a key file all is as before, without one nothing is accepted."""
    key = {"tenant": "acme", "actor": "agent/é", "key": (b"k" * 32).hex()}
    ends = time.time_ns() // 1_000 + 3_600_000_000
    key["grant"] = granted(tenant="acme", actor="agent/é", ends=ends)
    (tmp_path / "key.json").write_text(json.dumps(key))
    with Deciding(cluster, tmp_path, Rules(signers=("acme",), authorities=(AUTHORITY.public,))) as deciding:
        done = in_java(cluster, str(tmp_path / "key.json"))
        assert done.returncode == 0, done.stdout + done.stderr
        assert {fact.headers["actor"] for fact in deciding.facts()} == {"agent/é"}
        unsigned = in_java(cluster)
        assert unsigned.returncode != 0
        assert '"reason":"unsigned"' in unsigned.stderr


def in_java(cluster: Cluster, *key: str) -> subprocess.CompletedProcess[str]:
    """Run the example in Java."""
    java = shutil.which("java")
    if java is None:
        pytest.skip("java is not on the path")
    try:
        jars = libraries()
    except CannotStart as error:
        pytest.skip(f"no Kafka client for Java: {error}")
    command = [java, "-cp", f"{jars}/*", "examples/java/Publish.java", cluster.servers, "acme", cluster.prefix, *key]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.usefixtures("deciding")
def test_the_import_example_runs_on_kafka_twice(cluster: Cluster) -> None:
    """It says the same space both times: nothing is doubled."""
    options = ["--tenant", "acme", "--actor", "agent/import", "--topic-prefix", cluster.prefix, "--user", "ann"]
    arguments = ["examples/conversations.json", "--server", cluster.servers, *options]
    said_by = [run_example("import_conversations.py", *arguments) for _ in range(2)]
    assert said_by[0] == said_by[1]
    assert "2 conversations with 5 messages are in space" in said_by[0]
