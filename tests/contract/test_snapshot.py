"""The snapshot port: whatever is saved comes back, and what is removed is gone, in memory as in SQLite."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import workers.snapshot_sqlite
from mnemolog.domain.decision import (
    Acceptance,
    AccessState,
    Answered,
    Body,
    Ended,
    GroupState,
    Head,
    MemoryState,
    Owned,
    OwnerState,
    PolicyState,
    SessionState,
    Slot,
    SpaceState,
    Strategy,
    Stream,
    Token,
    Written,
)
from mnemolog.domain.errors import Unavailable
from mnemolog.domain.record import START, Position
from mnemolog.domain.rules import Rules
from workers.snapshot_memory import MemorySnapshot
from workers.snapshot_sqlite import SqliteSnapshot, opened
from workers.state import Snapshot, State, empty_delta

pytestmark = pytest.mark.contract

RULES = Rules(window_size=3)
HEAD = Head(7, bytes(range(32)), 1_795_000_000_000_001)
BODIES: list[Body] = [
    SpaceState(),
    SpaceState(b"o" * 16, b"k" * 16, deleted=True),
    SessionState(),
    SessionState(
        space="s",
        participants=(b"p" * 16, b"q" * 16),
        key=b"k" * 16,
        version=3,
        next=9,
        events=8,
        tokens=1 << 40,
        created=1,
        last_event=2,
        strategies=(
            Strategy("soft_delete", "ttl", 60, b"m" * 16),
            Strategy("extract_memories", "tokenCount", 10**8, b"n" * 16),
        ),
        fired=("soft_delete", "extract_memories"),
        deleted=True,
    ),
    MemoryState(b"o" * 16),
    MemoryState(deleted=True),
    GroupState(b"n" * 16, 5, 3, b"o" * 16),
    OwnerState(b"o" * 16, 7),
    PolicyState(None, 0, 30),
    AccessState(("a", "b"), ("t",)),
    AccessState(keys=("k",)),
    Ended(),
]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Return a database in autocommit mode, as the shells open it."""
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as connection:
        yield connection


@pytest.fixture(params=["memory", "sqlite"])
def reopen(request: pytest.FixtureRequest, database: sqlite3.Connection) -> Callable[[], Snapshot]:
    """Return how each adapter's snapshot is opened, the first time and again."""
    if request.param == "sqlite":
        return lambda: SqliteSnapshot(database, RULES)
    kept = MemorySnapshot(bytes(32))
    return lambda: kept


def save(snapshot: Snapshot, **changed: Any) -> None:
    """Save changes at some place."""
    delta = empty_delta()
    for name, rows in changed.items():
        getattr(delta, name).update(rows)
    snapshot.save(delta, 42, Position(1, 17), "last-command")


def acceptance(ordinal: int) -> Acceptance:
    """Return an acceptance of two facts, the second erased."""
    one = Answered(0, "acme/memory/m", 3, "m", 99, b"s" * 32, b"d" * 32, 2, b"a" * 16)
    return Acceptance(ordinal, 100, (one, Answered(1, "acme/memory/m", 4, "m", 100)))


def test_an_empty_snapshot_stands_at_the_start(reopen: Callable[[], Snapshot]) -> None:
    """Nothing is known, and the key of the marks is there, and stays."""
    snapshot = reopen()
    key, offset, position, last = snapshot.start()
    assert len(key) == 32
    assert (offset, position, last) == (0, START, "")
    assert (snapshot.slots(), snapshot.erasing()) == ({}, set())
    assert (snapshot.stream("s"), snapshot.key(b"m"), snapshot.group_of("g"), snapshot.token("s", 0)) == (None,) * 4
    assert snapshot.acceptance(1, "c") is None
    assert list(snapshot.newest(1, 5)) == []
    assert list(snapshot.written("s", None, 5)) == []
    assert list(snapshot.owned(b"o" * 16, 5)) == []
    assert reopen().start()[0] == key


def test_the_stand_is_saved_with_what_has_changed(reopen: Callable[[], Snapshot]) -> None:
    """Next fact offset, command position, last command's id."""
    save(reopen(), slots={5: Slot(3, 9)})
    assert reopen().start()[1:] == (42, Position(1, 17), "last-command")
    assert reopen().slots() == {5: Slot(3, 9)}


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_streams_come_back(reopen: Callable[[], Snapshot], body: Body) -> None:
    """Every kind of state, field by field and type by type; a later save replaces it."""
    save(reopen(), streams={"acme/é/1": Stream(HEAD, body)})
    found = reopen().stream("acme/é/1")
    assert found == Stream(HEAD, body)
    assert repr(found) == repr(Stream(HEAD, body))
    save(reopen(), streams={"acme/é/1": Stream(Head(8, bytes(32), 2), Ended())})
    assert reopen().stream("acme/é/1") == Stream(Head(8, bytes(32), 2), Ended())


def test_every_kind_of_state_is_tried() -> None:
    """A new kind must be able to come back too."""
    assert {type(body) for body in BODIES} == set(Body.__args__)


def test_indexes_come_back_and_go(reopen: Callable[[], Snapshot]) -> None:
    """Keys and groups: saved, replaced, removed by None."""
    save(reopen(), keys={b"a": "1", b"b": "2"}, groups={"m": "g", "n": "g"})
    assert (reopen().key(b"a"), reopen().group_of("m")) == ("1", "g")
    save(reopen(), keys={b"a": None, b"b": "3", b"never": None}, groups={"m": None, "never": None})
    snapshot = reopen()
    assert (snapshot.key(b"a"), snapshot.key(b"b"), snapshot.group_of("m"), snapshot.group_of("n")) == (
        None, "3", None, "g",
    )  # fmt: skip


def test_tokens_come_back_and_go(reopen: Callable[[], Snapshot]) -> None:
    """Per stream and sequence id."""
    streams = {name: Stream(HEAD, SessionState()) for name in ("a", "b")}
    save(reopen(), streams=streams, tokens={("a", 0): Token(5, 6, live=True), ("b", 0): Token(7, 8, live=False)})
    snapshot = reopen()
    assert (snapshot.token("a", 0), snapshot.token("b", 0), snapshot.token("a", 1)) == (
        Token(5, 6, live=True), Token(7, 8, live=False), None,
    )  # fmt: skip
    assert snapshot.token("a", 0).live is True  # type: ignore[union-attr]
    save(reopen(), tokens={("a", 0): None, ("b", 0): Token(9, 8, live=True), ("c", 3): None})
    assert (reopen().token("a", 0), reopen().token("b", 0)) == (None, Token(9, 8, live=True))


def test_what_was_written_comes_back_in_order_and_goes(reopen: Callable[[], Snapshot]) -> None:
    """By stream, by entry, by version; the lowest versions first; whatever the order of saving."""
    rows = {v: Written(v, f"event/{v % 2}", 10 + v, bytes([v]) * 32, f"c{v}", v, 99) for v in range(12)}
    streams = {name: Stream(HEAD, SessionState()) for name in ("a", "b")}
    save(reopen(), streams=streams, written={("a", v): rows[v] for v in (11, 3, 7, 10, 2, 9)})
    save(reopen(), written={("a", v): rows[v] for v in (8, 0, 1)} | {("b", 5): rows[5], ("a", 3): None})
    snapshot = reopen()
    assert list(snapshot.written("a", None, 99)) == [rows[v] for v in (0, 1, 2, 7, 8, 9, 10, 11)]
    assert list(snapshot.written("a", None, 2)) == [rows[0], rows[1]]
    assert list(snapshot.written("a", "event/1", 2)) == [rows[1], rows[7]]
    assert list(snapshot.written("a", None, 3, 2)) == [rows[7], rows[8], rows[9]]
    assert list(snapshot.written("a", "event/1", 2, 1)) == [rows[7], rows[9]]
    assert list(snapshot.written("a", "event/9", 2)) == list(snapshot.written("c", None, 2)) == []
    assert sorted(snapshot.written_versions("a", [9, 3, 0, 99])) == [rows[0], rows[9]]
    assert list(snapshot.written_versions("b", [5])) == [rows[5]]


def test_acceptances_come_back(reopen: Callable[[], Snapshot]) -> None:
    """Whole, and replaced by a later one of the same id in the same slot."""
    save(reopen(), acceptances={(1, "c"): acceptance(4), (2, "c"): acceptance(5)})
    assert reopen().acceptance(1, "c") == acceptance(4)
    assert repr(reopen().acceptance(2, "c")) == repr(acceptance(5))
    save(reopen(), acceptances={(1, "c"): acceptance(9)})
    assert (reopen().acceptance(1, "c"), reopen().acceptance(2, "c")) == (acceptance(9), acceptance(5))
    assert list(reopen().newest(1, 5)) == [(9, "c")]


def test_of_many_commands_those_that_were_accepted_are_found_at_once(reopen: Callable[[], Snapshot]) -> None:
    """By slot and id, however many are asked for: an id alone says nothing, as each slot has a window of its own."""
    known = {(slot, f"c{slot + n}") for slot in range(400) for n in range(RULES.window_size)}
    save(reopen(), acceptances={at: acceptance(n) for n, at in enumerate(sorted(known))})
    asked = [(slot, f"c{n}") for slot in range(400) for n in range(slot + 5)]
    found = reopen().acceptances(asked)
    assert found.keys() == known
    assert all(repr(found[at]) == repr(reopen().acceptance(*at)) for at in list(known)[::50])
    assert reopen().acceptances([]) == {}


def test_many_streams_are_loaded_at_once_with_all_their_facts(reopen: Callable[[], Snapshot]) -> None:
    """As they are one by one; those that there are not are left out, also when they are asked for twice."""
    names = [f"acme/memory/{n}" for n in range(90)]
    rows = {(name, v): Written(v, name, v, b"l", f"c{v}", 0, 9) for n, name in enumerate(names) for v in range(n % 3)}
    streams = {name: Stream(HEAD, MemoryState(name.encode()[-2:] * 8)) for name in names[:80]}
    save(reopen(), streams=streams, written={at: row for at, row in rows.items() if at[0] in streams})
    snapshot = reopen()
    found = snapshot.loaded([*names, names[1]])
    assert {name: loaded.stream for name, loaded in found.items()} == streams
    for name, loaded in found.items():
        assert list(loaded.written) == list(snapshot.written(name, None, 9))
    assert snapshot.loaded([]) == {}


def test_a_stream_of_too_many_facts_is_not_loaded_whole(reopen: Callable[[], Snapshot]) -> None:
    """Nobody takes the first ones for all of them."""
    streams = {name: Stream(HEAD, MemoryState()) for name in ("a", "b", "c")}
    rows = {("b", v): Written(v, "b", v, b"", "c", 0, 9) for v in range(2_500)} | {
        ("a", 0): Written(0, "a", 0, b"", "c", 0, 9)
    }
    save(reopen(), streams=streams, written=rows)
    found = reopen().loaded(["a", "b", "c"])
    assert list(found["a"].written) == [rows["a", 0]]
    assert "b" not in found or len(found["b"].written) == 2_500


@pytest.mark.parametrize("count", [1, 8, 400])
def test_commands_are_looked_up_and_no_window_is_read(database: sqlite3.Connection, count: int) -> None:
    """A window of 10,000 read for each batch would cost more than the batch."""
    asked: list[str] = []
    database.set_trace_callback(asked.append)
    SqliteSnapshot(database, RULES).acceptances([(1, f"c{n}") for n in range(count)])
    database.set_trace_callback(None)
    plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {asked[-1]}")]
    assert any(step.startswith("SEARCH w ") for step in plan), plan
    assert not any(step.startswith("SCAN w") for step in plan), plan


@pytest.mark.parametrize("count", [1, 8, 400])
def test_streams_are_looked_up_and_no_table_is_read(database: sqlite3.Connection, count: int) -> None:
    """A million memories read for each batch that takes some of them would be the end of it."""
    asked: list[str] = []
    snapshot = SqliteSnapshot(database, RULES)
    database.set_trace_callback(asked.append)
    snapshot.loaded([f"s{n}" for n in range(count)])
    database.set_trace_callback(None)
    for statement in asked:
        plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {statement}")]
        assert any(step.startswith("SEARCH") for step in plan), plan
        assert not any(step.startswith(("SCAN s", "SCAN w")) for step in plan), plan
        assert not any("TEMP B-TREE" in step for step in plan), plan


def test_an_acceptance_that_an_erasure_has_changed_stays_where_it_was(reopen: Callable[[], Snapshot]) -> None:
    """Saved again under its ordinal, it is the one that is found; the window does not grow."""
    save(reopen(), acceptances={(1, "c"): acceptance(4), (1, "d"): acceptance(5)})
    less = acceptance(4)._replace(facts=acceptance(4).facts[1:])
    save(reopen(), acceptances={(1, "c"): less})
    assert (reopen().acceptance(1, "c"), reopen().acceptance(1, "d")) == (less, acceptance(5))
    assert list(reopen().newest(1, 9)) == [(5, "d"), (4, "c")]


def test_the_newest_acceptances_of_a_slot(reopen: Callable[[], Snapshot]) -> None:
    """By ordinal, newest first; other slots do not count; pruning, where there is any, keeps what the window holds."""
    for ordinal in (5, 1, 9, 3, 7):
        save(reopen(), acceptances={(1, f"c{ordinal}"): acceptance(ordinal), (2, "other"): acceptance(ordinal)})
    assert list(reopen().newest(1, 3)) == [(9, "c9"), (7, "c7"), (5, "c5")]
    assert list(reopen().newest(1, 2)) == [(9, "c9"), (7, "c7")]
    assert list(reopen().newest(2, 9)) == [(7, "other")]
    for ordinal in (5, 7, 9):
        assert reopen().acceptance(1, f"c{ordinal}") == acceptance(ordinal)


def test_tables_that_other_code_has_made_are_made_anew(database: sqlite3.Connection) -> None:
    """A folder of an earlier release has columns in another order, and its rows are no ground to decide on."""
    database.execute("CREATE TABLE state_window (command TEXT, row BLOB, ordinal INTEGER, slot INTEGER)")
    database.execute("INSERT INTO state_window VALUES ('c', x'', 7, 1)")
    snapshot = SqliteSnapshot(database, RULES)
    assert snapshot.acceptance(1, "c") is None
    save(snapshot, acceptances={(1, "d"): acceptance(4)})
    assert snapshot.acceptance(1, "d") == acceptance(4)
    assert list(snapshot.newest(1, 5)) == [(4, "d")]


def test_streams_that_wait_for_the_eraser(reopen: Callable[[], Snapshot]) -> None:
    """Saved while they wait, gone when they no longer do."""
    save(reopen(), erasing={"a": True, "b": True, "c": False})
    assert reopen().erasing() == {"a", "b"}
    save(reopen(), erasing={"a": False, "b": True})
    assert reopen().erasing() == {"b"}


def test_clearing_forgets_everything(reopen: Callable[[], Snapshot]) -> None:
    """It is disposable: the facts are read again."""
    streams = {"a": Stream(HEAD, SessionState())}
    save(
        reopen(), slots={1: Slot(1, 1)}, streams=streams, keys={b"k": "v"}, groups={"m": "g"}, erasing={"a": True},
        tokens={("a", 0): Token(1, 1, live=True)}, acceptances={(1, "c"): acceptance(1)},
        written={("a", 0): Written(0, "a", 0, b"", "c", 0, 0)},
    )  # fmt: skip
    reopen().clear()
    test_an_empty_snapshot_stands_at_the_start(reopen)


def test_a_state_reads_through_to_its_snapshot(reopen: Callable[[], Snapshot]) -> None:
    """New over saved: in every index what changed since hides what was saved before."""
    written = {("a", v): Written(v, "a", v, b"", "c", 0, 0) for v in range(6)}
    streams = {"a": Stream(HEAD, SessionState())}
    save(
        reopen(), streams=streams, keys={b"k": "old"}, groups={"m": "old"}, tokens={("a", 0): Token(1, 1, live=True)},
        written=written, acceptances={(1, f"c{n}"): acceptance(n) for n in range(3)},
    )  # fmt: skip
    state = State(reopen())
    assert (state.offset, state.position, state.last_command) == (42, Position(1, 17), "last-command")
    assert [state.outside(1, n, 2) for n in range(3)] == [True, False, False]
    delta = empty_delta()
    delta.streams["a"] = Stream(HEAD, Ended())
    delta.keys[b"k"] = delta.groups["m"] = delta.tokens["a", 0] = None
    delta.written.update({("a", 0): None, ("a", 2): None, ("a", 6): Written(6, "b", 6, b"", "c", 0, 0)})
    delta.acceptances[1, "c2"] = acceptance(5)
    delta.slots[1] = Slot(6, 1)
    for _ in range(2):
        state.apply(delta)
        assert state.stream("a") == Stream(HEAD, Ended())
        assert (state.key(b"k"), state.group_of("m"), state.token("a", 0)) == (None, None, None)
        assert [row.version for row in state.written("a", None, 3)] == [1, 3, 4]
        assert [row.version for row in state.written("a", "b", 3)] == [6]
        assert sorted(row.version for row in state.written_versions("a", [0, 1, 6])) == [1, 6]
        assert [state.outside(1, n, 2) for n in range(3)] == [True, False, False]
        assert not state.outside(1, 0, 3)
        assert state.slot(1) == Slot(6, 1)
        state.save()
        state = State(reopen())


@pytest.mark.parametrize("seed", range(20))
def test_what_has_left_a_window_is_what_a_count_says(reopen: Callable[[], Snapshot], seed: int) -> None:
    """However acceptances come, come anew, lose a fact, and are saved; of the newest `size`, none is outside."""
    dice, state = random.Random(seed), State(reopen())
    known: dict[str, int] = {}
    for ordinal in range(120):
        delta = empty_delta()
        command = f"c{dice.randrange(60)}"
        window = sorted(known.values())[-RULES.window_size :]
        if dice.random() < 0.7 and known.get(command, -1) not in window:  # accepted, or anew where it was outside
            known[command] = ordinal
        if command in known:  # else it loses a fact: its acceptance changes where it is
            delta.acceptances[1, command] = acceptance(known[command])
        state.apply(delta)
        if dice.random() < 0.1:
            state.save()
        newest = sorted(known.values(), reverse=True)
        for size in (2, RULES.window_size):
            asked = dice.choices(newest, k=6) if newest else []
            assert [state.outside(1, n, size) for n in asked] == [n not in newest[:size] for n in asked]
            assert not state.outside(2, 0, size)


# ---- what only a file does -------------------------------------------------------------------------------------------


def test_a_file_prunes_what_has_left_the_window(database: sqlite3.Connection) -> None:
    """Of more acceptances than the rules' window, the oldest go as others come, slot by slot."""
    snapshot = SqliteSnapshot(database, RULES)
    save(snapshot, acceptances={(1, f"c{n}"): acceptance(n) for n in range(5)} | {(2, "c"): acceptance(0)})
    save(snapshot, acceptances={(1, "c5"): acceptance(5)})
    assert [c for _, c in snapshot.newest(1, 99)] == ["c5", "c4", "c3"]
    assert snapshot.acceptance(2, "c") is not None


def test_a_file_is_pruned_now_and_then(database: sqlite3.Connection) -> None:
    """It is not all read at each save: a fortieth of the window may be there beyond it, and all of the window is."""
    snapshot = SqliteSnapshot(database, Rules(window_size=120))
    for n in range(0, 1_000, 2):  # each acceptance brings two facts
        save(snapshot, acceptances={(1, f"c{n}"): acceptance(n)})
        there = [ordinal for ordinal, _ in snapshot.newest(1, 999)]
        assert there == list(range(n, max(n - 2 * len(there), -1), -2))
        assert min(n // 2 + 1, 120) <= len(there) <= 120 + 120 // 40


@pytest.mark.parametrize("other", ["code", "rules"])
def test_a_file_of_other_code_or_rules_is_cleared(
    database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """Its state is not trusted, nor the window that was pruned by other rules; with it goes the key of its marks."""
    snapshot = SqliteSnapshot(database, RULES)
    save(snapshot, slots={5: Slot(3, 9)})
    key = snapshot.start()[0]
    assert SqliteSnapshot(database, RULES).start() == (key, 42, Position(1, 17), "last-command")
    if other == "code":
        monkeypatch.setattr(workers.snapshot_sqlite, "fingerprint", lambda: b"another")
    again = SqliteSnapshot(database, Rules(window_size=4) if other == "rules" else RULES)
    assert again.start()[1:] == (0, START, "")
    assert again.start()[0] != key
    assert again.slots() == {}


def test_a_file_that_cannot_take_a_save_keeps_the_one_before(database: sqlite3.Connection) -> None:
    """All of a save or nothing."""
    snapshot = SqliteSnapshot(database, RULES)
    save(snapshot, slots={5: Slot(3, 9)})
    delta = empty_delta()
    delta.slots[5] = Slot(4, 9)
    delta.tokens["no such stream", 0] = Token(1, 1, live=True)
    with pytest.raises(sqlite3.IntegrityError):
        snapshot.save(delta, 43, Position(1, 18), "later")
    assert snapshot.slots() == {5: Slot(3, 9)}
    assert snapshot.start()[1:] == (42, Position(1, 17), "last-command")
    save(snapshot, slots={5: Slot(4, 9)})


def test_what_comes_to_an_owner_of_nothing_is_seen(reopen: Callable[[], Snapshot]) -> None:
    """A state remembers that there was nothing: until something comes, before it is saved and after."""
    state, mine = State(reopen()), b"o" * 16
    row = Owned(5, "acme/memory/a", "a")
    assert list(state.owned(mine, 9)) == list(state.owned(mine, 9)) == []
    come, gone = empty_delta(), empty_delta()
    come.owned[mine, 5], gone.owned[mine, 5] = row, None
    state.apply(come)
    assert list(state.owned(mine, 9)) == [row]
    state.save()
    assert list(state.owned(mine, 9)) == [row]
    state.apply(gone)
    assert list(state.owned(mine, 9)) == []
    state.save()
    assert list(state.owned(mine, 9)) == []


def test_what_is_owned_comes_back_in_the_order_of_its_ordinals(reopen: Callable[[], Snapshot]) -> None:
    """Of one owner, the first ones, without what has been removed since."""
    mine, other = b"m" * 16, b"o" * 16
    rows = {(mine, n): Owned(n, f"acme/memory/{n}", str(n)) for n in (9, 2, 5, 7)}
    save(reopen(), owned=rows | {(other, 1): Owned(1, "acme/group/g", "message/1")})
    save(reopen(), owned={(mine, 5): None})
    assert [row.ordinal for row in reopen().owned(mine, 2)] == [2, 7]
    assert list(reopen().owned(other, 9)) == [Owned(1, "acme/group/g", "message/1")]
    reopen().clear()
    assert list(reopen().owned(mine, 9)) == []


@pytest.mark.parametrize("damage", ["no database", "a damaged page"])
def test_a_damaged_file_is_removed(tmp_path: Path, damage: str) -> None:
    """A worker whose snapshot is damaged starts with an empty one: it costs a replay, nothing else."""
    file = tmp_path / "0.db"
    with closing(opened(file)) as database:
        save(SqliteSnapshot(database, RULES), streams={f"acme/memory/{n}": Stream(HEAD, Ended()) for n in range(999)})
    with closing(opened(file)) as database:
        assert SqliteSnapshot(database, RULES).start()[1] == 42
    whole = file.read_bytes()
    spoilt = b"x" * len(whole) if damage == "no database" else whole[:-8_192] + b"x" * 8_192
    file.write_bytes(spoilt)
    with closing(opened(file)) as database:
        assert SqliteSnapshot(database, RULES).start()[1:] == (0, START, "")


def test_what_a_file_cannot_say_is_not_taken_for_nothing(database: sqlite3.Connection) -> None:
    """A read that fails says so: that nothing is there would be another decision."""
    snapshot = SqliteSnapshot(database, RULES)
    database.execute("DROP TABLE state_streams")
    for read in (lambda: snapshot.stream("acme/memory/m"), lambda: snapshot.token("acme/session/s", 0)):
        with pytest.raises(Unavailable, match="cannot be read now"):
            read()
