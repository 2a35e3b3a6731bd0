"""The handlers of `/audit/…`: the past of the asking tenant, for principals with the role `auditor` only.

1. Whatever is asked here is itself in the usage log.
2. Who accepts `application/x-ndjson` is told how far it is, a line `{"progress": …}` now and then; the last line is
   `{"result": …}`, or `{"error": …}` for a question that cannot be answered as it was asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from mnemolog.domain import canonical
from mnemolog.domain.audits import Audits, NotAsked, Question, Told, silent
from mnemolog.domain.outcomes import Reason
from mnemolog.domain.ports import Scope
from mnemolog.domain.schema import Json, Name
from mnemolog.domain.times import from_text
from mnemolog.domain.usage import UsageWanted
from mnemolog.gateway import intake
from mnemolog.gateway.answers import answer
from mnemolog.gateway.call import Call
from mnemolog.gateway.problems import Kind, Problem, invalid
from mnemolog.gateway.shapes import Shape, take


class PastSearch(BaseModel):
    """What to search for, in whose memories, as of when."""

    model_config = ConfigDict(frozen=True, strict=True)
    agent: Name
    invoker: Name
    query: Annotated[str, Field(min_length=5, max_length=5_000)]
    as_of: str
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.6
    top: Annotated[int, Field(ge=1, le=50)] = 10


PAST_SEARCH = Shape(
    PastSearch,
    {
        "agentID": "agent",
        "invokerID": "invoker",
        "query": "query",
        "asOf": "as_of",
        "threshold": "threshold",
        "top": "top",
    },
)

USAGE_LIMIT = 1_000
USAGE_MOST = 10_000
LINES = "application/x-ndjson"
Find = Callable[[Audits, Told], Awaitable[Json]]


async def show_history(call: Call) -> Response:
    """Show what happened to a stream, an owner's streams, or by a command."""
    question = _question(call)

    async def find(audits: Audits, told: Told) -> Json:
        found = await audits.history(question, told)
        _used(call, question, len(found["entries"]))
        return found

    return await _answered(call, find)


async def show_state(call: Call) -> Response:
    """Show a stream, an owner's or all of the tenant's state as it was."""
    as_of = intake.last(intake.query(call.request), "asOf")
    if as_of is None:
        message = "say as of when"
        raise invalid(message, "query", "asOf")
    question = _question(call)

    async def find(audits: Audits, told: Told) -> Json:
        found = await audits.state(question, as_of, told)
        _used(call, question, len(found["rows"]))
        return found

    return await _answered(call, find)


async def search_past(call: Call) -> Response:
    """Search an owner's memories as they were."""
    asked = take(PAST_SEARCH, await intake.document(call))
    scope = Scope(call.asker.tenant, asked.agent, asked.invoker)

    async def find(audits: Audits, told: Told) -> Json:
        found = await audits.search(scope, asked.query, asked.threshold, asked.top, asked.as_of, told)
        call.used("audit", len(found["value"]), agent=asked.agent, invoker=asked.invoker, query=asked.query)
        return found

    return await _answered(call, find)


async def show_usage(call: Call) -> Response:
    """Show who read what, when and how often: the newest records, and how many there are."""
    _auditor(call)
    if call.face.usage is None:
        raise Problem(Kind.AWAY, "this server keeps no usage log")
    asked = intake.query(call.request)
    limit = intake.whole(asked, "limit", least=1, most=USAGE_MOST)
    wanted = UsageWanted(
        call.asker.tenant,
        intake.last(asked, "agentID"),
        intake.last(asked, "invokerID"),
        intake.last(asked, "stream"),
        intake.last(asked, "actor"),
        _instant(asked, "since"),
        _instant(asked, "before"),
    )
    total, records = await call.face.usage(wanted, USAGE_LIMIT if limit is None else limit)
    call.used("audit", len(records), agent=wanted.agent, invoker=wanted.invoker, stream=wanted.stream)
    return answer({"records": [record.plain() for record in records], "total": total})


def _question(call: Call) -> Question:
    asked = intake.query(call.request)
    names = {"stream": "stream", "agentID": "agent", "invokerID": "invoker", "command": "command"}
    return Question(call.asker.tenant, **{name: intake.last(asked, wire) for wire, name in names.items()})


def _used(call: Call, question: Question, found: int) -> None:
    stream = question.stream if question.command is None else f"command/{question.command}"
    call.used("audit", found, agent=question.agent, invoker=question.invoker, stream=stream)


def _instant(asked: dict[str, list[str]], name: str) -> int | None:
    text = intake.last(asked, name)
    try:
        return None if text is None else from_text(text)
    except (ValueError, OverflowError):
        message = "must be an ISO-8601 time"
        raise invalid(message, "query", name) from None


def _auditor(call: Call) -> None:
    if "auditor" not in call.asker.roles:
        raise Problem(Kind.FORBIDDEN, "this needs a client or a token with the role auditor")


async def _answered(call: Call, find: Find) -> Response:
    _auditor(call)
    audits = call.face.audits
    if audits is None:
        raise Problem(Kind.AWAY, "this server answers no audits")
    if LINES in call.request.headers.get("accept", ""):
        return StreamingResponse(_told(audits, find), media_type=LINES)
    try:
        return answer(await find(audits, silent))
    except NotAsked as error:
        raise Problem(Reason.INVALID, str(error)) from None


async def _told(audits: Audits, find: Find) -> AsyncIterator[bytes]:
    """Yield lines: how far it is, as it comes from the audit's own thread, then what was found."""
    loop, said = asyncio.get_running_loop(), asyncio.Queue[Json | None]()

    def tell(what: str, done: int, whole: int) -> None:
        progress = {"what": what, "done": done, "of": whole or None}
        loop.call_soon_threadsafe(said.put_nowait, {"progress": progress})

    finding = asyncio.ensure_future(find(audits, tell))
    finding.add_done_callback(lambda _: said.put_nowait(None))
    try:
        while (line := await said.get()) is not None:
            yield canonical.dumps(line) + b"\n"
        try:
            last = {"result": finding.result()}
        except NotAsked as error:
            last = {"error": {"code": "400", "message": str(error)}}
        yield canonical.dumps(last) + b"\n"
    finally:
        finding.cancel()
