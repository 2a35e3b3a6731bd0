"""`mnemolog audit replay`: in words and as JSON Lines, at a time or a position."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.runtime.commands import Run, bring, facts
from tests.wishes import add_memory, delete_memory, update_memory

pytestmark = pytest.mark.unit


def test_a_memory_as_it_was(run: Run, data: Path) -> None:
    """Before a change and after it; erased, it says so at both."""
    bring(data, add_memory("likes tea"))
    run("clients", "create", "--tenant", "acme")
    memory = facts(data)[0].headers["ce_subject"]
    bring(data, update_memory(memory, content="likes coffee"))
    run("clients", "create", "--tenant", "acme")
    assert '"content":"likes tea"' in run("audit", "replay", memory, "--as-of", "0:0").out
    now = json.loads(run("audit", "replay", memory, "--as-of", "2100-01-01", "--json").out)
    assert (now["kind"], now["content"]) == ("memory", "likes coffee")
    tenant = run("audit", "replay", "--tenant", "acme", "--as-of", "0:1", "--json").out.splitlines()
    assert [json.loads(line)["kind"] for line in tenant] == ["memory", "client"]
    assert "sha256" not in tenant[1]
    bring(data, delete_memory(memory))
    run("clients", "create", "--tenant", "acme")
    said = run("audit", "replay", "--tenant", "acme", "--agent", "bot", "--invoker", "ann", "--as-of", "0:1").out
    assert said.startswith("erased ")
    assert "likes" not in said
    nothing = run("audit", "replay", memory, "--as-of", "1999-01-01")
    assert (nothing.code, nothing.out) == (1, "there was nothing then\n")


def test_a_moment_and_one_thing_are_to_be_named(run: Run, data: Path) -> None:
    """What is none is refused with what to write instead."""
    bring(data, add_memory())
    assert "ISO-8601" in run("audit", "replay", "x", "--as-of", "yesterday").err
    assert run("audit", "replay", "--as-of", "0:0").code == 2
    assert run("audit", "replay", "--agent", "bot", "--tenant", "acme", "--as-of", "0:0").code == 2
