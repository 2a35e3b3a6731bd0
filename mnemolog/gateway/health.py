"""`/health/live`, `/health/ready` and `/metrics`: whether the process runs, can answer truly, and how it does.

The figures are of all tenants together: a tenant's own credential does not open them, or it would tell how much others
write (guarantee 8). Whoever runs the server sets a token for them.
"""

from __future__ import annotations

import hmac
import inspect

from starlette.responses import Response

from mnemolog.gateway.answers import answer
from mnemolog.gateway.call import Call
from mnemolog.gateway.problems import Kind, Problem

_TEXT = "text/plain; version=0.0.4; charset=utf-8"


async def live(call: Call) -> Response:
    """Say that the process runs."""
    del call
    return answer({"status": "live"})


async def ready(call: Call) -> Response:
    """Say whether requests can be answered, and if not, why."""
    found = call.face.ready()
    reasons = await found if inspect.isawaitable(found) else found
    if reasons:
        return answer({"status": "not ready", "reasons": dict(reasons)}, 503)
    return answer({"status": "ready"})


async def metrics(call: Call) -> Response:
    """Show the figures to whoever has the token for them. Raises Problem for everybody else."""
    settings = call.face.settings
    if not settings.no_auth and not opens(settings.metrics_token, call.request.headers.get("authorization", "")):
        detail = "send 'Authorization: Bearer …' with the token that MNEMOLOG_METRICS_TOKEN names"
        if not settings.metrics_token:
            detail = "the figures are of all tenants, and closed until MNEMOLOG_METRICS_TOKEN names a token for them"
        raise Problem(Kind.UNAUTHENTICATED, detail, headers={"www-authenticate": "Bearer"})
    if call.face.figures is None:
        raise Problem(Kind.AWAY, "this server keeps no figures")
    return Response(await call.face.figures(), media_type=_TEXT)


def opens(token: str, authorization: str) -> bool:
    """Tell whether a request's `Authorization` opens the figures; without a token nothing does."""
    scheme, _, given = authorization.strip().partition(" ")
    return bool(token) and scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())
