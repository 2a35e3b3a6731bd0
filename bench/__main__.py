"""`make bench`: measure this machine, print the figures, and write them as data beside this file.

Read ratios, not absolutes: machines differ and are shared. Each figure of ours stands beside a bare reference that was
measured in the same run.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from pathlib import Path

from bench.appends import appends
from bench.audit import audit
from bench.core import core
from bench.large import large
from bench.redis_store import redis_store
from bench.search import search
from mnemolog.runtime import interpreter
from tests import servers_redis

RESULTS = Path(__file__).with_name("results.json")


def main() -> int:
    """Run every measurement."""
    interpreter.set_up()
    results = {"machine": machine()}
    with tempfile.TemporaryDirectory(prefix="mnemolog-bench-") as folder:
        results |= {"core": core(Path(folder) / "core"), "appends": appends(Path(folder) / "appends")}
        results |= {"audit": audit(Path(folder) / "audit")}
        results |= {"search": search(Path(folder) / "search")}
        if "--large" in sys.argv:  # a million facts: some ten minutes on two cores
            results |= {"large": large(Path(folder) / "large")}
    if servers_redis.binary() is None:
        sys.stdout.write("no Redis to start: its store is not measured\n")
    else:
        server = servers_redis.RedisServer()
        try:
            results["redis"] = redis_store(server.url)
        finally:
            server.remove()
    for part, figures in results.items():
        sys.stdout.write(f"{part}\n")
        for name, value in figures.items():
            sys.stdout.write(f"  {name:<44} {value}\n")
    RESULTS.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    return 0


def machine() -> dict[str, str | int | float | None]:
    """Return what these figures were measured on; a load above 1 at the start says that others worked on it too."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load at the start": round(os.getloadavg()[0], 1),
    }


if __name__ == "__main__":
    sys.exit(main())
