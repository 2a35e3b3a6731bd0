r"""The two JSON spellings: compact in the caller's order (what is stored and shown), canonical (what is compared).

User JSON is kept verbatim: key order, nulls, Unicode; no spaces, no `\uXXXX` escapes (wire contract §2, §3).

`loads` refuses what JSON has no word for or what cannot be stored: NaN, infinities, numbers out of range, lone
surrogates, nesting deeper than `NESTING_LIMIT` (a parser's own limit depends on its version and on who calls it, and a
decision may not). All of it is `ValueError`, with a text for the caller.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from math import isinf
from typing import Any, Literal, NoReturn

from pydantic_core import from_json, to_json

NESTING_LIMIT = 200
"""How many objects and arrays may stand in one another; whatever brings a caller's text adds a few of its own."""


def _no_constant(name: str) -> NoReturn:
    message = f"{name} is not JSON"
    raise ValueError(message)


def _finite(text: str) -> float:
    value = float(text)
    if isinf(value):
        message = "a number is out of range"
        raise ValueError(message)
    return value


_ESCAPE = "\\u"
"""In bytes that are UTF-8 only an escape can spell a lone surrogate."""
_STRICT = (False, False)
"""Neither keys that are no text are skipped, nor is a NaN let through."""
_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)
_REREADER = json.JSONDecoder()


def _encoder(*, sort_keys: bool) -> Callable[[Any], str]:
    """Return what writes compact JSON: `JSONEncoder.encode`, which makes its C encoder anew each time, without that."""
    plain = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=sort_keys)
    made: Any = getattr(json.encoder, "c_make_encoder", None)
    if made is None:
        return plain.encode
    # What comes here is JSON or made of it: nothing of it can hold itself, so no markers are kept.
    encode = made(None, plain.default, json.encoder.encode_basestring, None, ":", ",", sort_keys, *_STRICT)
    return lambda value: "".join(encode(value, 0))


_compact = _encoder(sort_keys=False)
_sorted = _encoder(sort_keys=True)


def loads(raw: bytes | str) -> Any:
    """Read JSON. Raises ValueError for anything that `dumps` could not write again."""
    try:
        content = raw if isinstance(raw, str) else raw.decode()
        value = _DECODER.decode(content)
        too_deep = content.count("{") + content.count("[") > NESTING_LIMIT and _depth(value) > NESTING_LIMIT
        if not too_deep and (_ESCAPE in content or content is raw):
            dumps(value)
    except RecursionError:
        too_deep = True
    except UnicodeError:
        message = "the JSON holds text that is not valid Unicode, such as half of a surrogate pair"
        raise ValueError(message) from None
    if too_deep:
        message = f"the JSON is nested more than {NESTING_LIMIT} levels deep"
        raise ValueError(message)
    return value


def reread(raw: bytes | str) -> Any:
    """Read JSON that `dumps` has written: nothing is left to refuse, so nothing is checked. Raises ValueError.

    The parser beside pydantic takes a third of the time; it keeps no strings, and gives up on what is nested most.
    """
    return _reread(raw, "none")


def headers(raw: str) -> dict[str, str]:
    """Read a record's headers, that `plain` has written. Raises ValueError.

    Their names are ours, and few: the parser keeps a string of each, instead of making twenty of them for each record.
    """
    read: dict[str, str] = _reread(raw, "keys")
    return read


def _reread(raw: bytes | str, kept: Literal["none", "keys"]) -> Any:
    try:
        return from_json(raw, cache_strings=kept)
    except ValueError:
        return _REREADER.decode(raw if isinstance(raw, str) else raw.decode())


def _depth(value: Any) -> int:
    """Return how deep a value is nested, counting level by level."""
    level, depth = [value], 0
    while level := [one for one in level if isinstance(one, (dict, list))]:
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
        depth += 1
    return depth


def text(value: Any) -> str:
    """Return compact JSON text in the order of the keys."""
    return _compact(value)


def dumps(value: Any) -> bytes:
    """Return compact JSON bytes in the order of the keys. Raises ValueError for what JSON or UTF-8 cannot say."""
    return _compact(value).encode()


def plain(value: Any) -> bytes:
    """Return the bytes that `dumps` gives for JSON without fractions, whose spelling is each encoder's own.

    The encoder beside pydantic takes less than half of the time.
    """
    return to_json(value)


def canonical(value: Any) -> bytes:
    """Return JSON bytes with sorted keys: equal values give equal bytes."""
    return _sorted(value).encode()
