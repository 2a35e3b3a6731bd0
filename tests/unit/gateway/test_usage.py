"""The usage log at the face: who reads what is counted, in bounded memory, and auditors see it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from mnemolog.domain.ids import slot_in, slot_of
from mnemolog.domain.times import to_text
from mnemolog.domain.usage import HOUR, UsageRecord, UsageScope, UsageWanted
from mnemolog.gateway.usage import Recorder
from tests.unit.gateway.fakes import API_TOKEN, NOW, Server, World, client_row, sha256, token_row
from workers.usage_memory import MemoryUsage

pytestmark = pytest.mark.unit
ANN = UsageScope("bot", "ann")


class Clock:
    """A clock that stands still until it is set."""

    now = NOW // HOUR * HOUR

    def __call__(self) -> int:
        """Return the time."""
        return self.now


def a_recorder(clock: Clock | None = None, **options: Any) -> Recorder:
    """Return a recorder with random bytes of its own kind."""
    given = iter(range(1 << 20))
    return Recorder(clock or Clock(), lambda n: next(given).to_bytes(n, "big"), **options)


def taken(recorder: Recorder) -> Sequence[UsageRecord]:
    """Take what has changed, as written."""
    found = recorder.take()
    recorder.written()
    return found


# ---- the recorder ----------------------------------------------------------------------------------------------------


def test_reads_of_one_kind_are_one_record_that_rolls() -> None:
    """Its counts rise under one key, whose slot is the scope's; another actor, action or scope has one of its own."""
    clock = Clock()
    recorder = a_recorder(clock)
    recorder.used("acme", "client/a", "search", ANN, 2)
    (before,) = taken(recorder)
    clock.now += 7
    recorder.used("acme", "client/a", "search", ANN, 3)
    (after,) = taken(recorder)
    assert (after.key, after.calls, after.found, after.last - after.first) == (before.key, 2, 5, 7)
    assert slot_in(after.key) == slot_of("acme", "bot", "ann")
    assert taken(recorder) == []
    recorder.used("acme", "client/b", "search", ANN, 0)
    recorder.used("acme", "client/a", "list", ANN, 0)
    recorder.used("acme", "client/a", "search", UsageScope(), 0)
    assert len({record.key for record in taken(recorder)} | {after.key}) == 4


def test_a_new_hour_begins_a_new_record() -> None:
    """And lets go of those whose hour is over once they are written."""
    clock = Clock()
    recorder = a_recorder(clock)
    recorder.used("acme", "a", "read", ANN, 1)
    (old,) = taken(recorder)
    clock.now += HOUR
    recorder.used("acme", "a", "read", ANN, 1)
    (new,) = taken(recorder)
    assert (new.calls, new.key != old.key, new.first - old.first) == (1, True, HOUR)
    clock.now += HOUR
    recorder.used("acme", "a", "list", ANN, 1)
    taken(recorder)
    assert len(recorder._rolling) == 1


def test_memory_is_bounded_and_what_is_dropped_is_counted() -> None:
    """Written records make room, the oldest first; unwritten ones do not, and then new reads are dropped."""
    recorder = a_recorder(most=3)
    for n in range(5):
        recorder.used("acme", f"a{n}", "read", ANN, 1)
    assert (recorder.recorded, recorder.dropped, len(recorder._rolling)) == (3, 2, 3)
    taken(recorder)
    recorder.used("acme", "a9", "read", ANN, 1)
    assert [record.actor for record in taken(recorder)] == ["a9"]
    assert (recorder.dropped, len(recorder._rolling)) == (2, 3)


def test_what_could_not_be_written_is_taken_again() -> None:
    """With its counts of then; nothing of it makes room meanwhile."""
    recorder = a_recorder(most=1)
    recorder.used("acme", "a", "read", ANN, 1)
    recorder.take()
    recorder.used("acme", "b", "read", ANN, 1)
    recorder.unwritten()
    recorder.used("acme", "a", "read", ANN, 1)
    (again,) = taken(recorder)
    assert (again.actor, again.calls, recorder.dropped) == ("a", 2, 1)


def test_texts_of_queries_are_kept_only_where_wanted() -> None:
    """The newest twenty, each once."""
    silent, telling = a_recorder(), a_recorder(queries=True)
    for recorder in (silent, telling):
        for n in (0, 0, *range(25)):
            recorder.used("acme", "a", "search", ANN, 1, f"query {n}")
    assert taken(silent)[0].queries == ()
    assert taken(telling)[0].queries == tuple(f"query {n}" for n in range(5, 25))


def test_what_is_forgotten_is_not_written_again() -> None:
    """The next read of it begins anew."""
    recorder = a_recorder()
    recorder.used("acme", "a", "read", ANN, 1)
    recorder.used("acme", "a", "read", UsageScope("bot", "bob"), 1)
    recorder.forget(UsageWanted("acme", "bot", "ann"))
    assert [record.scope.invoker for record in taken(recorder)] == ["bob"]
    recorder.used("acme", "a", "read", ANN, 1)
    assert [record.calls for record in taken(recorder)] == [1]


# ---- the face --------------------------------------------------------------------------------------------------------


class Kept:
    """A server whose usage log is in memory."""

    def __init__(self, *roles: str) -> None:
        self.usage = MemoryUsage()
        self.recorder = a_recorder()
        world = World()
        world.clients_by_id = {"planner": [client_row(roles=list(roles), tenant="acme")]}
        world.tokens = {sha256(API_TOKEN): token_row("acme") | {"roles": list(roles)}}
        self.server = Server(world, recorder=self.recorder, usage=self.asked)

    async def asked(self, wanted: UsageWanted, limit: int) -> tuple[int, Sequence[UsageRecord]]:
        """Answer an auditor."""
        return await self.usage.count(wanted), await self.usage.records(wanted, limit)

    def counted(self) -> list[tuple[str, UsageScope, int, int]]:
        """Return what was counted since the last time: action, scope, calls, found; and write it."""
        found = taken(self.recorder)
        asyncio.run(self.usage.write(found))
        return [(r.action, r.scope, r.calls, r.found) for r in sorted(found, key=lambda r: r.key)]


def test_reads_and_searches_of_memories_are_counted() -> None:
    """By the owner whose they are; a write is none, and a read of nothing is none."""
    kept = Kept()
    sap = kept.server.sap
    body = {"agentID": "bot", "invokerID": "ann", "content": "Ann likes tea"}
    memory = sap("POST", "/v1/memories", json=body).json()["id"]
    assert kept.counted() == []
    sap("GET", f"/v1/memories({memory})")
    sap("GET", f"/v1/memories({memory})")
    assert kept.counted() == [("read", ANN, 2, 2)]
    sap("GET", "/v1/memories", params={"$filter": "agentID eq 'bot' and invokerID eq 'ann'"})
    assert kept.counted() == [("list", ANN, 1, 1)]
    sap("GET", "/v1/memories", params={"$top": "0", "$count": "true"})
    assert kept.counted() == [("count", UsageScope(), 1, 1)]
    query = {"agentID": "bot", "invokerID": "ann", "query": "what does Ann drink", "threshold": 0.1}
    assert sap("POST", "/v1/memories/search", json=query).status_code == 200
    assert kept.counted() == [("search", ANN, 1, 1)]
    assert sap("GET", "/v1/memories(00000000-0000-8000-8000-000000000000)").status_code == 404
    assert kept.counted() == []


def test_every_audit_read_is_itself_counted() -> None:
    """Histories, states, searches of the past, and the usage log's own."""
    kept = Kept("auditor")
    sap = kept.server.sap
    for path, asked in (
        ("history", {"agentID": "bot", "invokerID": "ann"}),
        ("history", {"command": "c-1"}),
        ("state", {"asOf": to_text(NOW)}),
        ("usage", {}),
    ):
        assert sap("GET", f"/audit/{path}", params=asked).status_code == 200, path
    past = {"agentID": "bot", "invokerID": "ann", "query": "what was it", "asOf": to_text(NOW)}
    assert sap("POST", "/audit/search", json=past).status_code == 200
    found = {(action, scope): calls for action, scope, calls, _ in kept.counted()}
    expected = {("audit", ANN): 2, ("audit", UsageScope()): 2, ("audit", UsageScope(stream="command/c-1")): 1}
    assert found == expected


def test_auditors_see_the_usage_of_their_tenant_only() -> None:
    """By scope, actor and time, the newest within a limit, with the number of all."""
    kept = Kept("auditor")
    for tenant, invoker in (("acme", "ann"), ("acme", "bob"), ("bolt", "ann")):
        kept.recorder.used(tenant, "client/a", "search", UsageScope("bot", invoker), 3, "the text of a query")
    kept.counted()
    answer = kept.server.sap("GET", "/audit/usage").json()
    assert answer["total"] == 2
    assert {record["scope"]["invoker"] for record in answer["records"]} == {"ann", "bob"}
    assert {record["tenant"] for record in answer["records"]} == {"acme"}
    assert "the text of a query" not in str(answer)
    one = kept.server.sap("GET", "/audit/usage", params={"agentID": "bot", "invokerID": "ann"}).json()
    assert one["total"] == 1
    (record,) = one["records"]
    assert (record["actor"], record["action"], record["calls"], record["found"]) == ("client/a", "search", 1, 3)
    assert kept.server.sap("GET", "/audit/usage", params={"before": to_text(0)}).json()["total"] == 0
    limited = kept.server.sap("GET", "/audit/usage", params={"limit": "1"}).json()
    assert (len(limited["records"]), limited["total"]) == (1, 2)
    assert kept.server.sap("GET", "/audit/usage", params={"since": "yesterday"}).status_code == 400


def test_nobody_else_sees_it() -> None:
    """Neither a client nor a token without the role."""
    kept = Kept()
    assert kept.server.sap("GET", "/audit/usage").status_code == 403
    assert kept.recorder.recorded == 0


def test_a_server_without_a_usage_log_says_so() -> None:
    """And counts nothing."""
    world = World()
    world.clients_by_id = {"planner": [client_row(roles=["auditor"], tenant="acme")]}
    assert Server(world).sap("GET", "/audit/usage").status_code == 503
