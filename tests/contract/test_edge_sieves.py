"""What only the embedded index has: sieves, which make searches of many memories faster and never another answer."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numkong
import numpy as np
import pytest
from numpy.typing import NDArray

from mnemolog.domain.ports import Hit, Point, Scope
from projections import edge_sieves
from projections.edge_sieves import WORTH
from projections.sieve import Sieve
from projections.vectors_edge import EdgeVectors
from projections.vectors_memory import MemoryVectors
from projections.vectors_points import owner
from tests.sieving import made

pytestmark = pytest.mark.contract

DIMENSION = 32
ADA, BOB = Scope("acme", "planner", "ada"), Scope("acme", "planner", "bob")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EdgeVectors]:
    """Give an empty index, to which one search is often enough."""
    monkeypatch.setattr(edge_sieves, "OFTEN", 1)
    opened = EdgeVectors.open(tmp_path, model="test@1", dimension=DIMENSION)
    yield opened
    asyncio.run(opened.close())


def identifier(n: int) -> str:
    """Return the n-th id."""
    return str(uuid.UUID(int=8 << 76 | 2 << 62 | n))


def rows(count: int, seed: int) -> NDArray[np.float32]:
    """Return vectors around twenty centres."""
    draws = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(20, DIMENSION))
    return np.asarray(centres[draws.integers(0, 20, count)] + 0.3 * draws.normal(size=(count, DIMENSION)), np.float32)


def points(scope: Scope, first: int, count: int, version: int = 0) -> list[Point]:
    """Return points of a scope with ids from the first on."""
    vectors = rows(count, first + 1_000_000 * version)
    return [Point(identifier(first + n), version, scope, vectors[n].tolist()) for n in range(count)]


def apply(index: EdgeVectors | MemoryVectors, new: list[Point], gone: list[str] | None = None) -> None:
    """Apply a batch."""
    asyncio.run(index.apply(0, new, gone or [], 1))


def search(index: EdgeVectors | MemoryVectors, seed: int, scope: Scope = ADA, top: int = 10) -> list[Hit]:
    """Search for something like what is there."""
    return list(asyncio.run(index.search(scope, rows(1, seed)[0].tolist(), top)))


def sieved(index: EdgeVectors, scope: Scope = ADA) -> bool:
    """Tell whether there is a sieve of a scope, without asking for one."""
    return owner(scope) in index._sieves._made


def begun(index: EdgeVectors, scope: Scope = ADA) -> None:
    """Search once, and wait for what that has set going."""
    search(index, 1, scope)
    made(index)


def test_answers_are_as_before_through_every_change(index: EdgeVectors) -> None:
    """With a sieve, ids and their order are those of a scan, while memories come, change and go."""
    exact = MemoryVectors(DIMENSION)
    draws = np.random.default_rng(9)
    for both in (index, exact):
        apply(both, points(ADA, 0, WORTH))
        apply(both, points(BOB, 50_000, 50))
    begun(index)
    assert sieved(index)
    for turn in range(1, 15):
        changed = [int(n) for n in draws.integers(0, WORTH, 20)]
        gone = [identifier(int(n)) for n in draws.integers(0, WORTH, 10)]
        for both in (index, exact):
            apply(both, [points(ADA, n, 1, turn)[0] for n in changed] + points(ADA, WORTH * turn, 40), gone)
        for seed in range(10):
            ours, theirs = search(index, 77 + seed), search(exact, 77 + seed)
            assert [(hit.id, hit.version) for hit in ours] == [(hit.id, hit.version) for hit in theirs]
            assert [hit.similarity for hit in ours] == pytest.approx([hit.similarity for hit in theirs], abs=1e-6)
    assert sieved(index)


@pytest.mark.parametrize("length", [0.0, 1e-30, 1e-9, 1e-7, 1e-5, 1e-3, 1e3, 1e17, 1e30])
def test_lengths_that_no_model_makes_change_nothing(index: EdgeVectors, length: float) -> None:
    """Whatever the engine makes of a vector without a length to speak of, or of one too long, is what a search says."""
    new = points(ADA, 0, WORTH)
    odd = [Point(p.id, p.version, p.scope, (np.asarray(p.vector, np.float32) * length).tolist()) for p in new[:40]]
    apply(index, [*odd, *new[40:]])
    queries = [rows(1, seed)[0] for seed in range(5)]
    asked = [q.tolist() for q in (*queries, *(query * np.float32(length) for query in queries))]
    before = [asyncio.run(index.search(ADA, query, 10)) for query in asked]
    made(index)
    assert sieved(index)
    assert [asyncio.run(index.search(ADA, query, 10)) for query in asked] == before
    apply(index, [replace(point, version=1) for point in (*odd[20:], *new[:20])])
    after = [asyncio.run(index.search(ADA, query, 10)) for query in asked]
    index._sieves.forget()
    assert [asyncio.run(index.search(ADA, query, 10)) for query in asked] == after


def test_a_sieve_is_asked(index: EdgeVectors, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once there is one, the engine scores those that it lets pass, and no others."""
    apply(index, points(ADA, 0, WORTH))
    begun(index)
    only = [uuid.UUID(identifier(5))]
    monkeypatch.setattr(index._sieves._made[owner(ADA)], "candidates", lambda *_: only)
    assert [hit.id for hit in search(index, 1)] == [identifier(5)]


def test_what_has_gone_is_in_no_sieve(index: EdgeVectors) -> None:
    """An erased memory's vector leaves the sieve in the batch in which it leaves the engine."""
    apply(index, points(ADA, 0, WORTH + 10))
    begun(index)
    apply(index, [], [identifier(n) for n in range(10)])
    assert len(index._sieves._made[owner(ADA)]) == WORTH
    assert not {uuid.UUID(identifier(n)) for n in range(10)} & set(index._sieves._made[owner(ADA)]._keys)


def test_an_owner_of_few_memories_has_none_until_it_has_many(index: EdgeVectors) -> None:
    """It is counted again when it has been searched as often again."""
    apply(index, points(BOB, 50_000, WORTH))
    apply(index, points(ADA, 0, WORTH - 1))
    begun(index)
    assert not sieved(index)
    apply(index, points(ADA, WORTH, 1))
    begun(index)
    assert sieved(index)


def test_an_owner_is_searched_often_before_it_has_one(index: EdgeVectors, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many owners that are searched now and then cost no reading; one that has given way begins anew."""
    monkeypatch.setattr(edge_sieves, "OFTEN", 5)
    apply(index, points(ADA, 0, WORTH))
    for _ in range(2):
        for _ in range(4):
            begun(index)
            assert not sieved(index)
        begun(index)
        assert sieved(index)
        with monkeypatch.context() as full:
            full.setattr(edge_sieves, "_BYTES", 1_000)
            apply(index, [])
        assert not sieved(index)


def test_searches_are_counted_of_so_many_owners_only(index: EdgeVectors, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of owners is bounded: who was searched longest ago is forgotten first."""
    monkeypatch.setattr(edge_sieves, "OFTEN", 100)
    monkeypatch.setattr(edge_sieves, "_KNOWN", 3)
    apply(index, points(ADA, 0, WORTH))
    scopes = [Scope("acme", "planner", name) for name in ("a", "b", "a", "c", "d", "e")]
    for scope in scopes:
        search(index, 1, scope)
    assert list(index._sieves._asked) == [owner(scope) for scope in scopes[3:]]


def test_the_one_that_was_asked_longest_ago_gives_way(index: EdgeVectors, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sieves are bounded in bytes, all of them together; whose has gone is searched as before."""
    for scope, first in ((ADA, 0), (BOB, 50_000)):
        apply(index, points(scope, first, WORTH))
        begun(index, scope)
    assert sieved(index)
    assert sieved(index, BOB)
    search(index, 1, ADA)
    monkeypatch.setattr(edge_sieves, "_BYTES", index._sieves._made[owner(ADA)].size)
    apply(index, [])
    assert sieved(index)
    assert not sieved(index, BOB)
    assert len(search(index, 3, BOB)) == 10


def test_an_owner_that_has_no_room_alone_gets_none(index: EdgeVectors, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted, not read: reading it would be for nothing."""
    apply(index, points(ADA, 0, WORTH))
    monkeypatch.setattr(edge_sieves, "_BYTES", 1_000)
    monkeypatch.setattr(index._sieves, "_read", lambda *_: pytest.fail("it was read"))
    begun(index)
    assert not sieved(index)


def test_after_a_write_that_failed_none_is_trusted(index: EdgeVectors, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the engine has taken of it, no sieve can know."""
    apply(index, points(ADA, 0, WORTH))
    begun(index)

    def failing(*_: object) -> None:
        message = "no space left"
        raise OSError(message)

    with monkeypatch.context() as broken:
        broken.setattr(index, "_upsert", failing)
        with pytest.raises(OSError, match="no space"):
            apply(index, points(ADA, WORTH, 5))
    assert not sieved(index)
    begun(index)
    assert sieved(index)


def test_one_that_was_being_made_then_is_not_trusted_either(
    index: EdgeVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Part of it may have been read before, and part of it after."""
    apply(index, points(ADA, 0, WORTH))
    read = index._sieves._read

    def failed_meanwhile(*asked: object) -> bool:
        index._sieves.forget()
        return read(*asked)  # type: ignore[arg-type] # what the method takes

    monkeypatch.setattr(index._sieves, "_read", failed_meanwhile)
    begun(index)
    assert not sieved(index)


def test_what_comes_and_goes_while_a_sieve_is_made_is_in_it(index: EdgeVectors) -> None:
    """It hears of every change from its first page on."""
    count = 3 * WORTH
    apply(index, points(ADA, 0, count))
    exact = MemoryVectors(DIMENSION)
    apply(exact, points(ADA, 0, count))
    search(index, 1)
    for turn in range(40):
        new, gone = points(ADA, count + 10 * turn, 10), [identifier(97 * turn), identifier(count - 1 - 89 * turn)]
        for both in (index, exact):
            apply(both, new, gone)
    made(index)
    assert sieved(index)
    keys = index._sieves._made[owner(ADA)]._keys
    assert sorted(map(str, keys)) == sorted(exact._points)


def test_where_products_are_wrong_there_are_no_sieves(
    index: EdgeVectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A processor for which the library errs would leave memories out silently."""
    apply(index, points(ADA, 0, WORTH))
    before = search(index, 1)
    asyncio.run(index.close())
    right = numkong.cdist

    def wrong(*asked: Any) -> Any:
        found = np.array(right(*asked))
        found[17] += 1
        return found

    monkeypatch.setattr(numkong, "cdist", wrong)
    again = EdgeVectors.open(tmp_path, model="test@1", dimension=DIMENSION)
    assert "products of bytes are wrong" in caplog.text
    begun(again)
    assert not sieved(again)
    assert search(again, 1) == before
    asyncio.run(again.close())


def test_closing_waits_for_no_sieve_to_be_made(index: EdgeVectors, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is stopped meanwhile ends at once, and none is made afterwards."""
    apply(index, points(ADA, 0, WORTH))
    reading, going = threading.Event(), threading.Event()
    put = Sieve.put

    def slowly(sieve: Sieve, keys: list[uuid.UUID], vectors: NDArray[np.float32]) -> None:
        put(sieve, keys, vectors)
        reading.set()
        going.wait(60)

    monkeypatch.setattr(Sieve, "put", slowly)
    search(index, 1)
    assert reading.wait(60)
    closing = threading.Thread(target=lambda: asyncio.run(index.close()))
    closing.start()
    while not index._sieves._closed:
        assert closing.is_alive()
    going.set()
    closing.join(60)
    assert not closing.is_alive()
    assert not sieved(index)
    index._sieves.missed(owner(ADA))
    assert not index._sieves._making
