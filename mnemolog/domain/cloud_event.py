"""A command as a CloudEvent in JSON, structured or in a batch: how it comes over HTTP (CloudEvents 1.0, HTTP binding).

1. `id` names the request as an idempotency key does: the command's own id is made from it, the tenant and the actor, so
   a repeat is safe and nobody can speak under another one's command id.
2. `data` is what the record's value is on the topic: `target` and `parts`. A `secret` in it is not used: over HTTP the
   server makes it. `tenant`, if given, is compared with the credential's; `actor` is the credential's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mnemolog.domain import canonical
from mnemolog.domain.catalogue import COMMANDS
from mnemolog.domain.codec import encode_outcome, explain
from mnemolog.domain.errors import Malformed
from mnemolog.domain.outcomes import Outcome
from mnemolog.domain.schema import ID_LIMIT, TENANT_LIMIT, Command, Json

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
BATCH_MOST: Final = 500


class Data(BaseModel):
    """What the command says."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    target: Json = {}
    parts: list[Any] = []
    secret: str | None = Field(default=None, description="not used over HTTP: the server makes it")


class CommandEvent(BaseModel):
    """A command as a CloudEvent; attributes that are not listed are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)
    specversion: Literal["1.0"]
    id: str = Field(min_length=1, max_length=ID_LIMIT, description="the idempotency key of this command")
    type: str = Field(description="a command's type, such as memory.add-memory.v1")
    source: str = Field(min_length=1, description="who sends it; kept nowhere, the actor is the credential's")
    datacontenttype: Literal["application/json"] = "application/json"
    tenant: str | None = Field(default=None, max_length=TENANT_LIMIT, description="compared with the credential's")
    traceparent: str | None = None
    data: Data


def read(document: object) -> tuple[CommandEvent, Command]:
    """Return an event and the command in it. Raises Malformed; no text of the sender's is repeated in it."""
    try:
        event = CommandEvent.model_validate(document)
        kind = COMMANDS.get(event.type)
        if kind is None:
            message = "type: names no command; the AsyncAPI document lists them"
            raise Malformed(message)
        command = kind.model_validate({"target": event.data.target, "parts": event.data.parts})
    except ValidationError as error:
        raise Malformed(explain(error)) from None
    return event, command


def written(
    identifier: str,
    kind: str,
    target: Mapping[str, Any],
    parts: Sequence[Mapping[str, Any]],
    *,
    source: str,
    tenant: str = "",
    trace: str = "",
) -> bytes:
    """Return an event in JSON. Raises ValueError for what JSON or UTF-8 cannot say."""
    event: dict[str, Any] = {"specversion": "1.0", "id": identifier, "type": kind, "source": source}
    event["datacontenttype"] = "application/json"
    if tenant:
        event["tenant"] = tenant
    if trace:
        event["traceparent"] = trace
    return canonical.dumps(event | {"data": {"target": target, "parts": parts}})


def outcome_document(outcome: Outcome) -> Any:
    """Return an outcome as it stands on its topic."""
    return canonical.reread(encode_outcome(outcome).value)
