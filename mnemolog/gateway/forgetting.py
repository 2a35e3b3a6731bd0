"""Forgetting over HTTP: what a policy would delete, erasing at once, and due extractions of memories.

1. Only clients that may change the retention policy may erase or preview; only their own tenant's data exists for them.
2. Erasing hides before it answers, whatever the size; what is large is taken in ranges afterwards. Its preview counts.
3. A due extraction is work for an agent: it lists the sessions, reads their events, writes memories, and says so.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from mnemolog.domain import memory
from mnemolog.domain.due import Category
from mnemolog.domain.erasure import Erase, ThingTarget
from mnemolog.domain.lifecycle import CompleteExtraction
from mnemolog.domain.owner import EraseOwner
from mnemolog.domain.reads import Filter
from mnemolog.domain.schema import Id, Name
from mnemolog.domain.session_commands import SessionTarget
from mnemolog.domain.streams import own_id
from mnemolog.domain.times import DAY, to_text
from mnemolog.domain.usage import UsageWanted, ended_before
from mnemolog.gateway import intake
from mnemolog.gateway.answers import answer, nothing
from mnemolog.gateway.awaiting import write
from mnemolog.gateway.call import Call
from mnemolog.gateway.datarobot import SESSION, listed, paging, readable_space, session_id, space_id
from mnemolog.gateway.datarobot_sessions import session_of
from mnemolog.gateway.operations import Operation, Parameter, whole
from mnemolog.gateway.problems import Kind, Problem, invalid
from mnemolog.gateway.sap import RETENTION
from mnemolog.gateway.shapes import Shape, schema_of, take

_MAY_NOT = "this client may not decide about its tenant's data; it was created with --no-admin"
_MANY = {"memory": "memories", "message": "messages", "session": "sessions", "space": "spaces"}
_CATEGORIES: tuple[tuple[Category, str], ...] = (("memories", "memory_days"), ("messages", "message_days"))


class ErasureRequest(BaseModel):
    """What to erase: something by its id, all that an agent keeps of an invoker, or all of the tenant."""

    model_config = ConfigDict(frozen=True, strict=True)
    kind: Literal["memory", "message", "session", "space", "owner", "tenant"]
    id: Id | None = None
    agent: Name | None = None
    invoker: Name | None = None


ERASURE = Shape(ErasureRequest, {"kind": "kind", "id": "id", "agentID": "agent", "invokerID": "invoker"})


async def preview(call: Call) -> Response:
    """Count what a policy would delete if the sweep were now; a field that is not given is as it is set."""
    _admin(call)
    wanted = take(RETENTION, await intake.document(call)).model_dump(exclude_unset=True)
    tenant, now = call.asker.tenant, call.face.clock()
    known = dict(await call.face.queries.policy(tenant))
    counts: dict[str, int | str] = {"asOf": to_text(now)}
    for category, field in _CATEGORIES:
        days = wanted.get(field, known[field])
        cutoff = None if days is None else max(0, now - days * DAY)
        counts[category] = 0 if cutoff is None else await call.face.queries.older(tenant, category, cutoff)
    days = wanted.get("usage_log_days", known["usage_log_days"])
    counts["usageLogs"] = 0
    if days is not None and call.face.usage is not None:
        old = UsageWanted(tenant, before=min(max(0, now - days * DAY), ended_before(now)))
        counts["usageLogs"], _ = await call.face.usage(old, 1)
    return answer(counts)


async def preview_erasure(call: Call) -> Response:
    """Count what an erasure would take if it were now, and take nothing."""
    _admin(call)
    asked = _named(take(ERASURE, await intake.document(call)))
    tenant, queries = call.asker.tenant, call.face.queries
    counts: dict[str, int | str] = {"kind": asked.kind, "asOf": to_text(call.face.clock())}
    match asked.kind:
        case "memory" | "message" | "session" | "space" as kind:
            counts[_MANY[kind]] = int(await queries.live(tenant, kind, asked.id or ""))
        case "owner" | "tenant" as kind:
            wanted = Filter(asked.agent, asked.invoker)
            counts["memories"] = await queries.count_memories(tenant, wanted)
            counts["messages"] = await queries.count_messages(tenant, wanted)
            counts["spaces"] = await queries.count_spaces(tenant) if kind == "tenant" else 0
            counts["usageLogs"] = 0
            if call.face.usage is not None:
                counts["usageLogs"], _ = await call.face.usage(UsageWanted(tenant, asked.agent, asked.invoker), 1)
    return answer(counts)


async def erase(call: Call) -> Response:
    """Hide something at once and erase it, now or in ranges."""
    _admin(call)
    match _named(take(ERASURE, await intake.document(call))):
        case ErasureRequest(kind="tenant"):
            return await _whole(call)
        case ErasureRequest(kind="owner", agent=str() as agent, invoker=str() as invoker):
            owner = memory.Owner(agent=agent, invoker=invoker)
            accepted = await write(call, EraseOwner(target=owner), "owner")
            return answer({"kind": "owner", "id": own_id(accepted.facts[0].stream)}, 202)
        case ErasureRequest(kind=kind, id=named):
            identifier = intake.known(named or "", kind)
            await write(call, Erase(target=ThingTarget.model_validate({"kind": kind, "id": identifier})), kind)
            return answer({"kind": kind, "id": identifier}, 202)


def _named(asked: ErasureRequest) -> ErasureRequest:
    """Return what is named clearly. Raises Problem."""
    has_id, agent, invoker = asked.id is not None, asked.agent is not None, asked.invoker is not None
    if asked.kind == "tenant" and (has_id or agent or invoker):
        message = "all of the tenant has neither an id nor an agentID or invokerID"
        raise invalid(message, "body", "kind")
    if asked.kind == "owner" and (has_id or not agent or not invoker):
        message = "an owner is an agentID and an invokerID, and has no id"
        raise invalid(message, "body", "agentID")
    if asked.kind not in {"owner", "tenant"} and (not has_id or agent or invoker):
        message = "what is not an owner is named by its id alone"
        raise invalid(message, "body", "id")
    return asked


async def _whole(call: Call) -> Response:
    """Hide all of the tenant, as much as there is time for; the answer says whether that was all."""
    if call.face.whole is None:
        raise Problem(Kind.AWAY, "this server cannot erase a tenant; the command line can")
    hidden = await call.face.whole(call.asker.tenant, call.asker.actor)
    counts = {"owners": hidden.owners, "spaces": hidden.spaces, "hiddenBefore": hidden.hidden_before}
    return answer({"kind": "tenant", "id": call.asker.tenant, **counts, "done": hidden.done}, 202)


async def extractions(call: Call) -> Response:
    """List the sessions of a memory space whose memories are to be extracted, by since when."""
    page = paging(intake.query(call.request))
    space = await readable_space(call, space_id(call))
    rows, total = await call.face.queries.extractions(call.asker.tenant, space["id"], page.offset, page.limit)
    call.used("list", len(rows), stream=f"space/{space['id']}")
    return listed([session_of(row) for row in rows], page, total)


async def complete(call: Call) -> Response:
    """Say that the memories of a session have been extracted; unless its strategy says otherwise, this hides it."""
    target = SessionTarget(space=space_id(call), user=call.asker.user, session=session_id(call))
    await write(call, CompleteExtraction(target=target), SESSION)
    return nothing()


def _admin(call: Call) -> None:
    if not call.asker.admin:
        raise Problem(Kind.FORBIDDEN, _MAY_NOT)


FORGETTING = (
    Operation(
        method="POST",
        path="/v1/admin/retentionConfig/preview",
        handle=preview,
        tag="Retention",
        summary="Count what a retention policy would delete, before it is set",
        entrance="client",
        effect="read",
        body=schema_of(RETENTION),
        example={"messageDays": 30, "memoryDays": None},
        answer="RetentionPreview",
        errors=(400, 403),
    ),
    Operation(
        method="POST",
        path="/v1/admin/erasures/preview",
        handle=preview_erasure,
        tag="Retention",
        summary="Count what an erasure would take, before it is asked for",
        entrance="client",
        effect="read",
        body=schema_of(ERASURE),
        example={"kind": "owner", "agentID": "planner", "invokerID": "ada"},
        answer="ErasurePreview",
        errors=(400, 403),
    ),
    Operation(
        method="POST",
        path="/v1/admin/erasures",
        handle=erase,
        tag="Retention",
        summary="Erase a memory, message, session or space, all of an agent and invoker, or of the tenant, at once",
        entrance="client",
        effect="write",
        status=202,
        body=schema_of(ERASURE),
        example={"kind": "owner", "agentID": "planner", "invokerID": "ada"},
        answer="Erasure",
        errors=(400, 403, 404),
    ),
    Operation(
        method="GET",
        path="/api/v2/memory/{space}/extractions/",
        handle=extractions,
        tag="Sessions",
        summary="List the sessions whose memories are to be extracted",
        entrance="token",
        effect="read",
        answer="Sessions",
        parameters=(
            Parameter("offset", "how many to leave out at the beginning", whole(0, default=0)),
            Parameter("limit", "how many at the most", whole(1, 100, 100)),
        ),
        errors=(404, 422),
    ),
    Operation(
        method="POST",
        path="/api/v2/memory/{space}/sessions/{session}/extraction/",
        handle=complete,
        tag="Sessions",
        summary="Say that a session's memories have been extracted",
        entrance="token",
        effect="write",
        status=204,
        errors=(404,),
    ),
)
