"""Two thousand seeded worlds of crashes, duplicates, zombies, erasures and compaction on the real core.

Each world lives once, and every guarantee asks it its own question. A failure names its seed:

    make simulate ARGS="--seed 17"          that world again, and nothing else
    make simulate                           20,000 of them
    make simulate ARGS="--runs 100000"      as many as you like; the first seeds are always the same
"""

from __future__ import annotations

import asyncio
import tempfile
import traceback
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from tests.simulation.judge import QUESTIONS
from tests.simulation.world import World

pytestmark = pytest.mark.simulation

MOMENTS = 70
ON_FILES = 40
"""Of so many worlds one lives on the embedded runtime's SQLite file, which costs as much as dozens in memory."""


@cache
def verdicts(seeds: range) -> dict[str, list[str]]:
    """Live the worlds of these seeds; return what each question found wrong."""
    wrong: dict[str, list[str]] = defaultdict(list)
    for seed in seeds:
        asyncio.run(_lived(seed, wrong))
    return wrong


async def _lived(seed: int, wrong: dict[str, list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(seed, Path(folder) if seed % ON_FILES == 0 else None)
        try:
            await world.live(MOMENTS)
        except Exception:  # noqa: BLE001 -- a world that ends early fails every question
            for question in QUESTIONS:
                wrong[question].append(_named(seed))
        else:
            for name, ask in QUESTIONS.items():
                try:
                    await ask(world)
                except Exception:  # noqa: BLE001 -- the test reports it with its seed
                    wrong[name].append(_named(seed))
        finally:
            await world.close()


def _named(seed: int) -> str:
    return f"make simulate ARGS='--seed {seed}'\n{traceback.format_exc()}"


def held(question: str, seeds: range) -> None:
    """Expect that a question found nothing wrong in any of these worlds."""
    wrong = verdicts(seeds)[question]
    assert not wrong, f"{len(wrong)} of {len(seeds)} worlds; the first:\n{wrong[0]}"


def test_guarantee_1_numbers_are_gapless_and_never_used_again(seeds: range) -> None:
    """Stream versions, a slot's ordinals, a session's sequence ids, a group's numbers; times rise within a stream."""
    held("numbers", seeds)


def test_guarantee_2_an_accepted_command_has_its_facts_exactly_once_all_or_none(seeds: range) -> None:
    """As its outcome says; a refused or repeated one has none."""
    held("facts once", seeds)


def test_guarantee_3_a_repeat_within_the_window_gets_the_first_acceptance(seeds: range) -> None:
    """Whatever crashed, was compacted or erased in between; another request under the same id gets nothing new."""
    held("repeats", seeds)


def test_guarantee_4_stale_tokens_are_refused_and_current_ones_are_not(seeds: range) -> None:
    """Of rivals with the same `If-Match` or `created_at` the first one decided wins, and no other."""
    held("conflicts", seeds)


def test_guarantee_6_live_views_equal_those_rebuilt_from_the_log_compacted_or_whole(seeds: range) -> None:
    """The law of holes for views: rows, places, counts."""
    held("views", seeds)


def test_guarantee_9_what_was_committed_is_there_whatever_died(seeds: range) -> None:
    """Nothing but what was erased has gone, and nothing is there twice."""
    held("survival", seeds)


def test_every_readable_memory_is_found_by_search_and_nothing_else_has_a_vector(seeds: range) -> None:
    """Also after the index was lost, and while stores were restored from before."""
    held("vectors", seeds)


def test_chains_verify_across_the_holes(seeds: range) -> None:
    """By what `Erased` has kept of the facts that it took."""
    held("chains", seeds)


def test_the_same_commands_give_the_same_facts_to_the_byte(seeds: range) -> None:
    """Whoever sequences them, however often, in whatever batches (design §5)."""
    held("determinism", seeds)


def test_guarantee_7_what_is_due_goes_whoever_died_in_the_middle(seeds: range) -> None:
    """Between proposal, decision, tombstone and projection; by policy, by strategy, after a grace."""
    held("retention", seeds)


def test_an_audit_finds_nothing_wrong(seeds: range) -> None:
    """No false alarm: chains, commands decided again, and views, over logs with every kind of past."""
    held("audit", seeds)
