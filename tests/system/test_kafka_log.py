"""The sequencer on a real Kafka: zombies, broken transactions, holes, warm restarts, and the same bytes as SQLite."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from mnemolog.domain.codec import encode_command
from mnemolog.domain.errors import Fenced, Malformed, Unavailable
from mnemolog.domain.fact import SEALED
from mnemolog.domain.outcomes import Accepted, Outcome, Rejected
from mnemolog.domain.record import (
    CONTROL_KEY,
    CommandRecord,
    DeadLetter,
    FactRecord,
    OutcomeRecord,
    Position,
    Transaction,
)
from mnemolog.domain.streams import own_id
from projections.projector import Projector
from projections.store_memory import MemoryStore
from tests import wishes
from tests.brokers import Kafka
from tests.system.sequencers import RULES, Sequencers, envelope, everything, story
from workers.kafka_cluster import Cluster
from workers.kafka_records import headers_of
from workers.log_kafka import KafkaLog
from workers.log_sqlite import SqliteLog, connect
from workers.sequencing import Sequencing
from workers.snapshot_sqlite import SqliteSnapshot

pytestmark = pytest.mark.system

MIB = 1 << 20


@pytest.fixture
def cluster(kafka: Kafka) -> Cluster:
    """Return topics of four partitions."""
    return replace(kafka.topics(), poll=0.02, fetch_wait=20)


@pytest.fixture
def sequencers(cluster: Cluster, tmp_path: Path) -> Sequencers:
    """Return their sequencers, not started."""
    return Sequencers(cluster, tmp_path)


@pytest.fixture
def broker_folder(kafka: Kafka) -> Path:
    """Return where the broker has its files."""
    if kafka.broker is None:
        pytest.skip("the files of a Kafka named in the environment cannot be read")
    return kafka.broker.folder


@pytest.fixture
def compacting(kafka: Kafka) -> Cluster:
    """Return topics of one partition, whose facts are cleaned as soon as a segment is closed."""
    short = {"segment.ms": "500", "min.compaction.lag.ms": "0", "max.compaction.lag.ms": "500"}
    return replace(kafka.topics(1, {"memory.facts": {**short, "delete.retention.ms": "500"}}), poll=0.02, fetch_wait=20)


def landed(outcome: Outcome) -> str:
    """Return the id of the stream where an accepted command's first fact is."""
    assert isinstance(outcome.result, Accepted), outcome
    return own_id(outcome.result.facts[0].stream)


async def life(all_of_them: Sequencers) -> list[Outcome]:
    """Say what touches every aggregate: opened, changed, refused, repeated, erased."""
    tell = all_of_them.tell
    told = [await tell(wishes.create_space(deduplication_key="k")), await tell(wishes.create_space())]
    space = landed(told[0])
    told += [await tell(wishes.create_space(deduplication_key="k")), await tell(wishes.create_session(space))]
    session = landed(told[-1])
    events = [wishes.event(f"said {n}") for n in range(5)]
    told += [await tell(wishes.append_events(space, session, *events), "append") for _ in range(2)]
    told += [
        await tell(command)
        for command in (
            wishes.update_session(space, session, 0, description="a talk"),
            wishes.update_session(space, session, 0, description="too late"),
            wishes.delete_event(space, session, 3),
            wishes.set_retention(message_days=3),
            wishes.create_client(),
        )
    ]
    for n in range(12):
        told.append(await tell(wishes.add_memory(f"memory {n} ✓", agent=f"agent {n}")))
        told.append(await tell(wishes.add_message(f"message {n}", agent=f"agent {n}")))
    memories, messages = (
        [landed(o) for o in told if isinstance(o.result, Accepted) and f"/{kind}/" in o.result.facts[0].stream]
        for kind in ("memory", "group")
    )
    told.append(await tell(wishes.update_memory(memories[0], content="another text")))
    told.append(await tell(wishes.delete_memory(memories[1])))
    told.append(await tell(wishes.delete_message(messages[1])))
    return told


# ---- the same bytes --------------------------------------------------------------------------------------------------


class Fed(SqliteLog):
    """An embedded log whose commands came from elsewhere, with their times."""

    fed: Sequence[CommandRecord] = ()

    async def commands(self, partition: int, start: int, limit: int) -> Sequence[CommandRecord]:
        """Return those of the recording."""
        assert partition == 0
        return self.fed[start : start + limit]

    async def bounds(self, partition: int) -> tuple[int, int]:
        """Return how many there are."""
        assert partition == 0
        return 0, len(self.fed)


def said(fact: FactRecord) -> tuple[object, ...]:
    """Return what must not depend on who runs it: the value, the sealed headers in their order, the chain."""
    return (fact.value, *(fact.headers[name] for name in SEALED), fact.headers["chain"])


@story
async def test_the_same_commands_give_the_same_bytes_on_kafka_and_on_sqlite(
    sequencers: Sequencers, tmp_path: Path
) -> None:
    """Values, sealed headers and chains of every fact, four partitions against one."""
    async with sequencers:
        outcomes = await life(sequencers)
        recorded, facts = await sequencers.commands(), await sequencers.facts()
    assert sum(isinstance(o.result, Rejected) for o in outcomes) >= 2
    assert sum(isinstance(o.result, Accepted) and o.result.repeated for o in outcomes) == 1
    log, state = Fed(tmp_path / "m.db", lambda: 0), connect(tmp_path / "state.db", durable=False)
    log.fed = [replace(record, offset=n) for n, record in enumerate(recorded)]
    sequencing = Sequencing(log, lambda: SqliteSnapshot(state, RULES), RULES)
    await sequencing.start()
    embedded: dict[str, FactRecord] = {}
    while (transaction := await sequencing.step()) is not None:
        embedded |= {fact.key: fact for fact in transaction.facts}
    state.close()
    await log.close()
    ours = {fact.key: fact for fact in facts if fact.value is not None and "stream" in fact.headers}
    assert len(ours) > 35
    assert {key: said(fact) for key, fact in ours.items()} == {key: said(fact) for key, fact in embedded.items()}
    assert {r.key for r in facts if r.value is None} <= ours.keys()


# ---- one writer, all or nothing --------------------------------------------------------------------------------------


@story
async def test_guarantee_9_a_zombie_sequencer_is_fenced_and_doubles_nothing(
    sequencers: Sequencers, tmp_path: Path
) -> None:
    """It had decided a batch and not committed it when another took over, decided the same, and went on."""
    spoken = [envelope(wishes.add_memory(f"text {n}", agent=f"agent {n}")) for n in range(20)]
    (tmp_path / "other").mkdir()
    async with sequencers as old:
        await old.append(*spoken[:10])
        await old.drain()
        await old.append(*spoken[10:])
        async with Sequencers(old.cluster, tmp_path / "other") as new:
            for sequencing in old.each:
                with pytest.raises(Fenced):
                    assert await sequencing.step()
                with pytest.raises(RuntimeError, match="not been started"):
                    await sequencing.step()
            assert len(await new.drain()) == 10
            commands = [fact.headers["command"] for fact in await new.facts() if "command" in fact.headers]
            facts = [c for c in commands if c.startswith("command-")]
            assert sorted(facts) == sorted(one.id for one in spoken)


@story
async def test_guarantee_2_a_transaction_that_the_broker_refuses_leaves_nothing(cluster: Cluster) -> None:
    """Facts and outcomes were acknowledged already when one record was too large: all are gone, until the next take."""
    log = KafkaLog(cluster)
    await log.start()
    await log.take(1)
    facts = tuple(FactRecord(f"s@{n}", {"stream": "s"}, b"v") for n in range(3))
    outcomes = (OutcomeRecord("c", b"{}"),)
    whole = Transaction(Position(0, 1), "c", control=False, facts=facts, outcomes=outcomes)
    huge = FactRecord("s@3", {"stream": "s"}, bytes(9 * MIB))
    with pytest.raises(Unavailable, match="MessageSizeTooLarge"):
        await log.commit(1, replace(whole, facts=(*facts, huge)))
    assert await everything(log, "facts", 1) == []
    assert await log.outcomes(1, 0, 10) == []
    with pytest.raises(Fenced):
        await log.commit(1, whole)
    await log.take(1)
    large = FactRecord("s@3", {"stream": "s"}, bytes(3 * MIB))
    end = await log.commit(1, replace(whole, facts=(*facts, large), dead_letters=(DeadLetter("k", "why"),)))
    read = await everything(log, "facts", 1)
    assert [(r.key, r.value) for r in read] == [(r.key, r.value) for r in (*facts, large)]
    assert end == read[-1].offset + 1
    assert [outcome for _, outcome in await log.outcomes(1, 0, 10)] == list(outcomes)
    await log.close()


@story
async def test_a_transaction_that_was_cancelled_is_not_there_and_blocks_nobody(cluster: Cluster) -> None:
    """Whatever the moment: all or nothing, and who takes the partition next sees which."""
    log = KafkaLog(cluster)
    await log.start()
    facts = tuple(FactRecord(f"s@{n}", {"stream": "s"}, b"v" * 1_000) for n in range(50))
    for pause in (0.0, 0.001, 0.003, 0.01):
        await log.take(0)
        before = await log.end(0)
        task = asyncio.create_task(log.commit(0, Transaction(Position(0, 1), "c", control=False, facts=facts)))
        await asyncio.sleep(pause)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await log.take(0)
        await log.end(0)
        assert len(await log.facts(0, before, 1_000)) in {0, 50}
    await log.close()


# ---- what publishers do ----------------------------------------------------------------------------------------------


@story
async def test_holes_of_publishers_transactions_are_passed(sequencers: Sequencers) -> None:
    """Committed, aborted, alternating, at the end: every committed command is decided once, no aborted one ever."""
    async with sequencers as running:
        cluster = running.cluster
        publisher = cluster.producer(transactional_id=f"{cluster.prefix}publisher")
        await publisher.start()
        wanted = []
        for n in range(9):
            spoken = [envelope(wishes.add_memory(f"{n} {k}", agent="a")) for k in range(3)]
            await publisher.begin_transaction()
            for one in spoken:
                await _publish(publisher, cluster.topic("memory.commands"), running.partition(one), encode_command(one))
            if n % 3 == 1:
                await publisher.abort_transaction()
            else:
                await publisher.commit_transaction()
                wanted += [one.id for one in spoken]
            if n == 4:
                await running.drain()
        await publisher.stop()
        await running.drain()
        assert [fact.headers["command"] for fact in await running.facts()] == wanted
        partition = running.partition(spoken[0])
        holes = running.each[partition]._intake.holes
        assert holes >= 8 + 9  # a marker each, but perhaps behind the last; three commands of each that was aborted
        running.save()
        await running.each[partition].start()
        after = await running.tell(wishes.add_memory("after", agent="a"))
        assert isinstance(after.result, Accepted)


async def _publish(publisher: AIOKafkaProducer, topic: str, partition: int, record: CommandRecord) -> None:
    headers = headers_of(record.headers)
    await publisher.send_and_wait(topic, record.value, record.key.encode(), partition, headers=headers)


@story
async def test_guarantee_10_poison_records_block_nothing(sequencers: Sequencers) -> None:
    """No key, no value, no UTF-8, no JSON, a header without value: the next command is decided."""
    async with sequencers as running:
        spoken = envelope(wishes.add_memory("sound", agent="a"))
        sound = encode_command(spoken)
        partition, topic = running.partition(spoken), running.cluster.topic("memory.commands")
        producer = running.cluster.producer(compression_type="gzip")
        await producer.start()
        sent = headers_of(sound.headers)
        for key, value, headers in (
            (None, b"{}", []),
            (b"7", None, sent),
            (b"\xff\xfe", sound.value, sent),
            (b"7", b"\xff", sent),
            (b"7", sound.value, [("ce_id", b"\xff\xff"), ("tenant", None)]),
            (b"7", sound.value, [*sent, ("ce_type", b"\xe2\x28\xa1")]),
            (b"0" * 5_000, b"[" * 100_000, sent),
        ):
            await producer.send_and_wait(topic, value, key, partition, headers=headers)
        await producer.stop()
        await running.append(spoken)
        outcomes = await running.drain()
        assert isinstance(outcomes[-1].result, Accepted)
        assert [fact.headers["command"] for fact in await running.facts() if "command" in fact.headers][-1] == spoken.id


@story
async def test_a_command_too_large_for_the_topic_is_refused_and_the_next_one_is_taken(cluster: Cluster) -> None:
    """The client refuses it before it counts it: the producer's numbering has no gap."""
    log = KafkaLog(cluster)
    await log.start()
    with pytest.raises(Malformed, match="larger than"):
        await log.append(0, [CommandRecord("0", {}, bytes(9 * MIB))])
    assert await log.append(0, [CommandRecord("0", {}, bytes(4 * MIB)), CommandRecord("0", {}, b"")]) == [0, 1]
    assert [len(r.value or b"") for r in await log.commands(0, 0, 10)] == [4 * MIB, 0]
    await log.close()


# ---- compaction ------------------------------------------------------------------------------------------------------


async def projected(log: KafkaLog) -> MemoryStore:
    """Return the views of a log of one partition, folded from its start."""
    projector = Projector(log, store := MemoryStore())
    while await projector.step():
        pass
    return store


@story
async def test_guarantee_7_what_was_erased_leaves_the_files_and_changes_no_decision_and_no_view(
    compacting: Cluster, broker_folder: Path, tmp_path: Path
) -> None:
    """Kafka's own cleaner, with short settings, on a partition that gets control records only (guarantees 6 and 7).

    The compacted log is replayed from its start, to its end.
    """
    secret = "a-secret-" * 5

    def held() -> bool:
        files = broker_folder.glob(f"data/{compacting.topic('memory.facts')}-*/*.log")
        return any(secret.encode() in path.read_bytes() for path in files)

    async with Sequencers(compacting, tmp_path) as running:
        await life(running)
        kept = landed(await running.tell(wishes.add_memory("kept")))
        gone = landed(await running.tell(wishes.add_memory(secret)))
        assert held()
        await running.tell(wishes.update_memory(gone, content=f"{secret} and more"))
        await running.tell(wishes.delete_memory(gone))
        whole, live = await running.facts(), await projected(running.log)
        deadline = time.monotonic() + 60
        while await asyncio.to_thread(held):
            assert time.monotonic() < deadline, "the cleaner has not run"
            await asyncio.sleep(0.5)
            await running.each[0].mark()
        facts = await running.facts()
        before, after = ([fact.key for fact in read if fact.key != CONTROL_KEY] for read in (whole, facts))
        assert len(after) < len(before)
        erased = {fact.key for fact in whole if fact.value and secret.encode() in fact.value}
        assert len(erased) == 2
        assert not [fact for fact in facts if fact.key in erased and fact.value is not None]
        rebuilt = await projected(running.log)
        assert (rebuilt.all_rows, rebuilt.all_places) == (live.all_rows, live.all_places)
    (tmp_path / "empty").mkdir()
    async with Sequencers(compacting, tmp_path / "empty") as again:
        assert sum(again.read) >= len(await again.facts())  # the cleaner may have gone on meanwhile
        refused, taken = [await again.tell(wishes.update_memory(m, content="later")) for m in (gone, kept)]
        assert isinstance(refused.result, Rejected)
        assert isinstance(taken.result, Accepted)


# ---- restarts --------------------------------------------------------------------------------------------------------


@story
async def test_a_warm_restart_reads_only_the_tail(sequencers: Sequencers, tmp_path: Path) -> None:
    """A snapshot in a file per partition; without it everything is replayed, and decides the same."""
    cluster = sequencers.cluster
    async with sequencers as first:
        await life(first)
        first.save()
        tail = await first.tell(wishes.add_memory("since the snapshot", agent="agent 0"))
        whole = len(await first.facts())
    async with Sequencers(cluster, tmp_path) as warm:
        assert sum(warm.read) == 1
        again = await warm.tell(wishes.update_memory(landed(tail), content="known"))
        assert isinstance(again.result, Accepted)
    (tmp_path / "empty").mkdir()
    async with Sequencers(cluster, tmp_path / "empty") as cold:
        assert sum(cold.read) == whole + 1
        again = await cold.tell(wishes.update_memory(landed(tail), content="known as well"))
        assert isinstance(again.result, Accepted)
