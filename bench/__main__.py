"""`make bench`: measure this machine, print the figures, keep them as data, and write the page that shows them.

    python -m bench [PART…] [--large] [--note TEXT]      the usual parts, the large ones too, or those that are named

Read ratios, not absolutes: machines differ and are shared. Each figure of ours stands beside a bare reference that was
measured in the same run. Parts that are not measured keep the figures, and the machine, that they had.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import page
from bench.appends import appends
from bench.audit import audit
from bench.core import core
from bench.kafka import kafka
from bench.kafka_scale import kafka_scale
from bench.large import large
from bench.publishing import publishing
from bench.qdrant import qdrant
from bench.redis_store import redis_store
from bench.search import search
from mnemolog.runtime import interpreter
from tests import servers_redis

RESULTS = Path(__file__).with_name("results.json")


def _redis(_: Path) -> Mapping[str, float]:
    server = servers_redis.RedisServer()
    try:
        return redis_store(server.url)
    finally:
        server.remove()


PARTS: Mapping[str, Callable[[Path], Mapping[str, float]]] = {
    "core": core,
    "appends": appends,
    "search": search,
    "audit": audit,
    "redis": _redis,
    "kafka": kafka,
    "publishing": publishing,
    "qdrant": qdrant,
    "large": large,
    "kafka-large": kafka_scale,
}
_LARGE = {"large", "kafka-large"}
"""A million facts each: some ten minutes on two cores."""
_NAMED = {"qdrant"}
"""What needs a server that this machine may not have."""


def main() -> int:
    """Measure the parts that are wanted."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measure this machine.")
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"which: {', '.join(PARTS)} (default: all but large and qdrant)"
    )
    parser.add_argument("--large", action="store_true", help="with a million facts, too")
    parser.add_argument("--note", help="what else readers should know of this machine or its servers")
    options = parser.parse_args()
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"there is no part named {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    interpreter.set_up()
    usual = PARTS.keys() - _NAMED - (set() if options.large else _LARGE)
    for part in options.parts or [part for part in PARTS if part in usual]:
        here = machine() | ({"note": options.note} if options.note else {})
        with tempfile.TemporaryDirectory(prefix="mnemolog-bench-") as folder, _environment():
            figures = PARTS[part](Path(folder) / part)
        sys.stdout.write(f"{part}\n" + "".join(f"  {name:<62} {value:,}\n" for name, value in figures.items()))
        sys.stdout.flush()
        _keep(part, {"machine": here, "figures": dict(figures)})
    page.write(RESULTS)
    return 0


@contextmanager
def _environment() -> Iterator[None]:
    """Undo what a part does to the environment, which is how it configures its servers."""
    kept = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def _keep(part: str, result: Mapping[str, Any]) -> None:
    kept = json.loads(RESULTS.read_bytes()) if RESULTS.exists() else {}
    kept[part] = result
    ordered = {name: kept[name] for name in PARTS if name in kept}
    RESULTS.write_text(json.dumps(ordered, indent=2, ensure_ascii=False) + "\n")


def machine() -> dict[str, str | int | float | None]:
    """Return what these figures were measured on; a load above 1 at the start says that others worked on it too."""
    return {
        "day": datetime.now(UTC).date().isoformat(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load at the start": round(os.getloadavg()[0], 1),
    }


def _processor() -> str:
    """Return the processor's own name (Linux), or what Python calls it."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "") or (
        platform.processor() or "unknown"
    )


if __name__ == "__main__":
    sys.exit(main())
