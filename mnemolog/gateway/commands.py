"""`POST /commands`: commands as CloudEvents, one or a batch, for those who publish where no Kafka is.

1. All of a request is checked before any of it is published; what is refused names the item.
2. The tenant and the actor are the credential's, and it opens what it opens elsewhere: an API token the spaces and
   sessions of its user, a client the memories and messages of its tenant and, if it may, the retention policy.
3. The answer is 202 with a receipt for each command, in order. With `Prefer: wait=seconds` (RFC 7240) it is 200 with
   the outcomes, once reads show them; 202 if some have not come in time.
4. An event's id is its idempotency key: sending a request again changes nothing (guarantee 3).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from mnemolog.domain import canonical, cloud_event, memory, message, owner, policy, session_commands, space
from mnemolog.domain.codec import Envelope
from mnemolog.domain.errors import Malformed, Unavailable
from mnemolog.domain.ids import command_id
from mnemolog.domain.reads import Published
from mnemolog.domain.rules import COMMAND_LIMIT
from mnemolog.domain.schema import Command
from mnemolog.domain.topics import COMMANDS
from mnemolog.gateway import intake
from mnemolog.gateway.answers import answer
from mnemolog.gateway.awaiting import surrounded
from mnemolog.gateway.call import Call
from mnemolog.gateway.problems import Kind, Problem, invalid

_BODY = COMMAND_LIMIT + (64 << 10)
_WAIT = re.compile(r'(?:^|[,;\s])wait(?:\s*=\s*"?([0-9]{1,6})"?)?\s*(?=$|[,;])', re.IGNORECASE)
_OF_USERS = (space.ByUser, session_commands.InSpace)
_OF_CLIENTS = (memory.Owner, memory.MemoryTarget, message.Conversation, message.MessageTarget, policy.Tenant)


async def publish(call: Call) -> Response:
    """Publish one command or a batch."""
    batch = _is_batch(call)
    documents = await _documents(call, batch=batch)
    envelopes = [_envelope(call, document, index if batch else None) for index, document in enumerate(documents)]
    wait = _wanted_wait(call)
    if wait:
        call.headers["preference-applied"] = f"wait={wait:g}"
    try:
        async with asyncio.timeout(wait + call.face.settings.write_wait):
            published = await call.face.commands.publish(envelopes, wait)
    except (Unavailable, TimeoutError):
        detail = (
            f"{len(envelopes)} commands were sent, the first of them {envelopes[0].id}, but it is not known whether all"
            " were taken; send the same request again, with the same ids, which is safe"
        )
        raise Problem(Kind.LATE, detail) from None
    receipts = [_receipt(*one) for one in zip(documents, envelopes, published, strict=True)]
    status = 200 if wait and all(one.outcome is not None for one in published) else 202
    return answer({"items": receipts} if batch else receipts[0], status)


def _is_batch(call: Call) -> bool:
    given = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in {cloud_event.STRUCTURED, cloud_event.BATCH}:
        detail = (
            f"send one CloudEvent as {cloud_event.STRUCTURED}, or an array of them as {cloud_event.BATCH}; the binary"
            " mode is not served"
        )
        raise Problem(Kind.MEDIA_TYPE, detail)
    return given == cloud_event.BATCH


async def _documents(call: Call, *, batch: bool) -> Sequence[Any]:
    raw = await intake.body(call.request, _BODY)
    call.received = len(raw)
    try:
        value = canonical.loads(raw)
    except ValueError as error:
        detail = f"the body is not valid JSON: {str(error)[:200]}"
        raise invalid(detail, "body", kind="json_invalid") from None
    if not batch:
        return [value]
    if not isinstance(value, list) or not 1 <= len(value) <= cloud_event.BATCH_MOST:
        detail = f"a batch is an array of 1 to {cloud_event.BATCH_MOST} events"
        raise invalid(detail, "body", kind="list_type")
    return value


def _envelope(call: Call, document: Any, index: int | None) -> Envelope:
    """Return the command in an event, checked. Raises Problem, which names the item of a batch."""
    try:
        return _checked(call, document)
    except Malformed as error:
        raise invalid(str(error), "body", *(() if index is None else (index,))) from None
    except Problem as problem:
        if index is None:
            raise
        detail = f"item {index}: {problem.detail}"
        raise Problem(problem.kind, detail, headers=problem.headers) from None


def _checked(call: Call, document: Any) -> Envelope:
    event, command = cloud_event.read(document)
    asker = call.asker
    if event.tenant is not None and event.tenant != asker.tenant:
        detail = "the event names another tenant than the credential; leave it out, or use that tenant's credential"
        raise Problem(Kind.FORBIDDEN, detail)
    if not event.id.strip():
        message_ = "id: must not be blank"
        raise Malformed(message_)
    _authorize(call, command)
    identifier = command_id(asker.tenant, asker.actor, event.id)
    return surrounded(
        call, identifier, command, "thing", event.traceparent or call.request.headers.get("traceparent", "")
    )


def _authorize(call: Call, command: Command) -> None:
    asker, target = call.asker, command.target
    as_client = call.face.settings.no_auth or asker.actor.startswith(("client/", "oidc/"))
    if isinstance(target, _OF_USERS):
        if asker.user and asker.user == target.user:
            return
        detail = "spaces and sessions belong to users: an API token publishes those of its own user"
    elif isinstance(target, _OF_CLIENTS):
        if as_client and (asker.admin or not isinstance(command, policy.SetRetention | owner.EraseOwner)):
            return
        detail = (
            "this client may not change the retention policy or erase an owner: it was created with --no-admin, or"
            " its token lacks the role"
        )
        if not as_client:
            detail = "memories, messages and the retention policy are for clients: use a token from /oauth/token"
    else:
        detail = "this command is for operators and workers; it cannot be published over HTTP"
    raise Problem(Kind.FORBIDDEN, detail)


def _wanted_wait(call: Call) -> float:
    """Return the seconds to wait for outcomes: as preferred (RFC 7240 §4.3), at most the write wait; 0 if not."""
    found = _WAIT.search(",".join(call.request.headers.getlist("prefer")))
    if found is None:
        return 0.0
    most = call.face.settings.write_wait
    return most if found[1] is None else min(float(found[1]), most)


def _receipt(document: Any, envelope: Envelope, published: Published) -> dict[str, Any]:
    found = {
        "id": document["id"],
        "command": envelope.id,
        "topic": COMMANDS,
        "partition": published.partition,
        "offset": published.offset,
        "slot": envelope.slot,
    }
    if published.outcome is not None:
        found["outcome"] = cloud_event.outcome_document(published.outcome)
    return found
