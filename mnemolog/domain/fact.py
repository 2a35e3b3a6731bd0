"""A fact as the core reads it: sealed headers, payload, and what only the transport knows.

The sealed headers are the same in every runtime and for any number of partitions; `link` covers them and the value
(design §4, §8).
"""

from __future__ import annotations

from typing import NamedTuple, Self

from mnemolog.domain.record import Position
from mnemolog.domain.schema import Payload

SEALED = (
    "ce_type",
    "ce_time",
    "ce_subject",
    "tenant",
    "stream",
    "version",
    "slot",
    "ordinal",
    "command",
    "index",
    "count",
    "actor",
    "rules",
)
"""The sealed headers, in the order in which `link` takes them: fixed for ever."""


class Fact(NamedTuple):
    """One fact, the `nth` `of` so many of its command; `time` in µs.

    `digest` is empty where it came from no part of the command.
    """

    payload: Payload
    time: int
    subject: str
    tenant: str
    stream: str
    version: int
    slot: int
    ordinal: int
    command: str
    nth: int
    of: int
    actor: str
    rules: str
    salt: bytes
    digest: bytes
    link: bytes
    chain: bytes
    source: Position
    offset: int = 0

    def at(self, offset: int) -> Self:
        """Return the fact as it stands at an offset of the log; `_replace` would take twice as long."""
        return type(self)(*self[:-1], offset)
