"""The parsers of `mnemolog backup`, `restore` and `erasures`."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from mnemolog.runtime.cli_parts import Commands, common, runtime, sub, subgroup
from mnemolog.runtime.config import Settings


def register(commands: Commands) -> None:
    """Add the commands."""
    backup = sub(commands, "backup", "copy a data folder, also while its server runs; on Kafka, export the log instead")
    backup.add_argument("to", metavar="TO", type=Path, help="a new folder, or a new file that ends with .tar")
    common(backup)
    backup.set_defaults(run=_run_backup)
    restore = sub(commands, "restore", "make a data folder from a backup, without what was erased since")
    restore.add_argument("backup", metavar="BACKUP", type=Path, help="what mnemolog backup wrote")
    restore.add_argument("--erasures", metavar="FILE", type=Path, help="the newest list of erasures of the same log")
    restore.add_argument("--force", action="store_true", help="restore although no newer list of erasures is there")
    common(restore)
    restore.set_defaults(run=_run_restore)
    group = subgroup(commands, "erasures", "the list of what was erased, hidden and revoked; a restored log needs it")
    listing = sub(group, "list", "write the list of a log's erasures; it holds ids and hashes, nothing that was said")
    listing.add_argument("file", metavar="FILE", type=Path, help="where to; a list that is there is replaced")
    applying = sub(group, "apply", "erase, hide and revoke in this log what a list of another time names")
    applying.add_argument("file", metavar="FILE", type=Path, help="the list")
    applying.add_argument("--force", action="store_true", help="apply it although it is not of the same log")
    for command, run in ((listing, _run_list), (applying, _run_apply)):
        common(command)
        runtime(command, "where the log is")
        command.set_defaults(run=run)


def _run_backup(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime.backup import backup

    return backup(settings, options)


def _run_restore(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime.restore import restore

    return restore(settings, options)


def _run_list(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime.erasures import write_list

    return asyncio.run(write_list(settings, options))


def _run_apply(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime.erasures import apply_list

    return asyncio.run(apply_list(settings, options))
