"""The pages of the documentation site, gathered into one folder: `make site` has mkdocs build it from there.

The documents stay where they are read in the repository. Here they are copied to where the site wants them, and:

1. a link to a document that is a page leads to the page; one to any other file of the repository to a copy of its text;
2. a test under a guarantee leads to its source, on a page made of the tests themselves;
3. what only code knows gets a page: the figures, the routes.
"""

from __future__ import annotations

import ast
import posixpath
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from mnemolog.domain.errors import MnemologError

_MOVED = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "deploy/README.md": "deploying.md",
    "examples/README.md": "examples.md",
    "docs/adr/README.md": "adr/index.md",
}
_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)]*)?\)")
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_guarantee_\w+)`")
_TESTS = "guarantee-tests.md"
_SCHEMAS = "docs/schemas"
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def gather(root: Path, to: Path) -> None:
    """Write all pages below a folder, which is emptied first. Raises MnemologError for a link that leads nowhere."""
    shutil.rmtree(to, ignore_errors=True)
    pages = _pages(root)
    for source, page in pages.items():
        text = (root / source).read_text("utf-8")
        _write(to / page, _tested(_linked(root, to, source, text, pages)))
    for path in sorted((root / "docs").rglob("*.json")):
        target = to / path.relative_to(root / "docs")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    _write(to / _TESTS, _sources(root))
    _write(to / "schemas.md", _schemas(root))
    _write(to / "figures.md", _figures())
    _write(to / "routes.md", _routes())


def _pages(root: Path) -> Mapping[str, str]:
    """Return which document becomes which page."""
    documents = [path.relative_to(root).as_posix() for path in sorted((root / "docs").rglob("*.md"))]
    return {document: document.removeprefix("docs/") for document in documents} | _MOVED


def _linked(root: Path, to: Path, source: str, text: str, pages: Mapping[str, str]) -> str:
    """Return a document whose links lead where the site has what they name."""
    here = posixpath.dirname(pages[source])

    def led(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        if (root / target / "README.md").is_file():
            target = posixpath.join(target, "README.md")
        page = pages.get(target)
        if page is None and target == _SCHEMAS:
            page = "schemas.md"
        if page is None and target.startswith("docs/") and target.endswith(".json"):
            page = target.removeprefix("docs/")
        if page is None:
            page = _copied(root, to, source, target)
        return f"]({posixpath.relpath(page, here or '.')}{match[2] or ''})"

    return _LINK.sub(led, text)


def _copied(root: Path, to: Path, source: str, target: str) -> str:
    """Copy a file of the repository, as text that a browser shows; return where to."""
    if not (root / target).is_file():
        message = f"{source} links to {target}, which is not there"
        raise MnemologError(message)
    page = f"source/{target}.txt"
    (to / page).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(root / target, to / page)
    return page


def _tested(text: str) -> str:
    return _TEST.sub(lambda match: f"[`{match[1]}::{match[2]}`]({_TESTS}#{match[2]})", text)


def _sources(root: Path) -> str:
    """Return a page of all tests that carry a guarantee's number, as they are."""
    said = "Each as it stands in the repository; [the guarantees](guarantees.md) name them."
    parts = [f"# The tests of the guarantees\n\n{said}\n"]
    listed = _TEST.findall((root / "docs" / "guarantees.md").read_text("utf-8"))
    for file in dict.fromkeys(file for file, _ in listed):
        source = (root / file).read_text("utf-8")
        functions = {node.name: node for node in ast.walk(ast.parse(source)) if isinstance(node, _FUNCTIONS)}
        for name in dict.fromkeys(name for of, name in listed if of == file):
            code = ast.get_source_segment(source, functions[name])
            parts.append(
                f"## `{name}` {{#{name}}}\n\n`{file}`, line {functions[name].lineno}\n\n```python\n{code}\n```\n"
            )
    return "\n".join(parts)


def _schemas(root: Path) -> str:
    """Return a page that lists the schemas of commands and facts."""
    files = [path.relative_to(root / "docs").as_posix() for path in sorted((root / _SCHEMAS).rglob("*.json"))]
    said = "JSON Schemas of every command and fact; [publishing](publishing.md) says how to use them."
    return "\n".join(["# Schemas\n", f"{said}\n", *(f"- [`{file}`]({file})" for file in files), ""])


def _figures() -> str:
    """Return a page of all figures, with their labels."""
    from prometheus_client import CollectorRegistry

    from mnemolog.runtime.metrics import Metrics
    from mnemolog.runtime.standing import Standing

    def rows(registry: CollectorRegistry) -> list[str]:
        found = []
        for collector in registry._collector_to_names:  # noqa: SLF001 -- the client offers no other list
            labels = ", ".join(f"`{label}`" for label in getattr(collector, "_labelnames", ()))
            for family in collector.collect():
                name = f"{family.name}_total" if family.type == "counter" else family.name
                found.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
        return found

    table = [*rows(Standing().registry), *rows(Metrics().registry)]
    head = ["| Figure | Kind | Labels | What it says |", "|---|---|---|---|"]
    said = "What `/metrics` shows; [operations](operations.md#figures) says how to read it."
    return "\n".join(["# Figures\n", f"{said}\n", *head, *sorted(table), ""])


def _routes() -> str:
    """Return a page of all routes."""
    from mnemolog.gateway.app import operations

    head = ["| Method | Path | What it does | Who |", "|---|---|---|---|"]
    who = {"open": "everybody", "client": "a client", "token": "an API token", "either": "a client or an API token"}
    rows = [
        f"| {one.method} | `{one.path}` | {one.summary} | {who.get(one.entrance, one.entrance)} |"
        for one in operations()
    ]
    said = "A running server describes them in full at `/docs`, and as OpenAPI at `/openapi.json`."
    return "\n".join(["# Routes\n", f"{said}\n", *head, *rows, ""])


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


if __name__ == "__main__":
    gather(Path.cwd(), Path(sys.argv[1]))
