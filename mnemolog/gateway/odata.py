"""The OData that the SAP SDK sends: `$filter`, `$top`, `$skip`, `$count` (wire contract §2).

Grammar: `filter = term *( "and" term )`, `term = field "eq" text / "contains(" field "," text ")"`; names are
case-sensitive, a quote in a text is doubled. Literals hold anything, ` and ` and brackets too, hence a tokenizer.

1. A mistake is named with its position; a filter is never read as a wider one.
2. Two `eq` on one field that differ match nothing: the filter is None.
3. `$top` has no upper bound and is never cut.
4. A filter has at most 50 conditions: each `contains` looks through every text of its scope.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple, NoReturn

from mnemolog.domain.ports import Match
from mnemolog.domain.reads import Filter
from mnemolog.gateway.problems import invalid

MEMORY_FIELDS: Mapping[str, str] = {"agentID": "agent", "invokerID": "invoker"}
MESSAGE_FIELDS: Mapping[str, str] = {**MEMORY_FIELDS, "messageGroup": "group", "role": "role"}
_SEARCHABLE = ("content", "metadata")
_TOKEN = re.compile(r"(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<text>'[^']*(?:''[^']*)*')|(?P<mark>[(),])")
_BLANKS = re.compile(r"[ \t\r\n]*")
_OPTIONS = ("$filter", "$top", "$skip", "$count")
_MOST = (1 << 53) - 1
_MOST_CONDITIONS = 50


class Token(NamedTuple):
    """A piece of a filter; `at` is its place, counted from 1."""

    kind: str
    value: str
    at: int


class Listing(NamedTuple):
    """What a list is asked for: `wanted` None matches nothing, `top` None is all."""

    wanted: Filter | None
    skip: int
    top: int | None
    counted: bool


def parse_listing(parameters: Mapping[str, list[str]], fields: Mapping[str, str]) -> Listing:
    """Read the query options of a list. Raises Problem."""
    for name, values in parameters.items():
        if name.startswith("$") and name not in _OPTIONS:
            message = f"this query option is not supported; use {', '.join(_OPTIONS)}"
            raise invalid(message, "query", name)
        if name in _OPTIONS and len(values) > 1:
            message = "is given more than once"
            raise invalid(message, "query", name)
    given = {name: parameters[name][0] for name in _OPTIONS if name in parameters}
    wanted = parse_filter(given["$filter"], fields) if "$filter" in given else Filter()
    count = given.get("$count", "false")
    if count not in {"true", "false"}:
        message = "must be true or false"
        raise invalid(message, "query", "$count")
    top = _whole("$top", given["$top"]) if "$top" in given else None
    return Listing(wanted, _whole("$skip", given.get("$skip", "0")), top, count == "true")


def parse_filter(text: str, fields: Mapping[str, str]) -> Filter | None:
    """Read a filter over `fields` (wire name to the row's). Raises Problem."""
    tokens = list(_tokens(text))
    equal: dict[str, str] = {}
    contains: list[Match] = []
    possible = True
    at, conditions = 0, 1
    while True:
        first = _expect(tokens, at, "word", "a condition")
        if first.value == "contains" and tokens[at + 1].value == "(":
            field = _expect(tokens, at + 2, "word", " or ".join(_SEARCHABLE), _SEARCHABLE)
            _expect(tokens, at + 3, "mark", "a comma", (",",))
            literal = _expect(tokens, at + 4, "text", "a text in single quotes")
            _expect(tokens, at + 5, "mark", "a closing bracket", (")",))
            contains.append(Match(field.value, _unquoted(literal)))
            at += 6
        else:
            name = _expect(tokens, at, "word", f"contains(…) or one of {', '.join(fields)}", tuple(fields))
            _expect(tokens, at + 1, "word", "eq", ("eq",))
            value = _unquoted(_expect(tokens, at + 2, "text", "a text in single quotes"))
            possible = possible and equal.setdefault(fields[name.value], value) == value
            at += 3
        if tokens[at].kind == "end":
            return Filter(**equal, contains=tuple(contains)) if possible else None
        _expect(tokens, at, "word", "and", ("and",))
        conditions += 1
        if conditions > _MOST_CONDITIONS:
            _fail(f"the filter's end: it has more than {_MOST_CONDITIONS} conditions", tokens[at].at)
        at += 1


def _tokens(text: str) -> Iterator[Token]:
    at = _skip(text, 0)
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            _fail("a text in single quotes that ends" if text[at] == "'" else "a name, a text or a bracket", at + 1)
        yield Token(found.lastgroup, found.group(), at + 1)
        at = _skip(text, found.end())
    yield Token("end", "", len(text) + 1)
    # A look past the end meets an end again, so that no rule above has to count tokens.
    yield from (Token("end", "", len(text) + 1) for _ in range(6))


def _skip(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    return blanks.end() if blanks else at


def _expect(tokens: list[Token], at: int, kind: str, wanted: str, values: tuple[str, ...] = ()) -> Token:
    token = tokens[at]
    if token.kind != kind or (values and token.value not in values):
        _fail(wanted, token.at)
    return token


def _fail(wanted: str, at: int) -> NoReturn:
    message = f"expected {wanted} at position {at}"
    raise invalid(message, "query", "$filter")


def _unquoted(token: Token) -> str:
    return token.value[1:-1].replace("''", "'")


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        message = "must be a whole number, 0 or more"
        raise invalid(message, "query", name)
    return int(text) if len(text) < len(str(_MOST)) else _MOST
