"""Errors of a publisher; each says what to do.

MnemologError
└── PublishError
    ├── Invalid         the command is not valid: nothing left this process
    ├── TooLarge        the command is longer than a log takes: nothing left this process
    ├── TopicMissing    the cluster has no such topic, or not as many partitions as it should
    ├── NotAllowed      whoever publishes may not: credentials, ACLs
    ├── Away            the other side does not answer; the command may have been taken
    │   └── NotPublished   so it was for some commands, named in `receipts`
    └── Late            an outcome has not come in time; what has come is in `known`

What was sent and not answered is safe to publish again under the same key: a repeat changes nothing (guarantee 3).
A command that was *decided* and refused is no error here: its outcome says `Rejected`, with a reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mnemolog.domain.errors import MnemologError

if TYPE_CHECKING:
    from mnemolog.domain.outcomes import Outcome
    from producers.receipt import Receipt


class PublishError(MnemologError):
    """Anything that a publisher raises."""


class Invalid(PublishError, ValueError):
    """The command is not valid."""


class TooLarge(PublishError):
    """The command is longer than a log takes."""


class TopicMissing(PublishError):
    """The cluster lacks a topic."""


class NotAllowed(PublishError):
    """The publisher may not do this."""


class Away(PublishError):
    """The other side does not answer."""


class NotPublished(Away):
    """Commands were not acknowledged; `receipts` are theirs."""

    def __init__(self, message: str, receipts: Sequence[Receipt]) -> None:
        """Take the sentence and the commands."""
        super().__init__(message)
        self.receipts = tuple(receipts)


class Late(PublishError):
    """Outcomes have not come in time; `known` are those that have."""

    def __init__(self, message: str, known: Mapping[Receipt, Outcome]) -> None:
        """Take the sentence and what is known."""
        super().__init__(message)
        self.known = dict(known)
