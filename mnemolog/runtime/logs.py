"""The log of a process on stderr: lines for people, or one JSON object a line for machines.

1. Ids go out, content never: of an error, its type and its places; its own text only if it is one of ours or the
   system's, whose texts are known to repeat nothing that a caller wrote.
2. What is logged while a request is answered names the request's trace.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType

from mnemolog.domain.errors import MnemologError

FORMATS = ("text", "json")
_LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_trace: ContextVar[str] = ContextVar("trace", default="")
_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def configure(level: str, form: str) -> None:
    """Log to stderr from now on."""
    logging.basicConfig(level=level.upper(), format=_LINE, stream=sys.stderr)
    formatter = Json() if form == "json" else Text(_LINE)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(formatter)


@contextmanager
def within(*, trace: str) -> Iterator[None]:
    """Name the trace in what is logged inside."""
    before = _trace.get()
    _trace.set(trace)
    try:
        yield
    finally:
        _trace.set(before)


class Text(logging.Formatter):
    """A line for people; an error's own text as it may be shown."""

    def formatException(self, ei: _Raised) -> str:  # noqa: N802 -- logging's name
        """Return places and kind of an error."""
        kind, places, text = _shown(ei[1])
        return "\n".join([*places, f"{kind}: {text}" if text else kind])


class Json(logging.Formatter):
    """One object a line: time, level, logger, message, and the ids that there are."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if trace := _trace.get():
            line["trace_id"] = trace
        line |= getattr(record, "ids", {})
        if record.exc_info and record.exc_info[1] is not None:
            kind, places, text = _shown(record.exc_info[1])
            line["error"] = {"type": kind, "places": places} | ({"text": text} if text else {})
        return json.dumps(line, ensure_ascii=False, default=str)


def _shown(error: BaseException | None) -> tuple[str, list[str], str]:
    """Return an error's kind, its places, and its text where that may be shown."""
    if error is None:
        return "", [], ""
    places = [f"{f.filename}:{f.lineno} in {f.name}" for f in traceback.extract_tb(error.__traceback__)]
    text = str(error) if isinstance(error, MnemologError | OSError) and not isinstance(error, UnicodeError) else ""
    return type(error).__qualname__, places, text
