"""The law of holes (design §6) and determinism, as properties over random histories.

A history is a list of wishes: appends, updates, deletions, erasures, repeats under few idempotency keys, by a few
tenants, owners, users; with a clock that stands still, jumps, and runs backwards. The limits are small, so that ranges,
windows and prunings happen in a dozen commands.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mnemolog.domain import erasure
from mnemolog.domain.codec import Envelope, decode_command, decode_fact, encode_command
from mnemolog.domain.decider import decide
from mnemolog.domain.erasure import in_window
from mnemolog.domain.fact import Fact
from mnemolog.domain.fold import evolve
from mnemolog.domain.memory import MemoryAdded, MemoryDeleted
from mnemolog.domain.message import MessageAdded
from mnemolog.domain.outcomes import Accepted, Rejected
from mnemolog.domain.owner import OwnerErased
from mnemolog.domain.record import CommandRecord, FactRecord, Position
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command
from mnemolog.domain.session import EventDeleted, SessionDeleted
from mnemolog.domain.space import SpaceDeleted
from mnemolog.domain.streams import kind_of, own_id, tenant_of
from tests import wishes
from tests.given import KEY, NOON
from workers.eraser import proposals
from workers.sequencer import Sequencer
from workers.snapshot_memory import MemorySnapshot
from workers.snapshot_sqlite import SqliteSnapshot
from workers.state import State

pytestmark = pytest.mark.unit

TENANTS = ("acme", "acme/sub")
STRATEGIES = [
    {"type": "extract_memories", "trigger": {"eventCount": 2}, "opts": {"softDelete": False}},
    {"type": "soft_delete", "trigger": {"tokenCount": 12}},
    {"type": "soft_delete", "trigger": {"idle": 1}},
    {"type": "extract_memories", "trigger": {"ttl": 1}},
]
SMALL = Rules(window_time=3_000, window_size=3)
PROFILE = settings(max_examples=100, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])

Step = tuple[str, int, int, int, int, int]
OWNED = (
    "add_memory",
    "update_memory",
    "update_memory",
    "delete_memory",
    "add_message",
    "add_message",
    "delete_message",
)
FORGETTING = ("erase_owner", "expire", "expire", "gone", "gone")
SPACED = ("create_space", "create_space", "update_space", "delete_space", "create_session", "create_session")
INSIDE = ("update_session", "delete_session", "append", "append", "append", "change", "change", "delete_event")
LIFECYCLE = ("timer", "timer", "extracted")
ALWAYS = ("erase", "erase", "erase", "eraser", "eraser", "repeat")
KINDS = (*OWNED, *FORGETTING, *SPACED, *LIFECYCLE, *INSIDE, *ALWAYS, "policy", "client", "client")
HIDING = MemoryDeleted | SpaceDeleted | SessionDeleted | EventDeleted | OwnerErased
FOCI = (
    (*OWNED[:4], *ALWAYS),
    (*OWNED, *FORGETTING, *ALWAYS, "eraser", "eraser"),
    (*SPACED, "gone", *ALWAYS),
    (*SPACED[4:], *LIFECYCLE, *INSIDE, *LIFECYCLE, *INSIDE, *ALWAYS, *ALWAYS),
    KINDS,
)
SMALL_INT = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4, 5])
KEY_NUMBER = st.sampled_from([9, 9, 9, 9, 9, 0, 1])
CLOCK = st.sampled_from([0, 1, 500, 500, 1_500, 4_000, -2_000])


def histories(kinds: Sequence[str]) -> st.SearchStrategy[list[Step]]:
    """Draw a history of such wishes."""
    step = st.tuples(st.sampled_from(kinds), SMALL_INT, SMALL_INT, KEY_NUMBER, st.sampled_from([0, 0, 0, 1]), CLOCK)
    return st.lists(step, min_size=8, max_size=30).map(lambda steps: [*opening(kinds), *steps])


def opening(kinds: Sequence[str]) -> list[Step]:
    """Return what must be there for such wishes to have something to be about."""
    known = ("add_memory", "add_message", "create_space", "create_session", "append")
    first = [kind for kind in known if kind in kinds or ("append" in kinds and kind[0] == "c")]
    return [(kind, 0, 2, 9, 0, 500) for kind in first]


STEPS = st.sampled_from(FOCI).flatmap(histories)
LIMITS = st.sampled_from([2, 3, 500])
RULES = st.sampled_from([Rules(), SMALL])


@dataclass
class World:
    """A partition that decides one command at a time, and remembers what was said and left behind."""

    rules: Rules
    state: State = field(default_factory=lambda: State(MemorySnapshot(KEY)))
    said: list[Envelope] = field(default_factory=list)
    log: list[CommandRecord] = field(default_factory=list)
    facts: list[FactRecord] = field(default_factory=list)
    folded: list[Fact] = field(default_factory=list)
    tombstones: set[str] = field(default_factory=set)
    now: int = NOON

    def live(self, steps: Sequence[Step]) -> World:
        """Live through a history."""
        for step in steps:
            self.now += step[5]
            if step[0] == "eraser":
                for record in proposals(self.state, bytes):
                    self.say(decode_command(record))
            else:
                self.say(self.wish(step))
        return self

    def say(self, envelope: Envelope) -> None:
        """Have one command decided."""
        self.said.append(envelope)
        record = encode_command(envelope)
        record = CommandRecord(record.key, record.headers, record.value, len(self.log), self.now)
        self.log.append(record)
        done = Sequencer(self.state, self.rules).sequence([record])
        assert not done.dead_letters
        self.facts.extend(done.facts)
        self.folded.extend(decode_fact(fact) for fact in done.facts)
        self.tombstones.update(done.tombstones)

    def wish(self, step: Step) -> Envelope:
        """Make a command of a step; what it names is chosen among all that ever was."""
        kind, a, b, key, tenant_number, _ = step
        if kind == "repeat" and self.said:
            return self.said[-1 - (6 * a + b) % len(self.said)]
        command, tenant = self.command(kind, a, b, TENANTS[tenant_number])
        count = len(self.said)
        worker = kind in {"erase", "expire", "timer"}
        identifier = f"key-{key}" if key < 4 and not worker else f"command-{count}"
        return envelope(command, tenant, identifier, count, by="worker/eraser" if worker else "client/sb")

    def command(self, kind: str, a: int, b: int, tenant: str) -> tuple[Command, str]:  # noqa: PLR0911 -- a table
        """Return a command and whose it is."""
        owner = {"agent": f"bot-{a // 5}", "invoker": "ann"}
        match kind:
            case "add_memory":
                return wishes.add_memory(f"text {b % 2}", **owner), tenant
            case "update_memory" | "delete_memory":
                tenant, memory = self.pick("memory", a, tenant)
                wish = (
                    wishes.delete_memory(memory)
                    if kind[0] == "d"
                    else wishes.update_memory(memory, content="x" * (b + 1))
                )
                return wish, tenant
            case "add_message":
                return wishes.add_message(f"text {b % 2}", group=f"chat-{b % 2}", **owner), tenant
            case "delete_message":
                messages = [f for f in self.folded if f.subject.startswith("message/")]
                if not messages:
                    return wishes.delete_message(_NOBODY), tenant
                chosen = messages[-1 - (6 * a + b) % len(messages)]
                return wishes.delete_message(chosen.subject.removeprefix("message/")), chosen.tenant
            case "create_space":
                named = {"deduplication_key": f"dedup-{b}"} if b < 2 else {}
                return wishes.create_space(f"u{a // 5}", **named), tenant
            case "update_space" | "delete_space":
                tenant, space = self.pick("space", a, tenant)
                if kind == "delete_space":
                    return wishes.delete_space(space, "u0"), tenant
                return wishes.update_space(space, "u0", description="new"), tenant
            case "create_session":
                tenant, space = self.pick("space", a, tenant)
                fields: dict[str, Any] = {"deduplication_key": f"dedup-{b}"} if b < 2 else {}
                if b % 2 == 0:
                    fields["lifecycle_strategies"] = STRATEGIES[: 1 + a % 4]
                return wishes.create_session(space, self.user(tenant, space), **fields), tenant
            case "erase_owner" | "expire" | "gone":
                return self.forget(kind, a, b, tenant)
            case "policy":
                return wishes.set_retention(memory_days=a), tenant
            case "client":
                client = f"client-{a % 2}"
                return wishes.create_client(client) if b % 2 else wishes.revoke_client(client), tenant
            case "erase":
                return self.erase(a, b, tenant)
            case _:
                return self.session_command(kind, a, b, tenant)

    def forget(self, kind: str, a: int, b: int, tenant: str) -> tuple[Command, str]:
        """Return a command of those that take what readers see."""
        if kind == "erase_owner":
            return wishes.erase_owner(agent=f"bot-{a // 5}"), tenant
        if kind == "gone":
            kinds: tuple[Any, ...] = ("memory", "session", "space")
            tenant, identifier = self.pick(kinds[b % 3], a, tenant)
            return wishes.erase(kinds[b % 3], identifier), tenant
        records = [f for f in self.folded if isinstance(f.payload, MemoryAdded | MessageAdded)]
        if not records:
            return wishes.expire("memory", _NOBODY, self.now), tenant
        fact = records[-1 - (6 * a + b) % len(records)]
        sort: Any = "memory" if isinstance(fact.payload, MemoryAdded) else "message"
        return wishes.expire(sort, fact.subject.removeprefix("message/"), self.now - 500 * b), fact.tenant

    def session_command(self, kind: str, a: int, b: int, tenant: str) -> tuple[Command, str]:
        """Return a command to a session."""
        tenant, session = self.pick("session", a // 3, tenant)
        created = next((f for f in self.folded if own_id(f.stream) == session and f.version == 0), None)
        space = created.payload.space if created else session  # type: ignore[attr-defined]
        where = {"space": space, "session": session, "user": self.user(tenant, space)}
        match kind:
            case "update_session":
                return wishes.update_session(**where, version=b or None, description="new"), tenant
            case "delete_session":
                return wishes.delete_session(**where), tenant
            case "timer":
                timer: Any = ("soft_delete", "extract_memories")[b % 2]
                return wishes.execute(session, timer, self.now + 1_000_000 * (a - 2)), tenant
            case "extracted":
                return wishes.complete_extraction(**where), tenant
            case "append":
                events = [wishes.event(f"text {n}") for n in range(1 + b % 3)]
                return wishes.append_events(space, session, *events, user=where["user"]), tenant
            case "change":
                changes = [wishes.change(n, "x" * (a + 1)) for n in {b % 3, a % 3}]
                return wishes.update_events(space, session, *changes, user=where["user"]), tenant
            case _:
                return wishes.delete_event(**where, sequence=b % 3), tenant

    def erase(self, a: int, b: int, tenant: str) -> tuple[Command, str]:
        """Return a range to take: of what is hidden, the newest for 0; seldom of anything else, whole or one entry."""
        hidden = [f for f in self.folded if isinstance(f.payload, HIDING)]
        if hidden and b < 4:
            fact = hidden[-1 - a % len(hidden)]
            entry = fact.subject if fact.subject.startswith("event/") else None
            kind = "contents" if kind_of(fact.stream) == "space" and a % 2 else kind_of(fact.stream)
            return wishes.erase_range(kind, own_id(fact.stream), entry), fact.tenant  # type: ignore[arg-type]
        names = [f.stream for f in self.folded if kind_of(f.stream) in {"memory", "session", "space"}]
        if not names:
            return wishes.erase_range("memory", _NOBODY), tenant
        name = list(dict.fromkeys(names))[-1 - a % len(set(names))]
        entry = f"event/{b - 4}" if kind_of(name) == "session" else None
        return wishes.erase_range(kind_of(name), own_id(name), entry), tenant_of(name)  # type: ignore[arg-type]

    def pick(self, kind: str, nth: int, tenant: str) -> tuple[str, str]:
        """Return the tenant and id of a stream of this kind, the newest for 0."""
        names = list(dict.fromkeys(f.stream for f in self.folded if kind_of(f.stream) == kind))
        if not names:
            return tenant, _NOBODY
        name = names[-1 - nth % len(names)]
        return tenant_of(name), own_id(name)

    def user(self, tenant: str, space: str) -> str:
        """Return whose a space is."""
        name = f"{tenant}/space/{space}"
        return next((f.payload.user for f in self.folded if f.stream == name and f.version == 0), "u0")  # type: ignore[attr-defined]


_NOBODY = "01a1ee56-5e7b-82f6-9107-b841a9b0cc2c"


def envelope(command: Command, tenant: str, identifier: str, n: int, by: str = "client/sb") -> Envelope:
    """Wrap a command."""
    secret = hashlib.sha256(f"secret {n}".encode()).digest()
    slot = slot_of_command(tenant, identifier, command) or 0
    return Envelope(identifier, tenant, by, slot, secret, command)


def fold(records: Sequence[FactRecord], state: State) -> State:
    """Fold records as a replay does."""
    for record in records:
        fact = decode_fact(record)
        state.apply(evolve(state, fact))
        source = Position(fact.source.epoch, fact.source.offset + 1)
        if source > state.position:
            state.position, state.last_command = source, fact.command
    return state


def logical(world: World, state: State) -> dict[str, Any]:
    """Return all that decisions can see, by asking for everything that ever was."""
    facts, rules = world.folded, world.rules
    streams = {f.stream for f in facts}
    marks = {
        mark
        for tenant in TENANTS
        for user in ("u0", "u1")
        for key in ("dedup-0", "dedup-1")
        for mark in (state.mark("space", tenant, user, key),)
    }
    marks |= {
        state.mark("session", own_id(name), key) for name in streams if kind_of(name) == "space"
        for key in ("dedup-0", "dedup-1")
    }  # fmt: skip
    marks |= {
        state.mark("group", tenant, agent, "ann", group) for tenant in TENANTS for agent in ("bot-0", "bot-1")
        for group in ("chat-0", "chat-1")
    }  # fmt: skip
    slots = {f.slot for f in facts}
    accepted = {
        (slot, e.id): acceptance
        for slot in slots
        for e in world.said
        if (acceptance := state.acceptance(slot, e.id)) and in_window(state, slot, acceptance, rules)
    }
    owners = {state.mark("owner", tenant, agent, "ann") for tenant in TENANTS for agent in ("bot-0", "bot-1")}
    owners |= {state.mark("inside", own_id(name)) for name in streams if kind_of(name) == "space"}
    marks |= owners
    owners |= {erasure.hiding(state, owner) for owner in owners}
    return {
        "owned": {owner: state.owned(owner, 1_000) for owner in owners},
        "slots": {slot: state.slot(slot) for slot in slots},
        "streams": {name: state.stream(name) for name in streams},
        "keys": {mark: state.key(mark) for mark in marks},
        "groups": {f.subject: state.group_of(f.subject.removeprefix("message/")) for f in facts},
        "tokens": {(name, n): state.token(name, n) for name in streams for n in range(20)},
        "window": accepted,
        "written": {name: state.written(name, None, 1_000) for name in streams},
        "erasing": state.erasing,
    }


def probes(world: World) -> Iterator[Envelope]:
    """Yield commands about everything that ever was, and every command once more."""
    yield from {id(e): e for e in world.said}.values()
    wanted: list[tuple[Command, str]] = []
    for kind in dict.fromkeys(KINDS):
        if kind not in {"repeat", "erase", "eraser"}:
            wanted += [world.command(kind, a, b, TENANTS[0]) for a in (0, 1, 3) for b in range(3)]
    for fact in world.folded:
        if kind_of(fact.stream) in {"memory", "session", "space", "owner"}:
            entry = fact.subject if fact.subject.startswith("event/") else None
            wish = wishes.erase_range(kind_of(fact.stream), own_id(fact.stream), entry)  # type: ignore[arg-type]
            wanted.append((wish, fact.tenant))
    distinct = {(repr(command), tenant): command for command, tenant in wanted}
    for n, ((_, tenant), command) in enumerate(distinct.items()):
        yield envelope(command, tenant, f"probe-{n}", n)


def answer(world: World, state: State, asked: Envelope) -> list[FactRecord] | Accepted | Rejected:
    """Decide without folding."""
    decided = decide(state, asked, world.now + 700, Position(0, len(world.log)), world.rules)
    return [record for _, record in decided] if isinstance(decided, list) else decided


def compacted(world: World, kept: Sequence[bool] = ()) -> list[FactRecord]:
    """Return the facts without those that have a null record; `kept` spares what the cleaner has not reached."""
    doomed = [f.key for f in world.facts if f.key in world.tombstones]
    spared = {key for key, keep in zip(doomed, kept, strict=False) if keep}
    return [f for f in world.facts if f.key not in world.tombstones or f.key in spared]


def same(world: World, one: State, other: State) -> None:
    """Check that two states are equal, and that every probe is answered the same."""
    assert logical(world, one) == logical(world, other)
    for probe in probes(world):
        assert answer(world, one, probe) == answer(world, other, probe)


def steps(*kinds: str | tuple[str, int]) -> list[Step]:
    """Return the opening of a session and these steps, each with a number or 0."""
    plain = [(kind, 0) if isinstance(kind, str) else kind for kind in kinds]
    return [*opening(FOCI[3]), *[(kind, 0, b, 9, 0, 0) for kind, b in plain]]


# A key that was freed by a fact which the cleaner has taken, where the one that took the key is still there.
FREED = steps(*["update_session"] * 3, "delete_session", "erase", ("erase", 1), *["create_session"] * 5,
    "delete_session", ("erase", 3))  # fmt: skip
# An acceptance that left the window before an older one did, as the clock was set back, and was erased then.
SET_BACK = [(*step[:5], -2_000) if n in {7, 8} else step for n, step in enumerate(steps(
    ("create_session", 1), *["update_session"] * 4, *["create_session"] * 8, "delete_session", ("erase", 3)
))]  # fmt: skip


# A large memory that is hidden and half erased, beside the very first record of the slot, of the same owner.
FIRST: list[Step] = [(kind, 0, 0, 9, 0, 500) for kind in (
    "add_memory", "add_memory", "update_memory", "update_memory", "delete_memory", "erase"
)]  # fmt: skip


@given(steps=STEPS, rules=RULES, limit=LIMITS, kept=st.lists(st.booleans(), max_size=60))
@example(steps=FIRST, rules=Rules(), limit=2, kept=[])
@example(steps=FREED, rules=Rules(), limit=2, kept=[False, False, True])
@example(steps=SET_BACK, rules=SMALL, limit=2, kept=[])
@PROFILE
def test_the_law_of_holes(steps: list[Step], rules: Rules, limit: int, kept: list[bool]) -> None:
    """Folding the compacted log, however far the cleaner has come, decides as folding the whole log."""
    with patch.object(erasure, "ERASE_LIMIT", limit):
        world = World(rules).live(steps)
        whole = fold(world.facts, State(MemorySnapshot(KEY)))
        assert logical(world, world.state) == logical(world, whole)
        same(world, whole, fold(compacted(world), State(MemorySnapshot(KEY))))
        same(world, whole, fold(compacted(world, kept), State(MemorySnapshot(KEY))))


@given(steps=STEPS, rules=RULES, limit=LIMITS, sizes=st.lists(st.integers(1, 7), min_size=1), restarts=st.booleans())
@PROFILE
def test_guarantee_2_the_same_commands_give_the_same_bytes(
    steps: list[Step], rules: Rules, limit: int, sizes: list[int], restarts: bool
) -> None:
    """Whoever decides a command log, in whatever batches, restarted from compacted facts or not: byte for byte."""
    with patch.object(erasure, "ERASE_LIMIT", limit):
        world = World(rules).live(steps)
        again = World(rules)
        left = list(world.log)
        for size in [*sizes, *[3] * len(left)]:
            done = Sequencer(again.state, rules).sequence(left[:size])
            again.facts.extend(done.facts)
            again.tombstones.update(done.tombstones)
            del left[:size]
            if restarts:
                again.state = fold(compacted(again), State(MemorySnapshot(KEY)))
        assert again.facts == world.facts
        assert again.tombstones == world.tombstones


@given(steps=STEPS, rules=RULES, limit=LIMITS, saves=st.lists(st.sampled_from(["", "", "save", "reopen"]), max_size=40))
@PROFILE
def test_a_snapshot_changes_nothing(steps: list[Step], rules: Rules, limit: int, saves: list[str]) -> None:
    """A state that was saved, and loaded again, at any points decides as one that never was."""
    with patch.object(erasure, "ERASE_LIMIT", limit), closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        world = World(rules).live(steps)
        saved = World(rules, State(keyed(db, rules)))
        for step, save in zip_longest(steps, saves[: len(steps)]):
            saved.live([step])
            if save:
                saved.state.save()
            if save == "reopen":
                saved.state = State(keyed(db, rules))
        assert saved.facts == world.facts
        same(world, world.state, saved.state)
        saved.state.save()
        same(world, world.state, State(keyed(db, rules)))


def keyed(database: sqlite3.Connection, rules: Rules) -> SqliteSnapshot:
    """Open a snapshot whose marks can be compared with those of others."""
    snapshot = SqliteSnapshot(database, rules)
    snapshot._put_meta("key", KEY)
    return snapshot
