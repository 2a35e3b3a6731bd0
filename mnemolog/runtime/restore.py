"""`mnemolog restore`: a data folder from a backup, without what has been forgotten since.

1. The backup is checked: the database is the one that the manifest speaks of.
2. It is copied beside the place where it shall be, and what the list of erasures names is erased there, by the
   sequencer as ever, views included, and overwritten. Nobody can read meanwhile, for no server looks there.
3. Then it is put in its place, whole. Interrupted before, it is begun again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sqlite3
import sys
import tarfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from mnemolog.audit.erasures import Erasures, read
from mnemolog.domain.audits import Told
from mnemolog.domain.errors import Malformed, Unavailable
from mnemolog.domain.times import from_text
from mnemolog.runtime.audited import audited
from mnemolog.runtime.backup import DATABASE, MANIFEST, TAR, Manifest, digest_of
from mnemolog.runtime.bar import Bar
from mnemolog.runtime.config import Settings
from mnemolog.runtime.erasures import apply
from mnemolog.runtime.folder import Folder
from mnemolog.runtime.operator import Refused
from mnemolog.runtime.operators import operator

_WITHOUT = (
    "a backup brings back what was erased after it. Give the newest list with --erasures FILE: `mnemolog erasures list`"
    " writes it from the live folder, and every backup holds the one of its time. If none is newer than this backup,"
    " --force restores without"
)


def restore(settings: Settings, options: argparse.Namespace) -> int:
    """Restore a backup into a data folder that is not there yet, or empty; return the exit code."""
    if options.erasures is None and not options.force:
        raise Refused(_WITHOUT)
    erasures = None if options.erasures is None else read(options.erasures)
    target = settings.data
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        message = f"{target} is not empty: restore into a new folder, or move what is there away"
        raise Unavailable(message)
    work = target.with_name(f".{target.name}.restoring")
    shutil.rmtree(work, ignore_errors=True)
    try:
        with Bar() as bar:
            work.mkdir(parents=True)
            manifest = _unpacked(options.backup, work, bar.tell)
            if erasures is not None:
                _newer(manifest, erasures, force=options.force)
            done = asyncio.run(_forgotten(replace(settings, data=work), erasures, bar.tell, force=options.force))
        _settled(work)
        with suppress(FileNotFoundError):
            target.rmdir()
        work.rename(target)
    except (OSError, sqlite3.OperationalError) as error:
        message = f"{options.backup} cannot be restored into {target}: {error}"
        raise Unavailable(message) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    again = f"; {done:,} things forgotten since are gone again" if erasures else ", with whatever was erased since"
    sys.stdout.write(
        f"{manifest.facts:,} facts as of {manifest.created} in {target}{again}\n"
        "start the server: it makes the search index from the log, and clients fetch new access tokens\n"
    )
    return 0


def _unpacked(backup: Path, work: Path, told: Told) -> Manifest:
    """Copy the database out of a backup, and check it. Raises Malformed."""
    try:
        if backup.suffix == TAR:
            with tarfile.open(backup) as tar:
                for name in (MANIFEST, DATABASE):
                    _extracted(tar, name, work / name)
        else:
            for name in (MANIFEST, DATABASE):
                shutil.copyfile(backup / name, work / name)
    except (FileNotFoundError, KeyError, tarfile.TarError) as error:
        message = f"{backup} is not a complete backup: {error}"
        raise Malformed(message) from error
    manifest = Manifest.parse((work / MANIFEST).read_bytes())
    if digest_of(work / DATABASE, told) != manifest.sha256:
        message = f"the {DATABASE} in {backup} is not the one that its manifest speaks of; take another backup"
        raise Malformed(message)
    (work / MANIFEST).unlink()
    return manifest


def _extracted(tar: tarfile.TarFile, name: str, target: Path) -> None:
    packed = tar.extractfile(name)
    if packed is None:
        raise KeyError(name)
    with packed, target.open("wb") as file:
        shutil.copyfileobj(packed, file)


def _newer(manifest: Manifest, erasures: Erasures, *, force: bool) -> None:
    if from_text(erasures.created) <= from_text(manifest.created) and not force:
        message = (
            f"the list of erasures is of {erasures.created}, the backup of {manifest.created}: it knows nothing of what"
            f" was erased since. {_WITHOUT[0].upper()}{_WITHOUT[1:]}"
        )
        raise Refused(message)


async def _forgotten(settings: Settings, erasures: Erasures | None, told: Told, *, force: bool) -> int:
    """Apply the list, and let nothing of it stay in the file's write-ahead log."""
    if erasures is None:
        return 0
    async with audited(settings) as here, operator(settings) as held:
        done = await apply(here, held, erasures, told, force=force)
    log = Folder(settings.data).log()
    await log.scrub()
    await log.close()
    return done


def _settled(folder: Path) -> None:
    """Force everything in a folder to disk: what is put in its place is whole, also after a power loss."""
    for path in [*folder.iterdir(), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
