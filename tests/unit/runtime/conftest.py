"""Fixtures of the runtime: a folder of its own, commands run in this process, and nothing of a developer's settings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnemolog.runtime.cli import main
from tests.unit.runtime.commands import Run, Said


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide a developer's settings, and take the umask back that `main` sets."""
    for name in [name for name in os.environ if name.startswith("MNEMOLOG_")]:
        monkeypatch.delenv(name)
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data folder, which is not there yet."""
    return tmp_path / "data"


@pytest.fixture
def run(data: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return what runs a command on the folder; wherever it ends, it never shows a traceback."""

    def ran(*arguments: str, where: Path = data) -> Said:
        try:
            code = main([*arguments, "--data", str(where)])
        except SystemExit as exit_:  # argparse's own way out
            code = int(exit_.code or 0)
        said = Said(code, *capsys.readouterr())
        assert "Traceback" not in said.out + said.err
        return said

    return ran
