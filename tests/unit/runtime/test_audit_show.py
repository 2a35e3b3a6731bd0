"""`mnemolog audit show`: by stream, by id, by owner, by command; in words and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.runtime.commands import Run, bring, facts
from tests.wishes import add_memory, add_message, delete_memory, update_memory

pytestmark = pytest.mark.unit


@pytest.fixture
def memory(run: Run, data: Path) -> str:
    """Bring two facts of a memory, a message, and something of another tenant's operator; return the memory's id."""
    bring(data, add_memory("likes tea"))
    run("clients", "create", "--tenant", "acme")
    memory = facts(data)[0].headers["ce_subject"]
    bring(data, update_memory(memory, content="likes coffee"))
    bring(data, add_message("hello"))
    run("clients", "create", "--tenant", "acme")
    return memory


def test_a_stream_is_shown_by_name_and_by_id(run: Run, memory: str) -> None:
    """The same entries, oldest first; an unknown id is 1 and says so."""
    said = run("audit", "show", memory)
    assert said.code == 0
    assert f"acme/memory/{memory}@0  memory-added  by client/sb (command command-0)" in said.out
    assert 'content: "likes tea" → "likes coffee"' in said.out
    assert run("audit", "show", f"acme/memory/{memory}") == said
    assert run("audit", "show", memory[:-1] + "x") == (1, "", "the log knows of no such thing\n")


def test_json_has_an_entry_a_line(run: Run, memory: str) -> None:
    """For programs: the same, with every value whole."""
    first, second = map(json.loads, run("audit", "show", memory, "--json").out.splitlines())
    assert (first["version"], second["version"]) == (0, 1)
    assert second["changes"] == [{"field": "content", "before": "likes tea", "after": "likes coffee"}]
    assert first["position"] == "0:0"


def test_an_owner_and_a_message(run: Run, data: Path, memory: str) -> None:
    """All streams of an agent and invoker; a message by its own id."""
    said = run("audit", "show", "--tenant", "acme", "--agent", "bot", "--invoker", "ann")
    assert said.out.count("memory-") == 2
    assert said.out.count("message-added") == 1
    message = next(f.headers["ce_subject"] for f in facts(data) if f.headers["ce_subject"].startswith("message/"))
    assert "message-added" in run("audit", "show", message.removeprefix("message/")).out
    nobody = run("audit", "show", "--tenant", "acme", "--agent", "bot", "--invoker", "eve")
    assert nobody.code == 1


def test_what_a_command_did_also_after_its_erasure(run: Run, data: Path, memory: str) -> None:
    """With the value before, which another command had set; erased, it still says what was there."""
    out = run("audit", "show", "--command", "command-2").out
    assert 'content: "likes tea" → "likes coffee"' in out
    assert "memory-added" not in out
    bring(data, delete_memory(memory))
    run("clients", "create", "--tenant", "acme")
    gone = run("audit", "show", "--command", "command-2")
    assert gone.code == 0
    assert "erased-fact  erased" in gone.out
    assert "likes" not in gone.out


def test_one_thing_is_to_be_named(run: Run, data: Path, memory: str) -> None:
    """None, two, or half an owner are refused; a folder without a log too, and none is made."""
    assert run("audit", "show").code == 2
    assert run("audit", "show", memory, "--command", "x").code == 2
    assert run("audit", "show", "--tenant", "acme").code == 2
    elsewhere = data / "elsewhere"
    assert "there is no mnemolog.db" in run("audit", "show", memory, where=elsewhere).err
    assert not elsewhere.exists()
