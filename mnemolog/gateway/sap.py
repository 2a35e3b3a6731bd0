"""`/v1`: memories, messages and the retention policy, as the SAP SDK speaks them (wire contract §2).

1. Names are camel case with a capital `ID`; times are texts; absent metadata is answered as `{}`.
2. An id stands in brackets, unquoted or quoted; one that is none of ours is 404, never 400.
3. Lists are never cut: `$top` is honoured whatever it is, and `@odata.count` counts before paging.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from mnemolog.domain import canonical, memory, message, policy
from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ports import Scope
from mnemolog.domain.reads import Filter, MemoryRow, MessageRow
from mnemolog.domain.schema import Name
from mnemolog.domain.times import to_text
from mnemolog.gateway import intake
from mnemolog.gateway.answers import answer, nothing
from mnemolog.gateway.awaiting import write
from mnemolog.gateway.call import Call
from mnemolog.gateway.odata import MEMORY_FIELDS, MESSAGE_FIELDS, parse_listing
from mnemolog.gateway.problems import Kind, Problem, missing
from mnemolog.gateway.shapes import Shape, take, take_both


class SearchRequest(BaseModel):
    """What to search for, and within whose memories."""

    model_config = ConfigDict(frozen=True, strict=True)
    agent: Name
    invoker: Name
    query: Annotated[str, Field(min_length=5, max_length=5_000)]
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.6
    top: Annotated[int, Field(ge=1, le=50)] = 10


_Row = TypeVar("_Row", MemoryRow, MessageRow)
_MEMORY = "memory"
_MESSAGE = "message"
_WHO = {"agentID": "agent", "invokerID": "invoker"}
OWNER = Shape(memory.Owner, _WHO)
NEW_MEMORY = Shape(memory.NewMemory, {"content": "content", "metadata": "metadata"})
MEMORY_CHANGE = Shape(memory.MemoryChange, {"content": "content", "metadata": "metadata"})
CONVERSATION = Shape(message.Conversation, {**_WHO, "messageGroup": "group"})
NEW_MESSAGE = Shape(message.NewMessage, {"role": "role", "content": "content", "metadata": "metadata"})
SEARCH = Shape(SearchRequest, {**_WHO, "query": "query", "threshold": "threshold", "top": "top"})
RETENTION = Shape(
    policy.RetentionChange,
    {"messageDays": "message_days", "memoryDays": "memory_days", "usageLogDays": "usage_log_days"},
)

# ---- memories --------------------------------------------------------------------------------------------------------


async def create_memory(call: Call) -> Response:
    """Keep a text."""
    owner, new = take_both(OWNER, NEW_MEMORY, await intake.document(call))
    accepted = await write(call, memory.AddMemory(target=owner, parts=(new,)), _MEMORY)
    return answer(await _memory(call, accepted.facts[0].subject), 201)


async def read_memory(call: Call) -> Response:
    """Show a memory."""
    found = await _memory(call, _id(call, _MEMORY))
    call.used("read", 1, agent=found["agentID"], invoker=found["invokerID"])
    return answer(found)


async def update_memory(call: Call) -> Response:
    """Replace a memory's text or metadata; there is no upsert."""
    target = memory.MemoryTarget(memory=_id(call, _MEMORY))
    change = take(MEMORY_CHANGE, await intake.document(call))
    await write(call, memory.UpdateMemory(target=target, parts=(change,)), _MEMORY)
    return answer(await _memory(call, target.memory))


async def delete_memory(call: Call) -> Response:
    """Erase a memory."""
    target = memory.MemoryTarget(memory=_id(call, _MEMORY))
    await write(call, memory.DeleteMemory(target=target), _MEMORY)
    return nothing()


async def list_memories(call: Call) -> Response:
    """List memories by time of creation."""
    queries = call.face.queries
    return await _listed(call, MEMORY_FIELDS, queries.memories, queries.count_memories, memory_of)


async def search_memories(call: Call) -> Response:
    """Search by meaning within the memories of one agent and invoker."""
    asked = take(SEARCH, await intake.document(call))
    scope = Scope(call.asker.tenant, asked.agent, asked.invoker)
    try:
        found = await call.face.search.search(scope, asked.query, asked.threshold, asked.top)
    except Unavailable:
        detail = "the search index is away or has not come to the last change of this scope; search again shortly"
        raise Problem(Kind.AWAY, detail) from None
    call.used("search", len(found), agent=asked.agent, invoker=asked.invoker, query=asked.query)
    return answer({"value": [{**memory_of(hit.memory), "similarity": hit.similarity} for hit in found]})


# ---- messages --------------------------------------------------------------------------------------------------------


async def create_message(call: Call) -> Response:
    """Add a message to its conversation."""
    conversation, new = take_both(CONVERSATION, NEW_MESSAGE, await intake.document(call))
    accepted = await write(call, message.AddMessage(target=conversation, parts=(new,)), _MESSAGE)
    return answer(await _message(call, message.message_of(accepted.facts[0].subject)), 201)


async def read_message(call: Call) -> Response:
    """Show a message."""
    found = await _message(call, _id(call, _MESSAGE))
    call.used("read", 1, agent=found["agentID"], invoker=found["invokerID"])
    return answer(found)


async def delete_message(call: Call) -> Response:
    """Erase a message."""
    target = message.MessageTarget(message=_id(call, _MESSAGE))
    await write(call, message.DeleteMessage(target=target), _MESSAGE)
    return nothing()


async def list_messages(call: Call) -> Response:
    """List messages by time of creation."""
    queries = call.face.queries
    return await _listed(call, MESSAGE_FIELDS, queries.messages, queries.count_messages, message_of)


# ---- the retention policy --------------------------------------------------------------------------------------------


async def read_retention(call: Call) -> Response:
    """Show the tenant's retention policy, which exists from the start."""
    return answer(await _retention(call))


async def update_retention(call: Call) -> Response:
    """Change the tenant's retention policy."""
    if not call.asker.admin:
        raise Problem(Kind.FORBIDDEN, "this client may not change the retention policy; it was created with --no-admin")
    change = take(RETENTION, await intake.document(call))
    await write(call, policy.SetRetention(target=policy.Tenant(), parts=(change,)), "policy")
    return answer(await _retention(call))


# ---- rows on the wire ------------------------------------------------------------------------------------------------


def memory_of(row: MemoryRow) -> dict[str, Any]:
    """Return a memory as the SDK reads it."""
    return {
        "id": row["id"],
        "agentID": row["agent"],
        "invokerID": row["invoker"],
        "content": row["content"],
        "metadata": _metadata(row["metadata"]),
        "createTimestamp": to_text(row["created"]),
        "updateTimestamp": to_text(row["updated"]),
    }


def message_of(row: MessageRow) -> dict[str, Any]:
    """Return a message as the SDK reads it."""
    return {
        "id": row["id"],
        "agentID": row["agent"],
        "invokerID": row["invoker"],
        "messageGroup": row["group"],
        "role": row["role"],
        "content": row["content"],
        "metadata": _metadata(row["metadata"]),
        "createTimestamp": to_text(row["created"]),
    }


def _metadata(text: str | None) -> dict[str, Any]:
    return (canonical.reread(text) if text is not None else None) or {}


async def _listed(
    call: Call,
    fields: Mapping[str, str],
    listed: Callable[[str, Filter, int, int | None], Awaitable[Sequence[_Row]]],
    counted: Callable[[str, Filter], Awaitable[int]],
    shown: Callable[[_Row], dict[str, Any]],
) -> Response:
    """Answer a list; with `$top=0` a count, also in the usage log. A filter that matches nothing reads nothing."""
    wanted, skip, top, count = parse_listing(intake.query(call.request), fields)
    tenant = call.asker.tenant
    rows = await listed(tenant, wanted, skip, top) if wanted and top != 0 else []
    total = (await counted(tenant, wanted) if wanted else 0) if count else None
    if wanted is not None:
        only = total if top == 0 else None
        found = len(rows) if only is None else only
        call.used("list" if only is None else "count", found, agent=wanted.agent, invoker=wanted.invoker)
    items = [shown(row) for row in rows]
    return answer({"value": items} if total is None else {"@odata.count": total, "value": items})


def _id(call: Call, noun: str) -> str:
    text: str = call.request.path_params["id"]
    quoted = len(text) > 1 and text[0] == text[-1] == "'"
    return intake.known(text[1:-1] if quoted else text, noun)


async def _memory(call: Call, identifier: str) -> dict[str, Any]:
    row = await call.face.queries.memory(call.asker.tenant, identifier)
    if row is None:
        raise missing(_MEMORY)
    return memory_of(row)


async def _message(call: Call, identifier: str) -> dict[str, Any]:
    row = await call.face.queries.message(call.asker.tenant, identifier)
    if row is None:
        raise missing(_MESSAGE)
    return message_of(row)


async def _retention(call: Call) -> dict[str, Any]:
    row = await call.face.queries.policy(call.asker.tenant)
    times = {"createTimestamp": row["created"], "updateTimestamp": row["updated"]}
    return {
        "id": 1,
        "messageDays": row["message_days"],
        "memoryDays": row["memory_days"],
        "usageLogDays": row["usage_log_days"],
        **{name: None if at is None else to_text(at) for name, at in times.items()},
    }
