"""The part of the command line that is about keys: who may sign commands, and who grants that."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from mnemolog.runtime.cli_parts import Commands, as_json, common, runtime, sub, subgroup
from mnemolog.runtime.config import Settings


def register(commands: Commands) -> None:
    """Add the command."""
    group = subgroup(commands, "keys", "keys that sign commands on Kafka")
    create = sub(group, "create", "let the holder of a key sign; prints it once, with a grant that ends soon")
    create.add_argument("--tenant", required=True, help="whose commands the key signs")
    create.add_argument("--actor", required=True, help="as which principal, such as agent/planner")
    create.add_argument("--id", help="the key's id (default: a random one)")
    create.add_argument("--url", help="the server that renews its grant, for the key file: then a Publisher does")
    revoke = sub(group, "revoke", "give the holder of a key no further grant; the last one ends within its hours")
    revoke.add_argument("id", help="the key's id")
    revoke.add_argument("--tenant", help="whose key, if several tenants have one with this id")
    listing = sub(group, "list", "the valid keys")
    for command, verb in ((create, "create"), (revoke, "revoke"), (listing, "list")):
        common(command)
        runtime(command, "where they are")
        as_json(command)
        command.set_defaults(run=_run, kind="keys", verb=verb)
    renew = sub(group, "renew", "get the next grant of a key over HTTP, and write it into the key's file")
    renew.add_argument("file", type=Path, metavar="FILE", help="what `keys create --json` printed")
    renew.add_argument("--url", help="a mnemolog server (default: the one that the file names)")
    common(renew)
    renew.set_defaults(run=_renew)
    authority = sub(group, "authority", "make the key that grants are signed with; prints it once, keeps nothing")
    as_json(authority)
    authority.set_defaults(run=_authority)


def _run(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime import credentials

    return asyncio.run(credentials.run(settings, options))


def _renew(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime import keys

    return keys.renew(settings, options)


def _authority(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime import keys

    return keys.authority(settings, options)
