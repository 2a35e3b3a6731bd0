"""`/api/v2/memory/`: memory spaces, each of one user of one tenant (wire contract §3)."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from mnemolog.domain import space
from mnemolog.domain.reads import SpaceRow
from mnemolog.domain.session_commands import InSpace
from mnemolog.domain.times import to_text
from mnemolog.gateway import intake
from mnemolog.gateway.answers import answer, nothing
from mnemolog.gateway.awaiting import write
from mnemolog.gateway.call import Call
from mnemolog.gateway.datarobot import SPACE, conflict, listed, paging, readable_space, space_id
from mnemolog.gateway.problems import Problem
from mnemolog.gateway.shapes import Shape, take

_TEXTS = {
    "description": "description",
    "llmModelName": "llm_model_name",
    "llmBaseUrl": "llm_base_url",
    "customInstructions": "custom_instructions",
}
NEW_SPACE = Shape(space.NewSpace, {**_TEXTS, "deduplicationKey": "deduplication_key"})
SPACE_CHANGE = Shape(space.SpaceChange, _TEXTS)


async def create(call: Call) -> Response:
    """Open a memory space; without a body it has neither description nor key."""
    new = take(NEW_SPACE, await intake.document(call))
    command = space.CreateSpace(target=space.ByUser(user=call.asker.user), parts=(new,))
    try:
        accepted = await write(call, command, SPACE)
    except Problem as problem:
        raise conflict(problem, "MemorySpace", new.deduplication_key, "/memory/") from None
    return answer(space_of(call, await readable_space(call, accepted.facts[0].subject)), 201)


async def listing(call: Call) -> Response:
    """List the caller's memory spaces by time of creation."""
    parameters = intake.query(call.request)
    page, key = paging(parameters), intake.last(parameters, "deduplicationKey")
    rows, total = await call.face.queries.spaces(call.asker.tenant, call.asker.user, key, page.offset, page.limit)
    call.used("list", len(rows))
    return listed([space_of(call, row) for row in rows], page, total)


async def read(call: Call) -> Response:
    """Show a memory space."""
    row = await readable_space(call, space_id(call))
    call.used("read", 1, stream=f"space/{row['id']}")
    return answer(space_of(call, row))


async def update(call: Call) -> Response:
    """Change a memory space: null clears, absent stays; with no known field this is a read."""
    target = InSpace(space=space_id(call), user=call.asker.user)
    document = await intake.document(call)
    if SPACE_CHANGE.fields(document):
        change = take(SPACE_CHANGE, document)
        await write(call, space.UpdateSpace(target=target, parts=(change,)), SPACE)
    return answer(space_of(call, await readable_space(call, target.space)))


async def delete(call: Call) -> Response:
    """Hide a memory space with its sessions and their events."""
    target = InSpace(space=space_id(call), user=call.asker.user)
    await write(call, space.DeleteSpace(target=target), SPACE)
    return nothing()


def space_of(call: Call, row: SpaceRow) -> dict[str, Any]:
    """Return a space as the SDKs read it."""
    return {
        "memorySpaceId": row["id"],
        "userId": row["user"],
        "tenantId": call.asker.tenant,
        "description": row["description"],
        "llmModelName": row["llm_model_name"],
        "llmBaseUrl": row["llm_base_url"],
        "customInstructions": row["custom_instructions"],
        "createdAt": to_text(row["created"]),
        "deduplicationKey": row["deduplication_key"],
    }
