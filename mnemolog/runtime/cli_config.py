"""`mnemolog config show|check|rules`: what is in force, and what is wrong with it."""

from __future__ import annotations

import argparse
import sys

from mnemolog.runtime.cli_parts import Commands, as_json, common, runtime, sub, subgroup
from mnemolog.runtime.config import Settings


def register(commands: Commands) -> None:
    """Add the command."""
    group = subgroup(commands, "config", "the settings")
    show = sub(group, "show", "print every setting, its value and what it means; secrets are masked")
    check = sub(group, "check", "say what is wrong with the settings, without starting anything; exit code 2 if it is")
    rules = sub(group, "rules", "print the rules that decisions are made under, as a line for MNEMOLOG_FORMER_RULES")
    as_json(show)
    for command, run in ((show, _show), (check, _check), (rules, _rules)):
        common(command)
        runtime(command, "what is to be started")
        command.set_defaults(run=run)


def _show(settings: Settings, options: argparse.Namespace) -> int:
    from mnemolog.runtime.config_shown import described

    sys.stdout.write(described(settings, as_json=options.json))
    return 0


def _rules(settings: Settings, options: argparse.Namespace) -> int:
    del options
    from mnemolog.runtime.former_rules import line_of

    sys.stdout.write(line_of(settings.rules()))
    return 0


def _check(settings: Settings, options: argparse.Namespace) -> int:
    """Print what may be meant otherwise: settings that cannot be have been refused by whoever read them."""
    del options
    from mnemolog.runtime.config_hints import hints

    said = list(hints(settings))
    sys.stdout.write("".join(f"note: {hint}\n" for hint in said) + "the settings can be used\n")
    return 0
