"""A route and what is said about it, declared together: the app and the OpenAPI document are made from one table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from starlette.responses import Response

from mnemolog.gateway.auth import Entrance
from mnemolog.gateway.call import Call

Handler = Callable[[Call], Awaitable[Response]]
Effect = Literal["none", "read", "write"]
"""A read honours `Mnemolog-Position`, a write sends one."""


class Parameter(NamedTuple):
    """A query parameter or header."""

    name: str
    about: str
    schema: Mapping[str, Any]
    place: Literal["query", "header"] = "query"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method on one path; `answer` names a schema of the document, None where there is no body.

    `also` are further statuses with the same answer; `media` is schema and example by media type, of bodies that are
    not plain JSON.
    """

    method: str
    path: str
    handle: Handler
    tag: str
    summary: str
    entrance: Entrance
    effect: Effect
    status: int = 200
    also: tuple[int, ...] = ()
    body: Mapping[str, Any] | None = None
    media: Mapping[str, tuple[Mapping[str, Any], Any]] = field(default_factory=dict)
    example: Any = None
    answer: str | None = None
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = ()


def whole(least: int, most: int | None = None, default: int | None = None) -> dict[str, Any]:
    """Return the schema of a whole number."""
    found: dict[str, Any] = {"type": "integer", "minimum": least}
    if most is not None:
        found["maximum"] = most
    if default is not None:
        found["default"] = default
    return found
