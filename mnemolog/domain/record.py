"""What travels on the topics: records of text headers and bytes, before anyone has read their meaning.

Logs carry these; `codec` turns them into commands, facts and outcomes and back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

CONTROL_KEY = "position"
_SLOT_DIGITS = 4


class Position(NamedTuple):
    """A place in a partition of the command topic: everything below `offset` of `epoch` is decided.

    A new command topic (import, repartition) starts a new epoch at offset 0 (design §4).
    """

    epoch: int
    offset: int

    def __str__(self) -> str:
        """Return the form of the header `source`."""
        return f"{self.epoch}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `epoch:offset`. Raises ValueError."""
        epoch, offset = text.split(":")
        return cls(int(epoch), int(offset))


START = Position(0, 0)


@dataclass(frozen=True, slots=True)
class CommandRecord:
    """A record of `memory.commands`; `offset` and `time` (µs, log-append) are the log's, 0 before it is appended."""

    key: str
    headers: Mapping[str, str]
    value: bytes | None
    offset: int = 0
    time: int = 0


def named(records: Sequence[CommandRecord]) -> list[tuple[int, str]]:
    """Return slot and id of those that name a command and what may be a slot; strangers write what they like."""
    return [
        (int(record.key), record.headers["ce_id"])
        for record in records
        if len(record.key) <= _SLOT_DIGITS and record.key.isdecimal() and "ce_id" in record.headers
    ]


@dataclass(frozen=True, slots=True)
class FactRecord:
    """A record of `memory.facts`: a fact, a null record (`value` None), or the control record (`CONTROL_KEY`).

    `meant` is the fact that it was written from, while it is still in the process that wrote it: a log may hand it on
    to a reader there, to spare him the reading, and it is no part of the record.
    """

    key: str
    headers: Mapping[str, str]
    value: bytes | None
    offset: int = 0
    meant: object = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class OutcomeRecord:
    """A record of `memory.outcomes`: the key is the command id; `meant` as in `FactRecord`, the outcome."""

    key: str
    value: bytes
    meant: object = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be read: where it lies and why, never its value (design §4)."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """All that one batch of commands leaves behind; a log commits the whole of it or nothing.

    `position` is the first command not yet decided, `last` the id of the one before it: what the control record says.
    It is written as a record only where `facts` are not there to say it, or the sequencer asks for it (`control`).
    `tombstones` are the keys of erased facts; `forget` names the commands that brought their content, which a log
    that can overwrite (the embedded one) does at once, and Kafka by retention.
    """

    position: Position
    last: str
    control: bool
    facts: tuple[FactRecord, ...] = ()
    outcomes: tuple[OutcomeRecord, ...] = ()
    tombstones: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()
    dead_letters: tuple[DeadLetter, ...] = field(default=())
