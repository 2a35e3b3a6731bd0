"""`mnemolog backup`: a consistent copy of a data folder, taken while its server runs.

1. One read transaction sees the file as of one instant, and its pages are copied out of that; writers go on meanwhile.
2. A backup is a folder, or a `.tar` of it: `mnemolog.db`, the list of erasures as of that instant, and a manifest,
   written last. A folder without one was interrupted.
3. Not in it: the search index, which is made again from the log, and keys, so that who reads a backup cannot sign
   access tokens or heads.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import shutil
import sqlite3
import sys
import tarfile
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Self

from mnemolog.audit.erasures import write
from mnemolog.audit.manifests import manifest_text, parsed_manifest
from mnemolog.domain.audits import Told
from mnemolog.domain.errors import Corrupt, Unavailable
from mnemolog.domain.times import to_text
from mnemolog.runtime.audited import existing
from mnemolog.runtime.bar import Bar
from mnemolog.runtime.config import Settings
from mnemolog.runtime.folder import Folder, now
from workers.log_sqlite import connect

FORMAT = "mnemolog/backup/1"
DATABASE, ERASURES, MANIFEST = "mnemolog.db", "erasures.jsonl", "manifest.json"
TAR = ".tar"
_PAGES = 2_000
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself."""

    created: str
    version: str
    facts: int
    sha256: str

    def text(self) -> bytes:
        """Return the manifest file."""
        return manifest_text(FORMAT, self) + b"\n"

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a manifest. Raises Malformed."""
        return parsed_manifest(FORMAT, cls, raw)


def backup(settings: Settings, options: argparse.Namespace) -> int:
    """Back a data folder up; return the exit code."""
    source, target = existing(settings), Path(options.to)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        message = f"{target} is there already; name a new folder, or a new file that ends with {TAR}"
        raise Unavailable(message)
    work = target.with_name(f"{target.name}.part")
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        with Bar() as bar:
            manifest, erasures = _copied(source, work, bar.tell)
        if target.suffix == TAR:
            packed = work / "packed"
            with tarfile.open(packed, "w") as tar:
                for name in (MANIFEST, ERASURES, DATABASE):
                    tar.add(work / name, name)
            packed.replace(target)
            shutil.rmtree(work)
        else:
            work.replace(target)
    except (OSError, sqlite3.OperationalError) as error:
        shutil.rmtree(work, ignore_errors=True)
        message = f"the backup {target} cannot be written: {error}"
        raise Unavailable(message) from error
    sys.stdout.write(
        f"{manifest.facts:,} facts as of {manifest.created} in {target}, with a list of {erasures:,} erasures\n"
    )
    return 0


def _copied(source: Folder, folder: Path, told: Told) -> tuple[Manifest, int]:
    database = folder / DATABASE
    created = _copy(source.database, database, told)
    log = Folder(folder).log()  # opens the copy, and folds nothing of the source
    try:
        facts = asyncio.run(log.end(0))
        erasures = asyncio.run(write(log, 1, folder / ERASURES, created, told))
    finally:
        asyncio.run(log.close())
    manifest = Manifest(created, version("mnemolog"), facts, digest_of(database, told))
    (folder / MANIFEST).write_bytes(manifest.text())
    return manifest, erasures


def _copy(source: Path, target: Path, told: Told) -> str:
    """Copy the file as of one instant, and return that. Raises Corrupt if the copy does not hold together."""
    with closing(connect(source, durable=False)) as database, closing(sqlite3.connect(target)) as copy:
        database.execute("BEGIN")
        database.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # the instant: the transaction's first read
        created = to_text(now())

        def step(_: int, left: int, whole: int) -> None:
            told("copying pages", whole - left, whole)

        database.backup(copy, pages=_PAGES, progress=step)
        database.execute("COMMIT")
        (said,) = copy.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            message = f"the database file {source} is damaged: {said}; restore the last good backup"
            raise Corrupt(message)
    return created


def digest_of(path: Path, told: Told) -> str:
    """Return the SHA-256 of a file, as hex."""
    digest, done, whole = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            done += len(block)
            told("reading bytes", done, whole)
    return digest.hexdigest()
