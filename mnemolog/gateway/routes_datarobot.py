"""The table of `/api/v2`."""

from __future__ import annotations

from typing import Any

from mnemolog.domain.rules import BATCH_LIMIT
from mnemolog.gateway import datarobot, datarobot_events, datarobot_sessions, datarobot_spaces
from mnemolog.gateway.operations import Operation, Parameter, whole
from mnemolog.gateway.shapes import Shape, schema_of

_TEXT = {"type": "string"}
_SPACES = "/api/v2/memory/"
_SPACE = _SPACES + "{space}/"
_SESSIONS = _SPACE + "sessions/"
_SESSION = _SESSIONS + "{session}/"
_EVENTS = _SESSION + "events/"
_PAGE = (
    Parameter("offset", "how many to leave out at the beginning", whole(0, default=0)),
    Parameter("limit", "how many at the most", whole(1, datarobot.PAGE, datarobot.PAGE)),
)
_KEY = Parameter("deduplicationKey", "the one with exactly this key", _TEXT)
_HELLO = {"body": {"content": "Hello"}, "emitter": {"type": "user", "id": "ada"}, "type": "message"}


def _batch(shape: Shape[Any]) -> dict[str, Any]:
    item = schema_of(shape)
    definitions = item.pop("$defs", {})
    events = {"type": "array", "items": item, "minItems": 1, "maxItems": BATCH_LIMIT}
    return {"type": "object", "properties": {"events": events}, "required": ["events"], "$defs": definitions}


def _change_of_one() -> dict[str, Any]:
    schema = schema_of(datarobot_events.EVENT_CHANGE)
    for name in ("sequenceId", "createdAt"):
        del schema["properties"][name]
    del schema["required"]
    return schema


DATAROBOT = (
    Operation(
        method="GET",
        path="/api/v2/version/",
        handle=datarobot.version,
        tag="Version",
        summary="Which version of the API this is",
        entrance="token",
        effect="none",
        answer="Version",
    ),
    Operation(
        method="POST",
        path=_SPACES + "new/",
        handle=datarobot_spaces.create,
        tag="Memory spaces",
        summary="Open a memory space",
        entrance="token",
        effect="write",
        status=201,
        body=schema_of(datarobot_spaces.NEW_SPACE),
        example={"description": "Planning", "deduplicationKey": "planning"},
        answer="MemorySpace",
        errors=(409, 422),
    ),
    Operation(
        method="GET",
        path=_SPACES,
        handle=datarobot_spaces.listing,
        tag="Memory spaces",
        summary="List the caller's memory spaces",
        entrance="token",
        effect="read",
        answer="MemorySpaces",
        parameters=(*_PAGE, _KEY),
        errors=(422,),
    ),
    Operation(
        method="GET",
        path=_SPACE,
        handle=datarobot_spaces.read,
        tag="Memory spaces",
        summary="Show a memory space",
        entrance="token",
        effect="read",
        answer="MemorySpace",
        errors=(404,),
    ),
    Operation(
        method="PATCH",
        path=_SPACE,
        handle=datarobot_spaces.update,
        tag="Memory spaces",
        summary="Change a memory space; null clears",
        entrance="token",
        effect="write",
        body=schema_of(datarobot_spaces.SPACE_CHANGE),
        example={"description": None, "llmModelName": "small"},
        answer="MemorySpace",
        errors=(404, 422),
    ),
    Operation(
        method="DELETE",
        path=_SPACE,
        handle=datarobot_spaces.delete,
        tag="Memory spaces",
        summary="Hide a memory space with its sessions",
        entrance="token",
        effect="write",
        status=204,
        errors=(404,),
    ),
    Operation(
        method="POST",
        path=_SESSIONS,
        handle=datarobot_sessions.create,
        tag="Sessions",
        summary="Open a session",
        entrance="token",
        effect="write",
        status=201,
        body=schema_of(datarobot_sessions.NEW_SESSION),
        example={"participants": ["ada"], "lifecycleStrategies": [], "metadata": {"topic": "plans"}},
        answer="Session",
        errors=(404, 409, 422),
    ),
    Operation(
        method="GET",
        path=_SESSIONS,
        handle=datarobot_sessions.listing,
        tag="Sessions",
        summary="List the sessions of a memory space",
        entrance="token",
        effect="read",
        answer="Sessions",
        parameters=(
            *_PAGE,
            _KEY,
            Parameter("participants", "any of these, the key repeated", {"type": "array", "items": _TEXT}),
            Parameter("description", "a part of the description, 3 characters or more, in any case", _TEXT),
        ),
        errors=(404, 422),
    ),
    Operation(
        method="GET",
        path=_SESSION,
        handle=datarobot_sessions.read,
        tag="Sessions",
        summary="Show a session",
        entrance="token",
        effect="read",
        answer="Session",
        errors=(404,),
    ),
    Operation(
        method="PATCH",
        path=_SESSION,
        handle=datarobot_sessions.update,
        tag="Sessions",
        summary="Change a session, if it still has the version in If-Match",
        entrance="token",
        effect="write",
        body=schema_of(datarobot_sessions.SESSION_CHANGE),
        example={"description": "Plans of Monday"},
        answer="Session",
        parameters=(Parameter("If-Match", 'the version that the caller saw, such as `"3"`', _TEXT, "header"),),
        errors=(404, 409, 422),
    ),
    Operation(
        method="DELETE",
        path=_SESSION,
        handle=datarobot_sessions.delete,
        tag="Sessions",
        summary="Hide a session with its events",
        entrance="token",
        effect="write",
        status=204,
        errors=(404,),
    ),
    Operation(
        method="POST",
        path=_EVENTS,
        handle=datarobot_events.append,
        tag="Events",
        summary="Append an event",
        entrance="token",
        effect="write",
        status=201,
        body=schema_of(datarobot_events.NEW_EVENT),
        example=_HELLO,
        answer="Event",
        errors=(400, 404, 422),
    ),
    Operation(
        method="GET",
        path=_EVENTS,
        handle=datarobot_events.listing,
        tag="Events",
        summary="List events by sequence id, or the last n",
        entrance="token",
        effect="read",
        answer="Events",
        parameters=(
            *_PAGE,
            Parameter("lastN", "the last n, oldest first; not with offset", whole(1, datarobot.PAGE)),
            Parameter("eventType", "events of this type only", _TEXT),
        ),
        errors=(404, 422),
    ),
    Operation(
        method="POST",
        path=_EVENTS + "batch/",
        handle=datarobot_events.append_batch,
        tag="Events",
        summary=f"Append up to {BATCH_LIMIT} events, or none",
        entrance="token",
        effect="write",
        status=201,
        body=_batch(datarobot_events.NEW_EVENT),
        example={"events": [_HELLO]},
        answer="EventBatch",
        errors=(400, 404, 422),
    ),
    Operation(
        method="PATCH",
        path=_EVENTS + "batch/",
        handle=datarobot_events.update_batch,
        tag="Events",
        summary=f"Change up to {BATCH_LIMIT} events, or none",
        entrance="token",
        effect="write",
        body=_batch(datarobot_events.EVENT_CHANGE),
        example={"events": [{"sequenceId": 0, "body": {"content": "Hello, Ada"}}]},
        answer="EventBatch",
        errors=(400, 404, 422),
    ),
    Operation(
        method="PATCH",
        path=_EVENTS + "{sequence}/",
        handle=datarobot_events.update,
        tag="Events",
        summary="Change an event, if it still has this createdAt",
        entrance="token",
        effect="write",
        body=_change_of_one(),
        example={"body": {"content": "Hello, Ada"}},
        answer="Event",
        parameters=(Parameter("createdAt", "the event's token; without it the last writer wins", _TEXT),),
        errors=(400, 404, 422),
    ),
    Operation(
        method="DELETE",
        path=_EVENTS + "{sequence}/",
        handle=datarobot_events.delete,
        tag="Events",
        summary="Hide an event",
        entrance="token",
        effect="write",
        status=204,
        errors=(404,),
    ),
)
