"""Documents say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mnemolog.runtime.docs import documents, main

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[2]


def test_generated_documents_are_up_to_date() -> None:
    """What `make docs` would write is what stands in the repository."""
    said: list[str] = []
    assert main(ROOT, check=True, say=said.append) == 0, "".join(said)


def test_a_stale_document_is_noticed(tmp_path: Path) -> None:
    """A document that says something else fails the check, and writing mends it."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "README.md").write_text("<!-- topics: x -->\nold\n<!-- /topics -->\n")
    (tmp_path / "docs" / "guarantees.md").write_text("Tested by: `pytest -k guarantee_1_`\n")
    assert main(tmp_path, check=True, say=len) == 1
    assert main(tmp_path, check=False, say=len) == 0
    assert main(tmp_path, check=True, say=len) == 0
    assert "memory.facts" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    "page", [p.relative_to(ROOT) for p in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]], ids=str
)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file that is there."""
    text = (ROOT / page).read_text("utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert ((ROOT / page).parent / target).exists(), target


def test_every_guarantee_of_this_version_is_tested() -> None:
    """Guarantees 1 to 6 and 8 to 10 each have a test that carries their number."""
    text = documents(ROOT)[ROOT / "docs" / "guarantees.md"]
    for number in (1, 2, 3, 4, 5, 6, 8, 9, 10):
        assert f"::test_guarantee_{number}_" in text, number
