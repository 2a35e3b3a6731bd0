"""What comes to the thread of an embedded log: users' commands first, workers' proposals behind them.

1. A round takes all commands that are there, and some proposals: few while users write, who wait for the round that
   they come into and for the one that takes them in, but some however many users write, or what is due would be put
   off for ever.
2. Clients who were answered together ask again together, and a round of many costs little more than one of one: where
   several came together, the next round waits for them as long as some come in.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress

from mnemolog.runtime.waiting import Waiting

_BATCH = 500
_ALONE, BESIDE = 50, 3
"""Proposals in a round: where no user writes, and where some do (ADR 18 has what it costs them)."""
_WRITING = 1.0
"""Seconds for which users count as writing after their last command."""
_CROWD, _PAUSE = 4, 0.001


class Inbox:
    """Any thread puts in; one takes out."""

    def __init__(self) -> None:
        """Start empty."""
        self._commands: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._proposals: deque[Waiting] = deque()
        self._together = 0
        self._written = 0.0

    def put(self, command: Waiting) -> None:
        """Put in a user's command."""
        self._commands.put(command)

    def propose(self, proposals: Sequence[Waiting]) -> None:
        """Put in a worker's proposals."""
        self._proposals.extend(proposals)
        self.wake()

    def wake(self) -> None:
        """Let whoever waits look up."""
        self._commands.put(None)

    @property
    def users_write(self) -> bool:
        """Whether a user's command was taken out of late."""
        return time.monotonic() - self._written < _WRITING

    def take(self, seconds: float) -> list[Waiting]:
        """Wait so long for the first command, then take all that are there, and some proposals."""
        taken: list[Waiting] = []
        with suppress(queue.Empty):
            if not self._proposals:
                _add(taken, self._commands.get(timeout=seconds))
                self._gather()
            while len(taken) < _BATCH:
                _add(taken, self._commands.get_nowait())
        self._together = len(taken) if len(taken) >= _CROWD else 0
        if taken:
            self._written = time.monotonic()
        room = BESIDE if self.users_write else _ALONE
        return taken + [self._proposals.popleft() for _ in range(min(room, len(self._proposals)))]

    def _gather(self) -> None:
        known = 0
        while known < (there := 1 + self._commands.qsize()) < self._together:
            known = there
            time.sleep(_PAUSE)

    def given_up(self) -> Iterator[Waiting]:
        """Take out every proposal; another thread may be putting in more."""
        while self._proposals:
            yield self._proposals.popleft()


def _add(taken: list[Waiting], one: Waiting | None) -> None:
    """Take in a command; None was only to wake."""
    if one is not None:
        taken.append(one)
