"""The HTTP server of every runtime: where it listens, what it says at the start, how it ends."""

from __future__ import annotations

import signal
import socket
import sys

import uvicorn
from starlette.types import ASGIApp

from mnemolog.domain.errors import Unavailable
from mnemolog.gateway.settings import FaceSettings
from mnemolog.runtime.config import Settings

_BACKLOG = 2_048
_KEEP_ALIVE = 300
"""Seconds that an idle connection stays open: one that closes under a request is an error to the SDKs (G10)."""


def http_server(app: ASGIApp) -> uvicorn.Server:
    """Return the server of an app; SIGTERM ends it from now on, also before it serves."""
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=3,
        )
    )

    def end(*_: object) -> None:
        server.should_exit = True

    # While uvicorn serves, it takes the signal, and raises it again when it is done: then this is harmless.
    signal.signal(signal.SIGTERM, end)
    return server


def face_settings(settings: Settings, token_key: bytes) -> FaceSettings:
    """Return what the face is told."""
    return FaceSettings(
        token_key=token_key,
        token_seconds=settings.token_seconds,
        no_auth=settings.no_auth,
        write_wait=settings.write_wait,
        metrics_token=settings.metrics_token,
        tenant_rate=settings.tenant_rate,
        tenant_burst=settings.tenant_burst,
    )


def bound(settings: Settings) -> socket.socket:
    """Return a socket bound to the address of the settings. Raises Unavailable if it is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise _taken(settings, error) from error
    return listening


def announce(settings: Settings, listening: socket.socket, source: str) -> None:
    """Take connections from now on, so that nobody who reads the announcement is refused, and make it."""
    try:
        listening.listen(_BACKLOG)
    except OSError as error:
        raise _taken(settings, error) from error
    host, port = listening.getsockname()[:2]
    address = f"[{host}]" if ":" in host else host
    sys.stdout.write(f"mnemolog serves http://{address}:{port} from {source}\n")
    if settings.no_auth:
        sys.stdout.write("WARNING: no authentication: everyone who reaches this address reads and writes everything\n")
    sys.stdout.flush()


def _taken(settings: Settings, error: OSError) -> Unavailable:
    return Unavailable(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; choose another --port")
