"""What every embedder does with texts: micro-batches of similar length, turns at the model, vectors of length 1."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

Item = TypeVar("Item")

LOT = 16
"""Short texts that one core embeds at a time: as cheap a text as any more of them."""
TURN_TOKENS = 2_048
"""How many tokens go through a model at once: a fraction of a second's work."""


class Turns:
    """A lock that is handed on: whoever waits comes next, also if the holder asks again at once.

    The one who waits longest holds the gate, so a holder that comes back stands behind him.
    """

    def __init__(self) -> None:
        """Begin with nobody at the model."""
        self._gate = threading.Lock()
        self._model = threading.Lock()

    def __enter__(self) -> None:
        """Wait for one's turn."""
        with self._gate:
            self._model.acquire()

    def __exit__(self, *_: object) -> None:
        """Let the next one in."""
        self._model.release()


def packed(
    items: Sequence[Item], tokens: Sequence[int], most: int, most_tokens: int = TURN_TOKENS
) -> Iterator[list[Item]]:
    """Return the items in micro-batches of at most `most` items and about so many tokens, a turn's if nothing is said.

    They come by length, so that a micro-batch is as long as its last item and pads little.
    """
    batch: list[Item] = []
    for item, length in zip(items, tokens, strict=True):
        if batch and (len(batch) == most or (len(batch) + 1) * length > most_tokens):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def normalised(row: Matrix) -> Matrix:
    """Return a vector of length 1. A vector of zeros has no direction, and gets the first axis."""
    length = np.linalg.norm(row)
    if length == 0:
        axis = np.zeros_like(row)
        axis[0] = 1.0
        return axis
    return (row / length).astype(np.float32)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
