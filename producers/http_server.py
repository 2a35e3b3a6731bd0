"""A mnemolog server as a publisher sees it: one kept connection, `POST /commands`, and a token when one is needed.

The standard library's client is all that it takes; it follows no redirect and asks no proxy.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import threading
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from producers.errors import Away, Invalid, NotAllowed, PublishError, TooLarge

_SECONDS = 40.0
_SOON = 30.0
_AGAIN = {408, 425, 429}
_UNAUTHENTICATED, _FORBIDDEN, _TOO_LARGE, _SERVER = 401, 403, 413, 500
_FINE = 300
_SAID = 500


@dataclass(frozen=True, slots=True)
class Credentials:
    """An API token, for spaces and sessions; an OAuth2 client, for memories, messages and policy; either, or none."""

    token: str = field(default="", repr=False)
    client_id: str = ""
    client_secret: str = field(default="", repr=False)


class Refused(PublishError):
    """The server has refused a request for good; `reason` is what its sender is told."""

    def __init__(self, reason: PublishError) -> None:
        """Take the reason."""
        super().__init__(str(reason))
        self.reason = reason


class HttpServer:
    """Requests of several threads queue."""

    def __init__(self, url: str, credentials: Credentials) -> None:
        """Name the server. Raises Invalid."""
        parts = urllib.parse.urlsplit(url)
        if not parts.hostname or parts.query or parts.fragment or parts.username:
            message = f"{url} is not the address of a server, such as http://127.0.0.1:8080"
            raise Invalid(message)
        self._url = url.rstrip("/")
        self._path = parts.path.rstrip("/")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._credentials = credentials
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None
        self._bearer, self._until = "", 0.0

    def post(self, body: bytes, kind: str, *, wait: int, user: bool) -> Any:
        """Send commands and return the JSON of the answer. Raises Refused, or Away where sending again may help."""
        with self._lock:
            headers = {"Content-Type": kind, "Prefer": f"wait={wait}"}
            status, said = self._asked("/commands", body, headers | self._authorization(user=user))
            if status == _UNAUTHENTICATED and self._bearer:
                self._bearer = ""  # it may have run out, or the server has been given another key
                status, said = self._asked("/commands", body, headers | self._authorization(user=user))
        return self._read(status, said)

    def ask(self, path: str, body: bytes) -> Any:
        """Send JSON that needs no credentials, and return the JSON of the answer. Raises Refused, Away."""
        with self._lock:
            status, said = self._asked(path, body, {"Content-Type": "application/json"})
        return self._read(status, said)

    def close(self) -> None:
        """Disconnect."""
        with self._lock:
            self._drop()

    def _authorization(self, *, user: bool) -> dict[str, str]:
        own = self._credentials
        if own.token and (user or not own.client_id):
            return {"Authorization": f"Token {own.token}"}
        if not own.client_id:
            return {}
        if not self._bearer or time.monotonic() > self._until:
            pair = f"{own.client_id}:{own.client_secret}".encode()
            headers = {
                "Content-Type": "application/x-www-form-urlencoded",
                "Authorization": f"Basic {base64.b64encode(pair).decode()}",
            }
            found = self._read(*self._asked("/oauth/token", b"grant_type=client_credentials", headers))
            self._bearer, self._until = found["access_token"], time.monotonic() + found["expires_in"] - _SOON
        return {"Authorization": f"Bearer {self._bearer}"}

    def _asked(self, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Send a request; on a connection that the server has closed meanwhile, once more. Raises Away."""
        for fresh in (self._connection is None, True):
            try:
                connection = self._connection or self._connect()
                self._connection = connection
                connection.request("POST", self._path + path, body, dict(headers))
                response = connection.getresponse()
                return response.status, response.read()
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                if fresh:
                    message = f"{self._url} does not answer: {error!r}"
                    raise Away(message) from error
        raise AssertionError

    def _connect(self) -> http.client.HTTPConnection:
        if self._secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=_SECONDS, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=_SECONDS)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read(self, status: int, said: bytes) -> Any:
        """Return the JSON of a good answer. Raises Refused or Away for another one."""
        if status < _FINE:
            try:
                return json.loads(said)
            except ValueError as error:
                message = f"{self._url} does not answer as a mnemolog server does"
                raise Away(message) from error
        told = f"{self._url} answers {status}: {_sentence(said)}"
        if status >= _SERVER or status in _AGAIN:
            raise Away(told)
        if status in {_UNAUTHENTICATED, _FORBIDDEN}:
            raise Refused(NotAllowed(told))
        raise Refused(TooLarge(told) if status == _TOO_LARGE else Invalid(told))


def _sentence(said: bytes) -> str:
    """Return the message of a problem, or what else was said."""
    try:
        return str(json.loads(said)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return said[:_SAID].decode("utf-8", "replace")
