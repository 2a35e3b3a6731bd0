"""`make simulate ARGS="--seed N"` lives one world again; `--runs N` lives so many (2,000 in `make test`)."""

from __future__ import annotations

import os

import pytest

RUNS = 2_000
_BLOCK = 200
"""Worlds a test at the most: each has a time limit of its own."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; the variables SIMULATION_SEED and SIMULATION_RUNS say the same where no option can."""
    group = parser.getgroup("simulation")
    group.addoption("--seed", type=int, help="run only the simulation with this seed")
    group.addoption("--runs", type=int, help="run so many simulations")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test its seeds: blocks of them in a normal run, a single one to reproduce."""
    if "seeds" not in metafunc.fixturenames:
        return
    seed = _asked(metafunc.config, "seed")
    runs = _asked(metafunc.config, "runs") or RUNS
    size = min(max(1, runs // 10), _BLOCK)
    blocks = [range(n, min(n + size, runs)) for n in range(0, runs, size)] if seed is None else [range(seed, seed + 1)]
    metafunc.parametrize("seeds", blocks, ids=[f"seeds {b.start}-{b.stop - 1}" for b in blocks])


def _asked(config: pytest.Config, name: str) -> int | None:
    given = config.getoption(f"--{name}", None)
    text = os.environ.get(f"SIMULATION_{name.upper()}")
    return given if given is not None else int(text) if text else None
