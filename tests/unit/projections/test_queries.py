"""Queries over four partitions answer as over one: the same rows in the same order, counts that are sums."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from typing import Any

import pytest

from mnemolog.domain.codec import Envelope, decode_fact, encode_command
from mnemolog.domain.ids import partition_of
from mnemolog.domain.message import message_of
from mnemolog.domain.ports import Match
from mnemolog.domain.reads import EventFilter, Filter, SessionFilter
from mnemolog.domain.record import Position
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command
from mnemolog.domain.streams import kind_of, own_id
from projections.projector import Projector
from projections.queries import StoreQueries
from projections.store_memory import MemoryStore
from tests import wishes
from workers.log_memory import MemoryLog
from workers.sequencing import Sequencing
from workers.snapshot_memory import MemorySnapshot

pytestmark = pytest.mark.unit

AGENTS, INVOKERS, GROUPS = ("bot", "cat"), ("ann", "bob", "cyd", "dan"), ("g1", "g2")


class Deployment:
    """A log and its views in so many partitions; each command has the same time in every deployment.

    With `ties`, some commands come at the same time, which only several partitions can tell.
    """

    def __init__(self, partitions: int, *, ties: bool) -> None:
        """Start empty."""
        self.n = partitions
        self.ties = ties
        self.now = 1_000_000
        self.said = 0
        self.log = MemoryLog(lambda: self.now, partitions=partitions)
        self.store = MemoryStore()
        self.queries = StoreQueries(self.store, partitions)
        self.ids: dict[str, list[str]] = defaultdict(list)
        self.workers: dict[int, tuple[Sequencing, Projector]] = {}

    async def say(self, command: Command, tenant: str = "acme") -> None:
        """Have a command decided and projected."""
        self.said += 1
        self.now += 0 if self.ties and self.said % 3 else 10
        slot = slot_of_command(tenant, f"c{self.said}", command) or 0
        where = partition_of(slot, self.n)
        secret = self.said.to_bytes(32, "big")
        record = encode_command(Envelope(f"c{self.said}", tenant, "client/x", slot, secret, command))
        await self.log.append(where, [record])
        if where not in self.workers:
            made = Sequencing(self.log.again(), lambda: MemorySnapshot(b"k" * 32), Rules(), where, self.n)
            await made.start()
            self.workers[where] = made, Projector(self.log, self.store, where)
        sequencing, projector = self.workers[where]
        done = await sequencing.step()
        assert done is not None
        for fact in map(decode_fact, done.facts):
            self.ids[kind_of(fact.stream)].append(own_id(fact.stream))
            self.ids[fact.subject.partition("/")[0]].append(message_of(fact.subject))
        while await projector.step():
            pass


async def filled(partitions: int, *, ties: bool = False) -> Deployment:
    """Return a deployment in which much has been said."""
    dice = random.Random(5)
    here = Deployment(partitions, ties=ties)
    for n in range(120):
        owner = {"agent": dice.choice(AGENTS), "invoker": dice.choice(INVOKERS)}
        text = f"{'tea' if n % 3 else 'Tea'} {n} 100%"
        tenant = "acme" if n % 5 else "bolt"
        if n % 2:
            await here.say(wishes.add_memory(text, metadata={"n": n} if n % 7 else None, **owner), tenant)
        else:
            role = dice.choice(["USER", "TOOL"])
            await here.say(wishes.add_message(text, group=dice.choice(GROUPS), role=role, **owner), tenant)
    for user in ("u1", "u2"):
        for n in range(12):
            await here.say(wishes.create_space(user, deduplication_key=f"k{n}" if n % 2 else None))
    for memory in here.ids["memory"][::9]:
        await here.say(wishes.delete_memory(memory))
    for n in range(3):
        await here.say(wishes.create_client(f"client{n}"), f"t{n}")
    space = here.ids["space"][0]
    for n in range(5):
        await here.say(
            wishes.create_session(space, description=f"Talk {n}", deduplication_key=f"s{n}", participants=[f"p{n % 2}"])
        )
    session = here.ids["session"][0]
    for n in range(9):
        await here.say(wishes.append_events(space, session, wishes.event(f"e{n}", by="p0", type=f"t{n % 2}")))
    await here.say(wishes.delete_event(space, session, 4))
    return here


@pytest.fixture(scope="module")
def both() -> tuple[Deployment, Deployment]:
    """Return the same story in one partition and in four."""
    one, four = asyncio.run(filled(1)), asyncio.run(filled(4))
    assert len(four.workers) == 4
    return one, four


CONTAINS = ((), (Match("content", "tea"),), (Match("content", "100%"), Match("metadata", '"n":3')))
FILTERS = [
    Filter(agent, invoker, group, role, contains)
    for agent in (None, *AGENTS)
    for invoker in (None, "ann", "nobody")
    for group in (None, "g1")
    for role in (None, "TOOL")
    for contains in CONTAINS
]


async def asked(here: Deployment, what: str, wanted: Filter) -> list[Any]:
    """Return a list, after having read it in pages as well, and counted it."""
    listed, count = getattr(here.queries, what), getattr(here.queries, f"count_{what}")
    whole = [dict(row) for row in await listed("acme", wanted, 0, None)]
    pages = [dict(row) for skip in range(0, len(whole) + 7, 7) for row in await listed("acme", wanted, skip, 7)]
    assert pages == whole
    assert await count("acme", wanted) == len(whole)
    assert await listed("acme", wanted, 3, 0) == []
    assert whole == sorted(whole, key=lambda row: (row["created"], row["id"]))
    return whole


@pytest.mark.parametrize("what", ["memories", "messages"])
def test_lists_and_counts_are_the_same_over_one_partition_and_over_four(
    what: str, both: tuple[Deployment, Deployment]
) -> None:
    """Every filter, whole and in pages: by time of creation, then id; the pages together are the list."""

    async def compared() -> int:
        total = 0
        for wanted in FILTERS:
            if what == "memories" and (wanted.group or wanted.role):
                continue
            one, four = [await asked(here, what, wanted) for here in both]
            assert one == four, wanted
            for row in one:
                assert wanted.agent in {None, row["agent"]}
                assert wanted.invoker in {None, row["invoker"]}
                assert wanted.group in {None, row.get("group")}
                assert wanted.role in {None, row.get("role")}
                assert all(match.text in (row[match.field] or "") for match in wanted.contains)
            total += len(one)
        return total

    assert asyncio.run(compared()) > 100


@pytest.mark.parametrize("what", ["memories", "messages"])
def test_equal_times_in_several_partitions_are_told_apart_by_id(what: str) -> None:
    """So pages neither repeat nor leave out a row."""

    async def compared() -> None:
        here = await filled(4, ties=True)
        rows = await asked(here, what, Filter())
        assert len({row["created"] for row in rows}) < len(rows) == len({row["id"] for row in rows})

    asyncio.run(compared())


def test_what_was_erased_is_in_no_list_and_no_count(both: tuple[Deployment, Deployment]) -> None:
    """Of any filter, in any partition."""

    async def asked(here: Deployment) -> None:
        gone = set(here.ids["memory"][:60:9])
        listed = await here.queries.memories("acme", Filter(), 0, None)
        assert gone
        assert not gone & {row["id"] for row in listed}
        for identifier in gone:
            assert await here.queries.memory("acme", identifier) is None

    for here in both:
        asyncio.run(asked(here))


def test_everything_is_found_by_its_id_in_its_tenant_only(both: tuple[Deployment, Deployment]) -> None:
    """A foreign tenant's id, another user's space, or no id at all: nothing."""

    async def asked(here: Deployment) -> None:
        queries = here.queries
        for row in await queries.memories("acme", Filter(), 0, None):
            assert await queries.memory("acme", row["id"]) == row
            assert await queries.memory("bolt", row["id"]) is None
        for message in await queries.messages("bolt", Filter(), 0, None):
            assert await queries.message("bolt", message["id"]) == message
            assert await queries.message("acme", message["id"]) is None
        space = here.ids["space"][0]
        found = await queries.space("acme", "u1", space)
        assert found is not None
        assert found["id"] == space
        assert await queries.space("acme", "u2", space) is None
        assert await queries.space("bolt", "u1", space) is None
        for wrong in ("", "x", "00000000-0000-4000-8000-000000000000", here.ids["group"][0]):
            assert await queries.memory("acme", wrong) is None
            assert await queries.space("acme", "u1", wrong) is None
            assert (await queries.events("acme", wrong, EventFilter())).total == 0
            assert (await queries.sessions("acme", wrong, SessionFilter(), 0, 9)).total == 0

    for here in both:
        asyncio.run(asked(here))


def test_spaces_are_listed_over_all_partitions(both: tuple[Deployment, Deployment]) -> None:
    """A user's own, in order of creation, with their total; by key, the one that has it."""

    async def asked(here: Deployment) -> list[Any]:
        answers: list[Any] = []
        for user in ("u1", "u2", "u3"):
            whole = await here.queries.spaces("acme", user, None, 0, 100)
            pages = [await here.queries.spaces("acme", user, None, skip, 5) for skip in (0, 5, 10)]
            assert [row for page in pages for row in page.items] == list(whole.items)
            assert {page.total for page in pages} == {whole.total} == {0 if user == "u3" else 12}
            keyed = await here.queries.spaces("acme", user, "k3", 0, 100)
            assert keyed.total == len(keyed.items) == (0 if user == "u3" else 1)
            answers += [[row["created"] for row in whole.items], [row["deduplication_key"] for row in keyed.items]]
        return answers

    one, four = [asyncio.run(asked(here)) for here in both]
    assert one == four


def test_sessions_and_events_are_read_in_their_spaces_partition(both: tuple[Deployment, Deployment]) -> None:
    """Filters, last n, types; a page says how many there are."""

    async def asked(here: Deployment) -> None:
        queries, space, session = here.queries, here.ids["space"][0], here.ids["session"][0]

        async def listed(wanted: SessionFilter, skip: int = 0, limit: int = 100) -> tuple[list[str | None], int]:
            page = await queries.sessions("acme", space, wanted, skip, limit)
            return [row["description"] for row in page.items], page.total

        assert await listed(SessionFilter()) == ([f"Talk {n}" for n in range(5)], 5)
        assert await listed(SessionFilter(), 1, 2) == (["Talk 1", "Talk 2"], 5)
        assert await listed(SessionFilter(("p1",))) == (["Talk 1", "Talk 3"], 2)
        assert await listed(SessionFilter(("p1", "p0")), 4, 9) == (["Talk 4"], 5)
        assert await listed(SessionFilter(description="tALK 3")) == (["Talk 3"], 1)
        assert await listed(SessionFilter(deduplication_key="s2")) == (["Talk 2"], 1)
        assert await listed(SessionFilter(("p1",), "talk", "s2")) == ([], 0)

        async def events(wanted: EventFilter) -> tuple[list[int], int]:
            page = await queries.events("acme", session, wanted)
            return [row["sequence"] for row in page.items], page.total

        left = [0, 1, 2, 3, 5, 6, 7, 8]
        assert await events(EventFilter()) == (left, 8)
        assert await events(EventFilter(skip=2, limit=3)) == ([2, 3, 5], 8)
        assert await events(EventFilter(last=3)) == ([6, 7, 8], 8)
        assert await events(EventFilter("t0")) == ([0, 2, 6, 8], 4)
        assert await events(EventFilter("t0", last=2)) == ([6, 8], 4)
        assert await events(EventFilter("none")) == ([], 0)
        rows = await queries.event_rows("acme", session, [8, 4, 0, 99])
        assert [row and row["sequence"] for row in rows] == [8, None, 0, None]

    for here in both:
        asyncio.run(asked(here))


def test_credentials_and_policies_are_found_wherever_they_lie(both: tuple[Deployment, Deployment]) -> None:
    """A client by its id over all tenants, a policy also where none was ever set."""

    async def asked(here: Deployment) -> None:
        found = [row["tenant"] for n in range(3) for row in await here.queries.clients(f"client{n}")]
        assert found == ["t0", "t1", "t2"]
        assert await here.queries.clients("client9") == []
        assert len(await here.queries.all_clients()) == 3
        assert await here.queries.token("ab" * 32) is None
        assert set((await here.queries.policy("t0")).values()) == {None}

    for here in both:
        asyncio.run(asked(here))


def test_a_reader_knows_whether_a_position_is_in_what_he_reads(both: tuple[Deployment, Deployment]) -> None:
    """Each partition by its own checkpoint; a store that was lost has reached nothing."""

    async def asked(here: Deployment) -> None:
        for where, (sequencing, _) in here.workers.items():
            position = sequencing.state.position
            assert await here.queries.reached(position, where)
            assert not await here.queries.reached(Position(position.epoch, position.offset + 1), where)
        assert not await StoreQueries(MemoryStore(), here.n).reached(Position(0, 0), 0)

    for here in both:
        asyncio.run(asked(here))
