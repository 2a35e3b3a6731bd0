"""Signing what a publisher says, with a key file as `mnemolog keys create --json` prints it (ADR 0016).

1. Each command is signed by the key, and brings the grant that says whose key it is.
2. A grant ends. Where the file names a server (`url`), the next one is asked for at half of its time, and again every
   minute if the server is away; the one that there is goes on counting until its end.
3. Needs the library `cryptography` (`pip install "mnemolog[audit]"`), and nothing else that a publisher has not.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mnemolog.domain import canonical
from mnemolog.domain.signature import Key, instant, read_grant, renewal_message, signed_headers
from mnemolog.domain.times import SECOND, to_text
from producers.errors import Away, Invalid, NotAllowed, PublishError
from producers.http_server import Credentials, HttpServer, Refused

_AGAIN = 60 * SECOND

Renew = Callable[["KeyFile"], str]
"""Gets the next grant of a key. Raises PublishError."""


class KeyFile:
    """A key with its grant, as it lies in a file."""

    def __init__(self, document: object) -> None:
        """Take the JSON of the file. Raises Invalid, which says what is wrong with it."""
        try:
            said: dict[str, Any] = dict(document)  # type: ignore[call-overload] # whatever it is: checked here
            self.id, self.tenant, self.actor, self.grant = (str(said[n]) for n in ("id", "tenant", "actor", "grant"))
            self.url = str(said.get("url") or "")
            self.key = Key(bytes.fromhex(said["key"]))
        except ImportError:
            message = 'signing needs a library: pip install "mnemolog[audit]"'
            raise Invalid(message) from None
        except (KeyError, ValueError, TypeError) as error:
            message = f"this is no key file as `mnemolog keys create --json` prints it: {error!r}"
            raise Invalid(message) from None
        self.document = said

    @classmethod
    def read(cls, file: str | Path) -> KeyFile:
        """Read a file. Raises Invalid."""
        try:
            return cls(json.loads(Path(file).read_text("utf-8")))
        except (OSError, ValueError) as error:
            message = error if isinstance(error, Invalid) else f"the key file {file} cannot be read: {error}"
            raise Invalid(str(message)) from None


class Signer:
    """Signs commands as the actor of a key. May be shared by threads."""

    def __init__(self, key: KeyFile, *, renew: Renew | None = None, clock: Callable[[], int] | None = None) -> None:
        """Take a key, how to renew its grant (else at the server that the file names), and a clock of µs.

        Raises Invalid where the grant is none, or of another key, tenant or actor than the file says.
        """
        self._file = key
        self._renew: Renew | None = renew or (renewed if key.url else None)
        self._clock = clock or _now
        self._lock = threading.Lock()
        self._ends = self._half = self._tried = 0
        self._take(key.grant)

    @property
    def tenant(self) -> str:
        """Whose commands the key may sign."""
        return self._file.tenant

    @property
    def actor(self) -> str:
        """As whom."""
        return self._file.actor

    def headers(self, headers: Mapping[str, str], value: bytes) -> dict[str, str]:
        """Return what signs a command of these headers and this value. Raises NotAllowed without a grant that holds."""
        now = self._clock()
        if now >= self._half:
            self._keep(now)
        return signed_headers(self._file.key, self._grant, headers, value, to_text(now))

    def _keep(self, now: int) -> None:
        """Get the next grant, if there is a way to and the last try is a minute ago."""
        with self._lock:
            why: object = "the key file names no server to renew it at; `mnemolog keys renew` does"
            if self._renew is not None and now >= self._half and now - self._tried >= _AGAIN:
                self._tried = now
                try:
                    self._take(self._renew(self._file))
                except PublishError as error:
                    why = error
            if now >= self._ends:
                message = f"the grant of the key {self._file.id} ended at {to_text(self._ends)}: {why}"
                raise NotAllowed(message)

    def _take(self, text: str) -> None:
        file, grant = self._file, read_grant(text)
        ends = None if grant is None else instant(grant.ends)
        if grant is None or ends is None:
            message = f"the grant of the key {file.id} cannot be read; renew it with `mnemolog keys renew`"
            raise Invalid(message)
        if (grant.tenant, grant.actor, grant.key) != (file.tenant, file.actor, file.key.public):
            message = f"the grant of the key {file.id} is of another key, tenant or actor than the key file says"
            raise Invalid(message)
        now = self._clock()
        self._grant, self._ends, self._half = text, ends, now + max(0, ends - now) // 2


def spoken_as(signer: Signer, tenant: str, actor: str) -> tuple[str, str]:
    """Return tenant and actor of a publisher that signs: its key's. Raises Invalid where it wants to be another."""
    if (tenant or signer.tenant, actor or signer.actor) != (signer.tenant, signer.actor):
        message = f"the key signs for the tenant {signer.tenant} as {signer.actor}, and for nobody else"
        raise Invalid(message)
    return signer.tenant, signer.actor


def renewed(key: KeyFile, url: str = "") -> str:
    """Return the next grant of a key, from a mnemolog server. Raises NotAllowed, Away, Invalid."""
    server = HttpServer(url or key.url, Credentials())
    at = to_text(_now())
    asked = {"tenant": key.tenant, "time": at, "signature": key.key.sign(renewal_message(key.tenant, key.id, at))}
    try:
        return str(server.ask(f"/keys/{quote(key.id, safe='')}/grant", canonical.dumps(asked))["grant"])
    except Refused as refused:
        raise refused.reason from None
    except (KeyError, TypeError):
        message = f"{url or key.url} does not answer as a mnemolog server does"
        raise Away(message) from None
    finally:
        server.close()


def _now() -> int:
    return time.time_ns() // 1_000
