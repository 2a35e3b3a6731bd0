"""What a gateway answers before it can answer truly: health and figures; to all else, that it is away (design §10)."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from mnemolog.gateway.problems import Kind, Problem, rendered

_ALWAYS = ("/health/", "/metrics")
_AWAY = "this gateway has not reached Kafka yet, so it cannot tell what is true; try again shortly"


class Gate:
    """Middleware that lets only those through until it is opened: reads before that could be silently short."""

    def __init__(self, app: ASGIApp, opened: Callable[[], bool]) -> None:
        """Take the app inside, and what tells whether it may be asked."""
        self._app = app
        self._opened = opened

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it in the shape of its face."""
        inside = self._app
        if scope["type"] == "http" and not scope["path"].startswith(_ALWAYS) and not self._opened():
            inside = rendered(Problem(Kind.AWAY, _AWAY), scope["path"], {})
        await inside(scope, receive, send)
