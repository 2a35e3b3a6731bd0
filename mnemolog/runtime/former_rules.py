"""Rules that held before, for audits: a file with a line of `mnemolog config rules` for each.

Facts say by a hash under which rules they were decided. What was refused left none, so an audit that decides it again
must know all rules that may have held while the commands were kept (`MNEMOLOG_COMMAND_DAYS`, Kafka's retention).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from mnemolog.domain.rules import Rules
from mnemolog.runtime.config import BadConfiguration, Settings


def line_of(rules: Rules) -> str:
    """Return rules as a line of JSON."""
    return json.dumps(asdict(rules)) + "\n"


def former_rules(settings: Settings) -> Sequence[Rules]:
    """Return the rules in the file that the settings name, none if they name none. Raises BadConfiguration."""
    if not settings.former_rules:
        return ()
    try:
        lines = Path(settings.former_rules).read_text("utf-8").splitlines()
        return [_rules(line) for line in lines if line.strip()]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        message = (
            f"MNEMOLOG_FORMER_RULES must name a file of lines that `mnemolog config rules` has printed, and"
            f" {settings.former_rules} is none: {error}"
        )
        raise BadConfiguration(message) from None


def _rules(line: str) -> Rules:
    read: dict[str, Any] = json.loads(line)
    said: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in read.items()}
    for one in fields(Rules):
        if type(said.get(one.name, one.default)) is not type(one.default):
            message = f"{one.name} is of another type"
            raise TypeError(message)
    return Rules(**said)
