"""The import rules of the house, read from the source with `ast`: nothing is imported to check them.

A layering that only a document states is soon gone. Each rule is proven able to fail, by small samples that break it.

1. `mnemolog.domain` is pure: nothing else of ours, no I/O, no clock, no randomness, no environment.
2. `producers`, `workers`, `projections`, `mnemolog.gateway`, `mnemolog.audit` know `mnemolog.domain` and themselves.
3. `mnemolog.runtime` may import all, and alone reads the environment.
4. Only `workers/faust_host.py` imports Faust.
5. No module is longer than 400 lines.
6. No modules import one another in a circle, lazily or not: each can be read after those that it names.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("mnemolog", "producers", "projections", "workers")
MAX_LINES = 400

# Which modules of ours a package may name, itself included. `mnemolog` is its own `__init__`, which imports nothing.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "mnemolog": (),
    "mnemolog.domain": ("mnemolog.domain",),
    "mnemolog.gateway": ("mnemolog.domain", "mnemolog.gateway"),
    "mnemolog.audit": ("mnemolog.domain", "mnemolog.audit"),
    "mnemolog.runtime": PACKAGES,
    "producers": ("mnemolog.domain", "producers"),
    "projections": ("mnemolog.domain", "projections"),
    "workers": ("mnemolog.domain", "workers"),
}

PURE_THIRD_PARTY = {"pydantic", "pydantic_core"}
# A library that computes and nothing else, in extras: imported where it is called, by the one module that may.
PURE_WHERE_CALLED = {"mnemolog.domain.signature": "cryptography"}
IMPURE_STDLIB = {
    *("_thread", "asyncio", "builtins", "concurrent", "contextvars", "ctypes", "dbm", "fcntl", "fileinput", "ftplib"),
    *("getpass", "glob", "http", "imaplib", "importlib", "io", "linecache", "locale", "logging", "mmap"),
    *("multiprocessing", "os", "pathlib", "platform", "pty", "queue", "random", "resource", "runpy", "sched"),
    *("secrets", "select", "selectors", "shelve", "shutil", "signal", "site", "smtplib", "socket", "socketserver"),
    *("sqlite3", "ssl", "subprocess", "sys", "syslog", "tempfile", "threading", "time", "urllib", "xmlrpc"),
}
# Impure corners of modules that are pure otherwise.
IMPURE_NAMES = {
    *("datetime.date.today", "datetime.datetime.now", "datetime.datetime.today", "datetime.datetime.utcnow"),
    *("uuid.getnode", "uuid.uuid1", "uuid.uuid4", "uuid.uuid6", "uuid.uuid7"),
    *("breakpoint", "eval", "exec", "input", "open", "print"),
}
ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv", "os.unsetenv"}
FAUST = {"faust", "mode"}
FAUST_HOST = "workers.faust_host"


def module_name(path: str) -> str:
    """Return the dotted name of the module at a path; a package's `__init__` is named like the package."""
    parts = PurePosixPath(path).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(module: str) -> str:
    """Return the package whose rule holds: `mnemolog.gateway` for `mnemolog.gateway.app`, `workers` for its own."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "mnemolog" else parts[0]


def within(name: str, package: str) -> bool:
    """Tell whether a dotted name is a package or lies in it."""
    return name == package or name.startswith(package + ".")


class Names(ast.NodeVisitor):
    """What a module names from outside: `imports`, and `uses` with aliases resolved, each dotted and with its line."""

    def __init__(self, path: str) -> None:
        self.package = module_name(path).split(".")
        if PurePosixPath(path).name != "__init__.py":
            self.package.pop()
        self.imports: list[tuple[str, int]] = []
        self.uses: list[tuple[str, int]] = []
        self.aliases: dict[str, str] = {}

    def visit_Import(self, node: ast.Import) -> None:
        """Take `import a.b` and `import a.b as c`."""
        for alias in node.names:
            self.imports.append((alias.name, node.lineno))
            bound = alias.asname or alias.name.partition(".")[0]
            self.aliases[bound] = alias.name if alias.asname else bound

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Take `from a import b` as `a.b`, which is a module or a name in one, relative imports resolved."""
        base = self.package[: len(self.package) - node.level + 1] if node.level else []
        source = ".".join([*base, *([node.module] if node.module else [])])
        for alias in node.names:
            name = source if alias.name == "*" else f"{source}.{alias.name}"
            self.imports.append((name, node.lineno))
            self.uses.append((name, node.lineno))
            self.aliases[alias.asname or alias.name] = name

    def visit_Call(self, node: ast.Call) -> None:
        """Take `import_module("a")` and `__import__("a")` for the imports that they are."""
        called = self.dotted(node.func)
        first = node.args[0] if node.args else None
        if (
            called in {"__import__", "importlib.import_module"}
            and isinstance(first, ast.Constant)
            and isinstance(first.value, str)
        ):
            self.imports.append((first.value, node.lineno))
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """Take the longest chain, `a.b.c`."""
        name = self.dotted(node)
        if name is None:
            self.generic_visit(node)
        else:
            self.uses.append((name, node.lineno))

    def visit_Name(self, node: ast.Name) -> None:
        """Take a bare name: an alias or a builtin."""
        if isinstance(node.ctx, ast.Load):
            self.uses.append((self.aliases.get(node.id, node.id), node.lineno))

    def dotted(self, node: ast.expr) -> str | None:
        """Return an attribute chain as the dotted name it stands for, None if it starts at an expression."""
        if isinstance(node, ast.Name):
            return self.aliases.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            base = self.dotted(node.value)
            return None if base is None else f"{base}.{node.attr}"
        return None


def names_of(path: str, source: str) -> Names:
    """Return what a module names. Imports are collected first, so that a use above a lazy import resolves as well."""
    tree = ast.parse(source, path)
    names = Names(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.visit_Import(node)
        elif isinstance(node, ast.ImportFrom):
            names.visit_ImportFrom(node)
    names.imports.clear()
    names.uses.clear()
    names.visit(tree)
    return names


def foreign_packages(path: str, source: str) -> Iterator[str]:
    """Yield each import of ours that the module's package may not make."""
    module = module_name(path)
    allowed = MAY_IMPORT.get(package_of(module))
    if allowed is None:
        yield f"{path}: {package_of(module)} has no import rule; add it to MAY_IMPORT"
        return
    for name, line in names_of(path, source).imports:
        ours = name.partition(".")[0] in PACKAGES
        if ours and not any(within(name, package) for package in allowed):
            yield f"{path}:{line}: {module} must not import {name}"


def impurities(path: str, source: str) -> Iterator[str]:
    """Yield what a module of the domain takes from outside: I/O, clock, randomness, environment, a library."""
    if not within(module_name(path), "mnemolog.domain"):
        return
    names = names_of(path, source)
    for name, line in names.imports:
        top = name.partition(".")[0]
        pure = PURE_THIRD_PARTY | {PURE_WHERE_CALLED.get(module_name(path), "")}
        library = top not in sys.stdlib_module_names and top not in pure and top not in PACKAGES
        if top in IMPURE_STDLIB or library:
            yield f"{path}:{line}: the domain is pure, it must not import {name}"
    for name, line in names.uses:
        if any(within(name, impure) for impure in IMPURE_NAMES):
            yield f"{path}:{line}: the domain is pure, it must not use {name}"


def environment_reads(path: str, source: str) -> Iterator[str]:
    """Yield each look at the environment outside the composition root."""
    if within(module_name(path), "mnemolog.runtime"):
        return
    for name, line in names_of(path, source).uses:
        if any(within(name, read) for read in ENVIRONMENT):
            yield f"{path}:{line}: only mnemolog.runtime reads configuration, not {name} here"


def faust_imports(path: str, source: str) -> Iterator[str]:
    """Yield each import of Faust or mode outside the one module that hosts workers in them."""
    if module_name(path) == FAUST_HOST:
        return
    for name, line in names_of(path, source).imports:
        if name.partition(".")[0] in FAUST:
            yield f"{path}:{line}: only {FAUST_HOST} imports {name}"


def lengths(path: str, source: str) -> Iterator[str]:
    """Yield a module that is too long to be one story."""
    count = len(source.splitlines())
    if count > MAX_LINES:
        yield f"{path}: {count} lines, {MAX_LINES} are the most"


def circle(tree: Mapping[str, str]) -> list[str]:
    """Return modules that import one another in a circle, lazily or for types only as well; none if there are none."""
    graph = {module_name(path): set[str]() for path in tree}
    for path, source in tree.items():
        module = module_name(path)
        for name, _ in names_of(path, source).imports:
            named = name if name in graph else name.rpartition(".")[0]
            if named in graph and named != module:
                graph[module].add(named)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def sources() -> dict[str, str]:
    """Return every module of the four packages, by its path below the root."""
    paths = (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def broken(rule: Callable[[str, str], Iterator[str]]) -> list[str]:
    """Return all that breaks a rule in the source tree, which must not be empty."""
    tree = sources()
    assert tree, f"no source below {ROOT}"
    return [problem for path, source in tree.items() for problem in rule(path, source)]


def test_each_package_imports_only_what_its_rule_allows() -> None:
    """Domain knows nothing of ours, the packages beside it only the domain, and only the runtime knows all."""
    assert broken(foreign_packages) == []


def test_the_domain_is_pure() -> None:
    """`mnemolog.domain` imports no I/O, clock, randomness, environment or library, and calls none."""
    assert broken(impurities) == []


def test_only_the_runtime_reads_the_environment() -> None:
    """`os.environ` and its relatives appear below `mnemolog/runtime` alone."""
    assert broken(environment_reads) == []


def test_only_the_faust_host_imports_faust() -> None:
    """`faust` and `mode` are imported by `workers/faust_host.py` alone, also lazily."""
    assert broken(faust_imports) == []


def test_no_module_is_longer_than_400_lines() -> None:
    """A module tells one story; a longer one is two."""
    assert broken(lengths) == []


def test_no_modules_import_one_another_in_a_circle() -> None:
    """A module can be read after those that it names."""
    assert circle(sources()) == []


@pytest.mark.parametrize("back", ["import workers.a", "from . import a", "def f():\n    from workers.a import x"])
def test_the_rule_of_circles_can_fail(back: str) -> None:
    """A circle is found also where a third module closes it, and where an import is lazy."""
    tree = {
        "workers/__init__.py": "",
        "workers/a.py": "from workers import b",
        "workers/b.py": "from workers.c import x",
    }
    assert circle(tree | {"workers/c.py": ""}) == []
    assert {"workers.a", "workers.b", "workers.c"} <= set(circle(tree | {"workers/c.py": back}))


@pytest.mark.parametrize(
    ("path", "source", "named"),
    [
        ("mnemolog/domain/session.py", "import workers.sequencer", "workers.sequencer"),
        ("mnemolog/domain/session.py", "from mnemolog.runtime import config", "mnemolog.runtime.config"),
        ("mnemolog/domain/session.py", "from ..gateway import app", "mnemolog.gateway.app"),
        ("mnemolog/domain/session.py", "from .. import audit", "mnemolog.audit"),
        ("mnemolog/domain/__init__.py", "from ..gateway.app import x", "mnemolog.gateway.app.x"),
        ("mnemolog/__init__.py", "from mnemolog.domain import ids", "mnemolog.domain.ids"),
        ("mnemolog/gateway/sap.py", "from projections import sessions", "projections.sessions"),
        ("mnemolog/gateway/sap.py", "def f():\n    import mnemolog.audit.verify", "mnemolog.audit.verify"),
        ("mnemolog/audit/verify.py", "import importlib\nimportlib.import_module('workers.replay')", "workers.replay"),
        ("mnemolog/audit/verify.py", "__import__('workers')", "workers"),
        ("producers/publisher.py", "import mnemolog", "mnemolog"),
        ("producers/publisher.py", "from projections.ops import Put", "projections.ops.Put"),
        (
            "projections/sessions.py",
            "if TYPE_CHECKING:\n    from workers.replay import Replay",
            "workers.replay.Replay",
        ),
        ("workers/sequencer.py", "import projections as p", "projections"),
        ("mnemolog/extra/new.py", "", "no import rule"),
    ],
)
def test_the_import_rule_can_fail(path: str, source: str, named: str) -> None:
    """A foreign import is found in every spelling: absolute, relative, renamed, lazy, by name, for types only."""
    problems = list(foreign_packages(path, source))
    assert len(problems) == 1
    assert named in problems[0]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("mnemolog/domain/session.py", "from . import ids\nfrom .ids import slot_of\nimport mnemolog.domain.record"),
        ("mnemolog/gateway/sap.py", "from mnemolog.domain import ports\nfrom .auth import Principal"),
        ("mnemolog/runtime/cli.py", "import workers, producers, projections\nfrom mnemolog.gateway import app"),
        ("workers/sequencer.py", "from mnemolog import domain\nfrom workers import position"),
        ("producers/publisher.py", "import kafka\nfrom modelling import x"),
    ],
)
def test_the_import_rule_lets_the_right_ones_pass(path: str, source: str) -> None:
    """The domain, the own package and libraries are nobody's fault."""
    assert list(foreign_packages(path, source)) == []


@pytest.mark.parametrize(
    "source",
    [
        "import os",
        "import os.path",
        "from time import time",
        "import random as r",
        "import secrets",
        "import socket",
        "import sqlite3",
        "import asyncio",
        "import redis",
        "import cryptography",
        "from concurrent.futures import Future",
        "import datetime\nnow = datetime.datetime.now()",
        "import datetime as dt\nnow = dt.datetime.now(dt.UTC)",
        "from datetime import datetime as clock\nnow = clock.utcnow()",
        "from datetime import date\nclass A:\n    at = field(default_factory=date.today)",
        "import uuid\nx = str(uuid.uuid4()).upper()",
        "from uuid import uuid4",
        "text = open('x').read()",
        "print('here')",
    ],
)
def test_the_rule_of_purity_can_fail(source: str) -> None:
    """Each way to the outside is found in the domain, and none of them is the business of another package."""
    assert list(impurities("mnemolog/domain/session.py", source))
    assert not list(impurities("workers/sequencer.py", source))


@pytest.mark.parametrize(
    "source",
    [
        "import hashlib, hmac, json, uuid\nx = uuid.uuid5(uuid.NAMESPACE_URL, 'x')",
        "from datetime import UTC, datetime\nx = datetime.fromtimestamp(0, tz=UTC)\ny = state.now",
        "from pydantic import BaseModel",
        "def decide(state, command, at):\n    return state.open, window.time, log.random",
    ],
)
def test_the_rule_of_purity_lets_pure_code_pass(source: str) -> None:
    """Hashes, dates that are given, and fields that only sound impure are no way to the outside."""
    assert list(impurities("mnemolog/domain/session.py", source)) == []


@pytest.mark.parametrize(
    "source",
    [
        "import os\nx = os.environ['X']",
        "import os as o\nx = o.environ.get('X')",
        "from os import environ",
        "from os import getenv as g\nx = g('X')",
        "def f():\n    import os\n    return os.getenv('X')",
    ],
)
def test_the_rule_of_configuration_can_fail(source: str) -> None:
    """A look at the environment is found in every spelling, and allowed at the composition root."""
    assert list(environment_reads("workers/log_kafka.py", source))
    assert not list(environment_reads("mnemolog/runtime/config.py", source))


@pytest.mark.parametrize(
    "source", ["import faust", "from mode import Service", "def f():\n    import faust.app", "__import__('faust')"]
)
def test_the_rule_of_faust_can_fail(source: str) -> None:
    """Faust is found in any module but its host."""
    assert list(faust_imports("workers/sequencer.py", source))
    assert list(faust_imports("mnemolog/runtime/kafka.py", source))
    assert not list(faust_imports("workers/faust_host.py", source))


def test_the_rule_of_length_can_fail() -> None:
    """400 lines pass, 401 do not."""
    assert not list(lengths("workers/sequencer.py", "x = 1\n" * MAX_LINES))
    assert list(lengths("workers/sequencer.py", "x = 1\n" * (MAX_LINES + 1)))
