"""A lock for many readers or one writer: searches go on beside each other, and see a batch whole or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Sharing:
    """`with sharing:` is for the one writer, `with sharing.reading():` for readers. A writer who waits comes first."""

    def __init__(self) -> None:
        """Begin with nobody inside."""
        self._changed = threading.Condition()
        self._readers = 0
        self._writers = 0  # inside or waiting
        self._writing = False

    @property
    def busy(self) -> bool:
        """Whether somebody writes or waits to write, so that a reader may have to wait."""
        return self._writers > 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read, beside others who read."""
        with self._changed:
            self._changed.wait_for(lambda: not self._writers)
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    def __enter__(self) -> None:
        """Write, alone."""
        with self._changed:
            self._writers += 1
            self._changed.wait_for(lambda: not self._readers and not self._writing)
            self._writing = True

    def __exit__(self, *_: object) -> None:
        """Let the next one in."""
        with self._changed:
            self._writers -= 1
            self._writing = False
            self._changed.notify_all()
