"""How the work on one partition stands: its task tells, the worker's page asks."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from mnemolog.domain.times import SECOND

_SILENCE = 20.0
"""Seconds after which a task that says nothing hangs: a step takes milliseconds, and an idle one follows the other."""


@dataclass(slots=True)
class Condition:
    """Written by the one task that works on the partition; `at` is the first offset that it has not taken.

    `erasing` counts streams that nobody sees any more and whose erasure goes on.
    """

    partition: int
    at: int = 0
    erasing: int = 0
    _waiting: str = "it has only just been assigned"
    _told: float = field(default_factory=time.monotonic)
    _as_of: float | None = None

    @property
    def trouble(self) -> str:
        """Why the work does not go on; empty while it does."""
        silent = time.monotonic() - self._told
        if not self._waiting and silent > _SILENCE:
            return f"nothing has answered for {silent:.0f} s"
        return self._waiting

    @property
    def behind(self) -> float | None:
        """How many seconds ago what has been taken was all that there was; None while nobody knows."""
        return None if self._as_of is None else max(0.0, time.time() - self._as_of)

    def works(self, at: int) -> None:
        """Say that everything below an offset has been taken, and the work goes on."""
        self.at = at
        self.waits("")

    def took(self, newest: int | None = None) -> None:
        """Say that there is nothing more now, or that there is more behind what came at an instant (µs)."""
        self._as_of = time.time() if newest is None else newest / SECOND

    def waits(self, reason: str) -> None:
        """Say why it does not go on."""
        self._waiting = reason
        self._told = time.monotonic()
