"""`mnemolog audit …` on the command line: its parsers, and one function a command."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from mnemolog.runtime.cli_parts import Commands, as_json, common, runtime, sub, subgroup
from mnemolog.runtime.config import Settings


def register(commands: Commands) -> None:
    """Add the group to the command line."""
    verbs = subgroup(commands, "audit", "what the log says about the past, and whether all agrees with it")
    _show(verbs)
    _verify(verbs)
    _replay(verbs)
    _export(verbs)
    _import(verbs)
    _sign(verbs)
    _prove(verbs)
    _usage(verbs)


def _verb(verbs: Commands, name: str, what: str) -> argparse.ArgumentParser:
    command = sub(verbs, name, what)
    common(command)
    runtime(command, "where the log is")
    return command


def _owner(command: argparse.ArgumentParser) -> None:
    command.add_argument("--tenant", help="whose data")
    command.add_argument("--agent", help="an owner's agent")
    command.add_argument("--invoker", help="an owner's invoker")


def _show(verbs: Commands) -> None:
    command = _verb(verbs, "show", "the history of a stream, an owner or a command: when, who, what changed")
    command.add_argument(
        "stream",
        nargs="?",
        metavar="STREAM",
        help="a stream's name, or the id of a memory, session, space, message or message group",
    )
    command.add_argument("--command", metavar="ID", help="what the command with this id did")
    _owner(command)
    as_json(command, "JSON Lines")
    command.set_defaults(run=_run_show)


def _run_show(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime.audit_show import show

    return asyncio.run(show(settings, options))


def _verify(verbs: Commands) -> None:
    command = _verb(verbs, "verify", "walk the log, decide its commands again, compare views and vectors with it")
    command.add_argument("--embed", action="store_true", help="embed every text again and compare the vectors too")
    command.add_argument("--heads", type=Path, metavar="FOLDER", help="compare with the signed heads in this folder")
    command.add_argument("--trust", metavar="KEY", help="the public key that the heads are signed with, in hex")
    command.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="processes, for as many partitions at once, or for the slots of one (default: the cores)",
    )
    command.add_argument(
        "--resume", type=Path, metavar="FILE", help="keep what is done in this file, and leave out what it says is done"
    )
    as_json(command)
    command.set_defaults(run=_run_verify)


def _run_verify(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime.audit_verify import verify

    return asyncio.run(verify(settings, options))


def _replay(verbs: Commands) -> None:
    command = _verb(verbs, "replay", "the state of a stream, an owner or a tenant as it was at a moment")
    command.add_argument("stream", nargs="?", metavar="STREAM", help="a stream's name or the id of something in it")
    command.add_argument(
        "--as-of", required=True, metavar="MOMENT", help="an ISO-8601 time, or a position as `audit show` prints it"
    )
    _owner(command)
    as_json(command, "JSON Lines")
    command.set_defaults(run=_run_replay)


def _run_replay(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime.audit_replay import replay

    return asyncio.run(replay(settings, options))


def _export(verbs: Commands) -> None:
    command = _verb(verbs, "export", "write the facts as JSON Lines with a manifest: a backup, a move, a part to show")
    command.add_argument("folder", type=Path, metavar="FOLDER", help="where to write; made if it is not there")
    command.add_argument("--stream", metavar="STREAM", help="only this stream, by its name or the id at its end")
    _owner(command)
    command.add_argument("--since", metavar="MOMENT", help="only what happened from this time or position on")
    command.add_argument("--until", metavar="MOMENT", help="only what happened by this time or position")
    command.set_defaults(run=_run_export)


def _run_export(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime.audit_export import write

    return asyncio.run(write(settings, options))


def _import(verbs: Commands) -> None:
    command = _verb(verbs, "import", "make an export the log of an empty instance; interrupted, run it again")
    command.add_argument("folder", type=Path, metavar="FOLDER", help="the export")
    command.set_defaults(run=_run_import)


def _run_import(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime.audit_export import take_in

    return asyncio.run(take_in(settings, options))


def _sign(verbs: Commands) -> None:
    command = _verb(verbs, "sign", "sign the heads of all slots once; mnemolog worker audit does it on a schedule")
    _signer(command)
    command.add_argument("--old-key", type=Path, metavar="FILE", help="the key before, which names the new one")
    command.set_defaults(run=_run_sign)


def _signer(command: argparse.ArgumentParser) -> None:
    command.add_argument("--key", dest="audit_key", metavar="FILE", help="the auditor's key; made if it is not there")
    command.add_argument("--heads", dest="audit_heads", metavar="FOLDER", help="where signed heads go")
    command.add_argument("--also", dest="audit_also", metavar="URLS", help="where they go besides, as in the settings")


def _run_sign(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime.audit_sign import sign

    return asyncio.run(sign(settings, options))


def _prove(verbs: Commands) -> None:
    command = _verb(verbs, "prove-erasure", "write a signed receipt of what was erased from a stream; 1 if any is left")
    command.add_argument("stream", metavar="STREAM", help="a stream's name or the id of something that was in it")
    command.add_argument("--key", dest="audit_key", metavar="FILE", help="the auditor's key")
    command.add_argument("--out", type=Path, metavar="FILE", help="where to write it (default: the terminal)")
    command.set_defaults(run=_run_prove)


def _run_prove(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime.audit_prove import prove

    return asyncio.run(prove(settings, options))


def _usage(verbs: Commands) -> None:
    command = _verb(verbs, "usage", "the usage log: who read what, when and how often, hour by hour")
    _owner(command)
    command.add_argument("--stream", help="a session or space by its id, or whatever an audit asked about")
    command.add_argument("--actor", help="a principal, such as client/planner")
    command.add_argument("--since", metavar="T", help="only records that began at this ISO-8601 time or later")
    command.add_argument("--before", metavar="T", help="only records that began before this time")
    command.add_argument("--limit", type=int, metavar="N", help="how many at the most, the newest (default: 1000)")
    as_json(command, "JSON Lines")
    command.set_defaults(run=_run_usage)


def _run_usage(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime.audit_usage import show

    return asyncio.run(show(settings, options))
