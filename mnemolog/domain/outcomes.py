"""What becomes of a command: `Accepted` with what it left behind, or `Rejected` with a problem.

No outcome holds a caller's text: outcomes outlive what they speak of by a day (design §5).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from mnemolog.domain.record import Position


class Reason(StrEnum):
    """Why a command was refused. The HTTP face and other callers act on these names."""

    NOT_FOUND = "not-found"
    KEY_TAKEN = "key-taken"
    VERSION_MISMATCH = "version-mismatch"
    STALE_EVENT = "stale-event"
    STRATEGY_EXECUTED = "strategy-executed"
    NOT_PARTICIPANT = "not-participant"
    NOT_HIDDEN = "not-hidden"
    NOT_DUE = "not-due"
    INVALID = "invalid"
    TOO_LARGE = "too-large"
    KEY_REUSED = "key-reused"
    MISROUTED = "misrouted"
    MALFORMED = "malformed"
    UNSIGNED = "unsigned"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A refusal: `detail` says what is wrong and what to do; `existing` is the id that holds a taken key."""

    reason: Reason
    detail: str
    existing: str | None = None


class Landed(NamedTuple):
    """Where one fact of an accepted command stands; `time` in µs."""

    stream: str
    version: int
    subject: str
    time: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """An acceptance; `repeated` if an earlier command with this id had it, and nothing was changed now."""

    facts: tuple[Landed, ...]
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to a command; a read that has come to `position` sees all of it.

    `source` is where the command stands in its log: one id may have been sent twice, with two bodies, and each sender
    waits for his own answer.
    """

    command: str
    result: Accepted | Rejected
    position: Position
    source: Position | None = field(default=None, compare=False)
