"""The part of the command line that is about publishing: `publish` and `outcomes tail`."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from mnemolog.runtime.cli_parts import Commands, as_json, common, count, runtime, sub, subgroup
from mnemolog.runtime.config import Settings


def register(commands: Commands) -> None:
    """Add both commands."""
    publish = sub(commands, "publish", "publish commands from a file of JSON Lines, and report what became of them")
    publish.add_argument("file", metavar="FILE", help="the file, or - for standard input")
    publish.add_argument("--to", metavar="SERVER", help="Kafka's host:port, or http://…; default: as configured")
    publish.add_argument("--tenant", help="whose commands these are; over HTTP the credentials say it")
    publish.add_argument("--actor", help="the principal in the facts (default operator/publish; not over HTTP)")
    publish.add_argument(
        "--credentials",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="what `clients create --json` or `tokens create --json` printed, for HTTP; may be given twice",
    )
    publish.add_argument(
        "--signing", type=Path, metavar="FILE", help="what `keys create --json` printed: sign as that key's actor"
    )
    publish.add_argument("--name", help="the run's name, part of the lines' keys (default: the file's name)")
    publish.add_argument("--from", dest="start", type=count, default=1, metavar="N", help="the line to begin with")
    common(publish)
    as_json(publish)
    publish.set_defaults(run=_run_publish)
    group = subgroup(commands, "outcomes", "what became of commands")
    tail = sub(group, "tail", "print the newest outcomes")
    tail.add_argument("--last", type=count, default=20, metavar="N", help="how many of the newest (default 20)")
    tail.add_argument("--follow", action="store_true", help="go on printing as outcomes come")
    runtime(tail, "where they are")
    common(tail)
    as_json(tail)
    tail.set_defaults(run=_run_tail)


def _run_publish(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime.publish import run

    return run(settings, options)


def _run_tail(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime.outcomes import tail

    return asyncio.run(tail(settings, last=options.last, follow=options.follow, as_json=options.json))
