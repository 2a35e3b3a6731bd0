"""The wheel: what is in it, what it asks for, and what importing a part of it loads.

1. Its top level holds exactly the four packages, each typed.
2. A publisher installs no more than three libraries, and importing `producers` loads none of the heavy ones.
3. `constraints.txt` pins whatever the project asks for, and nothing in it that pip would refuse.
"""

from __future__ import annotations

import email.message
import email.parser
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"mnemolog", "producers", "projections", "workers"}
HEAVY = {
    *("aiokafka", "cryptography", "faust", "mode", "numpy", "qdrant_client", "qdrant_edge", "redis"),
    *("sentence_transformers", "starlette", "torch", "transformers", "uvicorn"),
}

LOADED = """
import importlib, json, pkgutil, sys
import producers
for module in pkgutil.walk_packages(producers.__path__, "producers."):
    importlib.import_module(module.name)
print(json.dumps({"from": producers.__file__, "loaded": sorted(sys.modules)}))
"""


def build(folder: Path) -> Path:
    """Build the wheel into a folder, without network, and return it."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """Give the wheel of this source tree, built once."""
    with zipfile.ZipFile(build(tmp_path_factory.mktemp("wheel"))) as archive:
        yield archive


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> email.message.Message:
    """Give the wheel's METADATA."""
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return email.parser.BytesParser().parsebytes(wheel.read(name))


def test_the_top_level_holds_exactly_the_four_packages(wheel: zipfile.ZipFile) -> None:
    """No tests, benchmarks or stray modules reach a user's site-packages."""
    top = {name.partition("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES


def test_each_package_is_typed(wheel: zipfile.ZipFile) -> None:
    """`py.typed` and `__init__.py` stand in each of them, so that type checkers read our annotations."""
    wanted = {f"{package}/{name}" for package in PACKAGES for name in ("py.typed", "__init__.py")}
    assert wanted - set(wheel.namelist()) == set()


def test_the_wheel_holds_every_module_of_the_source_tree(wheel: zipfile.ZipFile) -> None:
    """What runs here runs when installed."""
    modules = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert modules
    assert modules - set(wheel.namelist()) == set()


def test_the_license_and_the_command_are_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    """The licence's text travels along, and installing it gives the command `mnemolog`."""
    by_name = {name.partition(".dist-info/")[2]: name for name in wheel.namelist()}
    assert b"Apache License" in wheel.read(by_name["licenses/LICENSE"])
    assert b"mnemolog = mnemolog.runtime.cli:main" in wheel.read(by_name["entry_points.txt"])
    assert b"mnemolog-verify = mnemolog.audit.verifier:main" in wheel.read(by_name["entry_points.txt"])


def test_a_publisher_installs_three_libraries(metadata: email.message.Message) -> None:
    """Without an extra neither torch nor Faust nor a web server comes along."""
    asked = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    assert {r.name for r in asked if r.marker is None} == {"crc32c", "kafka-python", "pydantic"}


def test_the_extras_are_those_that_the_documents_name(metadata: email.message.Message) -> None:
    """Development tools are dependency groups and no extra."""
    assert set(metadata.get_all("Provides-Extra", [])) == {
        "all",
        "audit",
        "embedded",
        "embedding",
        "gateway",
        "tracing",
        "workers",
    }


def test_importing_producers_loads_nothing_heavy(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """All modules of `producers`, imported from the wheel, load neither torch, Faust, Starlette nor our server."""
    wheel.extractall(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-P", "-c", LOADED]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["from"] == str(tmp_path / "producers" / "__init__.py"), "another `producers` shadows the wheel's"
    loaded = set(answer["loaded"])
    assert {name.partition(".")[0] for name in loaded} & (HEAVY | {"workers", "projections"}) == set()
    assert not [name for name in loaded if name.startswith(("mnemolog.runtime", "mnemolog.gateway"))]
    assert {"producers.over_kafka", "producers.over_http", "kafka"} <= loaded


def test_the_constraints_pin_all_that_the_project_asks_for() -> None:
    """Each direct requirement, of every extra and group, has a pin that satisfies it; pins are plain versions."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line.partition(" #")[0]) for line in lines if line.strip() and not line.startswith("#")]
    assert not [str(pin) for pin in pins if pin.extras or pin.url or not str(pin.specifier).startswith("==")]

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    groups = project["dependency-groups"].values()
    wanted = [*project["project"]["dependencies"], *(r for group in (*extras, *groups) for r in group)]
    versions = {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin in pins
        if pin.marker is None or pin.marker.evaluate()
    }
    for line in wanted:
        if isinstance(line, str) and not line.startswith("mnemolog["):
            asked = Requirement(line)
            version = versions.get(canonicalize_name(asked.name))
            assert version is not None, f"{asked.name} is not in constraints.txt: make constraints"
            assert asked.specifier.contains(version, prereleases=True), f"{asked} is pinned to {version}"
