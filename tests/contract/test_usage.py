"""The contract of the port `Usage`, run against every adapter: in memory, in the embedded file, on Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from mnemolog.domain.ids import make_id
from mnemolog.domain.usage import Usage, UsageRecord, UsageScope, UsageWanted, slot_of_scope
from workers.usage_kafka import KafkaUsage
from workers.usage_memory import MemoryUsage
from workers.usage_sqlite import SqliteUsage

pytestmark = pytest.mark.contract
NOON = 1_795_003_200_000_000
SESSION = make_id(NOON, 77, bytes(32), 0)
ANN = UsageScope("bot", "ann")
T = TypeVar("T")
Opened = Callable[[], Usage]


@pytest.fixture(params=["memory", "sqlite", "kafka"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Return how to open one usage log, again and again where it outlives its opener."""
    match request.param:
        case "memory":
            one = MemoryUsage()
            return lambda: one
        case "sqlite":
            return lambda: SqliteUsage(tmp_path / "mnemolog.db")
        case _:
            topics = request.getfixturevalue("kafka").topics(4)
            return lambda: KafkaUsage(topics)


def used(n: int, scope: UsageScope = ANN, tenant: str = "acme", calls: int = 1, actor: str = "client/a") -> UsageRecord:
    """Return the n-th record, begun n seconds past noon."""
    at = NOON + n * 1_000_000
    key = make_id(at, slot_of_scope(tenant, scope), n.to_bytes(32, "big"), 0)
    return UsageRecord(key, tenant, actor, "search", scope, at, at + calls, calls, 3 * calls)


def run(opened: Opened, work: Callable[[Usage], Awaitable[T]]) -> T:
    """Open the log, work with it, close it."""

    async def whole() -> T:
        usage = opened()
        try:
            return await work(usage)
        finally:
            await usage.close()

    return asyncio.run(whole())


def test_what_is_written_is_read_and_the_newest_wins(opened: Opened) -> None:
    """Under one key; in the order of time, also after the log was opened anew."""
    first, second = used(1), used(2, UsageScope(), calls=2)
    second = replace(second, queries=("what does Ann like ☕",))

    async def write(usage: Usage) -> None:
        await usage.write([second, first])
        await usage.write([replace(first, calls=9, last=first.last + 9)])

    run(opened, write)
    found = run(opened, lambda usage: usage.records(UsageWanted()))
    assert found == [replace(first, calls=9, last=first.last + 9), second]


def test_only_what_is_wanted_is_told(opened: Opened) -> None:
    """By tenant, owner, one half of him, stream, actor, time; the newest within a limit; counted the same."""
    session = UsageScope(stream=f"session/{SESSION}")
    all_of_them = [
        used(1),
        used(2, UsageScope("bot", "bob")),
        used(3, UsageScope("bot")),
        used(4, session, actor="token/t"),
        used(5, tenant="bolt"),
        used(6),
    ]

    async def ask(usage: Usage) -> None:
        await usage.write(all_of_them)
        for wanted, expected in (
            (UsageWanted("acme"), [1, 2, 3, 4, 6]),
            (UsageWanted("acme", "bot", "ann"), [1, 6]),
            (UsageWanted("acme", invoker="bob"), [2]),
            (UsageWanted("acme", "bot"), [1, 2, 3, 6]),
            (UsageWanted(stream=SESSION), [4]),
            (UsageWanted(stream=f"acme/session/{SESSION}"), [4]),
            (UsageWanted(actor="token/t"), [4]),
            (UsageWanted("acme", since=used(2).first, before=used(4).first), [2, 3]),
            (UsageWanted("acme", "bot", "nobody"), []),
        ):
            found = await usage.records(wanted)
            assert [(r.first - NOON) // 1_000_000 for r in found] == expected, wanted
            assert await usage.count(wanted) == len(expected)
        assert await usage.records(UsageWanted("acme"), 2) == [all_of_them[3], all_of_them[5]]

    run(opened, ask)


def test_what_is_removed_is_gone(opened: Opened) -> None:
    """However much it is, and nothing else; removing it again removes nothing."""

    async def remove(usage: Usage) -> None:
        await usage.write([used(n) for n in range(450)])
        await usage.write([used(1_000), used(1_001, UsageScope("bot", "bob"))])
        assert await usage.remove(UsageWanted("acme", "bot", "ann", before=used(450).first)) == 450
        assert await usage.remove(UsageWanted("acme", "bot", "ann", before=used(450).first)) == 0

    run(opened, remove)
    left = run(opened, lambda usage: usage.records(UsageWanted()))
    assert left == [used(1_000), used(1_001, UsageScope("bot", "bob"))]


def test_removed_records_leave_no_byte_in_the_embedded_file(tmp_path: Path) -> None:
    """Once the write-ahead log is folded in, which closing does."""
    file = tmp_path / "mnemolog.db"
    name = "a-name-nobody-has"

    async def work(usage: Usage) -> int:
        await usage.write([used(n, UsageScope("bot", name)) for n in range(300)])
        return await usage.remove(UsageWanted("acme", "bot", name))

    assert run(lambda: SqliteUsage(file), work) == 300
    left = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert name.encode() not in left


def test_a_record_of_another_kind_is_passed_over_on_kafka(kafka: object) -> None:
    """The marks that keep quiet partitions cleaned, and what a stranger wrote."""
    topics = kafka.topics(2)  # type: ignore[attr-defined]

    async def work(usage: Usage) -> None:
        assert isinstance(usage, KafkaUsage)
        await usage.mark()
        await usage._send([(0, b"\xff", b"no json"), (1, b"k", b"[]")])
        await usage.write([used(1)])
        await usage.mark()
        assert await usage.records(UsageWanted()) == [used(1)]

    run(lambda: KafkaUsage(topics), work)
