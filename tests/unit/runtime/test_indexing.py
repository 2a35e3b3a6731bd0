"""How much indexing takes of a machine that others write on."""

from __future__ import annotations

from typing import Any

import pytest

from mnemolog.runtime import indexing
from mnemolog.runtime.indexing import Indexing
from mnemolog.runtime.progress import Progress
from projections.batching import LOT, cores


def never(*_: object) -> Any:
    """Stand in for what a test does not begin."""
    pytest.fail("something was begun")


@pytest.mark.parametrize(("here", "beside_writers", "alone"), [(1, 16, 32), (2, 16, 64), (8, 112, 256)])
def test_one_core_is_left_to_writers_while_they_write(
    monkeypatch: pytest.MonkeyPatch, here: int, beside_writers: int, alone: int
) -> None:
    """A core embeds sixteen texts at a time; whether somebody has written since is asked before each lot."""
    monkeypatch.setattr(indexing, "cores", lambda: here)
    projected = Progress()
    some = Indexing(never, never, projected=projected)
    projected.advance(7)
    assert [some._texts(), some._texts(), some._texts()] == [beside_writers, alone, alone]
    projected.advance(9)
    assert [some._texts(), some._texts()] == [beside_writers, alone]


def test_where_nobody_writes_in_this_process_all_cores_index() -> None:
    """A gateway beside workers has only its index to fill."""
    assert Indexing(never, never)._texts() == 2 * LOT * cores()
