"""`/api/v2/memory/{space}/sessions/`: sessions, with optimistic concurrency by `If-Match` (wire contract §3, §3.3)."""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import Response

from mnemolog.domain import session_commands as commands
from mnemolog.domain.reads import SessionFilter, SessionRow
from mnemolog.domain.times import to_text
from mnemolog.gateway import intake
from mnemolog.gateway.answers import answer, nothing
from mnemolog.gateway.awaiting import write
from mnemolog.gateway.call import Call
from mnemolog.gateway.datarobot import SESSION, SPACE, conflict, listed, paging, readable_space, session_id, space_id
from mnemolog.gateway.problems import Problem, invalid, missing
from mnemolog.gateway.shapes import Shape, take

_FIELDS = {"description": "description", "metadata": "metadata", "lifecycleStrategies": "lifecycle_strategies"}
NEW_SESSION = Shape(
    commands.NewSession, {"participants": "participants", **_FIELDS, "deduplicationKey": "deduplication_key"}
)
SESSION_CHANGE = Shape(commands.SessionChange, _FIELDS)
_VERSION = re.compile(r'(?:W/)?"([0-9]{1,18})"|([0-9]{1,18})')
_SHORTEST_SEARCH = 3


async def create(call: Call) -> Response:
    """Open a session; without a lifecycle strategy it is soft-deleted after 180 days."""
    target = commands.InSpace(space=space_id(call), user=call.asker.user)
    new = take(NEW_SESSION, await intake.document(call))
    try:
        accepted = await write(call, commands.CreateSession(target=target, parts=(new,)), SPACE)
    except Problem as problem:
        url = f"/memory/{target.space}/sessions/"
        raise conflict(problem, "Session", new.deduplication_key, url) from None
    return answer(session_of(await readable_session(call, target.space, accepted.facts[0].subject)), 201)


async def listing(call: Call) -> Response:
    """List the sessions of a memory space by time of creation."""
    parameters = intake.query(call.request)
    page = paging(parameters)
    part = intake.last(parameters, "description") or None
    if part is not None and len(part) < _SHORTEST_SEARCH:
        message = f"must have {_SHORTEST_SEARCH} characters or more"
        raise invalid(message, "query", "description", kind="string_too_short")
    wanted = SessionFilter(tuple(parameters.get("participants", ())), part, intake.last(parameters, "deduplicationKey"))
    space = await readable_space(call, space_id(call))
    tenant = call.asker.tenant
    rows, total = await call.face.queries.sessions(tenant, space["id"], wanted, page.offset, page.limit)
    call.used("list", len(rows), stream=f"space/{space['id']}")
    return listed([session_of(row) for row in rows], page, total)


async def read(call: Call) -> Response:
    """Show a session."""
    row = await readable_session(call, space_id(call), session_id(call))
    call.used("read", 1, stream=f"session/{row['id']}")
    return answer(session_of(row))


async def update(call: Call) -> Response:
    """Change a session: each accepted change makes its version one higher; with no known field this is a read."""
    space, session = space_id(call), session_id(call)
    document = await intake.document(call)
    version = _expected_version(call)
    if SESSION_CHANGE.fields(document):
        change = take(SESSION_CHANGE, document)
        target = commands.VersionedSession(space=space, user=call.asker.user, session=session, version=version)
        await write(call, commands.UpdateSession(target=target, parts=(change,)), SESSION)
    return answer(session_of(await readable_session(call, space, session)))


async def delete(call: Call) -> Response:
    """Hide a session with its events."""
    target = commands.SessionTarget(space=space_id(call), user=call.asker.user, session=session_id(call))
    await write(call, commands.DeleteSession(target=target), SESSION)
    return nothing()


async def readable_session(call: Call, space: str, identifier: str) -> SessionRow:
    """Return a session of a space that the caller may see. Raises Problem for any other."""
    await readable_space(call, space)
    row = await call.face.queries.session(call.asker.tenant, space, identifier)
    if row is None:
        raise missing(SESSION)
    return row


def session_of(row: SessionRow) -> dict[str, Any]:
    """Return a session as the SDKs read it."""
    return {
        "id": row["id"],
        "participants": row["participants"],
        "description": row["description"],
        "metadata": row["metadata"],
        "lifecycleStrategies": row["lifecycle_strategies"],
        "version": row["version"],
        "createdAt": to_text(row["created"]),
        "deduplicationKey": row["deduplication_key"],
    }


def _expected_version(call: Call) -> int | None:
    """Return the version in `If-Match`, quoted or bare; absent and `*` are the last writer's."""
    text = call.request.headers.get("if-match", "*").strip()
    if text == "*":
        return None
    found = _VERSION.fullmatch(text)
    if found is None:
        message = 'must be a session\'s version, such as "3"'
        raise invalid(message, "header", "If-Match")
    return int(found[1] or found[2])
