"""The load itself: a few seconds of it on a server that it starts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system


def test_agents_live_with_a_server_without_an_error(tmp_path: Path) -> None:
    """Several kinds of requests are answered, none refused, and the report says so; too short a run proves no more."""
    command = [sys.executable, "-m", "bench.load", "--minutes", "0.1", "--rate", "100", "--agents", "8"]
    command += ["--model", "hashing", "--report", str(tmp_path / "report")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    figures = json.loads((tmp_path / "report.json").read_text())
    assert figures["errors"] == 0, figures["first errors"]
    assert {"append event", "add memory", "search memories"} <= set(figures["latency ms"])
    assert "serve" in figures["memory MiB"]
    assert (tmp_path / "report.svg").read_text().startswith("<svg")
    assert done.stderr == ""
