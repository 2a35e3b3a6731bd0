"""The contract of the port `Log`, run against every adapter; what only the embedded file promises stands last."""

from __future__ import annotations

import asyncio
import functools
import itertools
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from mnemolog.domain.errors import Corrupt, Fenced
from mnemolog.domain.ports import Log
from mnemolog.domain.record import (
    CONTROL_KEY,
    CommandRecord,
    DeadLetter,
    FactRecord,
    OutcomeRecord,
    Position,
    Transaction,
)
from tests.brokers import Kafka
from workers.log_kafka import KafkaLog
from workers.log_memory import MemoryLog
from workers.log_sqlite import SqliteLog

pytestmark = pytest.mark.contract

NOON = 1_795_003_200_000_000
STREAM = "acme/memory/1"


@dataclass
class Clock:
    """A clock that stands still until it is set."""

    now: int = NOON

    def __call__(self) -> int:
        """Return the time in µs."""
        return self.now


@dataclass
class Topics:
    """An adapter under test: `open` is one process's hold on the topics; `compact` does what its cleaner would."""

    clock: Clock
    open: Callable[[], Awaitable[Any]]
    compact: Callable[[], None] = lambda: None
    expire: Callable[[Any, int], Awaitable[None]] | None = None
    holds: list[Any] = field(default_factory=list)
    remote: bool = False
    """Its broker stamps the times, its cleaner and its retention run when they will, and markers come a little late."""

    async def outcome(self, log: Any, command: str) -> OutcomeRecord | None:
        """Return the newest outcome of a command, by reading the topic where the log cannot look one up."""
        if not self.remote:
            found: OutcomeRecord | None = await log.outcome(0, command)
            return found
        for _ in range(3):  # what another hold has committed comes a little later
            newest: list[OutcomeRecord] = [o for _, o in await log.outcomes(0, 0, 1_000) if o.key == command]
            if newest:
                return newest[-1]
        return None

    async def ends(self, log: Any, end: int) -> bool:
        """Tell whether facts end where a commit said, markers aside; wait for them if another hold committed it."""
        while (told := await log.end(0)) < end:
            assert self.remote
        return bool(told == end or (self.remote and told == end + 1))

    def needs(self, *, here: str) -> None:
        """Skip what is not done by this adapter itself."""
        if self.remote:
            pytest.skip(here)


@pytest.fixture(params=["memory", "memory with holes", "sqlite", "kafka"])
def topics(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Topics]:
    """Give empty topics of each adapter."""
    clock = Clock()
    if request.param == "kafka":
        yield _kafka(clock, request.getfixturevalue("kafka"))
        return
    if request.param == "sqlite":
        yield from _sqlite(clock, tmp_path / "mnemolog.db")
        return
    markers = itertools.cycle([0, 2, 1]) if "holes" in request.param else itertools.repeat(0)
    first = MemoryLog(clock, marker=lambda: next(markers))

    async def again() -> MemoryLog:
        return first.again()

    async def expire(log: MemoryLog, below: int) -> None:
        log.expire(0, below)

    yield Topics(clock, again, lambda: first.compact(0), expire)


def _sqlite(clock: Clock, path: Path) -> Iterator[Topics]:
    holds: list[SqliteLog] = []

    async def again() -> SqliteLog:
        holds.append(SqliteLog(path, clock))
        return holds[-1]

    async def expire(log: SqliteLog, below: int) -> None:
        (first,) = [record.time for record in await log.commands(0, below, 1)]
        await log.expire(first, 0)

    yield Topics(clock, again, expire=expire)
    for log in holds:
        asyncio.run(log.close())


def _kafka(clock: Clock, kafka: Kafka) -> Topics:
    cluster = kafka.topics()
    holds: list[KafkaLog] = []

    async def again() -> KafkaLog:
        holds.append(KafkaLog(cluster))
        await holds[-1].start()
        return holds[-1]

    async def expire(log: KafkaLog, below: int) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=cluster.servers)
        await admin.start()
        at = TopicPartition(cluster.topic("memory.commands"), 0)
        await admin.delete_records({at: RecordsToDelete(before_offset=below)})
        await admin.close()

    return Topics(clock, again, expire=expire, holds=holds, remote=True)


def story(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test's coroutine on a loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(told(*args, **kwargs))

    async def told(*args: Any, **kwargs: Any) -> None:
        try:
            await test(*args, **kwargs)
        finally:
            for hold in kwargs["topics"].holds if "topics" in kwargs else ():
                await hold.close()

    return run


def command(identifier: str, value: bytes = b"{}") -> CommandRecord:
    """Return a command before it is appended."""
    return CommandRecord("7", {"ce_id": identifier, "tenant": "acmé\n"}, value)


def fact(version: int, value: bytes | None = None, stream: str = STREAM) -> FactRecord:
    """Return a fact of a stream, which says its version."""
    headers = {"stream": stream, "version": str(version), "actor": "ünï\u2028"}
    return FactRecord(f"{stream}@{version}", headers, f"value {version}".encode() if value is None else value)


def transaction(at: int = 1, **fields: Any) -> Transaction:
    """Return what a batch leaves behind that ends before command `at`; control records only if asked for."""
    said: dict[str, Any] = {"position": Position(0, at), "last": f"c{at - 1}", "control": False, **fields}
    return Transaction(**said)


async def everything(log: Log, page: int = 1_000) -> list[FactRecord]:
    """Read all facts, page by page, as a projector does."""
    at = 0
    read: list[FactRecord] = []
    while records := await log.facts(0, at, page):
        assert len(records) <= page
        read.extend(records)
        at = records[-1].offset + 1
    return read


def rising(offsets: Sequence[int]) -> bool:
    """Tell whether each number is above the one before."""
    return all(a < b for a, b in itertools.pairwise(offsets))


# ---- commands --------------------------------------------------------------------------------------------------------


@story
async def test_commands_come_back_as_they_were_appended_in_order_at_rising_offsets(topics: Topics) -> None:
    """Key, headers and value survive to the byte, and `append` has told the offsets."""
    log = await topics.open()
    said = [command("a", b"\x00\xff"), command("b", "ä".encode()), command("c")]
    offsets = [*await log.append(0, said[:2]), *await log.append(0, said[2:])]
    assert offsets[0] == 0
    assert rising(offsets)
    read = await log.commands(0, 0, 10)
    assert [(r.offset, r.key, r.headers, r.value) for r in read] == [
        (at, r.key, r.headers, r.value) for at, r in zip(offsets, said, strict=True)
    ]
    assert await log.append(0, []) == []


@story
async def test_a_read_of_commands_begins_at_its_offset_and_ends_at_its_limit(topics: Topics) -> None:
    """From the middle, from a hole, from behind the end; none is left out or comes twice."""
    log = await topics.open()
    offsets = [at for n in range(7) for at in await log.append(0, [command(f"c{n}")])]
    for start in range(offsets[-1] + 3):
        for limit in (1, 2, 100):
            wanted = [at for at in offsets if at >= start][:limit]
            assert [r.offset for r in await log.commands(0, start, limit)] == wanted


@story
async def test_bounds_are_the_first_command_kept_and_the_next_one(topics: Topics) -> None:
    """An empty topic starts where it ends; what comes next lies above all that is there, and where the next lands."""
    log = await topics.open()
    assert await log.bounds(0) == (0, 0)
    (last,) = (await log.append(0, [command("a"), command("b")]))[1:]
    first, following = await log.bounds(0)
    assert first == 0
    assert following > last
    assert (await log.append(0, [command("c")]))[0] >= following


@story
async def test_commands_that_retention_removes_raise_the_lower_bound(topics: Topics) -> None:
    """Their offsets are never given again, and the newest command stays to be compared with."""
    assert topics.expire is not None
    log = await topics.open()
    offsets = []
    for n in range(5):
        topics.clock.now += 10
        offsets += await log.append(0, [command(f"c{n}")])
    await topics.expire(log, offsets[3])
    first, following = await log.bounds(0)
    assert first == offsets[3]
    assert following > offsets[-1]
    assert [r.offset for r in await log.commands(0, 0, 10)] == offsets[3:]
    assert (await log.append(0, [command("later")]))[0] >= following


@story
async def test_times_rise_strictly_whatever_the_clock_does(topics: Topics) -> None:
    """Within a batch, between batches, with a clock that stands still or is set back."""
    topics.needs(here="a broker stamps times in whole milliseconds, and decide makes them rise")
    log = await topics.open()
    for step in (0, 0, -5_000_000, 17, -1, 1_000_000):
        topics.clock.now += step
        await log.append(0, [command("a"), command("b")])
    times = [r.time for r in await log.commands(0, 0, 100)]
    assert rising(times)
    assert times[0] == NOON
    topics.clock.now = times[-1] + 1_000
    await log.append(0, [command("a")])
    assert (await log.commands(0, 0, 100))[-1].time == times[-1] + 1_000


# ---- facts -----------------------------------------------------------------------------------------------------------


@story
async def test_facts_come_back_to_the_byte_in_order_and_below_the_end(topics: Topics) -> None:
    """`commit` returns the offset behind the last, which is `end` from then on."""
    log = await topics.open()
    await log.take(0)
    assert await log.end(0) == 0
    said = [fact(0, b"\x00\xff"), fact(1, "é".encode()), fact(0, b"", "acme/policy")]
    ends = [
        await log.commit(0, transaction(1, facts=tuple(said[:2]))),
        await log.commit(0, transaction(2, facts=tuple(said[2:]))),
    ]
    assert rising(ends)
    assert await topics.ends(log, ends[-1])
    read = await everything(log)
    assert [(r.key, r.headers, r.value) for r in read] == [(r.key, r.headers, r.value) for r in said]
    offsets = [r.offset for r in read]
    assert rising(offsets)
    assert offsets[1] < ends[0] <= offsets[2] < ends[1]


@story
async def test_a_read_of_facts_begins_at_its_offset_and_ends_at_its_limit(topics: Topics) -> None:
    """Holes and all, every page size reads the same records once."""
    log = await topics.open()
    await log.take(0)
    for n in range(9):
        await log.commit(0, transaction(n + 1, facts=(fact(2 * n), fact(2 * n + 1))))
    whole = await everything(log)
    assert [r.key for r in whole] == [f"{STREAM}@{n}" for n in range(18)]
    for page in (1, 2, 3, 17):
        assert await everything(log, page) == whole
    assert await log.facts(0, await log.end(0), 10) == []


@story
async def test_a_tombstone_leaves_a_null_record_and_takes_every_earlier_value(topics: Topics) -> None:
    """Once the log's cleaner has run, nothing else remains under the key; other facts keep offset and bytes."""
    topics.needs(here="a broker's cleaner runs when it will")
    log = await topics.open()
    await log.take(0)
    await log.commit(0, transaction(1, facts=(fact(0, b"secret"), fact(1, b"kept"))))
    kept = (await everything(log))[1]
    erased = fact(2, b"erased")
    await log.commit(0, transaction(2, facts=(erased,), tombstones=(f"{STREAM}@0",)))
    read = await everything(log)
    assert [r.key for r in read][-2:] == [f"{STREAM}@2", f"{STREAM}@0"]
    topics.compact()
    read = await everything(log)
    assert read[0] == kept
    assert [(r.key, r.value) for r in read[1:]] == [(f"{STREAM}@2", b"erased"), (f"{STREAM}@0", None)]
    assert await log.end(0) > read[-1].offset


@story
async def test_a_fact_and_its_tombstone_may_come_in_one_transaction(topics: Topics) -> None:
    """What one batch brings and takes away again is gone: the null record comes after the fact."""
    topics.needs(here="a broker's cleaner runs when it will")
    log = await topics.open()
    await log.take(0)
    await log.commit(0, transaction(2, facts=(fact(0, b"secret"), fact(1)), tombstones=(f"{STREAM}@0",)))
    topics.compact()
    assert [(r.key, r.value) for r in await everything(log)] == [(f"{STREAM}@1", b"value 1"), (f"{STREAM}@0", None)]


@story
async def test_of_the_control_record_the_newest_wins(topics: Topics) -> None:
    """It says position and command, stands under its own key, and once cleaned is there once, behind all facts."""
    topics.needs(here="a broker's cleaner runs when it will")
    log = await topics.open()
    await log.take(0)
    await log.commit(0, transaction(3, control=True))
    await log.commit(0, transaction(4, facts=(fact(0),)))
    end = await log.commit(0, transaction(9, control=True))
    topics.compact()
    (control,) = [r for r in await everything(log) if r.key == CONTROL_KEY]
    assert Position.parse(control.headers["position"]) == Position(0, 9)
    assert control.headers["command"] == "c8"
    assert control.value is not None
    assert (await everything(log))[-1] == control
    assert control.offset < end == await log.end(0)


@story
async def test_without_control_no_control_record_is_written(topics: Topics) -> None:
    """Facts say themselves how far commands are decided."""
    log = await topics.open()
    await log.take(0)
    await log.commit(0, transaction(1, facts=(fact(0),)))
    assert [r.key for r in await everything(log)] == [f"{STREAM}@0"]


# ---- outcomes, forgotten commands, dead letters ----------------------------------------------------------------------


@story
async def test_an_outcome_is_found_by_its_command_and_the_newest_counts(topics: Topics) -> None:
    """A repeat under the same id overrides; an unknown command has none."""
    log = await topics.open()
    await log.take(0)
    first = (OutcomeRecord("a", b"1"), OutcomeRecord("b", b"2"), OutcomeRecord("a", b"3"))
    await log.commit(0, transaction(3, control=True, outcomes=first))
    assert await topics.outcome(log, "a") == OutcomeRecord("a", b"3")
    await log.commit(0, transaction(4, control=True, outcomes=(OutcomeRecord("a", b"4"),)))
    assert await topics.outcome(log, "a") == OutcomeRecord("a", b"4")
    assert await topics.outcome(log, "b") == OutcomeRecord("b", b"2")
    assert await topics.outcome(log, "c") is None


@story
async def test_a_forgotten_command_loses_its_value_and_nothing_else(topics: Topics) -> None:
    """Offset, headers and time stay, so that positions can still be compared; other commands stay whole."""
    topics.needs(here="Kafka forgets commands by retention")
    log = await topics.open()
    await log.take(0)
    await log.append(0, [command("a", b"secret"), command("b", b"kept"), command("a", b"secret again")])
    before = await log.commands(0, 0, 10)
    erasure = transaction(before[-1].offset + 1, facts=(fact(1),), tombstones=(f"{STREAM}@0",), forget=("a",))
    await log.commit(0, erasure)
    after = await log.commands(0, 0, 10)
    assert [r.value for r in after] == [None, b"kept", None]
    assert [(r.offset, r.key, r.headers, r.time) for r in after] == [
        (r.offset, r.key, r.headers, r.time) for r in before
    ]


@story
async def test_a_command_not_yet_decided_is_not_forgotten(topics: Topics) -> None:
    """A repeat that waits behind the erasure of its first acceptance is still to be answered."""
    topics.needs(here="Kafka forgets commands by retention")
    log = await topics.open()
    await log.take(0)
    first, second = await log.append(0, [command("a", b"secret"), command("a", b"secret")])
    await log.commit(0, transaction(second, facts=(fact(1),), tombstones=(f"{STREAM}@0",), forget=("a",)))
    values = {r.offset: r.value for r in await log.commands(0, 0, 10)}
    assert values == {first: None, second: b"secret"}


@story
async def test_dead_letters_do_not_stand_in_the_way(topics: Topics) -> None:
    """A transaction with dead letters, the same one even twice, commits like any other."""
    log = await topics.open()
    await log.take(0)
    letters = (DeadLetter("memory.commands@0@0:0", "unreadable"),)
    for at in (1, 2):
        await log.commit(0, transaction(at, control=True, dead_letters=letters))
    assert await log.end(0) > 0


# ---- all or nothing, and one writer ----------------------------------------------------------------------------------


class _Fault(DeadLetter):
    """A record that a disk refuses: reading it fails."""

    def __getattribute__(self, name: str) -> Any:
        if name in {"key", "reason"}:
            message = "no space left"
            raise OSError(message)
        return super().__getattribute__(name)


@story
async def test_guarantee_2_a_commit_that_fails_in_the_middle_leaves_nothing(topics: Topics) -> None:
    """No fact, outcome, null record, control record or forgotten command; and the same hold commits the next one."""
    log = await topics.open()
    await log.take(0)
    await log.append(0, [command("a", b"secret")])
    await log.commit(0, transaction(1, facts=(fact(0),), outcomes=(OutcomeRecord("a", b"1"),)))
    seen = (await everything(log), await log.end(0), await log.commands(0, 0, 10))
    broken = transaction(
        2,
        control=True,
        facts=(fact(1),),
        outcomes=(OutcomeRecord("a", b"2"), OutcomeRecord("b", b"2")),
        tombstones=(f"{STREAM}@0",),
        forget=("a",),
        dead_letters=(_Fault("k", "r"),),
    )
    with pytest.raises(OSError, match="no space left"):
        await log.commit(0, broken)
    topics.compact()
    assert (await everything(log), await log.end(0), await log.commands(0, 0, 10)) == seen
    assert await topics.outcome(log, "a") == OutcomeRecord("a", b"1")
    assert await topics.outcome(log, "b") is None
    await log.commit(0, transaction(2, facts=(fact(1),)))
    assert [r.key for r in await everything(log)] == [f"{STREAM}@0", f"{STREAM}@1"]


@story
async def test_a_zombie_is_fenced_and_changes_nothing(topics: Topics) -> None:
    """Who took the partition before somebody else did cannot commit, not even an empty transaction."""
    old, new = await topics.open(), await topics.open()
    await old.take(0)
    await old.append(0, [command("a", b"kept")])
    await old.commit(0, transaction(1, facts=(fact(0),)))
    await new.take(0)
    whole = transaction(
        2,
        control=True,
        facts=(fact(1),),
        tombstones=(f"{STREAM}@0",),
        forget=("a",),
        outcomes=(OutcomeRecord("a", b"z"),),
    )
    for late in (whole, transaction(2)):
        with pytest.raises(Fenced):
            await old.commit(0, late)
    topics.compact()
    assert [r.key for r in await everything(new)] == [f"{STREAM}@0"]
    assert [r.value for r in await new.commands(0, 0, 9)] == [b"kept"]
    assert await topics.outcome(new, "a") is None
    await new.commit(0, transaction(2, facts=(fact(1),)))
    await old.take(0)  # back in office, by the front door
    await old.commit(0, transaction(3, facts=(fact(2),)))
    with pytest.raises(Fenced):
        await new.commit(0, transaction(3, facts=(fact(2),)))


@story
async def test_who_never_took_the_partition_cannot_commit(topics: Topics) -> None:
    """A hold that only reads and appends is no sequencer."""
    log = await topics.open()
    with pytest.raises(Fenced):
        await log.commit(0, transaction(1, facts=(fact(0),)))
    assert await log.end(0) == 0


@story
async def test_every_hold_sees_what_another_has_committed(topics: Topics) -> None:
    """Commands appended here are read there; facts and outcomes committed there are read here."""
    here, there = await topics.open(), await topics.open()
    await here.append(0, [command("a")])
    await there.take(0)
    assert [r.headers["ce_id"] for r in await there.commands(0, 0, 10)] == ["a"]
    end = await there.commit(0, transaction(1, facts=(fact(0),), outcomes=(OutcomeRecord("a", b"1"),)))
    assert await topics.ends(here, end)
    assert await everything(here) == await everything(there)
    assert await topics.outcome(here, "a") == OutcomeRecord("a", b"1")


def test_partitions_know_nothing_of_each_other() -> None:
    """Offsets, positions, fences and outcomes are each partition's own."""

    async def told() -> None:
        log = MemoryLog(Clock(), partitions=2)
        other = log.again()
        await log.take(0)
        await other.take(1)
        await log.append(1, [command("b")])
        assert await log.commands(0, 0, 9) == []
        await log.commit(0, transaction(1, facts=(fact(0),), outcomes=(OutcomeRecord("a", b"1"),)))
        assert await log.end(1) == 0
        assert await log.outcome(1, "a") is None
        with pytest.raises(Fenced):
            await log.commit(1, transaction(1))
        await other.commit(1, transaction(1, facts=(fact(0),)))

    asyncio.run(told())


# ---- the embedded file -----------------------------------------------------------------------------------------------


@story
async def test_a_file_opened_again_has_everything(tmp_path: Path) -> None:
    """Commands, facts, outcomes, ends and times outlive their process; the clock may have been set back meanwhile."""
    clock = Clock()
    log = SqliteLog(tmp_path / "m.db", clock)
    await log.take(0)
    await log.append(0, [command("a"), command("b")])
    await log.commit(0, transaction(2, facts=(fact(0), fact(1)), outcomes=(OutcomeRecord("a", b"1"),), control=True))
    seen = (await log.commands(0, 0, 9), await everything(log), await log.end(0), await log.bounds(0))
    await log.close()
    clock.now -= 1_000_000
    log = SqliteLog(tmp_path / "m.db", clock)
    assert (await log.commands(0, 0, 9), await everything(log), await log.end(0), await log.bounds(0)) == seen
    assert await log.outcome(0, "a") == OutcomeRecord("a", b"1")
    await log.append(0, [command("c")])
    assert rising([r.time for r in await log.commands(0, 0, 9)])
    with pytest.raises(Fenced):  # a new process must take the partition anew
        await log.commit(0, transaction(3, facts=(fact(2),)))
    await log.close()


@story
async def test_offsets_are_not_given_again_when_the_last_rows_have_gone(tmp_path: Path) -> None:
    """A control record that was replaced, a fact erased at the end: the next record still lies above."""
    log = SqliteLog(tmp_path / "m.db", Clock())
    await log.take(0)
    ends = [await log.commit(0, transaction(n, control=True)) for n in (1, 2, 3)]
    assert rising(ends)
    await log.close()
    log = SqliteLog(tmp_path / "m.db", Clock())
    await log.take(0)
    assert await log.commit(0, transaction(4, control=True)) > ends[-1]
    await log.close()


@story
async def test_a_page_costs_what_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of facts, commands or outcomes is read along the order that it stands in: what follows is not sorted."""
    asked: list[str] = []

    def connected(*args: Any, **named: Any) -> sqlite3.Connection:
        database = sqlite3.Connection(*args, **named)
        database.set_trace_callback(asked.append)
        return database

    monkeypatch.setattr("workers.log_sqlite.sqlite3.connect", connected)
    log = SqliteLog(tmp_path / "m.db", Clock())
    await log.facts(0, 0, 9)
    await log.commands(0, 0, 9)
    await log.outcomes(0, 0, 9)
    await log.close()
    paged = [sql for sql in asked if "LIMIT 9" in sql]
    assert len(paged) == 3
    with closing(sqlite3.Connection(tmp_path / "m.db")) as database:
        for sql in paged:
            plan = database.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()
            assert [step[-1] for step in plan] == [plan[0][-1]], plan
            assert "INTEGER PRIMARY KEY" in plan[0][-1]


@story
async def test_a_stream_is_found_whole_by_its_name_or_by_its_id(tmp_path: Path) -> None:
    """`log show ID` needs no tenant; an id that is the end of another's does not match."""
    log = SqliteLog(tmp_path / "m.db", Clock())
    await log.take(0)
    await log.commit(
        0, transaction(1, facts=(fact(0), fact(0, stream="acme/memory/11"), fact(1), fact(0, stream="b/memory/1")))
    )
    assert [r.key for r in await log.stream(STREAM)] == [f"{STREAM}@0", f"{STREAM}@1"]
    assert [r.key for r in await log.stream("1")] == [f"{STREAM}@0", f"{STREAM}@1", "b/memory/1@0"]
    assert await log.stream("acme") == []
    await log.close()


SECRETS = (b"tiny-secret", b"large-secret " * 40_000)


@pytest.mark.parametrize("secret", SECRETS, ids=["on one page", "on many pages"])
@story
async def test_what_was_erased_is_in_no_file_of_the_folder(tmp_path: Path, secret: bytes) -> None:
    """After the erasing commit and `scrub`, with the file still open: not in free pages, not in the write-ahead log."""
    log = SqliteLog(tmp_path / "m.db", Clock())
    reader = SqliteLog(tmp_path / "m.db", Clock())
    await log.take(0)
    for n in range(40):
        mine = n % 4 == 0
        await log.append(0, [command(f"c{n}", secret if mine else b"kept-text")])
        await log.commit(0, transaction(n + 1, facts=(fact(n, secret if mine else b"kept-text"),)))
    probe = secret[:11]
    assert occurrences(tmp_path, probe)
    assert len(await everything(reader)) == 40
    gone = [n for n in range(40) if n % 4 == 0]
    erasure = transaction(
        40,
        facts=(fact(40),),
        tombstones=tuple(f"{STREAM}@{n}" for n in gone),
        forget=tuple(f"c{n}" for n in gone),
    )
    await log.commit(0, erasure)
    assert await log.scrub()
    assert not occurrences(tmp_path, probe)
    assert occurrences(tmp_path, b"kept-text")
    assert len([r for r in await everything(reader) if r.value is not None]) == 31
    await log.close()
    await reader.close()
    assert not occurrences(tmp_path, probe)


@story
async def test_scrub_says_when_a_reader_kept_it_from_its_work(tmp_path: Path) -> None:
    """A read transaction that is still open may need the write-ahead log; whoever scrubs must come again."""
    log = SqliteLog(tmp_path / "m.db", Clock())
    await log.take(0)
    await log.commit(0, transaction(1, facts=(fact(0, b"top-secret"),)))
    with closing(sqlite3.connect(tmp_path / "m.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM facts").fetchone()
        await log.commit(0, transaction(2, facts=(fact(1),), tombstones=(f"{STREAM}@0",)))
        assert not await log.scrub()
        reader.execute("COMMIT")
        assert await log.scrub()
    assert not occurrences(tmp_path, b"top-secret")
    await log.close()


def occurrences(folder: Path, text: bytes) -> list[str]:
    """Return the files of a folder that hold these bytes."""
    return [path.name for path in folder.iterdir() if text in path.read_bytes()]


@story
async def test_retention_keeps_the_newest_command_and_no_old_outcome(tmp_path: Path) -> None:
    """However old: the position of a quiet log is checked against it."""
    clock = Clock()
    log = SqliteLog(tmp_path / "m.db", clock)
    await log.take(0)
    await log.append(0, [command("a"), command("b")])
    await log.commit(0, transaction(2, control=True, outcomes=(OutcomeRecord("a", b"1"),)))
    await log.expire(clock.now + 1_000_000, clock.now + 1_000_000)
    assert [r.headers["ce_id"] for r in await log.commands(0, 0, 9)] == ["b"]
    assert await log.bounds(0) == (1, 2)
    assert await log.outcome(0, "a") is None
    await log.close()


def test_a_file_that_is_none_of_ours_is_refused_by_name(tmp_path: Path) -> None:
    """Neither noise nor a later format is opened or changed."""
    noise = tmp_path / "noise.db"
    noise.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(Corrupt, match=r"noise\.db cannot be read as a mnemolog database"):
        SqliteLog(noise, Clock())
    assert noise.read_bytes() == b"this is no database at all" * 100
    later = tmp_path / "later.db"
    with closing(sqlite3.connect(later)) as database:
        database.execute("PRAGMA user_version=99")
    with pytest.raises(Corrupt, match=r"later\.db has format 99"):
        SqliteLog(later, Clock())


def test_what_is_handed_on_is_what_the_file_holds(tmp_path: Path) -> None:
    """Whoever decides or projects next in the same process is spared the file, and reads nothing else than it says."""
    clock = Clock()
    log, other = SqliteLog(tmp_path / "m.db", clock), SqliteLog(tmp_path / "m.db", clock)

    async def told() -> None:
        await log.take(0)
        at = 0
        for n, left in enumerate(
            (
                transaction(1, facts=(fact(0), fact(1))),
                transaction(2, facts=(fact(2),), tombstones=(f"{STREAM}@0",)),
                transaction(3, facts=(fact(3), fact(4)), tombstones=(f"{STREAM}@4", f"{STREAM}@1"), control=True),
                transaction(4, facts=(fact(5), fact(6)), tombstones=(f"{STREAM}@5",)),
                transaction(5, control=True),
            )
        ):
            (offset,) = await log.append(0, [command(f"c{n}", b"\x00\xff")])
            assert await log.commands(0, offset, 9) == await other.commands(0, offset, 9) != []
            end = await log.commit(0, left)
            read = await log.facts(0, at, 9)
            assert read == await other.facts(0, at, 9) != []
            assert read == await log.facts(0, at, 9)
            at = end
        await log.close()
        await other.close()

    asyncio.run(told())
