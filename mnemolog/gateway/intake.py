"""What comes in: bodies, query strings and ids, bounded and checked before anyone looks at their meaning.

1. A body is never kept beyond the limit; what is too long is read off and thrown away for a while, so that a client
   that is still sending gets its answer instead of a closed connection.
2. An absent body is `{}` (G7), a `Content-Type` is nobody's business (G6).
3. Invalid UTF-8, numbers without bound, half surrogates and deep nesting are mistakes of the caller, never ours.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from mnemolog.domain import canonical
from mnemolog.domain.ids import parse_id
from mnemolog.domain.outcomes import Reason
from mnemolog.gateway.call import Call
from mnemolog.gateway.problems import Problem, invalid, missing

# Well below what the log takes: a command and a fact put a caller's JSON some levels deeper.
MAX_DEPTH = canonical.NESTING_LIMIT // 2
_READ_OFF = 16 << 20
_MAX_DIGITS = 15


async def body(request: Request, limit: int) -> bytes:
    """Return the body of a request. Raises Problem if it is longer than `limit` bytes."""
    declared = request.headers.get("content-length", "")
    if not (declared.isascii() and declared.isdigit() and _exceeds(declared, limit + _READ_OFF)):
        chunks, size = bytearray(), 0
        try:
            async for chunk in request.stream():
                size += len(chunk)
                if size <= limit:
                    chunks += chunk
                elif size > limit + _READ_OFF:
                    break
        except ClientDisconnect:
            message = "the request ended before its body was complete"
            raise invalid(message, "body") from None
        if size <= limit:
            return bytes(chunks)
    detail = f"the body is longer than {limit} bytes; send less at once"
    raise Problem(Reason.TOO_LARGE, detail)


async def document(call: Call) -> dict[str, Any]:
    """Return the JSON object in the body, `{}` if there is none."""
    raw = await body(call.request, call.face.settings.max_body)
    call.received = len(raw)
    if not raw.strip():
        return {}
    try:
        value = canonical.loads(raw)
    except ValueError as error:
        message = f"the body is not valid JSON: {str(error)[:200]}"
        raise invalid(message, "body", kind="json_invalid") from None
    if not isinstance(value, dict):
        message = "the body must be a JSON object"
        raise invalid(message, "body", kind="dict_type")
    if _deeper(value, MAX_DEPTH):
        message = f"the JSON is nested deeper than {MAX_DEPTH} levels"
        raise invalid(message, "body", kind="json_invalid")
    return value


def query(request: Request) -> dict[str, list[str]]:
    """Return the parameters of the query string, each with its values in order."""
    try:
        raw = bytes(request.scope["query_string"]).decode()
        pairs = parse_qsl(raw, keep_blank_values=True, errors="strict")
    except ValueError:
        message = "the query string is not valid UTF-8"
        raise invalid(message, "query") from None
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def last(parameters: dict[str, list[str]], name: str) -> str | None:
    """Return the value of a parameter, the last one if it was repeated."""
    return parameters[name][-1] if name in parameters else None


def whole(parameters: dict[str, list[str]], name: str, *, least: int, most: int | None = None) -> int | None:
    """Return a whole number of the query, None if it is absent."""
    text = last(parameters, name)
    if text is None:
        return None
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        message = "must be a whole number"
        raise invalid(message, "query", name, kind="int_parsing")
    number = int(text) if len(digits) <= _MAX_DIGITS else None
    if number is None or number < least or (most is not None and number > most):
        message = f"must be {least} or more" if most is None else f"must be from {least} to {most}"
        raise invalid(message, "query", name, kind="out_of_range")
    return number


def known(identifier: str, noun: str) -> str:
    """Return an id of ours. Raises the problem of a missing one for anything else: no such thing can exist."""
    if parse_id(identifier) != identifier:
        raise missing(noun)
    return identifier


def _exceeds(digits: str, limit: int) -> bool:
    return len(digits) > _MAX_DIGITS or int(digits) > limit


def _deeper(value: Any, limit: int) -> bool:
    """Tell whether JSON is nested deeper than `limit`, level by level and without recursion."""
    level: list[Any] = [value]
    for _ in range(limit):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
