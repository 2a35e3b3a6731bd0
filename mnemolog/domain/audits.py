"""What the face asks of an audit: the port behind `/audit/…`. Everything in it is one tenant's, and JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mnemolog.domain.errors import MnemologError
from mnemolog.domain.ports import Scope
from mnemolog.domain.schema import Json

Told = Callable[[str, int, int], None]
"""(what is going on, how far, of how much or 0 where nobody knows), from any thread: for a progress bar."""


def silent(_what: str, _done: int, _whole: int) -> None:
    """Tell nobody."""


class NotAsked(MnemologError):
    """A question that cannot be answered as it was asked; the text says how to ask."""


@dataclass(frozen=True, slots=True)
class Question:
    """What of a tenant: a stream by its name or an id in it, an owner, a command; nothing of these is all of it."""

    tenant: str
    stream: str | None = None
    agent: str | None = None
    invoker: str | None = None
    command: str | None = None


class Audits(Protocol):
    """Questions about the past, answered from the log. Raises NotAsked for a question that is none."""

    async def history(self, question: Question, told: Told = silent) -> Json:
        """Return `entries`, oldest first, and how many streams nobody can name the owner of any more."""
        ...

    async def state(self, question: Question, as_of: str, told: Told = silent) -> Json:
        """Return `rows` as they were at a time or position, and what was `erased` since."""
        ...

    async def search(
        self, scope: Scope, query: str, threshold: float, top: int, as_of: str, told: Told = silent
    ) -> Json:
        """Rank a scope's memories as they were then, exactly; name the `model`, and say what was `erased` since."""
        ...
