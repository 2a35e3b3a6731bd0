"""The contract of the port `Store`, run against every adapter, and against a model too simple to be wrong."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import tempfile
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnemolog.domain.ops import Drop, Op, Put, Rank, Rescore, Unrank
from mnemolog.domain.ports import Checkpoint, Match, Store
from mnemolog.domain.record import Position
from projections import store_sqlite
from projections.store_memory import MemoryStore
from projections.store_sqlite import SqliteStore
from tests.redis_stores import PassingRedisStore
from workers.log_sqlite import connect

pytestmark = pytest.mark.contract

Open = Callable[[Path], Store]
ADAPTERS: dict[str, Open] = {
    "memory": lambda _: MemoryStore(),
    "redis": lambda _: PassingRedisStore(),
    "sqlite": lambda folder: SqliteStore(lambda: connect(folder / "m.db", durable=False)),
}


@pytest.fixture(params=ADAPTERS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Give an empty store of each adapter; `story` closes it."""
    return ADAPTERS[request.param](tmp_path)


def story(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test's coroutine, and close the store that it was given, on a loop of its own."""

    async def told(*args: Any, **kwargs: Any) -> None:
        try:
            await test(*args, **kwargs)
        finally:
            if "store" in kwargs:
                await kwargs["store"].close()

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(told(*args, **kwargs))

    return run


def at(offset: int) -> Checkpoint:
    """Return a checkpoint; the position goes along with the offset."""
    return Checkpoint(offset, Position(0, offset // 2))


async def write(store: Store, *ops: Op) -> None:
    """Apply one more batch."""
    stored = await store.checkpoint(0)
    before = stored.offset if stored else 0
    assert await store.apply(0, before, ops, at(before + 1)) == "applied"


async def keys(store: Store, index: str, **how: Any) -> list[str]:
    """Return the keys of a page."""
    return [key for _, key, _ in await store.page(0, index, **how)]


# ---- checkpoints -----------------------------------------------------------------------------------------------------


@story
async def test_a_new_store_has_no_checkpoint_and_nothing_else(store: Store) -> None:
    """So a projector begins at offset 0, and a reader knows that nothing was projected."""
    assert await store.checkpoint(0) is None
    assert await store.reached(0) is None
    assert await store.rows(0, ["a", "b"]) == [None, None]
    assert await store.rows(0, []) == []
    assert await store.page(0, "i") == []
    assert await store.count(0, "i") == 0


@story
async def test_a_batch_and_its_checkpoint_are_there_together(store: Store) -> None:
    """To the one who applies and to readers alike; an empty batch moves the checkpoint too."""
    assert await store.apply(0, 0, [Put("a", {"n": 1})], at(5)) == "applied"
    assert await store.checkpoint(0) == await store.reached(0) == at(5)
    assert await store.rows(0, ["a"]) == [{"n": 1}]
    assert await store.apply(0, 5, [], at(9)) == "applied"
    assert await store.checkpoint(0) == await store.reached(0) == at(9)


@story
async def test_a_batch_applied_before_is_a_duplicate_and_changes_nothing(store: Store) -> None:
    """A zombie projector's older or equal batch loses, whatever is in it."""
    await store.apply(0, 0, [Put("a", {"n": 1})], at(5))
    for follows, offset in ((0, 5), (0, 4), (5, 5), (2, 3)):
        assert await store.apply(0, follows, [Put("a", {"n": 2}), Drop("a")], at(offset)) == "duplicate"
    assert await store.rows(0, ["a"]) == [{"n": 1}]
    assert await store.checkpoint(0) == at(5)


@story
async def test_a_batch_beyond_the_stored_checkpoint_is_behind_and_changes_nothing(store: Store) -> None:
    """A lost store has none, a restored one an older checkpoint: neither takes what does not follow."""
    assert await store.apply(0, 3, [Put("a", {"n": 1})], at(5)) == "behind"
    assert await store.checkpoint(0) is None
    await store.apply(0, 0, [Put("a", {"n": 1})], at(5))
    assert await store.apply(0, 6, [Put("a", {"n": 2})], at(9)) == "behind"
    assert await store.rows(0, ["a"]) == [{"n": 1}]
    assert await store.checkpoint(0) == at(5)


@story
async def test_a_batch_that_begins_below_the_checkpoint_and_ends_above_is_applied(store: Store) -> None:
    """Ops are idempotent by key, so an overlap does no harm; a gap would."""
    await store.apply(0, 0, [Put("a", {"n": 1})], at(5))
    assert await store.apply(0, 3, [Put("a", {"n": 1, "m": 2})], at(7)) == "applied"
    assert await store.rows(0, ["a"]) == [{"n": 1, "m": 2}]


@story
async def test_a_batch_that_fails_in_the_middle_leaves_nothing(store: Store) -> None:
    """Neither rows nor places nor the checkpoint; the next batch goes through."""
    await write(store, Put("a", {"n": 1}), Rank("a", "f", "i", 1))
    bad: Any = Put("c", {"n": object()})
    with pytest.raises(TypeError):
        await store.apply(0, 1, [Put("b", {}), Rank("b", "f", "i", 2), Drop("a"), bad], at(9))
    assert await store.checkpoint(0) == at(1)
    assert await store.rows(0, ["a", "b", "c"]) == [{"n": 1}, None, None]
    assert await keys(store, "i") == ["a"]
    assert await store.count(0, "i") == 1
    await write(store, Rank("b", "f", "i", 2))
    assert await keys(store, "i") == ["a", "b"]


# ---- rows and places -------------------------------------------------------------------------------------------------


@story
async def test_put_merges_and_drop_removes(store: Store) -> None:
    """Fields that an update does not name stay; null is a value; after `Drop` a row begins anew."""
    await write(store, Put("a", {"x": 1, "y": [1, {"z": None}]}))
    await write(store, Put("a", {"x": None, "é\n": "ü"}))
    assert await store.rows(0, ["b", "a", "a"]) == [None, *[{"x": None, "y": [1, {"z": None}], "é\n": "ü"}] * 2]
    await write(store, Drop("a"), Drop("never was"))
    await write(store, Put("a", {"y": 2}))
    assert await store.rows(0, ["a"]) == [{"y": 2}]


@story
async def test_a_row_has_one_place_in_a_family(store: Store) -> None:
    """`Rank` leaves the former place, `Rescore` keeps the index, `Unrank` and `Drop` leave it; others stay."""
    await write(store, Put("a", {}), Rank("a", "type", "red", 1), Rank("a", "time", "all", 5))
    await write(store, Rank("a", "type", "blue", 2))
    assert (await keys(store, "red"), await keys(store, "blue"), await keys(store, "all")) == ([], ["a"], ["a"])
    await write(store, Rescore("a", "type", 9), Rescore("a", "nothing", 1), Rescore("nobody", "type", 1))
    assert [score for score, _, _ in await store.page(0, "blue")] == [9]
    await write(store, Unrank("a", "type"), Unrank("a", "type"), Unrank("nobody", "type"))
    assert (await keys(store, "blue"), await keys(store, "all")) == ([], ["a"])
    await write(store, Drop("a"))
    assert await keys(store, "all") == []
    await write(store, Put("a", {}), Rescore("a", "time", 7))
    assert await keys(store, "all") == []


@story
async def test_a_page_comes_by_score_and_key_in_both_directions(store: Store) -> None:
    """Equal scores are told apart by the key's code points; newest first is exactly the reverse."""
    names = ["b", "a", "ä", "Z", "z", "\U0001f600", "\ufb01", "a\x00b", "a/1", "a/10", "a/2", ""]
    ops = [op for n, key in enumerate(names) for op in (Put(key, {"n": n}), Rank(key, "f", "i", n % 3 - 1))]
    await write(store, *ops)
    page = await store.page(0, "i")
    assert [(score, key) for score, key, _ in page] == sorted((n % 3 - 1, key) for n, key in enumerate(names))
    assert all(names[row["n"]] == key for _, key, row in page)
    assert await store.page(0, "i", newest_first=True) == page[::-1]
    big = 1 << 62
    await write(store, Rank("a", "f", "i", big), Rank("b", "f", "i", -big))
    assert (await keys(store, "i"))[:: len(names) - 1] == ["b", "a"]


@story
async def test_skip_and_limit_cut_what_the_order_gives(store: Store) -> None:
    """None is all; 0 is none; far more than there is, or than a machine word holds, is all of the rest."""
    for n in range(7):
        await write(store, Put(f"k{n}", {}), Rank(f"k{n}", "f", "i", n))
    whole = [f"k{n}" for n in range(7)]
    huge = 1 << 70
    for skip in (0, 1, 6, 7, 8, huge):
        for limit in (None, 0, 1, 3, 7, huge):
            for newest in (False, True):
                ordered = whole[::-1] if newest else whole
                wanted = ordered[skip : None if limit is None else skip + limit]
                assert await keys(store, "i", skip=skip, limit=limit, newest_first=newest) == wanted


# ---- matches ---------------------------------------------------------------------------------------------------------

TEXTS = (
    "plain",
    "Plain",
    "it's",
    'say "hi"',
    "100%",
    "100",
    "a_b",
    "axb",
    "back\\slash",
    "NUL\x00inside",
    "NUL",
    "line\nbreak\u2028",
    "straße",
    "STRASSE",
    "e\u0301",
    "é",
    "\U0001f600 smile",
    "$.x",
    "null",
    "",
    " ",
    "'; DROP TABLE view_rows; --",
)


@pytest.mark.parametrize("how", ["equals", "contains"])
@story
async def test_matches_are_literal_and_case_sensitive(store: Store, how: Any) -> None:
    """Quotes, wildcards, backslashes, NUL, any Unicode are just characters; what has no text never matches."""
    for n, text in enumerate(TEXTS):
        await write(store, Put(f"k{n:02}", {"t": text}), Rank(f"k{n:02}", "f", "i", n))
    await write(store, Put("null", {"t": None}), Rank("null", "f", "i", 98), Rank("bare", "f", "i", 99))
    for probe in (*TEXTS, "l", "L", "%", "_", "\x00", "\x00i", "'", '"', "\\", "e", "ß", "\U0001f600", "x" * 10_000):
        wanted = [f"k{n:02}" for n, t in enumerate(TEXTS) if (probe == t if how == "equals" else probe in t)]
        match = [Match("t", probe, how)]
        assert await keys(store, "i", matches=match) == wanted, (how, probe)
        assert await store.count(0, "i", match) == len(wanted)


@story
async def test_several_matches_must_all_hold_and_pages_are_cut_after_them(store: Store) -> None:
    """`skip` and `limit` count matching rows only; the same field may be asked twice."""
    for n in range(20):
        text = f"{'even' if n % 2 == 0 else 'odd'} {n}"
        await write(store, Put(f"k{n:02}", {"t": text, "r": str(n % 3)}), Rank(f"k{n:02}", "f", "i", n))
    wanted = [Match("t", "even"), Match("t", "1"), Match("r", "1", "equals")]
    fitting = [f"k{n:02}" for n in range(20) if n % 2 == 0 and "1" in str(n) and n % 3 == 1]
    assert fitting == ["k10", "k16"]
    assert await keys(store, "i", matches=wanted) == fitting
    assert await keys(store, "i", matches=wanted, skip=1, limit=5) == fitting[1:]
    assert await keys(store, "i", matches=wanted, newest_first=True, limit=1) == fitting[-1:]
    assert await store.count(0, "i", wanted) == 2
    assert await store.count(0, "elsewhere", wanted) == 0


# ---- any sequence of ops ---------------------------------------------------------------------------------------------

KEYS = ["a", "b", "c"]
FAMILIES = ["f", "g"]
KEY = st.sampled_from(KEYS)
FAMILY = st.sampled_from(FAMILIES)
FIELDS = st.dictionaries(st.sampled_from("xyz"), st.sampled_from([None, 0, "text", ["list"], {"o": "ü"}]), max_size=2)
SCORE = st.integers(-2, 2)


@st.composite
def ranks(draw: st.DrawFn) -> Rank:
    """Draw a place; an index belongs to one family."""
    family = draw(FAMILY)
    return Rank(draw(KEY), family, f"{family}/{draw(st.sampled_from('123'))}", draw(SCORE))


OP = st.one_of(
    st.builds(Put, KEY, FIELDS),
    ranks(),
    ranks(),
    st.builds(Rescore, KEY, FAMILY, SCORE),
    st.builds(Unrank, KEY, FAMILY),
    st.builds(Drop, KEY),
)
BATCHES = st.lists(st.lists(OP, max_size=6), min_size=1, max_size=6)
INDEXES = [f"{family}/{n}" for family in FAMILIES for n in "123"]


class Model:
    """What a store should hold, said in the plainest way."""

    def __init__(self) -> None:
        """Start empty."""
        self.rows: dict[str, dict[str, Any]] = {}
        self.places: dict[tuple[str, str], tuple[str, int]] = {}

    def apply(self, ops: Sequence[Op]) -> None:
        """Apply the ops one by one."""
        for op in ops:
            match op:
                case Put(key, fields):
                    self.rows.setdefault(key, {}).update(fields)
                case Rank(key, family, index, score):
                    self.rows.setdefault(key, {})
                    self.places[key, family] = (index, score)
                case Rescore(key, family, score) if (key, family) in self.places:
                    self.places[key, family] = (self.places[key, family][0], score)
                case Rescore():
                    pass  # a row that has no place is given none
                case Unrank(key, family):
                    self.places.pop((key, family), None)
                case Drop(key):
                    self.rows.pop(key, None)
                    self.places = {place: to for place, to in self.places.items() if place[0] != key}

    def page(self, index: str) -> list[tuple[int, str, dict[str, Any]]]:
        """Return an index."""
        return sorted((score, key, self.rows[key]) for (key, _), (name, score) in self.places.items() if name == index)


@pytest.mark.parametrize("adapter", ADAPTERS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches=BATCHES)
def test_any_sequence_of_ops_leaves_what_the_model_says(adapter: str, batches: list[list[Op]]) -> None:
    """Rows, pages, counts; and each batch applied twice is the same as once."""

    async def told(folder: Path) -> None:
        store: Any = ADAPTERS[adapter](folder)
        model = Model()
        for n, ops in enumerate(batches):
            assert await store.apply(0, n, ops, at(n + 1)) == "applied"
            assert await store.apply(0, n, ops, at(n + 1)) == "duplicate"
            model.apply(ops)
        assert list(await store.rows(0, KEYS)) == [model.rows.get(key) for key in KEYS]
        for index in INDEXES:
            page = model.page(index)
            assert list(await store.page(0, index)) == page
            assert await store.count(0, index) == len(page)
        if isinstance(store, SqliteStore):
            _whole(store, model)
        await store.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(told(Path(folder)))


def _whole(store: SqliteStore, model: Model) -> None:
    """Expect that the tables hold nothing but what the model has: sizes, names, places, rows."""
    sizes = dict(store._db.execute("SELECT name, size FROM view_indexes"))
    used = {index for index, _ in model.places.values()}
    assert sizes == {index: len(model.page(index)) for index in used}
    (places,) = store._db.execute("SELECT count(*) FROM view_places").fetchone()
    (rows,) = store._db.execute("SELECT count(*) FROM view_rows").fetchone()
    assert (places, rows) == (len(model.places), len(model.rows))


@pytest.mark.parametrize("adapter", ADAPTERS)
@settings(max_examples=60, deadline=None)
@given(ops=st.lists(OP, max_size=12), cuts=st.sets(st.integers(1, 11)))
def test_how_ops_are_cut_into_batches_changes_nothing(adapter: str, ops: list[Op], cuts: set[int]) -> None:
    """One batch or many: what is stored is the same."""

    async def told(folder: Path) -> None:
        many: Any = ADAPTERS[adapter](folder)
        before = 0
        for n, cut in enumerate([*sorted(cuts), len(ops)]):
            assert await many.apply(0, n, ops[before:cut], at(n + 1)) == "applied"
            before = max(before, cut)
        once = MemoryStore()
        await once.apply(0, 0, ops, at(1))
        assert list(await many.rows(0, KEYS)) == list(await once.rows(0, KEYS))
        for index in INDEXES:
            assert list(await many.page(0, index)) == list(await once.page(0, index))
            assert await many.count(0, index) == await once.count(0, index)
        await many.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(told(Path(folder)))


# ---- the embedded file -----------------------------------------------------------------------------------------------


def sqlite_store(folder: Path) -> SqliteStore:
    """Open the store of a folder."""
    return SqliteStore(lambda: connect(folder / "m.db", durable=False))


@story
async def test_an_indexs_name_goes_with_its_last_row(tmp_path: Path) -> None:
    """Names hold what callers wrote; also when a row comes and goes, or moves on, within one batch."""
    store = sqlite_store(tmp_path)

    def names() -> list[str]:
        return sorted(name for (name,) in store._db.execute("SELECT name FROM view_indexes"))

    await write(store, Rank("a", "f", "agent/ann", 1), Rank("b", "f", "agent/ann", 2))
    await write(store, Drop("a"))
    assert names() == ["agent/ann"]
    await write(store, Unrank("b", "f"))
    assert names() == []
    await write(store, Rank("c", "f", "agent/bob", 1), Drop("c"))
    assert names() == []
    await write(store, Rank("c", "f", "agent/bob", 1), Rank("c", "f", "agent/cyd", 1))
    assert names() == ["agent/cyd"]
    await write(store, Rank("c", "f", "agent/bob", 1), Rank("c", "f", "agent/cyd", 1))
    assert names() == ["agent/cyd"]
    assert await store.count(0, "agent/cyd") == 1
    await store.close()


@story
async def test_a_count_reads_one_row_however_large_the_index(tmp_path: Path) -> None:
    """Without matches it is the index's own size: no scan of places."""
    store = sqlite_store(tmp_path)
    await write(store, *(Rank(f"k{n}", "f", "i", n) for n in range(3_000)))
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    def watched() -> sqlite3.Connection:
        database = connect(tmp_path / "m.db", durable=False)
        database.set_progress_handler(step, 10)
        return database

    other = SqliteStore(watched)
    steps = 0
    assert await other.count(0, "i") == 3_000
    assert steps < 50
    await other.close()
    await store.close()


@story
async def test_a_store_opened_again_goes_on_where_it_stood(tmp_path: Path) -> None:
    """Rows, places, sizes and checkpoint are the file's."""
    store = sqlite_store(tmp_path)
    await write(store, Put("a", {"n": 1}), Rank("a", "f", "i", 1))
    await store.close()
    store = sqlite_store(tmp_path)
    assert await store.checkpoint(0) == at(1)
    assert await store.page(0, "i") == [(1, "a", {"n": 1})]
    assert await store.count(0, "i") == 1
    await store.close()


@story
async def test_another_version_of_the_views_begins_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that other views wrote are dropped with their checkpoint, and come again from the log."""
    store = sqlite_store(tmp_path)
    await write(store, Put("a", {"n": 1}), Rank("a", "f", "i", 1))
    await store.close()
    monkeypatch.setattr(store_sqlite, "VERSION", "other")
    store = sqlite_store(tmp_path)
    assert await store.checkpoint(0) is None
    assert await store.rows(0, ["a"]) == [None]
    assert await store.count(0, "i") == 0
    await write(store, Put("b", {}))
    await store.close()
    store = sqlite_store(tmp_path)
    assert await store.checkpoint(0) == at(1)
    assert await store.rows(0, ["a", "b"]) == [None, {}]
    await store.close()


def test_readers_see_whole_batches_only(tmp_path: Path) -> None:
    """While one thread writes, others read the state before or after a batch, never between."""
    store = sqlite_store(tmp_path)
    asyncio.run(write(store, Put("a", {"n": 0}), Put("b", {"n": 0})))
    done = threading.Event()
    seen: list[Sequence[Any]] = []

    async def reading() -> None:
        while not done.is_set():
            seen.append(await store.rows(0, ["a", "b"]))

    async def writing() -> None:
        for n in range(1, 200):
            await write(store, Put("b", {"n": n}), Put("a", {"n": n}))

    readers = [threading.Thread(target=asyncio.run, args=[reading()]) for _ in range(2)]
    for reader in readers:
        reader.start()
    asyncio.run(writing())
    done.set()
    for reader in readers:
        reader.join()
    assert seen
    assert [rows for rows in seen if rows[0] is None or rows[0] != rows[1]] == []
    asyncio.run(store.close())


def whole(folder: Path) -> bytes:
    """Return the bytes of all files of a folder."""
    return b"".join(path.read_bytes() for path in folder.iterdir())


@story
async def test_a_dropped_row_is_in_no_file_once_the_write_ahead_log_is_folded_in(tmp_path: Path) -> None:
    """Its fields, its key, the names of its indexes."""
    store = sqlite_store(tmp_path)
    await write(
        store, Put("k-secret", {"t": "f-secret" * 2_000}), Rank("k-secret", "f", "i-secret", 1), Put("k", {"t": "kept"})
    )
    await write(store, Drop("k-secret"))
    with closing(connect(tmp_path / "m.db", durable=True)) as database:
        assert database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    held = whole(tmp_path)
    assert b"kept" in held
    assert [text for text in (b"f-secret", b"k-secret", b"i-secret") if text in held] == []
    await store.close()
