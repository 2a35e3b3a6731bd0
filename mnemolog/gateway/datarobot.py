"""`/api/v2`: what its routes share, and `version/` (wire contract §1.3, §3).

Requests and answers are camel case for the fields named here; a caller's own JSON passes verbatim. Lists are pages
of at most 100. Whether a space exists is always asked for tenant and user together: a foreign one does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from starlette.responses import Response

from mnemolog.domain.outcomes import Reason
from mnemolog.domain.reads import SpaceRow
from mnemolog.gateway import intake
from mnemolog.gateway.answers import answer
from mnemolog.gateway.call import Call
from mnemolog.gateway.problems import Problem, missing

PAGE = 100
SPACE = "memory space"
SESSION = "session"
VERSION = {"major": 2, "minor": 49, "versionString": "2.49.0", "releasedVersion": "2.49.0"}


class Paging(NamedTuple):
    """Which part of a list."""

    offset: int
    limit: int


async def version(call: Call) -> Response:
    """Say which version of the API this is; clients ask before anything else."""
    del call
    return answer(VERSION)


def paging(parameters: dict[str, list[str]]) -> Paging:
    """Read `offset` and `limit`."""
    offset = intake.whole(parameters, "offset", least=0)
    limit = intake.whole(parameters, "limit", least=1, most=PAGE)
    return Paging(offset or 0, PAGE if limit is None else limit)


def listed(items: Sequence[Mapping[str, Any]], page: Paging, total: int) -> Response:
    """Return a page."""
    return answer({"items": list(items), "offset": page.offset, "limit": page.limit, "total": total})


def space_id(call: Call) -> str:
    """Return the space of the path."""
    return intake.known(call.request.path_params["space"], SPACE)


def session_id(call: Call) -> str:
    """Return the session of the path."""
    return intake.known(call.request.path_params["session"], SESSION)


async def readable_space(call: Call, identifier: str) -> SpaceRow:
    """Return a space that the caller may see. Raises Problem for any other."""
    row = await call.face.queries.space(call.asker.tenant, call.asker.user, identifier)
    if row is None:
        raise missing(SPACE)
    return row


def conflict(problem: Problem, name: str, key: str | None, url: str) -> Problem:
    """Return what the SDKs read of a taken deduplication key, any other problem as it is (contract §3.1).

    `name` is `Session` or `MemorySpace`, `url` where the resource that holds the key would be, without its id.
    """
    if problem.kind is not Reason.KEY_TAKEN:
        return problem
    found = problem.existing
    where = None if found is None else f"{url}{found}/"
    extra = {
        "errorName": f"{name}DeduplicationConflict",
        "deduplicationKey": key,
        f"existing{name}Id": found,
        f"existing{name}Url": where,
    }
    return Problem(problem.kind, problem.detail, extra=extra, headers={"location": where} if where else {})
