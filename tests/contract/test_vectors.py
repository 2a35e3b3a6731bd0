"""The contract of the port `Vectors`, run against every adapter; what only a folder on disk can promise stands last."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import qdrant_edge as engine

from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ports import Hit, Point, Scope
from projections.vectors_edge import EdgeVectors
from projections.vectors_memory import MemoryVectors
from projections.vectors_points import ModelMismatchError
from tests import qdrants, sieving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mnemolog.domain.ports import Vectors

pytestmark = pytest.mark.contract

DIMENSION = 16
MODEL = "test@1"
SCOPE = Scope("acme", "planner", "ada")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["memory", "edge", "edge-sieved", "qdrant-local", "qdrant-server"])
def vectors(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vectors]:
    """Give an empty index of each adapter."""
    made: Vectors
    match request.param:
        case "memory":
            made = MemoryVectors(DIMENSION)
        case "edge":
            made = reopened(tmp_path)
        case "edge-sieved":
            made = sieving.vectors(tmp_path, MODEL, DIMENSION, monkeypatch)
        case _:
            made = qdrants.vectors(request.param.removeprefix("qdrant-"), MODEL, DIMENSION)
    yield made
    asyncio.run(made.close())


def reopened(path: Path) -> EdgeVectors:
    """Open the folder as its owner would."""
    return EdgeVectors.open(path, model=MODEL, dimension=DIMENSION)


def vector(seed: int) -> list[float]:
    """Return a vector of any direction and length, the same for the same seed."""
    values = np.random.default_rng(seed).normal(size=DIMENSION).astype(np.float32)
    return [float(value) for value in values]


def identifier(n: int) -> str:
    """Return the n-th id: greater n, greater id."""
    return str(uuid.UUID(int=8 << 76 | 2 << 62 | n))


def point(n: int, version: int = 0, scope: Scope = SCOPE, seed: int | None = None) -> Point:
    """Return the n-th point."""
    return Point(identifier(n), version, scope, vector(n if seed is None else seed))


def apply(vectors: Vectors, points: Sequence[Point] = (), gone: Sequence[str] = (), checkpoint: int = 1) -> None:
    """Apply a batch to partition 0."""
    asyncio.run(vectors.apply(0, points, gone, checkpoint))


def search(vectors: Vectors, like: Sequence[float], scope: Scope = SCOPE, top: int = 10) -> Sequence[Hit]:
    """Search a scope."""
    return asyncio.run(vectors.search(scope, like, top))


def found(vectors: Vectors, scope: Scope = SCOPE) -> dict[str, int]:
    """Return the ids and versions that a search of the whole scope finds."""
    return {hit.id: hit.version for hit in search(vectors, vector(0), scope, 1_000)}


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the cosine of two vectors in double precision."""
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_an_empty_index_has_no_checkpoint_no_points_and_no_hits(vectors: Vectors) -> None:
    """A partition never indexed says None, so that its owner fills it from the log."""
    assert asyncio.run(vectors.checkpoint(0)) is None
    assert asyncio.run(vectors.count()) == 0
    assert search(vectors, vector(1)) == []


def test_ranks_and_similarities_equal_brute_force(vectors: Vectors) -> None:
    """A search is exact: the same ids in the same order as a double-precision scan, similarities within 1e-5."""
    points = [point(n) for n in range(300)]
    apply(vectors, points)
    for seed in range(1_000, 1_020):
        wanted = sorted(points, key=lambda each: -cosine(each.vector, vector(seed)))[:10]
        hits = search(vectors, vector(seed))
        assert [hit.id for hit in hits] == [each.id for each in wanted]
        assert [hit.similarity for hit in hits] == pytest.approx(
            [cosine(each.vector, vector(seed)) for each in wanted], abs=1e-5
        )


def test_the_length_of_a_vector_does_not_matter(vectors: Vectors) -> None:
    """Similarity is the cosine, of whatever was stored or asked: the same direction is 1."""
    apply(vectors, [Point(identifier(1), 0, SCOPE, [value * 40 for value in vector(1)])])
    (hit,) = search(vectors, [value / 7 for value in vector(1)])
    assert hit.similarity == pytest.approx(1.0, abs=1e-5)
    assert hit.similarity <= 1.0


def test_opposite_and_zero_vectors_are_similar_by_nothing(vectors: Vectors) -> None:
    """A negative cosine is 0, never less; a vector without direction is like none."""
    apply(
        vectors, [Point(identifier(1), 0, SCOPE, [-v for v in vector(9)]), Point(identifier(2), 0, SCOPE, [0.0] * 16)]
    )
    assert [(hit.id, hit.similarity) for hit in search(vectors, vector(9))] == [
        (identifier(1), 0.0),
        (identifier(2), 0.0),
    ]
    assert [hit.similarity for hit in search(vectors, [0.0] * DIMENSION)] == [0.0, 0.0]


@pytest.mark.parametrize("top", [1, 3, 7, 50])
def test_equal_similarities_come_by_id_also_at_the_edge(vectors: Vectors, top: int) -> None:
    """Among points of equal similarity the smallest ids are taken, also where `top` cuts through them."""
    order = list(range(40))
    random.Random(5).shuffle(order)
    # Twenty copies of the best vector, then twenty of the opposite, which all count as 0.
    for n in order:
        values = vector(77) if n % 2 else [-value for value in vector(77)]
        apply(vectors, [Point(identifier(n), 0, SCOPE, values)])
    wanted = [identifier(n) for n in range(1, 40, 2)] + [identifier(n) for n in range(0, 40, 2)]
    assert [hit.id for hit in search(vectors, vector(77), top=top)] == wanted[:top]


def test_top_bounds_the_answer(vectors: Vectors) -> None:
    """A search returns at most `top` hits, all there are if there are fewer, and none for none."""
    apply(vectors, [point(n) for n in range(5)])
    assert [len(search(vectors, vector(1), top=top)) for top in (0, 1, 4, 5, 6)] == [0, 1, 4, 5, 5]


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (Scope("t1", "a", "i"), Scope("t2", "a", "i")),
        (Scope("t", "a/b", "c"), Scope("t", "a", "b/c")),
        (Scope("t", "a", "bc"), Scope("t", "ab", "c")),
        (Scope("t", "a\x00b", "c"), Scope("t", "a", "b\x00c")),
        (Scope("t", 'a","b', "c"), Scope("t", "a", 'b","c')),
        (Scope("t", "", "x"), Scope("t", "x", "")),
        (Scope("t", "Agent", "i"), Scope("t", "agent", "i")),
        (Scope("t", "na\u00efve", "i"), Scope("t", "nai\u0308ve", "i")),
        (Scope("t", "a", "i "), Scope("t", "a", "i")),
        (Scope("a", "a", "b"), Scope("a", "b", "a")),
        (Scope("t", "*", "*"), Scope("t", "a", "i")),
    ],
)
def test_a_search_sees_exactly_its_scope(vectors: Vectors, mine: Scope, theirs: Scope) -> None:
    """No tenant, agent or invoker that differs in anything is seen, whatever delimiters the names contain."""
    apply(vectors, [point(1, scope=mine, seed=1), point(2, scope=theirs, seed=1)])
    assert found(vectors, mine) == {identifier(1): 0}
    assert found(vectors, theirs) == {identifier(2): 0}


def test_a_crowded_neighbour_does_not_shorten_a_search(vectors: Vectors) -> None:
    """The scope is applied before the cut: a thousand better matches of others leave room for one's own."""
    other = Scope("globex", "planner", "ada")
    apply(vectors, [*(point(n, scope=other, seed=1) for n in range(1_000)), point(2_000, seed=2)])
    assert [hit.id for hit in search(vectors, vector(1), top=3)] == [identifier(2_000)]


def test_a_newer_version_replaces_and_an_older_or_equal_one_does_not(vectors: Vectors) -> None:
    """Whatever the order of delivery, the highest version's vector stands, and of two equal versions the first."""
    apply(vectors, [point(1, version=3, seed=3)])
    apply(vectors, [point(1, version=2, seed=2)])
    apply(vectors, [point(1, version=3, seed=4)])
    (hit,) = search(vectors, vector(3))
    assert hit.version == 3
    assert hit.similarity == pytest.approx(1.0, abs=1e-5)
    apply(vectors, [point(1, version=5, seed=5)])
    (hit,) = search(vectors, vector(5))
    assert hit.version == 5
    assert hit.similarity == pytest.approx(1.0, abs=1e-5)
    assert asyncio.run(vectors.count()) == 1


def test_versions_within_one_batch_do_not_depend_on_their_order(vectors: Vectors) -> None:
    """A batch with several versions of a point leaves the highest."""
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        key = 100 + order[0]
        apply(vectors, [point(key, version=version, seed=version) for version in order])
        best = max(search(vectors, vector(2)), key=lambda hit: hit.id == identifier(key))
        assert best.version == 2
        assert best.similarity == pytest.approx(1.0, abs=1e-5)


def test_a_removed_point_stays_gone(vectors: Vectors) -> None:
    """A late upsert of a removed id, of any version, does not bring it back; others are untouched."""
    apply(vectors, [point(1), point(2)])
    apply(vectors, gone=[identifier(1)])
    assert found(vectors) == {identifier(2): 0}
    apply(vectors, [point(1, version=7), point(3)])
    assert found(vectors) == {identifier(2): 0, identifier(3): 0}
    assert asyncio.run(vectors.count()) == 2


def test_a_removal_may_come_before_its_point(vectors: Vectors) -> None:
    """Removing an id that is not there is no error, and stops its upsert all the same."""
    apply(vectors, gone=[identifier(1), identifier(1)])
    apply(vectors, [point(1)])
    assert asyncio.run(vectors.count()) == 0


def test_within_a_batch_removal_wins(vectors: Vectors) -> None:
    """A batch that both upserts and removes an id leaves it gone, stored before or not."""
    apply(vectors, [point(1)])
    apply(vectors, [point(1, version=1), point(2)], [identifier(1), identifier(2)])
    assert asyncio.run(vectors.count()) == 0
    assert found(vectors) == {}


def test_a_batch_applied_again_changes_nothing(vectors: Vectors) -> None:
    """Replaying batches in order, as after a crash before the checkpoint, ends in the same index."""
    batches = [
        ([point(1), point(2)], [], 3),
        ([point(1, version=1, seed=9), point(3)], [identifier(2)], 6),
    ]
    for _ in range(3):
        for points, gone, checkpoint in batches:
            apply(vectors, points, gone, checkpoint)
        assert found(vectors) == {identifier(1): 1, identifier(3): 0}
        assert asyncio.run(vectors.checkpoint(0)) == 6


def test_checkpoints_are_per_partition_and_invisible(vectors: Vectors) -> None:
    """Each partition has its own; an empty batch moves it; none is found, none is counted."""
    asyncio.run(vectors.apply(0, [point(1)], [], 10))
    asyncio.run(vectors.apply(7, [], [], 1 << 40))
    asyncio.run(vectors.apply(0, [], [], 12))
    assert [asyncio.run(vectors.checkpoint(partition)) for partition in (0, 7, 1)] == [12, 1 << 40, None]
    assert asyncio.run(vectors.count()) == 1
    assert found(vectors) == {identifier(1): 0}
    assert found(vectors, Scope("", "", "")) == {}


@pytest.mark.parametrize("bad", [[1.0] * 15, [1.0] * 17, [], [float("nan")] * 16, [float("inf")] + [1.0] * 15])
def test_a_vector_that_no_search_could_find_is_refused_whole(vectors: Vectors, bad: list[float]) -> None:
    """A wrong dimension, NaN or infinity is an error; nothing of its batch is stored, the checkpoint stands."""
    apply(vectors, [point(1)], checkpoint=4)
    with pytest.raises(ValueError, match="vector"):
        apply(vectors, [point(2), Point(identifier(3), 0, SCOPE, bad)], [identifier(1)], checkpoint=9)
    with pytest.raises(ValueError, match="vector"):
        search(vectors, bad)
    assert found(vectors) == {identifier(1): 0}
    assert asyncio.run(vectors.checkpoint(0)) == 4


def test_numpy_rows_are_vectors_too(vectors: Vectors) -> None:
    """An embedder's float32 rows go in as they are, and are not changed."""
    row = np.asarray(vector(1), dtype=np.float32) * 3
    before = row.copy()
    apply(vectors, [Point(identifier(1), 0, SCOPE, row)])  # type: ignore[arg-type]
    (hit,) = asyncio.run(vectors.search(SCOPE, row, 1))  # type: ignore[arg-type]
    assert hit.similarity == pytest.approx(1.0, abs=1e-5)
    assert (row == before).all()


def test_searches_run_beside_writes(vectors: Vectors) -> None:
    """Searches from other threads see every point once, before a batch that replaces all or after it.

    In this process they see a batch whole or not at all; a server may show it while it is half done.
    """
    apply(vectors, [point(n) for n in range(20)])
    half_done = isinstance(vectors, qdrants.OwnLoop)
    failures: list[str] = []
    done = threading.Event()

    def reader() -> None:
        try:
            while not done.is_set():
                hits = search(vectors, vector(3), top=50)
                versions = {hit.version for hit in hits}
                if len(hits) != 20 or max(versions) - min(versions) > half_done:
                    failures.append(f"{len(hits)} hits of versions {versions} at once")
        except BaseException as error:  # noqa: BLE001 - a thread's failure must reach the test
            failures.append(repr(error))

    threads = [threading.Thread(target=reader) for _ in range(2)]
    for thread in threads:
        thread.start()
    for version in range(1, 60):
        apply(vectors, [point(n, version=version, seed=n + version) for n in range(20)], checkpoint=version)
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []


# The folder on disk.


def test_everything_outlives_a_stop(tmp_path: Path) -> None:
    """Points, versions, removals and checkpoints are there after a clean close; closing twice is no error."""
    first = reopened(tmp_path)
    asyncio.run(first.apply(3, [point(1, version=4), point(2)], [], 5))
    asyncio.run(first.apply(3, [], [identifier(2)], 6))
    asyncio.run(first.close())
    asyncio.run(first.close())
    second = reopened(tmp_path)
    assert found(second) == {identifier(1): 4}
    assert (asyncio.run(second.checkpoint(3)), asyncio.run(second.checkpoint(0))) == (6, None)
    apply(second, [point(1, version=3, seed=8)])
    assert found(second) == {identifier(1): 4}
    assert asyncio.run(second.count()) == 1
    asyncio.run(second.close())


@pytest.mark.parametrize(("model", "dimension"), [("other@1", DIMENSION), (MODEL, DIMENSION + 1)])
def test_a_folder_of_another_model_is_refused(tmp_path: Path, model: str, dimension: int) -> None:
    """Vectors of two models are never compared: the error names both, and the folder is left as it was."""
    first = reopened(tmp_path)
    apply(first, [point(1)])
    asyncio.run(first.close())
    with pytest.raises(ModelMismatchError) as refused:
        EdgeVectors.open(tmp_path, model=model, dimension=dimension)
    for named in (MODEL, model, str(DIMENSION), str(dimension)):
        assert named in str(refused.value)
    second = reopened(tmp_path)
    assert found(second) == {identifier(1): 0}
    asyncio.run(second.close())


def test_an_open_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A second owner gets an error, and the first one's index is not taken for a damaged one."""
    first = reopened(tmp_path)
    apply(first, [point(1)])
    with pytest.raises(Unavailable, match="open in another process"):
        reopened(tmp_path)
    apply(first, [point(2)])
    assert found(first) == {identifier(1): 0, identifier(2): 0}
    asyncio.run(first.close())


def cut_short(name: str) -> Callable[[Path], None]:
    """Return what halves the files of a name."""

    def cut(folder: Path) -> None:
        for path in folder.rglob(name):
            os.truncate(path, path.stat().st_size // 2)

    return cut


def removed(name: str) -> Callable[[Path], None]:
    """Return what removes the files of a name."""

    def remove(folder: Path) -> None:
        for path in folder.rglob(name):
            path.unlink()

    return remove


@pytest.mark.parametrize(
    "damage",
    [
        removed("index.json"),
        cut_short("index.json"),
        removed("segment.json"),
        cut_short("edge_config.json"),
        removed("mutable_id_tracker.mappings"),
        cut_short("mutable_id_tracker.mappings"),
        removed("flags_a.dat"),
        cut_short("status.dat"),
        removed("chunk_0.mmap"),
        cut_short("first-index"),
    ],
)
def test_a_damaged_folder_starts_empty_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    """What is lost, half-written or unreadable is replaced by an empty index and never served short."""
    first = reopened(tmp_path)
    for batch in range(10):
        # The last batch alone would be healed by the engine's own write-ahead log.
        apply(first, [point(batch * 10 + n) for n in range(10)], checkpoint=batch)
    asyncio.run(first.close())
    damage(tmp_path)
    with caplog.at_level(logging.WARNING):
        second = reopened(tmp_path)
    assert "starts empty" in caplog.text
    assert asyncio.run(second.checkpoint(0)) is None
    assert asyncio.run(second.count()) == 0
    apply(second, [point(1)], checkpoint=2)
    asyncio.run(second.close())
    third = reopened(tmp_path)
    assert found(third) == {identifier(1): 0}
    asyncio.run(third.close())


def test_a_new_folder_is_no_reason_to_warn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The first start is silent, and makes the folder with its parents."""
    with caplog.at_level(logging.WARNING):
        made = reopened(tmp_path / "data" / "vectors")
    asyncio.run(made.close())
    assert caplog.text == ""
    assert json.loads((tmp_path / "data" / "vectors" / "index.json").read_text()) == {"model": MODEL, "dimension": 16}


def test_the_engines_files_name_nobody_and_keep_no_removed_vector(tmp_path: Path) -> None:
    """Agent and invoker stand in no file; a removed vector is overwritten in the segment, not only marked."""
    scope = Scope("acme", "agent-of-secrets", "invoker-of-secrets")
    first = reopened(tmp_path)
    apply(first, [point(1, scope=scope), point(2, scope=scope)])
    apply(first, gone=[identifier(1)])
    asyncio.run(first.close())
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"of-secrets" not in stored
    chunks = [np.fromfile(path, dtype=np.float32) for path in tmp_path.rglob("chunk_*.mmap")]
    kept = np.concatenate(chunks).reshape(-1, DIMENSION)
    assert cosine_to_nearest(kept, vector(2)) == pytest.approx(1.0, abs=1e-5)
    assert cosine_to_nearest(kept, vector(1)) < 0.99


def cosine_to_nearest(matrix: np.ndarray[Any, np.dtype[np.float32]], like: Sequence[float]) -> float:
    """Return how near the nearest row comes; rows are normalised, or zero."""
    return float((matrix @ (np.asarray(like, dtype=np.float32) / np.linalg.norm(like))).max())


def test_a_gone_marker_is_dropped_only_by_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For an hour a late upsert is stopped; later the id is forgotten, so that the memory is bounded."""
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    made = reopened(tmp_path)
    made._gone._clock = lambda: now
    apply(made, gone=[identifier(1)])
    now += 3_500
    apply(made, [point(1)], [identifier(2)])
    assert asyncio.run(made.count()) == 0
    now += 200
    apply(made, [point(1), point(2)], [identifier(3)])
    assert found(made) == {identifier(1): 0}
    asyncio.run(made.close())


def test_a_removal_cut_off_by_a_crash_is_finished_at_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the record that names the removed and their deletion nothing is lost: `open` deletes them."""
    first = reopened(tmp_path)
    apply(first, [point(1), point(2)])
    with monkeypatch.context() as patched:
        patched.setattr(engine.UpdateOperation, "delete_points", lambda _: pytest.fail("crash"), raising=True)
        with pytest.raises(pytest.fail.Exception):
            apply(first, [point(3)], [identifier(1)], checkpoint=2)
    asyncio.run(first.close())
    second = reopened(tmp_path)
    assert asyncio.run(second.count()) == 2
    assert found(second) == {identifier(2): 0, identifier(3): 0}
    assert asyncio.run(second.checkpoint(0)) == 2
    asyncio.run(second.close())


WRITER = """
import asyncio, sys
from tests.contract.test_vectors import identifier, point, reopened
from pathlib import Path

made = reopened(Path(sys.argv[1]))
for batch in range(100_000):
    first = batch * 10
    gone = [identifier(first - 10)] if batch % 3 == 1 else []
    asyncio.run(made.apply(0, [point(first + n, version=batch) for n in range(10)], gone, batch + 1))
    print(batch + 1, flush=True)
"""


@pytest.mark.parametrize("batches", [1, 7, 260])
def test_kill_9_leaves_no_checkpoint_ahead_of_its_points(tmp_path: Path, batches: int) -> None:
    """After SIGKILL the index has every batch that was answered, and of the one under way all or nothing."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=with_path()
    ) as process:
        assert process.stdout is not None
        answered = 0
        for line in process.stdout:
            answered = int(line)
            if answered >= batches:
                break
        process.send_signal(signal.SIGKILL)
        answered = max([answered, *(int(line) for line in process.stdout if line.endswith("\n"))])
    survivor = reopened(tmp_path)
    checkpoint = asyncio.run(survivor.checkpoint(0))
    assert checkpoint is not None
    assert checkpoint >= answered
    wanted = {
        identifier(batch * 10 + n): batch
        for batch in range(checkpoint)
        for n in range(10)
        if not (n == 0 and (batch + 1) % 3 == 1 and batch + 1 < checkpoint)
    }
    hits = asyncio.run(survivor.search(SCOPE, vector(0), 1_000_000))
    assert {hit.id: hit.version for hit in hits} == wanted
    assert asyncio.run(survivor.count()) == len(wanted)
    asyncio.run(survivor.close())


def with_path() -> dict[str, str]:
    """Return an environment in which a child finds our packages."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}
