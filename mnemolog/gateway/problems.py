"""What can go wrong, its status, and its shape on each face (design §10, wire contract §3.1, §3.2).

1. `/api/v2` never answers 413, 429, 502, 503 or 504: its SDK retries those ten times, POST included (G3).
   The one exception is a tenant's own rate, for which coming again after `Retry-After` is what is meant.
2. Every error has a JSON object as its body: `{"error": {…}}` outside `/api/v2`, `{"detail": …}` on it.
3. No input is echoed: a text says what is wrong and where, not what was sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, TypedDict

from pydantic import ValidationError
from starlette.responses import Response

from mnemolog.domain.outcomes import Reason, Rejected
from mnemolog.gateway.answers import answer

_MAX_ENTRIES = 20
_MAX_STEP = 100
_API = "/api/v2"


class Kind(StrEnum):
    """What only the face can find wrong; all else is the domain's `Reason`."""

    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    LATE = "late"
    AWAY = "away"
    BROKEN = "broken"
    MEDIA_TYPE = "media-type"
    TOO_MANY = "too-many"


STATUS: Mapping[Reason | Kind, tuple[int, int]] = {
    Reason.NOT_FOUND: (404, 404),
    Reason.KEY_TAKEN: (409, 409),
    Reason.VERSION_MISMATCH: (409, 409),
    Reason.STALE_EVENT: (422, 422),
    Reason.STRATEGY_EXECUTED: (409, 409),
    Reason.NOT_PARTICIPANT: (400, 400),
    Reason.NOT_HIDDEN: (409, 409),
    Reason.NOT_DUE: (409, 409),
    Reason.INVALID: (400, 422),
    Reason.TOO_LARGE: (400, 422),
    Reason.KEY_REUSED: (422, 422),
    Reason.MISROUTED: (500, 500),
    Reason.MALFORMED: (400, 422),
    Reason.UNSIGNED: (500, 500),
    Kind.UNAUTHENTICATED: (401, 401),
    Kind.FORBIDDEN: (403, 403),
    Kind.LATE: (504, 500),
    Kind.AWAY: (503, 500),
    Kind.BROKEN: (500, 500),
    Kind.MEDIA_TYPE: (415, 415),
    Kind.TOO_MANY: (429, 429),
}
"""Status on `/v1` and on `/api/v2`."""


class Entry(TypedDict):
    """One mistake in a request: `loc` says where, in wire names."""

    type: str
    loc: list[str | int]
    msg: str


class Problem(Exception):
    """Why a request is refused; becomes a response in the shape of its face."""

    def __init__(
        self,
        kind: Reason | Kind,
        detail: str = "",
        *,
        entries: Sequence[Entry] = (),
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        existing: str | None = None,
    ) -> None:
        """Take a sentence, or the mistakes that make one; `existing` is the id that holds a taken key."""
        super().__init__(kind)
        self.kind = kind
        self.entries = tuple(entries[:_MAX_ENTRIES])
        self.detail = detail or _sentence(self.entries)
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})
        self.existing = existing


def invalid(detail: str, *loc: str | int, kind: str = "value_error") -> Problem:
    """Return the problem of one mistake."""
    return Problem(Reason.INVALID, entries=[Entry(type=kind, loc=_steps(loc), msg=detail)])


def missing(noun: str) -> Problem:
    """Return the problem of an id that names nothing which the caller may see."""
    return Problem(Reason.NOT_FOUND, f"there is no {noun} with this id")


def refused(rejected: Rejected) -> Problem:
    """Return the problem of a refused command."""
    return Problem(rejected.reason, rejected.detail, existing=rejected.existing)


def mistakes(error: ValidationError, at: Sequence[str | int], names: Mapping[str, str]) -> list[Entry]:
    """Return what pydantic found, in wire names and without the input; `names` is wire name by field."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    entries = []
    for one in found[:_MAX_ENTRIES]:
        first, *rest = one["loc"] or ("",)
        where = [*at, *([names.get(str(first), first)] if first != "" else []), *rest]
        entries.append(Entry(type=one["type"], loc=_steps(where), msg=one["msg"].removeprefix("Value error, ")))
    return entries


def status_of(problem: Problem, path: str) -> int:
    """Return the status that the face of a path gives to a problem."""
    return STATUS[problem.kind][speaks_datarobot(path)]


def speaks_datarobot(path: str) -> bool:
    """Tell whether a path belongs to the `/api/v2` face."""
    return path == _API or path.startswith(_API + "/")


def rendered(problem: Problem, path: str, headers: Mapping[str, str]) -> Response:
    """Return a problem as the response that the face of a path understands."""
    return shaped(
        status_of(problem, path),
        problem.detail,
        path,
        headers={**headers, **problem.headers},
        entries=problem.entries,
        extra=problem.extra,
    )


def shaped(
    status: int,
    detail: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    entries: Sequence[Entry] = (),
    extra: Mapping[str, Any] | None = None,
) -> Response:
    """Return an error body in the shape of a face."""
    if speaks_datarobot(path):
        return answer({"detail": list(entries) or detail, **(extra or {})}, status, headers)
    return answer({"error": {"code": str(status), "message": detail, **(extra or {})}}, status, headers)


def _steps(loc: Sequence[str | int]) -> list[str | int]:
    return [step if isinstance(step, int) else step[:_MAX_STEP] for step in loc]


def _sentence(entries: Sequence[Entry]) -> str:
    said = []
    for entry in entries:
        where = ".".join(str(step) for step in entry["loc"][1:])
        said.append(f"{where}: {entry['msg']}" if where else entry["msg"])
    return "; ".join(said)
