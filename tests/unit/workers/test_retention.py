"""The retention worker over the real core: the seeds' retention section, timers and graces, re-runs and crashes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from mnemolog.domain.codec import Envelope, decode_outcome, encode_command
from mnemolog.domain.errors import Unavailable
from mnemolog.domain.expiry import ExpireRecord
from mnemolog.domain.ids import make_id
from mnemolog.domain.outcomes import Accepted, Outcome, Reason, Rejected
from mnemolog.domain.reads import Filter
from mnemolog.domain.record import START
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command
from mnemolog.domain.times import DAY, SECOND
from mnemolog.domain.usage import UsageRecord, UsageScope, UsageWanted
from projections import names
from projections.due import StoreDue
from projections.projector import Projector
from projections.queries import StoreQueries
from projections.store_memory import MemoryStore
from tests import wishes
from tests.given import NOON
from workers import retention as module
from workers.eraser import proposals
from workers.log_memory import MemoryLog
from workers.retention import USAGE, Report, Retention
from workers.sequencing import Sequencing
from workers.snapshot_memory import MemorySnapshot
from workers.usage_memory import MemoryUsage

pytestmark = pytest.mark.unit
TENANT = "acme"


class Deployment:
    """A log of one partition with a clock of its own, sequenced and projected as it is asked."""

    def __init__(self, rules: Rules | None = None) -> None:
        """Begin empty, at noon."""
        self.rules = rules or Rules()
        self.now = NOON
        self.log = MemoryLog(lambda: self.now, partitions=1)
        self.store = MemoryStore()
        self.usage = MemoryUsage()
        self.queries = StoreQueries(self.store)
        self.sent: list[Envelope] = []
        self.dies_after = 10**9
        snapshot = MemorySnapshot(bytes(32))
        self._sequencing = Sequencing(self.log, lambda: snapshot, self.rules)
        self._projector = Projector(self.log, self.store)
        self._outcomes: dict[str, Outcome] = {}
        asyncio.run(self._sequencing.start())
        self.retention = self.worker()

    def worker(self) -> Retention:
        """Return another worker of this deployment."""
        return Retention(StoreDue(self.store), self.propose, self.rules, bytes, usage=self.usage, rate=1e9)

    def read(self, at: int, tenant: str = TENANT) -> None:
        """Note in the usage log that somebody has read something at an instant."""
        key = make_id(at, 0, tenant.ljust(32).encode(), 0)
        record = UsageRecord(key, tenant, "client/a", "read", UsageScope(), at, at, 1, 1)
        asyncio.run(self.usage.write([record]))

    async def propose(self, envelopes: Sequence[Envelope]) -> Sequence[Outcome]:
        """Have commands decided and projected; or die before, in the middle of a sweep."""
        self.dies_after -= len(envelopes)
        if self.dies_after < 0:
            self.dies_after = 10**9
            raise Unavailable("killed")  # noqa: EM101 -- nobody reads it
        self.sent.extend(envelopes)
        outcomes = []
        for envelope in envelopes:
            await self.log.append(0, [encode_command(envelope)])
            transaction = await self._sequencing.step()
            assert transaction is not None
            outcomes += [decode_outcome(record) for record in transaction.outcomes]
        await self._project()
        return outcomes

    async def _project(self) -> None:
        while await self._projector.step():
            pass

    def say(self, command: Command, *, at: int | None = None, tenant: str = TENANT) -> str:
        """Have a user's command accepted, and return the subject of its first fact."""
        self.now = at if at is not None else self.now + 1_000
        identifier = f"said-{len(self.sent)}"
        slot = slot_of_command(tenant, identifier, command) or 0
        envelope = Envelope(identifier, tenant, "client/sb", slot, len(self.sent).to_bytes(32, "big"), command)
        (outcome,) = asyncio.run(self.propose([envelope]))
        assert isinstance(outcome.result, Accepted), outcome
        return outcome.result.facts[0].subject

    def sweep(self, at: int, worker: Retention | None = None, **fields: Any) -> dict[tuple[str, str], int]:
        """Sweep at an instant, as of then; return what was done."""
        self.now = max(at, self.now)
        return asyncio.run((worker or self.retention).sweep(at, **fields)).done

    def tick(self, at: int) -> Report:
        """Look at timers and graces at an instant."""
        self.now = max(at, self.now)
        return asyncio.run(self.retention.tick(at))

    def erase_on(self) -> None:
        """Let the eraser finish."""

        async def finish() -> None:
            while proposed := proposals(self._sequencing.state, bytes):
                await self.log.append(0, proposed)
                while await self._sequencing.step() is not None:
                    pass
            await self._project()

        asyncio.run(finish())

    def memories(self, tenant: str = TENANT) -> list[str]:
        """Return the texts of the memories that there are."""
        return [row["content"] for row in asyncio.run(self.queries.memories(tenant, Filter(), 0, None))]

    def messages(self) -> list[str]:
        """Return the texts of the messages that there are."""
        return [row["content"] for row in asyncio.run(self.queries.messages(TENANT, Filter(), 0, None))]


@pytest.fixture
def deployment() -> Deployment:
    """Return an empty deployment."""
    return Deployment()


# ---- the seeds' retention section, sentence by sentence -------------------------------------------------------------


def test_cleanup_deletes_by_creation_timestamp(deployment: Deployment) -> None:
    """A change of a record does not give it more time: what counts is when it was created."""
    old = deployment.say(wishes.add_memory("old"), at=NOON)
    deployment.say(wishes.add_memory("young"), at=NOON + 80 * DAY)
    deployment.say(wishes.set_retention(memory_days=90))
    deployment.say(wishes.update_memory(old, content="old, touched"), at=NOON + 85 * DAY)
    assert deployment.sweep(NOON + 91 * DAY) == {(TENANT, "memories"): 1}
    assert deployment.memories() == ["young"]


def test_a_raised_window_gives_more_time(deployment: Deployment) -> None:
    """Raised from 90 to 120, a message created 89 days ago is retained until it is 120 days old."""
    deployment.say(wishes.set_retention(message_days=90), at=NOON - DAY)
    deployment.say(wishes.add_message("89 days"), at=NOON)
    deployment.say(wishes.set_retention(message_days=120), at=NOON + 89 * DAY)
    assert deployment.sweep(NOON + 91 * DAY) == {}
    assert deployment.sweep(NOON + 120 * DAY) == {}
    assert deployment.sweep(NOON + 120 * DAY + 1) == {(TENANT, "messages"): 1}


def test_a_lowered_window_takes_what_is_outside_of_it_at_the_next_sweep(deployment: Deployment) -> None:
    """Reduced from 90 to 30, messages older than 30 days go, also those that were within the 90 of their creation."""
    deployment.say(wishes.set_retention(message_days=90), at=NOON - DAY)
    deployment.say(wishes.add_message("31 days"), at=NOON)
    deployment.say(wishes.add_message("20 days"), at=NOON + 11 * DAY)
    assert deployment.sweep(NOON + 31 * DAY) == {}
    deployment.say(wishes.set_retention(message_days=30))
    assert deployment.sweep(NOON + 31 * DAY + 1) == {(TENANT, "messages"): 1}
    assert deployment.messages() == ["20 days"]


def test_a_decreased_window_is_irreversible(deployment: Deployment) -> None:
    """What a sweep took does not come back with a wider window, nor by building the views from the log again."""
    deployment.say(wishes.add_memory("gone"), at=NOON)
    deployment.say(wishes.set_retention(memory_days=1))
    deployment.sweep(NOON + 2 * DAY)
    deployment.say(wishes.set_retention(memory_days=None))
    again = MemoryStore()

    async def rebuild() -> None:
        projector = Projector(deployment.log, again)
        while await projector.step():
            pass

    asyncio.run(rebuild())
    assert deployment.memories() == []
    assert asyncio.run(StoreQueries(again).memories(TENANT, Filter(), 0, None)) == []


def test_zero_marks_everything_of_its_category_for_the_next_sweep(deployment: Deployment) -> None:
    """Also what was created this minute; nothing of another category, and nothing before the sweep."""
    deployment.say(wishes.add_memory("now"))
    deployment.say(wishes.add_message("now"))
    deployment.say(wishes.set_retention(memory_days=0))
    assert deployment.memories() == ["now"]
    assert deployment.sweep(deployment.now + 1) == {(TENANT, "memories"): 1}
    assert (deployment.memories(), deployment.messages()) == ([], ["now"])


def test_null_switches_a_category_off(deployment: Deployment) -> None:
    """From the start, and again later."""
    deployment.say(wishes.add_memory("kept"))
    assert deployment.sweep(NOON + 10_000 * DAY) == {}
    deployment.say(wishes.set_retention(memory_days=0))
    deployment.say(wishes.set_retention(memory_days=None))
    assert deployment.sweep(deployment.now + DAY) == {}


def test_an_omitted_field_stays(deployment: Deployment) -> None:
    """A partial update changes what it names."""
    deployment.say(wishes.add_message("old"))
    deployment.say(wishes.set_retention(message_days=0))
    deployment.say(wishes.set_retention(memory_days=90))
    assert deployment.sweep(deployment.now + 1) == {(TENANT, "messages"): 1}


def test_usage_logs_are_kept_by_the_same_sentences(deployment: Deployment) -> None:
    """From the first read of a record on: a raised window, a lowered one, null, an omitted field, another tenant's."""
    swept = {(TENANT, USAGE): 1}
    for day in (0, 11):
        deployment.read(NOON + day * DAY)
    deployment.read(NOON, "bolt")
    deployment.say(wishes.set_retention(usage_log_days=90))
    assert deployment.sweep(NOON + 31 * DAY) == {}
    deployment.say(wishes.set_retention(usage_log_days=30))
    deployment.say(wishes.set_retention(memory_days=1))
    deployment.say(wishes.set_retention(usage_log_days=None))
    assert deployment.sweep(NOON + 32 * DAY) == {}
    deployment.say(wishes.set_retention(usage_log_days=30))
    assert asyncio.run(deployment.retention.preview(NOON + 32 * DAY)) == {**swept, (TENANT, "memories"): 0}
    assert deployment.sweep(NOON + 32 * DAY) == swept
    deployment.say(wishes.set_retention(usage_log_days=120))
    assert deployment.sweep(NOON + 119 * DAY) == {}
    deployment.say(wishes.set_retention(usage_log_days=0))
    assert deployment.sweep(NOON + 119 * DAY, tenant="bolt") == {}
    assert deployment.sweep(NOON + 119 * DAY) == swept
    assert asyncio.run(deployment.usage.count(UsageWanted())) == 1


def test_guarantee_8_a_policy_is_one_tenants(deployment: Deployment) -> None:
    """Another tenant's records stay; and a sweep can be asked for of one tenant alone."""
    for tenant in (TENANT, "acme/sub", "bolt"):
        deployment.say(wishes.add_memory(tenant), tenant=tenant)
    for tenant in (TENANT, "acme/sub"):
        deployment.say(wishes.set_retention(memory_days=0), tenant=tenant)
    at = deployment.now + 1
    assert deployment.sweep(at, tenant="bolt") == {}
    assert deployment.sweep(at, tenant="acme/sub") == {("acme/sub", "memories"): 1}
    assert deployment.sweep(at) == {(TENANT, "memories"): 1}
    assert deployment.memories("bolt") == ["bolt"]


# ---- how it goes -----------------------------------------------------------------------------------------------------


def filled(deployment: Deployment, count: int) -> int:
    """Add memories, all of them due, with a policy; return an instant after."""
    for n in range(count):
        deployment.say(wishes.add_memory(f"text {n}", invoker=f"i{n % 3}"))
    deployment.say(wishes.set_retention(memory_days=0))
    return deployment.now + 1


def test_a_sweep_that_was_killed_is_finished_by_the_next(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In any place: the next one, by another worker, goes on with what is left, and the end is the same."""
    monkeypatch.setattr(module, "BATCH", 4)
    at = filled(deployment, 10)
    deployment.dies_after = 5
    with pytest.raises(Unavailable):
        deployment.sweep(at)
    assert len(deployment.memories()) == 6
    assert deployment.sweep(at, deployment.worker()) == {(TENANT, "memories"): 6}
    assert deployment.sweep(at) == {}


def test_the_same_proposal_is_the_same_command(deployment: Deployment) -> None:
    """Two workers at once propose the same ids; what the second proposes finds nothing to do."""
    at = filled(deployment, 3)
    deployment.sweep(at)
    first = deployment.sent[-3:]
    again = asyncio.run(deployment.propose(first))
    assert len({envelope.id for envelope in first}) == 3
    assert not any(isinstance(outcome.result, Accepted) for outcome in again)


def test_a_policy_that_changes_in_the_middle_is_heeded_with_the_next_batch(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read anew before each; what is on its way by then, at most one more, was proposed under the one before."""
    monkeypatch.setattr(module, "BATCH", 4)
    at = filled(deployment, 20)

    async def interrupted(envelopes: Sequence[Envelope]) -> Sequence[Outcome]:
        outcomes = await deployment.propose(envelopes)
        off = wishes.set_retention(memory_days=None)
        slot = slot_of_command(TENANT, "off", off) or 0
        await deployment.propose([Envelope("off", TENANT, "client/sb", slot, bytes(32), off)])
        return outcomes

    worker = Retention(StoreDue(deployment.store), interrupted, deployment.rules, bytes, rate=1e9)
    done = deployment.sweep(at, worker)[TENANT, "memories"]
    assert 4 <= done <= 8
    assert len(deployment.memories()) == 20 - done


def test_a_batch_is_read_while_the_one_before_is_decided(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two are on their way and never more; none is left out or proposed twice, whenever they are decided."""
    monkeypatch.setattr(module, "BATCH", 4)
    monkeypatch.setattr(module, "_LOOK_AFTER", 12)
    at = filled(deployment, 47)
    sizes: list[int] = []
    flying: list[str] = []

    async def slow(envelopes: Sequence[Envelope]) -> Sequence[Outcome]:
        flying.extend(envelope.id for envelope in envelopes)
        sizes.append(len(flying))
        for _ in range(3 * (len(sizes) % 3)):
            await asyncio.sleep(0)
        outcomes = await deployment.propose(envelopes)
        for envelope in envelopes:
            flying.remove(envelope.id)
        return outcomes

    worker = Retention(StoreDue(deployment.store), slow, deployment.rules, bytes, rate=1e9)
    sent = len(deployment.sent)
    assert deployment.sweep(at, worker) == {(TENANT, "memories"): 47}
    assert deployment.memories() == []
    assert len(deployment.sent) - sent == 47
    assert max(sizes) == 8


def test_what_is_refused_is_proposed_once_and_holds_nothing_up(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays in front of the index; what lies behind it, however much, is done."""
    monkeypatch.setattr(module, "BATCH", 4)
    monkeypatch.setattr(module, "_LOOK_AFTER", 12)
    at = filled(deployment, 40)
    outcomes: list[Outcome] = []
    refused = {row["id"] for _, _, row in asyncio.run(deployment.store.page(0, names.index("memories", TENANT)))[5:20]}

    async def picky(envelopes: Sequence[Envelope]) -> Sequence[Outcome]:
        await asyncio.sleep(0)
        taken = [envelope for envelope in envelopes if _target(envelope) not in refused]
        done = dict(zip((envelope.id for envelope in taken), await deployment.propose(taken), strict=True))
        no = Rejected(Reason.NOT_DUE, "not yet")
        outcomes.extend(done.get(envelope.id) or Outcome(envelope.id, no, START) for envelope in envelopes)
        return outcomes[-len(envelopes) :]

    worker = Retention(StoreDue(deployment.store), picky, deployment.rules, bytes, rate=1e9)
    assert deployment.sweep(at, worker) == {(TENANT, "memories"): 25}
    assert len({outcome.command for outcome in outcomes}) == len(outcomes) == 40


def _target(envelope: Envelope) -> str:
    assert isinstance(envelope.command, ExpireRecord)
    return envelope.command.target.id


def test_a_preview_counts_and_proposes_nothing(deployment: Deployment) -> None:
    """By tenant and category, what a sweep as of then would take."""
    for n in range(20):
        deployment.say(wishes.add_memory(f"text {n}"), at=NOON + n * DAY)
    deployment.say(wishes.set_retention(memory_days=10, message_days=1))
    sent = len(deployment.sent)
    for days, count in ((10, 0), (11, 1), (17, 7), (100, 20)):
        counts = asyncio.run(deployment.retention.preview(NOON + days * DAY))
        assert counts == {(TENANT, "memories"): count, (TENANT, "messages"): 0}
    assert asyncio.run(deployment.retention.preview(NOON, "bolt")) == {}
    assert len(deployment.sent) == sent


def test_what_an_erasure_hides_is_passed_over(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays in the index until the eraser has taken it, and holds nothing up."""
    monkeypatch.setattr(module, "BATCH", 2)
    at = filled(deployment, 9)
    deployment.say(wishes.erase_owner(invoker="i0"))
    assert deployment.sweep(at) == {(TENANT, "memories"): 6}
    assert deployment.memories() == []
    deployment.erase_on()
    assert asyncio.run(deployment.retention.preview(at)) == {(TENANT, "memories"): 0}


# ---- timers and graces -----------------------------------------------------------------------------------------------


def session(deployment: Deployment, *strategies: dict[str, Any]) -> tuple[str, str]:
    """Open a space with a session of one event; return both ids."""
    space = deployment.say(wishes.create_space())
    identifier = deployment.say(wishes.create_session(space, lifecycle_strategies=list(strategies)))
    deployment.say(wishes.append_events(space, identifier))
    return space, identifier


def test_due_sessions_are_hidden_and_after_the_grace_erased() -> None:
    """By the tick that comes after: first the strategy, then, so much later, the content; with nothing left to do."""
    deployment = Deployment(Rules(grace=3_600))
    session(deployment, {"type": "soft_delete", "trigger": {"ttl": 60}})
    begun = deployment.now
    assert deployment.tick(begun + 50 * SECOND).done == {}
    assert deployment.tick(begun + 70 * SECOND).done == {(TENANT, "soft_delete"): 1}
    assert deployment.tick(begun + 3_600 * SECOND).done == {}
    assert deployment.tick(begun + 3_671 * SECOND).done == {(TENANT, "erased session"): 1}
    assert deployment.tick(begun + 9_999 * SECOND).done == {}


def test_an_idle_session_is_put_off_and_looked_at_again_only_then(deployment: Deployment) -> None:
    """One fact for each time that it was due, whatever number of events there were."""
    space, identifier = session(deployment, {"type": "soft_delete", "trigger": {"idle": 60}})
    begun = deployment.now
    for n in range(5):
        deployment.say(wishes.append_events(space, identifier), at=begun + n * 10 * SECOND)
    sent = len(deployment.sent)
    assert deployment.tick(begun + 70 * SECOND).done == {(TENANT, "soft_delete"): 1}
    assert deployment.tick(begun + 80 * SECOND).done == {}
    assert len(deployment.sent) == sent + 1
    deployment.tick(begun + 101 * SECOND)
    assert asyncio.run(deployment.queries.session(TENANT, space, identifier)) is None


def test_deleted_events_and_spaces_are_erased_after_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A space with all that is in it, in ranges."""
    monkeypatch.setattr("mnemolog.domain.erasure.ERASE_LIMIT", 2)
    deployment = Deployment(Rules(grace=60))
    space, identifier = session(deployment, {"type": "extract_memories", "trigger": {"ttl": 9_999}})
    deployment.say(wishes.append_events(space, identifier, wishes.event("a"), wishes.event("b")))
    deployment.say(wishes.delete_event(space, identifier, 0))
    assert deployment.tick(deployment.now + 61 * SECOND).done == {(TENANT, "erased event"): 1}
    deployment.say(wishes.delete_space(space))
    assert deployment.tick(deployment.now + 59 * SECOND).done == {}
    assert deployment.tick(deployment.now + 61 * SECOND).done == {(TENANT, "erased space"): 1}
    deployment.erase_on()
    assert deployment.store.all_rows[0] == {}
