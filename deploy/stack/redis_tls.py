"""A Redis that speaks TLS: the one on the path if built so, else Debian's, fetched once by apt and unpacked.

Nothing is installed: the packages are downloaded by name into `.stack` and unpacked, as Kafka's jars are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from deploy.stack.kafka import CannotStart
from deploy.stack.redis import binary

FOLDER = Path(__file__).parents[2] / ".stack" / "redis-tls"
_PROGRAM = FOLDER / "usr" / "bin" / "redis-server"
_PACKAGES = ("redis-server", "redis-tools", "libjemalloc2", "liblzf1")


class Program(NamedTuple):
    """A server's program, and what its process needs in its environment."""

    path: Path
    environment: Mapping[str, str]


@cache
def program() -> Program:
    """Return a server's program that knows TLS. Raises CannotStart with the reason."""
    first = binary()
    if first is not None and _knows_tls(found := Program(first, {})):
        return found
    if not _PROGRAM.exists():
        _fetch(f"{first} was built without TLS" if first else "there is no redis-server on the path")
    unpacked = Program(_PROGRAM, {"LD_LIBRARY_PATH": _libraries()})
    if not _knows_tls(unpacked):
        message = f"the Redis that was unpacked to {FOLDER} does not start with TLS here"
        raise CannotStart(message)
    return unpacked


def _libraries() -> str:
    return ":".join(str(path) for path in sorted((FOLDER / "usr" / "lib").glob("*")) if path.is_dir())


def _knows_tls(found: Program) -> bool:
    """Start it without any port, which it refuses; one that was built without TLS refuses the setting before that."""
    done = subprocess.run(
        [found.path, "--port", "0", "--tls-port", "0", "--save", ""],
        env={**os.environ, **found.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    return "not listen anywhere" in done.stdout


def _fetch(why: str) -> None:
    apt, unpack = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if apt is None or unpack is None:
        message = f"{why}, and there is no apt-get to fetch one that was built with it"
        raise CannotStart(message)
    with tempfile.TemporaryDirectory(prefix="mnemolog-redis-tls-") as folder:
        done = subprocess.run(
            [apt, "download", *_PACKAGES], cwd=folder, capture_output=True, text=True, check=False, timeout=120
        )
        archives = sorted(Path(folder).glob("*.deb"))
        if done.returncode or not archives:
            message = f"{why}, and apt-get could not fetch one that was built with it: {done.stderr.strip()[-300:]}"
            raise CannotStart(message)
        for archive in archives:
            subprocess.run([unpack, "-x", archive, FOLDER], check=True)
