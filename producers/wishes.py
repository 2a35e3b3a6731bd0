"""A wish: a command with the id under which it is published. Validated with the domain's own models, before it leaves.

1. What the log would refuse for its form is refused here, with the same words; nothing is sent.
2. An id is made from the caller's key, if there is one: the same key is the same command, whoever sends it again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from mnemolog.domain.catalogue import COMMANDS
from mnemolog.domain.codec import explain
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import COMMAND_LIMIT
from mnemolog.domain.schema import ID_LIMIT, Command, sent
from producers.errors import Invalid, TooLarge

_FETCH = 48 << 10


class Absent(Enum):
    """What an optional argument is when nobody gave it: null clears a field, absent leaves it as it is."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


class Wish(NamedTuple):
    """A command with what its caller said, `target` and `parts` as they are sent.

    `key` is its idempotency key (empty for none), `trace` a W3C traceparent (or empty).
    """

    command: Command
    target: Mapping[str, Any]
    parts: Sequence[Mapping[str, Any]]
    key: str = ""
    trace: str = ""


def wish_of(command: Command, key: str = "", trace: str = "") -> Wish:
    """Return the wish for a command that has been validated."""
    return Wish(command, sent(command.target), [sent(part) for part in command.parts], _usable(key), trace)


def wished(
    kind: type[Command], target: Mapping[str, Any], parts: Sequence[Mapping[str, Any]] = (), key: str = ""
) -> Wish:
    """Return the wish for a command of these fields. Raises Invalid, which says where the mistake is."""
    try:
        command = kind.model_validate({"target": target, "parts": parts})
    except ValidationError as error:
        message = f"{kind.TYPE}: {explain(error)}"
        raise Invalid(message) from None
    return Wish(command, target, parts, _usable(key))


def _usable(key: str) -> str:
    """Return a key that every transport takes. Raises Invalid."""
    if len(key) > ID_LIMIT or (key and not key.strip()):
        message = f"key: at most {ID_LIMIT} characters, and not blank"
        raise Invalid(message)
    return key


def parsed(document: object) -> Wish:
    """Return the wish in a JSON object of `type`, `target`, `parts` and, if need be, `key`. Raises Invalid."""
    if not isinstance(document, dict):
        message = "a command is a JSON object"
        raise Invalid(message)
    if unknown := document.keys() - {"type", "target", "parts", "key"}:
        message = f"a command has type, target, parts and key; {len(unknown)} other fields are there"
        raise Invalid(message)
    kind = COMMANDS.get(str(document.get("type")))
    if kind is None:
        message = "type: names no command; docs/asyncapi.json lists them"
        raise Invalid(message)
    key = document.get("key", "")
    if not isinstance(key, str):
        message = "key: must be a text"
        raise Invalid(message)
    return wished(kind, document.get("target", {}), document.get("parts", ()), key)


def slot_for(tenant: str, identifier: str, command: Command) -> int:
    """Return the slot of a command. Raises Invalid if it names something that cannot exist."""
    slot = slot_of_command(tenant, identifier, command)
    if slot is None:
        message = f"{command.TYPE}: an id in the target is none of mnemolog's, or two of them belong to different slots"
        raise Invalid(message)
    return slot


def bounded(wish: Wish, write: Callable[[], bytes]) -> bytes:
    """Return what `write` returns for a wish. Raises Invalid for what cannot be said in JSON and UTF-8, TooLarge."""
    try:
        raw = write()
    except ValueError as error:
        message = f"{wish.command.TYPE}: this cannot be written as JSON and UTF-8: {error}"
        raise Invalid(message) from None
    if len(raw) > COMMAND_LIMIT:
        message = f"the command is {len(raw)} bytes long, and {COMMAND_LIMIT} are the most; send less at once"
        raise TooLarge(message)
    return raw


class Entropy:
    """The system's random bytes, fetched many at a time: a call of the system for each command costs most."""

    def __init__(self) -> None:
        """Begin empty."""
        self._lock = threading.Lock()
        self._bytes, self._at = b"", 0

    def take(self, count: int) -> bytes:
        """Return so many bytes that nobody else gets."""
        with self._lock:
            if self._at + count > len(self._bytes):
                self._bytes, self._at = os.urandom(_FETCH), 0
            self._at += count
            return self._bytes[self._at - count : self._at]

    def new_id(self) -> str:
        """Return a fresh id, a UUIDv4."""
        digits = self.take(16).hex()
        variant = "89ab"[int(digits[16], 16) & 3]
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def given(**fields: object) -> dict[str, Any]:
    """Return the fields that were given."""
    return {name: value for name, value in fields.items() if value is not ABSENT}


def set_only(**fields: object) -> dict[str, Any]:
    """Return the fields that are not None: of something new, null and absent mean the same."""
    return {name: value for name, value in fields.items() if value is not None}
