"""The documentation site: gathered from the repository, every link leads somewhere, and mkdocs takes it strictly."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mnemolog.domain.errors import MnemologError
from mnemolog.runtime.cli import parser
from mnemolog.runtime.site import gather

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[3]
VARIABLES = os.environ | {"NO_MKDOCS_2_WARNING": "1"}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the gathered pages."""
    folder = tmp_path_factory.mktemp("site") / "pages"
    gather(ROOT, folder)
    return folder


def test_the_site_builds_strictly(pages: Path) -> None:
    """No page is missing in the navigation, no link or anchor leads nowhere: mkdocs would refuse."""
    config = (ROOT / "mkdocs.yml").read_text("utf-8")
    named = config.replace("build/pages", str(pages)).replace("build/site", str(pages.parent / "site"))
    (pages.parent / "mkdocs.yml").write_text(named, "utf-8")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file"]
    done = subprocess.run(
        [*command, str(pages.parent / "mkdocs.yml")], env=VARIABLES, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (pages / "orphan.md").write_text("[nowhere](nowhere.md)\n")
    refused = subprocess.run(
        [*command, str(pages.parent / "mkdocs.yml")], env=VARIABLES, capture_output=True, check=False
    )
    (pages / "orphan.md").unlink()
    assert refused.returncode == 1
    built = (pages.parent / "site" / "guarantees.html").read_text("utf-8")
    assert 'href="guarantee-tests.html#test_guarantee_' in built


def test_every_test_of_a_guarantee_is_shown(pages: Path) -> None:
    """The page of guarantees leads to each, and its source stands there."""
    linked = re.findall(r"\(guarantee-tests\.md#(\w+)\)", (pages / "guarantees.md").read_text("utf-8"))
    shown = (pages / "guarantee-tests.md").read_text("utf-8")
    assert len(set(linked)) > 50
    for name in linked:
        assert f"def {name}(" in shown


def test_what_only_code_knows_has_a_page(pages: Path) -> None:
    """Figures, routes and schemas are listed from the code."""
    assert "| `mnemolog_commands_total` | counter | `kind`, `result` |" in (pages / "figures.md").read_text("utf-8")
    assert "| POST | `/v1/memories` |" in (pages / "routes.md").read_text("utf-8")
    assert "(schemas/facts/memory.memory-added.v1.json)" in (pages / "schemas.md").read_text("utf-8")


def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    """With the page and the target; a link to a file of the repository leads to its text."""
    (tmp_path / "docs").mkdir()
    for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY", "deploy/README", "examples/README", "docs/adr/README"):
        (tmp_path / f"{name}.md").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.md").write_text("#\n")
    (tmp_path / "docs" / "guarantees.md").write_text("#\n")
    (tmp_path / "code.py").write_text("pass\n")
    (tmp_path / "README.md").write_text("[code](code.py) [how](deploy/README.md#x) [away](https://example.com)\n")
    gather(tmp_path, tmp_path / "out")
    shown = (tmp_path / "out" / "index.md").read_text()
    assert shown == "[code](source/code.py.txt) [how](deploying.md#x) [away](https://example.com)\n"
    assert (tmp_path / "out" / "source" / "code.py.txt").read_text() == "pass\n"
    (tmp_path / "README.md").write_text("[code](other.py)\n")
    with pytest.raises(MnemologError, match=r"README.md links to other.py"):
        gather(tmp_path, tmp_path / "out")


@pytest.mark.parametrize("page", ["start.md", "sdks.md", "operations.md"])
def test_commands_that_pages_tell_to_type_are_commands(page: str) -> None:
    """The command line takes them as they stand, in blocks of shell."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    typed = [
        line
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
        if line.startswith("mnemolog ")
    ]
    for line in typed:
        parser().parse_args(shlex.split(line)[1:])
    assert typed or page != "start.md"


@pytest.mark.parametrize("page", ["start.md", "sdks.md"])
def test_snippets_are_python(page: str) -> None:
    """Each block of Python compiles."""
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text("utf-8"), re.DOTALL):
        compile(block, page, "exec")
