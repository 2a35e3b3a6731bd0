"""The examples, run as their readers would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def run_example(name: str, *arguments: str, said: str = "") -> str:
    """Run an example in a process of its own; return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    command = [sys.executable, f"examples/{name}", *arguments]
    done = subprocess.run(command, cwd=_ROOT, env=environment, input=said, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
