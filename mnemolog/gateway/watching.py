"""Who watches requests: one call when a request begins, one when it has been answered.

1. A request is named by its route's template, never by its path: paths hold ids.
2. Where a request is traced, the commands that it sends carry its own span, which is a child of the caller's.
"""

from __future__ import annotations

from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

ROUTE = "mnemolog.route"
"""Where an endpoint leaves its route's template in the scope."""
_UNMATCHED = "unmatched"
_QUIET = ("/health/", "/metrics")
"""What is asked every few seconds: counted, and not traced."""
_BROKEN = 500


class Watched(Protocol):
    """One request under way."""

    @property
    def trace(self) -> str:
        """The traceparent of its span; empty where it has none of its own."""
        ...

    def answered(self, method: str, route: str, status: int, command: str) -> None:
        """Take how it ended; `command` is the id of the command that it sent, if any."""
        ...


class Watcher(Protocol):
    """Who watches."""

    def begun(self, trace: str, *, traced: bool) -> Watched:
        """Take that a request has come, with the traceparent that it brought or none, and whether it is traced."""
        ...


class Watching:
    """Middleware, outside of everything: what is refused at the door is watched as well."""

    def __init__(self, app: ASGIApp, watcher: Watcher) -> None:
        """Take the app inside and who watches it."""
        self._app = app
        self._watcher = watcher

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and tell how it ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        quiet = scope["path"].startswith(_QUIET)
        watched = self._watcher.begun(_header(headers, b"traceparent"), traced=not quiet)
        if watched.trace:
            others = [(name, value) for name, value in headers if name != b"traceparent"]
            scope["headers"] = [*others, (b"traceparent", watched.trace.encode())]
        status, command = _BROKEN, ""

        async def sent(message: Message) -> None:
            nonlocal status, command
            if message["type"] == "http.response.start":
                status = message["status"]
                command = _header(message.get("headers", []), b"mnemolog-command")
            await send(message)

        try:
            await self._app(scope, receive, sent)
        finally:
            watched.answered(_method(scope["method"]), scope.get(ROUTE, _UNMATCHED), status, command)


def _header(headers: list[tuple[bytes, bytes]], wanted: bytes) -> str:
    """Return the only header of a name; two of them are none."""
    found = [value for name, value in headers if name.lower() == wanted]
    return found[0].decode("latin-1") if len(found) == 1 else ""


def _method(method: str) -> str:
    """Return a method that HTTP has; a caller may send any word."""
    return method if method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} else "OTHER"
