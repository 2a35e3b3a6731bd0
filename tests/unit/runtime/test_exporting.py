"""The export beside a running server: it takes over when it is there, and ends with the server."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from mnemolog.runtime.config import BadConfiguration, Settings
from mnemolog.runtime.exporting import Exporting, run

pytestmark = pytest.mark.unit


class Standing:
    """Stands in for the model on PyTorch."""

    model = "all-MiniLM-L6-v2@0.1.0"
    dimension = 384

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return what no model returns."""
        return [[0.0] * self.dimension for _ in texts]


class Other(Standing):
    """A model of another revision."""

    model = "all-MiniLM-L6-v2@another"


def test_the_export_takes_over_once_it_is_there(exported_models: Path) -> None:
    """Until then the first embedder answers; the name and the dimension stay."""
    exporting = Exporting(Settings(models=str(exported_models)), Standing())
    assert not any(exporting.embed(["x"])[0])
    exporting._thread.join()
    assert any(exporting.embed(["x"])[0])
    assert (exporting.model, exporting.dimension) == (Standing.model, Standing.dimension)
    exporting.stop()
    exporting.stop()


def test_an_export_of_another_model_does_not_take_over(exported_models: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Vectors of two models never meet; the log says what was exported."""
    exporting = Exporting(Settings(models=str(exported_models)), Other())
    with caplog.at_level(logging.WARNING):
        exporting._thread.join()
    assert not any(exporting.embed(["x"])[0])
    assert "stays on PyTorch" in caplog.text


def test_what_cannot_be_exported_stays_with_the_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder that cannot be made is told, and the first embedder goes on."""
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        exporting = Exporting(Settings(models=str(tmp_path / "file" / "models")), Standing())
        exporting._thread.join()
    assert not any(exporting.embed(["x"])[0])
    assert "stays on PyTorch" in caplog.text


def test_what_is_no_model_is_not_asked_for_anywhere(tmp_path: Path) -> None:
    """`hashing` is computed: there is nothing to export, and no hub hears its name."""
    options = argparse.Namespace(model=None, attached=False)
    with pytest.raises(BadConfiguration, match="MNEMOLOG_MODEL"):
        run(Settings(model="hashing", models=str(tmp_path)), options)


def test_a_stop_ends_the_export(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The process is gone at once, nothing is put in place, and it is no trouble to tell of."""
    with caplog.at_level(logging.WARNING):
        exporting = Exporting(Settings(models=str(tmp_path / "models")), Standing())
        exporting.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(exporting._process.pid, 0)
    assert not (tmp_path / "models").exists() or not [p for p in (tmp_path / "models").iterdir() if p.is_dir()]
    assert not caplog.text
