"""The app: the table of operations as routes, and one way for whatever goes wrong to become an answer.

1. Each answer, also the framework's 404, 405 and 500, has a JSON body in the shape of its path's face (G1, G2).
2. No redirects (G4), any host (G8); `//v1` and absolute targets of proxies lead where they should.
3. What nobody expected is logged by type and place, never with a caller's text, and answered 500.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mnemolog.domain.audits import Audits
from mnemolog.domain.errors import Unavailable
from mnemolog.domain.reads import Commands, Queries, Search
from mnemolog.gateway import health, openapi
from mnemolog.gateway.answers import answer
from mnemolog.gateway.auth import authenticate
from mnemolog.gateway.awaiting import COMMAND, honour_positions
from mnemolog.gateway.call import Call, Face, Figures, Granting, Ready, UsageAsked, WholeAsked
from mnemolog.gateway.forgetting import FORGETTING
from mnemolog.gateway.granting import GRANTING
from mnemolog.gateway.limits import Limits
from mnemolog.gateway.oidc import Issuer
from mnemolog.gateway.operations import Handler, Operation
from mnemolog.gateway.principal import Principal
from mnemolog.gateway.problems import Kind, Problem, rendered, shaped
from mnemolog.gateway.routes_audit import AUDIT
from mnemolog.gateway.routes_commands import COMMANDS
from mnemolog.gateway.routes_datarobot import DATAROBOT
from mnemolog.gateway.routes_sap import SAP
from mnemolog.gateway.settings import FaceSettings
from mnemolog.gateway.usage import Recorder
from mnemolog.gateway.watching import ROUTE

logger = logging.getLogger("mnemolog.gateway")
_AWAY = "what answers this is away, being rebuilt or behind; try again shortly"
_BROKEN = "something went wrong on the server; its log names the place"


def create_app(  # noqa: PLR0913 -- every port and setting of the face, once
    commands: Commands,
    queries: Queries,
    search: Search,
    settings: FaceSettings,
    clock: Callable[[], int],
    entropy: Callable[[int], bytes],
    ready: Ready,
    *,
    audits: Audits | None = None,
    recorder: Recorder | None = None,
    usage: UsageAsked | None = None,
    figures: Figures | None = None,
    issuer: Issuer | None = None,
    whole: WholeAsked | None = None,
    grants: Granting | None = None,
) -> Starlette:
    """Return the ASGI app that serves both SDKs."""
    limits = Limits(settings.tenant_rate, settings.tenant_burst)
    more = (audits, recorder, usage, figures, issuer, limits, whole, grants)
    face = Face(commands, queries, search, settings, clock, entropy, ready, *more)
    app = Starlette(
        routes=_routes(face, operations()),
        middleware=[Middleware(Straighten)],
        exception_handlers={HTTPException: _by_framework, Exception: _by_surprise},
    )
    app.router.redirect_slashes = False
    return app


def operations() -> tuple[Operation, ...]:
    """Return the whole table, its own description included."""
    described: dict[str, object] = {}

    async def show_document(call: Call) -> Response:
        del call
        return answer(described)

    async def show_page(call: Call) -> Response:
        del call
        return HTMLResponse(openapi.page(described))

    def opened(path: str, handle: Handler, summary: str, answered: str | None = None) -> Operation:
        return Operation(
            method="GET",
            path=path,
            handle=handle,
            tag="Server",
            summary=summary,
            entrance="open",
            effect="none",
            answer=answered,
            errors={"/health/ready": (503,), "/metrics": (401,)}.get(path, ()),
        )

    table = (
        *SAP,
        *DATAROBOT,
        *AUDIT,
        *FORGETTING,
        *COMMANDS,
        *GRANTING,
        opened("/health/live", health.live, "Whether the process runs", "Health"),
        opened("/health/ready", health.ready, "Whether requests can be answered", "Health"),
        opened("/metrics", health.metrics, "The process's figures, for Prometheus, with a token of their own"),
        opened("/openapi.json", show_document, "This document"),
        opened("/docs", show_page, "This document as a page"),
    )
    described.update(openapi.document(table, _version()))
    return table


class Straighten:
    """Middleware for paths that arrive bent: `//v1/…` of an older SDK, and absolute targets through a proxy."""

    def __init__(self, app: ASGIApp) -> None:
        """Take the app inside."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with a path that begins with one slash."""
        if scope["type"] == "http":
            path: str = scope["path"]
            for scheme in ("http://", "https://"):
                if path.lower().startswith(scheme):
                    path = path[len(scheme) :].partition("/")[2]
            scope["path"] = "/" + path.lstrip("/")
        await self.app(scope, receive, send)


def _routes(face: Face, table: Sequence[Operation]) -> list[Route]:
    """Return one route a path, so that a 405 names all of its methods."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in table:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    return [Route(path, _endpoint(face, methods), methods=list(methods)) for path, methods in by_path.items()]


def _endpoint(face: Face, methods: Mapping[str, Operation]) -> Callable[[Request], object]:
    async def serve(request: Request) -> Response:
        operation = methods["GET" if request.method == "HEAD" else request.method]
        path: str = request.scope["path"]
        request.scope[ROUTE] = operation.path
        headers: dict[str, str] = {}
        try:
            asker = await authenticate(face, request, operation.entrance)
            if operation.entrance != "open":
                _count(face, asker)
            call = Call(face, request, asker, headers)
            if operation.effect == "read":
                await honour_positions(call)
            response = await operation.handle(call)
        except Problem as problem:
            return rendered(problem, path, headers)
        except Unavailable as error:
            logger.warning("%s %s cannot be answered now: %s", request.method, operation.path, error)
            return rendered(_away(headers), path, headers)
        except Exception as error:  # noqa: BLE001 - the last resort, so that an SDK gets JSON
            _log(request, error)
            return rendered(Problem(Kind.BROKEN, _BROKEN), path, headers)
        response.headers.update(headers)
        return response

    return serve


def _count(face: Face, asker: Principal) -> None:
    """Count a request of a tenant. Raises Problem if it is one too many."""
    if seconds := face.limits.refused(asker.tenant, face.clock()):
        detail = f"this tenant makes more requests than it may; come again in {seconds} s, nothing has been done"
        raise Problem(Kind.TOO_MANY, detail, headers={"retry-after": str(seconds)})


def _away(headers: Mapping[str, str]) -> Problem:
    """Return the problem of reads that are away; after a write, of one that was accepted and cannot be shown."""
    if COMMAND not in headers:
        return Problem(Kind.AWAY, _AWAY)
    detail = (
        f"command {headers[COMMAND]} was accepted, but reads cannot show it now; do not repeat it, read again shortly"
    )
    return Problem(Kind.LATE, detail)


async def _by_framework(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    said = {404: "there is nothing at this path; mind its end: /api/v2 paths have a slash there, /v1 paths none"}
    said[405] = "this path does not take this method"
    headers = (error.headers if isinstance(error, HTTPException) else None) or {}
    return shaped(status, said.get(status, "the request cannot be served"), request.scope["path"], headers=headers)


async def _by_surprise(request: Request, error: Exception) -> Response:
    _log(request, error)
    return shaped(500, _BROKEN, request.scope["path"])


def _log(request: Request, error: Exception) -> None:
    """Say where it happened; a message may hold what a caller wrote, so it is left out."""
    place = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%s in %s:\n%s", type(error).__name__, request.method, place)


def _version() -> str:
    try:
        return version("mnemolog")
    except PackageNotFoundError:
        return "0"
