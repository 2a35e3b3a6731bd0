"""The resources that answers hold, as JSON schemas with an example each, for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ID = "019a9bd4-5c80-8a2f-9e41-6f0c2b7d8e13"
_TEXT = {"type": "string"}
_MAYBE = {"type": ["string", "null"]}
_TIME = {"type": "string", "format": "date-time"}
_NUMBER = {"type": "integer"}
_DAYS = {"type": ["integer", "null"], "minimum": 0}
_OBJECT = {"type": "object"}
_AT = "2026-11-18T12:26:40.123000Z"


def _resource(example: Mapping[str, Any], **fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields), "examples": [example]}


def _page(name: str) -> dict[str, Any]:
    items = {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}
    return {
        "type": "object",
        "properties": {"items": items, "offset": _NUMBER, "limit": _NUMBER, "total": _NUMBER},
        "required": ["items", "offset", "limit", "total"],
    }


def _value(name: str) -> dict[str, Any]:
    items = {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}
    return {"type": "object", "properties": {"@odata.count": _NUMBER, "value": items}, "required": ["value"]}


_MEMORY = {
    "id": _ID,
    "agentID": "planner",
    "invokerID": "ada",
    "content": "Ada prefers dark mode.",
    "metadata": {"source": "chat"},
    "createTimestamp": _AT,
    "updateTimestamp": _AT,
}
_EVENT = {
    "sequenceId": 0,
    "body": {"content": "Hello"},
    "eventType": "message",
    "emitterType": "user",
    "emitterId": "ada",
    "createdAt": _AT,
}
_OWNED = {"id": _TEXT, "agentID": _TEXT, "invokerID": _TEXT}
_KEPT = {**_OWNED, "content": _TEXT, "metadata": _OBJECT, "createTimestamp": _TIME, "updateTimestamp": _TIME}
_ENTRY = {
    "stream": f"acme/memory/{_ID}",
    "version": 0,
    "what": "memory-added",
    "position": "0:17",
    "time": _AT,
    "actor": "client/planner",
    "changes": [{"field": "content", "after": "Ada prefers dark mode."}],
}
_PAST = {"kind": "memory", "id": _ID, "agent": "planner", "invoker": "ada", "content": "Ada prefers dark mode."}
_ROWS = {"type": "array", "items": _OBJECT}

RESOURCES: Mapping[str, dict[str, Any]] = {
    "Memory": _resource(_MEMORY, **_KEPT),
    "Memories": _value("Memory"),
    "SearchResult": _resource({**_MEMORY, "similarity": 0.76}, **_KEPT, similarity={"type": "number"}),
    "SearchResults": _value("SearchResult"),
    "Message": _resource(
        {
            "id": _ID,
            "agentID": "planner",
            "invokerID": "ada",
            "messageGroup": "monday",
            "role": "USER",
            "content": "Good morning",
            "metadata": {},
            "createTimestamp": _AT,
        },
        **_OWNED,
        messageGroup=_TEXT,
        role={"enum": ["USER", "ASSISTANT", "SYSTEM", "TOOL"]},
        content=_TEXT,
        metadata=_OBJECT,
        createTimestamp=_TIME,
    ),
    "Messages": _value("Message"),
    "RetentionConfig": _resource(
        {
            "id": 1,
            "messageDays": 30,
            "memoryDays": None,
            "usageLogDays": None,
            "createTimestamp": _AT,
            "updateTimestamp": _AT,
        },
        id=_NUMBER,
        messageDays=_DAYS,
        memoryDays=_DAYS,
        usageLogDays=_DAYS,
        createTimestamp={**_TIME, "type": ["string", "null"]},
        updateTimestamp={**_TIME, "type": ["string", "null"]},
    ),
    "RetentionPreview": _resource(
        {"asOf": _AT, "memories": 12, "messages": 0, "usageLogs": 3},
        asOf=_TIME,
        memories=_NUMBER,
        messages=_NUMBER,
        usageLogs=_NUMBER,
    ),
    "ErasurePreview": _resource(
        {"kind": "owner", "asOf": _AT, "memories": 12, "messages": 40, "spaces": 0, "usageLogs": 3},
        kind=_TEXT,
        asOf=_TIME,
    ),
    "Erasure": _resource({"kind": "owner", "id": _ID}, kind=_TEXT, id=_TEXT),
    "Grant": _resource({"grant": "{…}", "ends": "2026-11-26T09:30:00.000000Z"}, grant=_TEXT, ends=_TEXT),
    "Token": _resource(
        {"access_token": "eyJ…", "token_type": "bearer", "expires_in": 43_199, "scope": "memory", "jti": _ID},
        access_token=_TEXT,
        token_type=_TEXT,
        expires_in=_NUMBER,
    ),
    "MemorySpace": _resource(
        {
            "memorySpaceId": _ID,
            "userId": "ada",
            "tenantId": "acme",
            "description": "Planning",
            "llmModelName": None,
            "llmBaseUrl": None,
            "customInstructions": None,
            "createdAt": _AT,
            "deduplicationKey": None,
        },
        memorySpaceId=_TEXT,
        userId=_TEXT,
        tenantId=_TEXT,
        description=_MAYBE,
        llmModelName=_MAYBE,
        llmBaseUrl=_MAYBE,
        customInstructions=_MAYBE,
        createdAt=_TIME,
        deduplicationKey=_MAYBE,
    ),
    "MemorySpaces": _page("MemorySpace"),
    "Session": _resource(
        {
            "id": _ID,
            "participants": ["ada"],
            "description": None,
            "metadata": None,
            "lifecycleStrategies": [{"type": "soft_delete", "trigger": {"ttl": 15_552_000}}],
            "version": 1,
            "createdAt": _AT,
            "deduplicationKey": None,
        },
        id=_TEXT,
        participants={"type": "array", "items": _TEXT},
        description=_MAYBE,
        metadata={"type": ["object", "null"]},
        lifecycleStrategies={"type": "array", "items": _OBJECT},
        version=_NUMBER,
        createdAt=_TIME,
        deduplicationKey=_MAYBE,
    ),
    "Sessions": _page("Session"),
    "Event": _resource(
        _EVENT,
        sequenceId=_NUMBER,
        body=_OBJECT,
        eventType=_TEXT,
        emitterType=_TEXT,
        emitterId=_MAYBE,
        createdAt=_TIME,
    ),
    "Events": _page("Event"),
    "EventBatch": _resource(
        {"items": [_EVENT]}, items={"type": "array", "items": {"$ref": "#/components/schemas/Event"}}
    ),
    "History": _resource(
        {"entries": [_ENTRY], "unknownStreams": 0}, entries={"type": "array", "items": _OBJECT}, unknownStreams=_NUMBER
    ),
    "PastState": _resource({"rows": [_PAST], "erased": []}, rows=_ROWS, erased=_ROWS),
    "PastSearchResults": _resource(
        {"model": "all-MiniLM-L6-v2", "value": [{**_PAST, "similarity": 0.76}], "erased": []},
        model=_TEXT,
        value=_ROWS,
        erased=_ROWS,
    ),
    "UsageRecords": _resource(
        {
            "records": [
                {
                    "tenant": "acme",
                    "actor": "client/planner",
                    "action": "search",
                    "scope": {"agent": "planner", "invoker": "ada"},
                    "first": _AT,
                    "last": _AT,
                    "calls": 3,
                    "found": 12,
                }
            ],
            "total": 1,
        },
        records=_ROWS,
        total=_NUMBER,
    ),
    "Receipt": _resource(
        {
            "id": "note-17",
            "command": "3aebeb15-d66e-597a-891d-05b6dc0b0e4e",
            "topic": "memory.commands",
            "partition": 0,
            "offset": 12,
            "slot": 758,
        },
        id=_TEXT,
        command=_TEXT,
        topic=_TEXT,
        partition=_NUMBER,
        offset=_NUMBER,
        slot=_NUMBER,
    ),
    "Receipts": {
        "anyOf": [
            {"$ref": "#/components/schemas/Receipt"},
            {
                "type": "object",
                "properties": {"items": {"type": "array", "items": {"$ref": "#/components/schemas/Receipt"}}},
            },
        ],
        "description": "a receipt, for a batch one each in `items`; with its `outcome`, as on its topic, where known",
    },
    "Version": _resource({"versionString": "2.49.0"}, versionString=_TEXT),
    "Health": _resource({"status": "ready"}, status=_TEXT),
    "Error": _resource({"error": {"code": "404", "message": "there is no memory with this id"}}, error=_OBJECT),
    "Detail": _resource(
        {"detail": "there is no session with this id"}, detail={"type": ["string", "array"], "items": _OBJECT}
    ),
}
