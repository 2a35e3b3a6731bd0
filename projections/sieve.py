"""Which vectors can be among the nearest: a scan of a quarter of the bytes, and never a wrong answer (ADR 0020).

An exact scan takes as long as its memory takes to be read, four bytes for each number of a vector. Here stands one byte
for each, and with each vector how far it may be off; what the bytes cannot rule out is left to be scored exactly.

1. A vector x of length 1 is kept as x', whole multiples (-127..127) of a step of its own, with the length of x - x'.
2. For a query q, kept alike as q', the cosine q*x differs from q'*x' by no more than |x - x'| + |q - q'| * |x'|
   (Cauchy and Schwarz), and |x'| is at most 1 + |x - x'|.
3. Who cannot reach what `wanted` others reach at least is ruled out. Nobody else is.
4. What has been taken out is overwritten.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import numkong
import numpy as np
from numpy.typing import NDArray

_STEPS = 127
_BLOCK = 64
"""Rows of which one stands for all where the floor is sought: lower than sought by a little, and sooner found."""
_ROUNDING = np.float32(1e-5)
"""More than sums of float32 are off, ours and the engine's together."""
_SHORTEST, _LONGEST = 1e-6, 1e15
"""Lengths outside of which an engine may not make a vector of length 1: of such a one, nothing is taken for known."""
_KEY_BYTES = 200
"""What an id takes here, in a list and a dictionary."""


class Sieve:
    """The vectors of one owner. Many may ask at once; who puts in or takes out must be alone."""

    def __init__(self, dimension: int) -> None:
        """Start empty, for vectors of `dimension` numbers."""
        self._keys: list[uuid.UUID] = []
        self._places: dict[uuid.UUID, int] = {}
        self._codes = np.zeros((_BLOCK, dimension), np.int8)
        self._steps = np.zeros(_BLOCK, np.float32)
        self._errors = np.zeros(_BLOCK, np.float32)

    def __len__(self) -> int:
        """Return how many vectors there are."""
        return len(self._keys)

    @property
    def size(self) -> int:
        """How many bytes all of it takes."""
        return len(self._codes) * bytes_of(self._codes.shape[1])

    def put(self, keys: Sequence[uuid.UUID], vectors: NDArray[np.float32]) -> None:
        """Put vectors in, each in place of the one that its key had; the lengths of the vectors do not matter."""
        places = [self._place(key) for key in keys]
        self._codes[places], self._steps[places], self._errors[places] = _coded(vectors)

    def drop(self, key: uuid.UUID) -> None:
        """Take a vector out, if it is there: the last one takes its place, and its own is overwritten."""
        place = self._places.pop(key, None)
        if place is None:
            return
        last = self._keys.pop()
        end = len(self._keys)
        if place != end:
            self._keys[place], self._places[last] = last, place
        for column in (self._codes, self._steps, self._errors):
            column[place] = column[end]
            column[end] = 0

    def candidates(self, query: NDArray[np.float32], wanted: int) -> list[uuid.UUID]:
        """Return whoever can be among the `wanted` nearest, everyone of the same cosine as the last of them included.

        1. Estimate each cosine, and how far it may be off.
        2. Find a floor that `wanted` of them reach for certain.
        3. Return those that may reach it.
        """
        rows = len(self._keys)
        if rows <= wanted:
            return list(self._keys)
        codes, steps, errors = _coded(query[None])
        estimates = _products(self._codes[:rows], codes) * (self._steps[:rows] * steps[0])
        off = self._errors[:rows]
        off = off + errors[0] * (1 + off) + _ROUNDING
        floor = _floor(estimates - off, wanted)
        return [self._keys[place] for place in np.flatnonzero(estimates + off >= floor)]

    def _grow(self) -> None:
        """Make room for half as many again."""
        more = len(self._keys) // 2
        self._codes = np.concatenate([self._codes, np.zeros_like(self._codes[:more])])
        self._steps = np.concatenate([self._steps, np.zeros_like(self._steps[:more])])
        self._errors = np.concatenate([self._errors, np.zeros_like(self._errors[:more])])

    def _place(self, key: uuid.UUID) -> int:
        place = self._places.setdefault(key, len(self._keys))
        if place == len(self._keys):
            self._keys.append(key)
            if place == len(self._codes):
                self._grow()
        return place


def bytes_of(dimension: int) -> int:
    """Return how many bytes a place for one vector takes; a sieve has places for half as many again as it holds."""
    return dimension + 2 * np.float32().nbytes + _KEY_BYTES


def proven(dimension: int) -> bool:
    """Tell whether products of bytes are right here: the processor chooses what computes them, and it errs silently."""
    codes = (np.arange(1_000 * dimension, dtype=np.int64) ** 2 % 255 - _STEPS).astype(np.int8).reshape(1_000, dimension)
    right = codes.astype(np.int64) @ codes[0].astype(np.int64)
    return bool((_products(codes, codes[:1]) == right.astype(np.float32)).all())


def _products(codes: NDArray[np.int8], code: NDArray[np.int8]) -> NDArray[np.float32]:
    return np.asarray(numkong.cdist(codes, code, "dot"))[:, 0].astype(np.float32)


def _coded(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
    """Return each row, made of length 1, as bytes, with the step that they count, and how far it is from them."""
    steps = np.abs(vectors).max(axis=1) / np.float32(_STEPS)
    steps[steps == 0] = 1
    scaled = vectors / steps[:, None]
    rounded = np.rint(scaled)
    lengths = _lengths(scaled)
    scaled -= rounded
    were = lengths * steps.astype(np.float64)
    known = (were > _SHORTEST) & (were < _LONGEST)
    rounded[~known] = 0
    lengths[~known] = 1
    errors = _lengths(scaled) / lengths
    errors[~known] = 1
    return rounded.astype(np.int8), np.reciprocal(lengths), errors


def _lengths(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    squares: NDArray[np.float32] = np.einsum("ij,ij->i", rows, rows)
    return np.sqrt(squares)


def _floor(least: NDArray[np.float32], wanted: int) -> np.float32:
    """Return what at least `wanted` of the numbers reach, as high as can be had cheaply."""
    blocks = len(least) // _BLOCK
    if blocks >= wanted:
        least = least[: blocks * _BLOCK].reshape(blocks, _BLOCK).max(axis=1)
    return np.float32(np.partition(least, -wanted)[-wanted])
