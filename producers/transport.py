"""The seam of a publisher: where commands go. Kafka, HTTP, and in the runtime a data folder stand behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from producers.receipt import Receipt
from producers.wishes import Wish


class Transport(Protocol):
    """Takes wishes and hears outcomes; may be used by several threads at once."""

    def send(self, wish: Wish) -> Receipt:
        """Take a command on its way, without waiting for the answer. Waits while too much is under way.

        Raises TooLarge, Invalid or Away; what goes wrong later, the receipt and `flush` raise.
        """
        ...

    def flush(self) -> Sequence[Receipt]:
        """Wait until every command so far has been taken or given up; return those given up since the last flush."""
        ...

    def listen(self, receipts: Sequence[Receipt], deadline: float) -> None:
        """Hear outcomes until each of these has its own, or the monotonic `deadline` has passed."""
        ...

    def close(self) -> None:
        """Let go of every connection; what is still under way is flushed first."""
        ...
