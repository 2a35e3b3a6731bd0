"""The table of `/commands`."""

from __future__ import annotations

from typing import Any

from mnemolog.domain import cloud_event
from mnemolog.gateway import commands
from mnemolog.gateway.operations import Operation, Parameter

_EVENT: dict[str, Any] = cloud_event.CommandEvent.model_json_schema()
_EXAMPLE = {
    "specversion": "1.0",
    "id": "note-17",
    "type": "memory.add-memory.v1",
    "source": "agent/planner",
    "data": {
        "target": {"agent": "planner", "invoker": "ada"},
        "parts": [{"content": "Ada prefers dark mode."}],
    },
}
_BATCH = {
    "type": "array",
    "items": {name: part for name, part in _EVENT.items() if name != "$defs"},
    "minItems": 1,
    "maxItems": cloud_event.BATCH_MOST,
    "$defs": _EVENT["$defs"],
}

COMMANDS = (
    Operation(
        method="POST",
        path="/commands",
        handle=commands.publish,
        tag="Commands",
        summary="Publish commands as CloudEvents; the AsyncAPI document lists them",
        entrance="either",
        effect="none",
        status=202,
        also=(200,),
        media={cloud_event.STRUCTURED: (_EVENT, _EXAMPLE), cloud_event.BATCH: (_BATCH, [_EXAMPLE])},
        answer="Receipts",
        parameters=(
            Parameter(
                "Prefer",
                "`wait=10` waits for the outcomes and answers 200 with them (RFC 7240)",
                {"type": "string"},
                "header",
            ),
        ),
        errors=(400, 403, 404, 415, 504),
    ),
)
