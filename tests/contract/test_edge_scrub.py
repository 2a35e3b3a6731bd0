"""What was erased leaves the engine's write-ahead log, and the index is whole whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import qdrant_edge as engine

from projections.vectors_edge import EdgeVectors
from tests.contract.test_vectors import apply, found, identifier, point, reopened, vector

pytestmark = pytest.mark.contract


def holding(folder: Path, wanted: Sequence[float]) -> set[str]:
    """Return the files that hold a vector as the engine writes it: normalised in segments, as CBOR in its log."""
    row = np.asarray(wanted, dtype=np.float32)
    logged = b"".join(b"\xfa" + struct.pack(">f", float(number)) for number in row[:8])
    forms = ((row / np.linalg.norm(row))[:8].tobytes(), logged)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.name for path in files if any(form in path.read_bytes() for form in forms)}


def scrubbed(made: EdgeVectors) -> bool:
    """Scrub, as often as one likes."""
    made._scrubbed = -1e9
    return asyncio.run(made.scrub())


def test_guarantee_7_an_erased_vector_is_in_no_file(tmp_path: Path) -> None:
    """Before the scrub the log has it; after it no file, also not when it is opened again. The others are there."""
    made = reopened(tmp_path)
    apply(made, [point(1), point(2)])
    assert len(holding(tmp_path, vector(1))) == 2
    apply(made, gone=[identifier(1)], checkpoint=2)
    assert holding(tmp_path, vector(1)) == {"open-1"}
    assert scrubbed(made)
    assert holding(tmp_path, vector(1)) == set()
    assert not scrubbed(made)
    apply(made, [point(3)], checkpoint=3)
    assert found(made) == {identifier(2): 0, identifier(3): 0}
    asyncio.run(made.close())
    again = reopened(tmp_path)
    assert found(again) == {identifier(2): 0, identifier(3): 0}
    assert asyncio.run(again.checkpoint(0)) == 3
    assert holding(tmp_path, vector(1)) == set()
    asyncio.run(again.close())


def test_nothing_is_written_where_nothing_was_erased(tmp_path: Path) -> None:
    """And not more often than every ten seconds."""
    made = reopened(tmp_path)
    apply(made, [point(1), point(2)])
    assert not scrubbed(made)
    apply(made, gone=[identifier(1)], checkpoint=2)
    assert asyncio.run(made.scrub())
    apply(made, gone=[identifier(2)], checkpoint=3)
    assert not asyncio.run(made.scrub())
    assert scrubbed(made)
    asyncio.run(made.close())


def test_a_scrub_that_was_cut_off_is_done_by_the_next_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The point that fills the log is not counted, so nothing is lost, and the mark on disk says what is left to do."""
    made = reopened(tmp_path)
    apply(made, [point(1), point(2)])
    apply(made, gone=[identifier(1)], checkpoint=2)
    with monkeypatch.context() as patched:
        patched.setattr(engine.UpdateOperation, "delete_points", lambda _: pytest.fail("crash"), raising=True)
        with pytest.raises(pytest.fail.Exception):
            scrubbed(made)
    asyncio.run(made.close())
    again = reopened(tmp_path)
    assert found(again) == {identifier(2): 0}
    assert asyncio.run(again.count()) == 1
    assert asyncio.run(again.checkpoint(0)) == 2
    assert scrubbed(again)
    assert holding(tmp_path, vector(1)) == set()
    asyncio.run(again.close())
