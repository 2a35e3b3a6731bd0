"""`POST /keys/{key}/grant`: the next grant of a key that signs commands, for whoever still has it (ADR 0016).

1. The request needs no credential: it is signed by the key, over tenant, key id and a time of now.
2. A key that has been revoked gets none; an unknown key, another tenant's and a wrong signature are answered alike.
3. Who copies a request gets a grant that only the key's holder can use.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from mnemolog.domain.outcomes import Reason
from mnemolog.domain.proving import AHEAD
from mnemolog.domain.signature import instant, renewal_message, verified
from mnemolog.domain.times import SECOND
from mnemolog.gateway import intake
from mnemolog.gateway.answers import answer
from mnemolog.gateway.call import Call
from mnemolog.gateway.operations import Operation
from mnemolog.gateway.problems import Kind, Problem
from mnemolog.gateway.shapes import Shape, schema_of, take

_NOT_HERE = "this server grants no keys: its settings name no authority (MNEMOLOG_AUTHORITY_KEY)"
_NOT_SIGNED = "the key is not known, has been revoked, or has not signed this request"
_NOT_NOW = f"`time` must be now, within {AHEAD // SECOND} seconds, like 2026-11-25T09:30:00Z; look at the clock"


class RenewalRequest(BaseModel):
    """Whose key it is, the time of asking, and the key's signature of both and of its id, as hex."""

    model_config = ConfigDict(frozen=True, strict=True)
    tenant: str
    time: str
    signature: str


RENEWAL = Shape(RenewalRequest, {"tenant": "tenant", "time": "time", "signature": "signature"})


async def renew(call: Call) -> Response:
    """Give the holder of a key its next grant."""
    if call.face.grants is None:
        raise Problem(Reason.NOT_FOUND, _NOT_HERE)
    asked = take(RENEWAL, await intake.document(call))
    at = instant(asked.time)
    if at is None or abs(at - call.face.clock()) > AHEAD:
        raise Problem(Kind.UNAUTHENTICATED, _NOT_NOW)
    identifier: str = call.request.path_params["key"]
    for row in await call.face.queries.keys(identifier):
        message = renewal_message(asked.tenant, identifier, asked.time)
        if row["tenant"] == asked.tenant and verified(row["public_key"], message, asked.signature):
            grant, ends = call.face.grants(row["tenant"], row["actor"], row["id"], row["public_key"])
            return answer({"grant": grant, "ends": ends}, headers={"cache-control": "no-store"})
    raise Problem(Kind.UNAUTHENTICATED, _NOT_SIGNED)


GRANTING = (
    Operation(
        method="POST",
        path="/keys/{key}/grant",
        handle=renew,
        tag="Commands",
        summary="Get the next grant of a key that signs commands; the request is signed by that key",
        entrance="open",
        effect="none",
        body=schema_of(RENEWAL),
        example={"tenant": "acme", "time": "2026-11-25T09:30:00Z", "signature": "5f0c…"},
        answer="Grant",
        errors=(400, 401, 404, 503),
    ),
)
