"""What every part of the command line is built from: a parser in a group, and the options that many commands take."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 -- argparse has no other name


def sub(group: Commands, name: str, what: str) -> argparse.ArgumentParser:
    """Add a command; `what` says what it does, in lower case."""
    return group.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")


def subgroup(group: Commands, name: str, what: str, metavar: str = "COMMAND") -> Commands:
    """Add a command that has commands of its own."""
    return sub(group, name, what).add_subparsers(title="commands", required=True, metavar=metavar)


def common(command: argparse.ArgumentParser) -> None:
    """Add what every command takes."""
    command.add_argument("--data", metavar="DIR", help="the data folder (default ./mnemolog-data)")
    command.add_argument("--config", metavar="FILE", type=Path, help="a TOML file of settings")


def runtime(command: argparse.ArgumentParser, what: str) -> None:
    """Add the choice of the runtime; `what` says what stands there."""
    command.add_argument("--runtime", choices=["embedded", "kafka"], help=f"{what} (default embedded)")


def as_json(command: argparse.ArgumentParser, what: str = "JSON") -> None:
    """Add the choice of an output for programs."""
    command.add_argument("--json", action="store_true", help=f"print {what}, for programs")


def count(text: str) -> int:
    """Read a number from 1 on. Raises ArgumentTypeError."""
    if not text.isdecimal() or int(text) < 1:
        message = "must be a whole number from 1 on"
        raise argparse.ArgumentTypeError(message)
    return int(text)
