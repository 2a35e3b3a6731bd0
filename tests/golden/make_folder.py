"""Write the golden data folder of this version, if there is none: a random past, and commands that nobody decided yet.

`python -m tests.golden.make_folder`, once at a release and never again: every later one opens what it has written.
Until a version is released, `--again` makes its folder anew, where a change is meant and no folder of users breaks.
"""

from __future__ import annotations

import asyncio
import gzip
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from mnemolog.domain.codec import encode_command
from tests import wishes
from tests.system.sequencers import envelope
from tests.unit.audit import scenes
from workers.log_sqlite import SqliteLog

FOLDERS = Path(__file__).parent / "folders"
UNDECIDED = "said before the upgrade, decided after it"
_SEED, _ROUNDS = 11, 60


def make(again: bool) -> str:
    """Write it; return what was done."""
    target = FOLDERS / f"{version('mnemolog')}.db.gz"
    if target.exists() and not again:
        return f"{target.name} is there already"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mnemolog.db"
        scenes.make(path, _SEED, _ROUNDS)
        asyncio.run(_undecided(path))
        FOLDERS.mkdir(exist_ok=True)
        target.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    return f"{target.name} written, {target.stat().st_size:,} bytes"


async def _undecided(path: Path) -> None:
    log = SqliteLog(path, lambda: 0)
    spoken = envelope(wishes.add_memory(UNDECIDED), identifier="undecided")
    await log.append(0, [encode_command(spoken)])
    await log.scrub()
    await log.close()


if __name__ == "__main__":
    sys.stdout.write(make(again="--again" in sys.argv) + "\n")
