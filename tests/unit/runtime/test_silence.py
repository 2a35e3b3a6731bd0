"""What embeds tells nobody of it: no identifier is kept, so no event can be sent with one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit
_EMBED = """
import sys
from mnemolog.runtime import loading
from mnemolog.runtime.config import Settings
loading._exported = lambda settings: settings
loading.load_embedder(Settings())
assert "onnxruntime" not in sys.modules
import onnxruntime
onnxruntime.get_available_providers()
"""


def test_onnx_runtime_leaves_no_identifier_of_this_machine(tmp_path: Path) -> None:
    """Whatever loads a model has silenced it before it is imported: its folder in the user's cache is not made."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_", "MNEMOLOG_"))}
    environment = kept | {
        "HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
        "CI": "",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    subprocess.run([sys.executable, "-c", _EMBED], env=environment, check=True)
    assert not [
        path for path in tmp_path.rglob("*") if "microsoft" in path.name.lower() or "deviceid" in path.name.lower()
    ]
