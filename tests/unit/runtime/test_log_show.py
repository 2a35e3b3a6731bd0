"""`mnemolog log show`: a stream by its name or id, the newest facts, and what erasure leaves of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.runtime.commands import Run, bring, facts, made
from tests.wishes import add_memory, delete_memory, update_memory

pytestmark = pytest.mark.unit


def test_the_log_shows_a_stream_by_the_id_at_its_end(run: Run, data: Path) -> None:
    """Whole name or id give the same facts, oldest first; an unknown one is 1, an empty log is no failure."""
    assert run("log", "show") == (0, "", "the log is empty\n")
    bring(data, add_memory("likes tea"))
    run("clients", "create", "--tenant", "acme")
    memory = facts(data)[0].headers["ce_subject"]
    bring(data, add_memory("another"))
    bring(data, update_memory(memory, content="likes coffee"))
    run("clients", "create", "--tenant", "acme")
    said = run("log", "show", memory)
    first, second = said.out.splitlines()
    assert f"acme/memory/{memory}@0  memory-added  by client/sb" in first
    assert "likes tea" in first
    assert f"acme/memory/{memory}@1  memory-updated" in second
    assert run("log", "show", f"acme/memory/{memory}") == said
    told = [json.loads(line) for line in run("log", "show", memory, "--json").out.splitlines()]
    assert [row["value"]["body"]["content"] for row in told] == ["likes tea", "likes coffee"]
    assert [row["key"] for row in told] == [f"acme/memory/{memory}@{n}" for n in (0, 1)]
    assert told[0].keys() == {"offset", "key", "headers", "value"}
    assert run("log", "show", memory[1:]) == (1, "", "there is no such fact yet\n")


def test_the_newest_facts_are_shown_oldest_first(run: Run) -> None:
    """As many as asked for, and no control records between them."""
    ids = [made(run("clients", "create", "--tenant", "acme", "--json"))["id"] for _ in range(3)]
    run("clients", "create", "--tenant", "acme", "--id", ids[0])  # refused: leaves a control record
    lines = run("log", "show", "--last", "2").out.splitlines()
    assert [identifier in line for identifier, line in zip(ids[1:], lines, strict=True)] == [True, True]
    assert len(run("log", "show").out.splitlines()) == 3


def test_what_was_erased_shows_as_erased(run: Run, data: Path) -> None:
    """Nothing of the text is left: the stream holds one `erased`, the log a null record a fact."""
    bring(data, add_memory("a secret text"))
    run("clients", "create", "--tenant", "acme")
    memory = facts(data)[0].headers["ce_subject"]
    bring(data, delete_memory(memory))
    run("clients", "create", "--tenant", "acme")
    (line,) = run("log", "show", memory).out.splitlines()
    assert f"acme/memory/{memory}@1  erased" in line
    everything = run("log", "show").out
    assert f"acme/memory/{memory}@0  (erased: only this null record is left)" in everything
    assert "a secret text" not in everything
    nulls = [row for row in map(json.loads, run("log", "show", "--json").out.splitlines()) if row["value"] is None]
    assert [(row["key"], row["headers"]) for row in nulls] == [(f"acme/memory/{memory}@0", {})]
