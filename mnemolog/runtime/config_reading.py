"""Where settings come from: what comes later weighs more, and every mistake is told at once.

1. Defaults, a TOML file, `MNEMOLOG_*` variables, options, in this order.
2. A secret may be given as a file instead: `MNEMOLOG_TOKEN_KEY_FILE` names the file that holds it.
3. What is unknown, of another type or contradictory is refused with the name of the setting, as it was given.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from mnemolog.runtime.config import PREFIX, SECRETS, BadConfiguration, Settings
from mnemolog.runtime.config_checks import complaints

_FOR_TESTS = "MNEMOLOG_TEST_"
_FILE = "_file"
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def load(options: Mapping[str, Any], file: Path | None = None) -> Settings:
    """Return the settings. Raises BadConfiguration, with a line for each mistake."""
    known = {f.name: f.default for f in fields(Settings)}
    values: dict[str, Any] = {}
    said: list[str] = []
    for given in (_from_file(file), _from_environment(), _from_options(options)):
        sources: dict[str, str] = {}
        for source, name, raw in given:
            setting = name.removesuffix(_FILE) if name.removesuffix(_FILE) in SECRETS else name
            if setting not in known:
                said.append(f"{source} is not a setting of mnemolog; `mnemolog config show` lists them")
            elif setting in sources:
                said.append(f"{sources[setting]} and {source} contradict each other: give one of them")
            else:
                sources[setting] = source
                try:
                    held = _held(source, raw) if setting != name else raw
                    values[setting] = _read(source, held, known[setting], secret=setting in SECRETS)
                except BadConfiguration as error:
                    said.append(str(error))
    settings = Settings(**values)
    if said := said or list(complaints(settings)):
        raise BadConfiguration("\n".join(said))
    return settings


def _from_file(file: Path | None) -> list[tuple[str, str, Any]]:
    if file is None:
        return []
    try:
        return [(f"{name} in {file}", name, value) for name, value in tomllib.loads(file.read_text("utf-8")).items()]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        message = f"the configuration file {file} cannot be read: {error}"
        raise BadConfiguration(message) from error


def _from_environment() -> list[tuple[str, str, Any]]:
    ours = [name for name in sorted(os.environ) if name.startswith(PREFIX) and not name.startswith(_FOR_TESTS)]
    return [(name, name.removeprefix(PREFIX).lower(), os.environ[name]) for name in ours]


def _from_options(options: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    return [(f"--{n.replace('_', '-')}", n, value) for n, value in options.items() if value is not None]


def _held(source: str, file: Any) -> str:
    """Return the secret that a file holds, without the line's end."""
    try:
        return Path(file).read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError, TypeError) as error:
        message = f"{source} must name a file that holds the secret, and {file!r} cannot be read: {error}"
        raise BadConfiguration(message) from None


def _read(source: str, raw: Any, default: object, *, secret: bool) -> Any:
    """Read a value of the default's type."""
    try:
        match default:
            case bool():
                return raw if isinstance(raw, bool) else _BOOLEANS[raw.lower()]
            case int():
                return int(_of_type(raw, int, str))
            case float():
                return float(_of_type(raw, int, float, str))
            case Path():
                return Path(raw)
            case _:
                return _of_type(raw, str)
    except (ValueError, KeyError, AttributeError, TypeError):
        message = f"{source} must be {kind(default)}, not {'what it is' if secret else repr(raw)}"
        raise BadConfiguration(message) from None


def _of_type(raw: Any, *kinds: type) -> Any:
    """Return a value of a TOML file or an option as it is. Raises TypeError: neither `true` nor 80.5 is a port."""
    if type(raw) not in kinds:
        raise TypeError
    return raw


def kind(default: object) -> str:
    """Return what a setting with this default must be, in words."""
    kinds: dict[type, str] = {
        bool: "true or false",
        int: "a whole number",
        float: "a number of seconds",
        Path: "a path",
    }
    return next((text for kind, text in kinds.items() if isinstance(default, kind)), "text")
