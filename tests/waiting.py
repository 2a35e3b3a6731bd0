"""Waiting for a condition, with an end."""

from __future__ import annotations

import time
from collections.abc import Callable

_PATIENCE = 90.0


def until(there: Callable[[], bool], pause: float = 0.05) -> None:
    """Wait until something is so; look again after so many seconds. Raises AssertionError where it never is."""
    deadline = time.monotonic() + _PATIENCE
    while not there():
        assert time.monotonic() < deadline, "what is waited for does not come"
        time.sleep(pause)
