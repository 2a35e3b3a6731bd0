"""`mnemolog audit export` and `import` on data folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mnemolog.audit import verifier
from tests.unit.runtime.commands import Run, bring, facts
from tests.wishes import add_memory, delete_memory

pytestmark = pytest.mark.unit


@pytest.fixture
def memory(run: Run, data: Path) -> str:
    """Bring a memory that stays, one that is erased, one of another owner; return the first one's id."""
    bring(data, add_memory("kept"))
    bring(data, add_memory("a secret"))
    bring(data, add_memory("bob's", invoker="bob"))
    run("clients", "create", "--tenant", "acme", "--id", "sb")
    first, second = [record.headers["ce_subject"] for record in facts(data)[:2]]
    bring(data, delete_memory(second))
    run("clients", "revoke", "sb")
    return first


def test_a_folder_moves_to_another(run: Run, data: Path, tmp_path: Path, memory: str) -> None:
    """The new one reads the same, verifies, and takes new commands; nothing erased travels along."""
    assert run("audit", "export", str(tmp_path / "out")).out == f"5 facts in {tmp_path / 'out'}\n"
    assert "a secret" not in (tmp_path / "out" / "facts.jsonl").read_text()
    new = tmp_path / "new"
    assert run("audit", "import", str(tmp_path / "out"), where=new).out.startswith("5 facts imported")
    assert run("clients", "create", "--tenant", "acme", "--id", "sb", where=new).code == 0
    assert run("audit", "verify", where=new).code == 0
    assert run("audit", "show", memory, where=new) == run("audit", "show", memory)
    assert facts(new)[0] == facts(data)[0]
    refused = run("audit", "import", str(tmp_path / "out"), where=data)
    assert (refused.code, "not empty" in refused.err) == (1, True)
    assert run("audit", "export", str(tmp_path / "out")).code == 1, "it holds an export already"


def test_a_part_is_exported_by_owner_stream_and_time(run: Run, tmp_path: Path, memory: str) -> None:
    """What was not asked for is not in it, and the manifest says what was."""
    whose = ("--tenant", "acme", "--agent", "bot", "--invoker", "ann")
    assert "1 facts" in run("audit", "export", str(tmp_path / "owner"), *whose).out
    assert "1 facts" in run("audit", "export", str(tmp_path / "stream"), "--stream", memory).out
    assert "3 facts" in run("audit", "export", str(tmp_path / "early"), "--until", "0:3").out
    assert "3 facts" in run("audit", "export", str(tmp_path / "late"), "--since", "0:3").out
    assert verifier.main(["export", str(tmp_path / "late")]) == 0
    manifest = json.loads((tmp_path / "owner" / "manifest.json").read_text())
    assert manifest["chosen"] == {"tenant": "acme", "agent": "bot", "invoker": "ann"}
    assert run("audit", "import", str(tmp_path / "owner"), where=tmp_path / "new").code == 1
    assert run("audit", "export", str(tmp_path / "x"), "--agent", "bot").code == 2
    assert run("audit", "export", str(tmp_path / "y"), "--until", "soon").code == 2
