"""The log: one JSON object a line where that is wanted, ids in it, and never what a caller wrote."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

from mnemolog.domain.errors import Unavailable
from mnemolog.runtime.logs import Json, Text, within

pytestmark = pytest.mark.unit
SECRET = "a caller's own words"


def logged(formatter: logging.Formatter, error: BaseException | None = None, **extra: Any) -> str:
    """Return what a formatter makes of a line, with an error that was raised if one is given."""
    raised = None
    try:
        if error is not None:
            raise error  # noqa: TRY301 -- to be logged with its place
    except BaseException:  # noqa: BLE001 -- to be logged, whatever it is
        raised = sys.exc_info()
    record = logging.LogRecord("mnemolog.x", logging.WARNING, __file__, 1, "partition %d waits", (3,), raised)
    record.__dict__.update(extra)
    return formatter.format(record)


def test_a_line_is_one_object_with_its_ids() -> None:
    """Time, level, logger, message, the trace of the request that it was logged in, and what ids it was given."""
    with within(trace="0af7651916cd43dd8448eb211c80319c"):
        line = json.loads(logged(Json(), ids={"command": "c-1", "ms": 1.5}))
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warning",
        "logger": "mnemolog.x",
        "message": "partition 3 waits",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "command": "c-1",
        "ms": 1.5,
    }
    assert "trace_id" not in json.loads(logged(Json()))


@pytest.mark.parametrize("formatter", [Json(), Text("%(message)s")], ids=["json", "text"])
@pytest.mark.parametrize(
    "error",
    [ValueError(SECRET), KeyError(SECRET), UnicodeEncodeError("utf-8", SECRET, 0, 1, SECRET)],
    ids=lambda error: type(error).__name__,
)
def test_an_error_s_own_text_may_quote_a_caller_and_is_left_out(formatter: logging.Formatter, error: Exception) -> None:
    """Its kind and its places are there, in either format; a line of JSON stays one line."""
    text = logged(formatter, error)
    assert SECRET not in text
    assert type(error).__name__ in text
    assert "test_logs.py" in text
    if isinstance(formatter, Json):
        assert "\n" not in text


@pytest.mark.parametrize("formatter", [Json(), Text("%(message)s")], ids=["json", "text"])
def test_errors_of_ours_and_of_the_system_say_what_is_wrong(formatter: logging.Formatter) -> None:
    """Their texts repeat nothing that a caller wrote."""
    assert "Redis is away" in logged(formatter, Unavailable("Redis is away"))
    assert "No space left" in logged(formatter, OSError(28, "No space left"))
