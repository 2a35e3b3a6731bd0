"""What a publisher gives for a command: where it stands, as soon as the log has taken it, and what was decided.

A receipt is there at once; its places wait. Publishing is quick because nobody waits for one command alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from mnemolog.domain.outcomes import Outcome


class Placed(NamedTuple):
    """Where a command stands in its log; `command` is the id that facts and outcomes carry."""

    command: str
    topic: str
    partition: int
    offset: int
    slot: int


class Answer(Protocol):
    """The acknowledgement of one command, now or later."""

    def placed(self) -> Placed:
        """Wait until the log has taken the command. Raises PublishError if it has not."""
        ...

    def settled(self, seconds: float) -> bool:
        """Tell whether that is known, or becomes known within so many seconds."""
        ...


class Receipt:
    """A command that was published; `id` is the one that it was published under.

    On Kafka that is the command's id. Over HTTP the server makes the command's id from it, the tenant and the actor.
    """

    __slots__ = ("__weakref__", "_heard", "_older", "answer", "id")

    def __init__(self, identifier: str, answer: Answer) -> None:
        """Take the id, and who knows the rest."""
        self.id = identifier
        self.answer = answer
        self._heard: tuple[Outcome, ...] = ()
        self._older: Receipt | None = None

    def __repr__(self) -> str:
        return f"Receipt({self.id})"

    def placed(self) -> Placed:
        """Wait until the log has taken the command, and say where. Raises PublishError if it has not."""
        return self.answer.placed()

    @property
    def command(self) -> str:
        """The command's id; waits."""
        return self.placed().command

    @property
    def topic(self) -> str:
        """The topic; waits."""
        return self.placed().topic

    @property
    def partition(self) -> int:
        """The partition; waits."""
        return self.placed().partition

    @property
    def offset(self) -> int:
        """The offset in the partition; waits."""
        return self.placed().offset

    def position(self, outcome: Outcome) -> str:
        """Return what the header `Mnemolog-Position` of a read takes, so that the read shows this command."""
        return f"{self.placed().slot}/{outcome.position}"

    # ---- for the transport -------------------------------------------------------------------------------------------

    def after(self, older: Receipt) -> None:
        """Say that an older command has the same id, and still waits for its own outcome."""
        self._older = older

    def tell(self, outcome: Outcome) -> None:
        """Take an outcome of this id: this command's, or that of another one with the same id."""
        self._heard = (*self._heard, outcome)
        if self._older is not None:
            self._older.tell(outcome)

    def outcome(self) -> Outcome | None:
        """Return this command's own outcome, None as long as it has not been heard."""
        if not self._heard or not self.answer.settled(0):
            return None
        offset = self.placed().offset
        return next((one for one in self._heard if one.source is not None and one.source.offset == offset), None)


def await_all(receipts: Sequence[Receipt], deadline: float) -> None:
    """Wait until the log has taken all of these, or the deadline has passed. Raises PublishError for one it has not."""
    for receipt in receipts:
        if not receipt.answer.settled(max(0.0, deadline - time.monotonic())):
            return
        receipt.placed()
