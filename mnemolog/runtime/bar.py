"""How far something long has come: a bar on a terminal, a plain line now and then in a pipe."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

_EVERY = 5.0


class Bar:
    """One line a step, on standard error; `tell` may be called as often as one likes."""

    def __init__(self) -> None:
        """Look whether a person watches."""
        self._console = Console(stderr=True)
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._progress = Progress(*columns, console=self._console, transient=True)
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, float] = {}

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clear the bars away."""
        if self._console.is_terminal:
            self._progress.stop()

    def tell(self, what: str, done: int, whole: int) -> None:
        """Say that `done` of `whole` is done; `whole` 0 is unknown."""
        if self._console.is_terminal:
            if what not in self._tasks:
                self._tasks[what] = self._progress.add_task(what)
            self._progress.update(self._tasks[what], completed=done, total=whole or None)
        elif time.monotonic() - self._said.get(what, -_EVERY) >= _EVERY or done == whole:
            self._said[what] = time.monotonic()
            sys.stderr.write(f"{what}: {done:,}{f' of {whole:,}' if whole else ''}\n")
