"""A sieve rules out only what cannot be among the nearest, whatever the vectors are, and forgets what is taken out."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from projections.sieve import Sieve, bytes_of

_DIMENSION = 24


def key(n: int) -> uuid.UUID:
    """Return the n-th key."""
    return uuid.UUID(int=n)


def rows(count: int, seed: int) -> NDArray[np.float32]:
    """Return vectors around a few centres, of any length."""
    draws = np.random.default_rng(seed)
    centres = draws.normal(size=(5, _DIMENSION))
    near = centres[draws.integers(0, 5, count)] + 0.1 * draws.normal(size=(count, _DIMENSION))
    return np.asarray(near * draws.uniform(0.1, 40, size=(count, 1)), np.float32)


def filled(vectors: NDArray[np.float32]) -> Sieve:
    """Return a sieve with these vectors under the keys 0, 1, 2 and so on."""
    sieve = Sieve(vectors.shape[1])
    sieve.put([key(n) for n in range(len(vectors))], vectors)
    return sieve


def nearest(vectors: NDArray[np.float32], of: Sequence[int], query: NDArray[np.float32], wanted: int) -> set[uuid.UUID]:
    """Return whoever is among the nearest in double precision, all that are as near as the last included."""
    mine = vectors[list(of)].astype(np.float64)
    lengths = np.linalg.norm(mine, axis=1) * np.linalg.norm(query.astype(np.float64))
    cosines = np.divide(mine @ query.astype(np.float64), lengths, out=np.zeros(len(mine)), where=lengths > 0)
    if len(mine) <= wanted:
        return {key(n) for n in of}
    floor = np.sort(cosines)[-wanted] - 1e-9
    return {key(n) for n, cosine in zip(of, cosines, strict=True) if cosine >= floor}


@given(st.integers(0, 2**32), st.integers(1, 300), st.integers(1, 40), st.data())
def test_whoever_is_among_the_nearest_passes(seed: int, count: int, wanted: int, data: st.DataObject) -> None:
    """Whatever has been put in, put in again, or taken out: the nearest of what is there are never ruled out."""
    vectors = rows(count, seed)
    vectors[data.draw(st.lists(st.integers(0, count - 1), max_size=5))] = 0
    vectors[data.draw(st.lists(st.integers(0, count - 1), max_size=20))] = vectors[0]
    sieve = filled(vectors)
    gone = data.draw(st.sets(st.integers(0, count - 1), max_size=count))
    for n in gone:
        sieve.drop(key(n))
    others = sorted(data.draw(st.sets(st.integers(0, count - 1), max_size=20)))
    vectors[others] = rows(len(others), seed + 1)
    sieve.put([key(n) for n in others], vectors[others])
    there = sorted(set(range(count)) - gone | set(others))
    assert len(sieve) == len(there)
    for query in [*rows(3, seed + 2), vectors[0]]:
        passed = sieve.candidates(query, wanted)
        assert len(passed) == len(set(passed))
        assert nearest(vectors, there, query, wanted) <= set(passed) <= {key(n) for n in there}


def test_most_are_ruled_out() -> None:
    """Of ten thousand vectors near a few centres, fewer than one in twenty are left to be scored."""
    draws = np.random.default_rng(1)
    centres = draws.normal(size=(200, 384))
    near = centres[draws.integers(0, 200, 10_000)] + 0.5 * draws.normal(size=(10_000, 384))
    sieve = filled(near.astype(np.float32))
    for query in centres[:20].astype(np.float32):
        assert len(sieve.candidates(query, 11)) < 500


def test_what_is_taken_out_is_overwritten() -> None:
    """Nothing of an erased memory's vector stays in memory here; the others are where they were."""
    vectors = rows(100, 3)
    vectors[37] = np.linspace(-1, 1, _DIMENSION)
    sieve = filled(vectors)
    mark = np.rint(np.linspace(-1, 1, _DIMENSION) * 127).astype(np.int8).tobytes()
    assert mark in sieve._codes.tobytes()
    sieve.drop(key(37))
    sieve.drop(key(37))
    assert mark not in sieve._codes.tobytes()
    assert not sieve._codes[99:].any()
    there = [n for n in range(100) if n != 37]
    assert nearest(vectors, there, vectors[99], 5) <= set(sieve.candidates(vectors[99], 5))


def test_one_that_takes_the_place_of_another_overwrites_it() -> None:
    """A memory with a new text has one vector, the new one."""
    vectors = rows(50, 5)
    sieve = filled(vectors)
    sieve.put([key(7)], -vectors[7:8])
    assert len(sieve) == 50
    assert key(7) not in sieve.candidates(vectors[7], 1)


@pytest.mark.parametrize("count", [0, 1, 64, 65, 1_000])
def test_a_sieve_knows_its_size(count: int) -> None:
    """Rows are made twice as many when they are full, and each is counted with its key."""
    sieve = filled(rows(count, 1))
    assert count * bytes_of(_DIMENSION) <= sieve.size <= max(64, 2 * count) * bytes_of(_DIMENSION)
