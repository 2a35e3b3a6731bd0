"""What readers do not see and what still holds it: as figures, and from the command line."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from mnemolog.domain.times import SECOND
from mnemolog.runtime import not_gone
from mnemolog.runtime.metrics import Metrics
from mnemolog.runtime.not_gone import NotGone, Place
from projections.due import StoreDue
from tests import wishes
from tests.unit.pipeline import Pipeline
from tests.unit.runtime.commands import Run, bring, made

pytestmark = pytest.mark.unit


def told(place: Place) -> NotGone:
    """Ask a place."""

    async def asked() -> NotGone:
        return await place()

    return asyncio.run(asked())


def test_what_is_hidden_is_told_with_the_age_of_the_oldest() -> None:
    """Of every partition; nothing where nothing is hidden."""
    line = Pipeline(4)
    asked = not_gone.hidden(StoreDue(line.store, 4), lambda: line.now)
    assert told(asked) == NotGone("hidden", 0, None)
    spaces = [line.say(wishes.create_space(f"u{n}")) for n in range(4)]
    line.say(wishes.delete_space(spaces[0], "u0"))
    since = line.now
    line.say(wishes.delete_space(spaces[1], "u1"))
    line.project()
    assert told(asked) == NotGone("hidden", 2, since)


def test_places_stand_on_the_page_of_figures() -> None:
    """How much, and how many seconds old the oldest is."""
    metrics = Metrics()

    async def waits() -> NotGone:
        return NotGone("redis files", 1, 3 * SECOND)

    async def nothing() -> NotGone:
        return NotGone("hidden", 0, None)

    asyncio.run(not_gone.show(metrics, [waits, nothing], lambda: 10 * SECOND))
    page = generate_latest(metrics.registry).decode()
    assert 'mnemolog_erased_not_gone{place="redis files"} 1.0' in page
    assert 'mnemolog_erased_not_gone_seconds{place="redis files"} 7.0' in page
    assert 'mnemolog_erased_not_gone_seconds{place="hidden"} 0.0' in page


def test_a_soiled_vector_log_is_told(tmp_path: Path) -> None:
    """Since the file beside it was made."""
    asked = not_gone.vectors(tmp_path)
    assert told(asked) == NotGone("vectors", 0, None)
    (tmp_path / "shard").mkdir()
    (tmp_path / "shard" / "soiled").touch()
    found = told(asked)
    assert (found.amount, found.since is not None) == (1, True)


def test_the_command_tells_what_is_hidden_and_what_holds_the_erased(data: Path, run: Run) -> None:
    """With a look through the log where it is asked for."""
    bring(data, wishes.create_space("u1", deduplication_key="k"))
    made(run("tokens", "create", "--tenant", "acme", "--user", "u1", "--json"))
    assert run("retention", "status").out == "nothing is hidden and waits for erasure\n"
    (data / "vectors" / "shard").mkdir(parents=True)
    (data / "vectors" / "shard" / "soiled").touch()
    said = run("retention", "status", "--log")
    assert said.code == 0
    assert "vectors: 1 the vector index's own log may hold erased vectors" in said.out
    assert "commands: 2 commands kept" in said.out
    rows = json.loads(run("retention", "status", "--json").out)
    assert [(row["tenant"], row["kind"], row["count"]) for row in rows] == [(None, "vectors", 1)]
