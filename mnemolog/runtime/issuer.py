"""The public keys of an OIDC issuer: fetched when they are first needed, kept, and followed when they are changed.

1. A key that is not known is looked for at once, but not more often than every `pause` seconds: a flood of tokens with
   made-up keys is no flood of requests.
2. Keys older than `lifetime` are fetched again beside the requests, which go on with those that there are; what the
   issuer has withdrawn is gone with that.
3. A fetch runs on a thread, has a time limit and a size limit, follows no redirects, and there is one at a time.
4. While the issuer is away, known keys count; without any, nobody can be told who he is: `Unavailable`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from typing import IO, Any

import jwt

from mnemolog.domain.errors import Unavailable
from mnemolog.gateway.oidc import ALGORITHMS, Issuer
from mnemolog.runtime.config import Settings
from mnemolog.runtime.config_checks import private
from mnemolog.runtime.secured import tls

_log = logging.getLogger(__name__)
_SECONDS = 5.0
_LARGEST = 1 << 20
_LIFETIME = 300.0

Fetch = Callable[[], Awaitable[Mapping[str, Any]]]
"""Gets the issuer's JSON Web Key Set. Raises OSError, ValueError."""


class IssuerKeys:
    """The port `Keys`, for one event loop."""

    def __init__(self, fetch: Fetch, *, pause: float, lifetime: float = _LIFETIME) -> None:
        """Take how to get the keys; nothing is fetched yet."""
        self._fetch, self._pause, self._lifetime = fetch, pause, lifetime
        self._known: dict[str | None, jwt.PyJWK] | None = None
        self._tried = float("-inf")
        self._fetched = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def key(self, identifier: str | None) -> jwt.PyJWK | None:
        """Return the key of this id, or the only one where a token names none. Raises Unavailable if none is known."""
        if self._known is None or identifier not in self._known:
            await self._refreshed()
        elif time.monotonic() - self._fetched > self._lifetime:
            self._begun()
        if self._known is None:
            message = "the issuer's keys could not be fetched, so its tokens cannot be checked; try again shortly"
            raise Unavailable(message)
        return self._known.get(identifier)

    async def _refreshed(self) -> None:
        """Wait for a fetch, unless the last one is too young for another."""
        if fetching := self._begun():
            await asyncio.shield(fetching)

    def _begun(self) -> asyncio.Task[None] | None:
        """Begin a fetch, or join the one under way; None if it is too early for another."""
        if self._fetching is not None and not self._fetching.done():
            return self._fetching
        if time.monotonic() - self._tried < self._pause:
            return None
        self._tried = time.monotonic()
        self._fetching = asyncio.create_task(self._fetch_all(), name="mnemolog-issuer-keys")
        return self._fetching

    async def _fetch_all(self) -> None:
        try:
            self._known = usable(await self._fetch())
        except (OSError, ValueError, TypeError) as error:
            _log.warning("the issuer's keys could not be fetched: %s", error)
        else:
            self._fetched = time.monotonic()


def usable(found: Mapping[str, Any]) -> dict[str | None, jwt.PyJWK]:
    """Return the keys that can check a signature, by id; one alone also counts for tokens that name none.

    Raises ValueError, TypeError.
    """
    keys: dict[str | None, jwt.PyJWK] = {}
    for one in found["keys"] if isinstance(found.get("keys"), list) else ():
        if not isinstance(one, dict) or one.get("kty") not in ALGORITHMS or one.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK.from_dict({name: value for name, value in one.items() if name != "d"})
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            _log.warning("a key of the issuer cannot be used: %s", type(error).__name__)
            continue
        keys[key.key_id] = key
    if not keys:
        message = "what the issuer answered holds no public key that checks signatures"
        raise ValueError(message)
    if len(keys) == 1:
        keys[None] = next(iter(keys.values()))
    return keys


def issuer(settings: Settings) -> Issuer | None:
    """Return the issuer that the settings name; None if they name none. Raises BadConfiguration."""
    if not settings.oidc_issuer:
        return None
    context = tls(settings, "oidc")

    async def fetch() -> Mapping[str, Any]:
        return await asyncio.to_thread(_key_set, settings, context)

    return Issuer(
        url=settings.oidc_issuer,
        audience=settings.oidc_audience,
        keys=IssuerKeys(fetch, pause=settings.oidc_pause),
        tenant=settings.oidc_tenant_claim,
        user=settings.oidc_user_claim,
        roles=settings.oidc_roles_claim,
        tenants=frozenset(name.strip() for name in settings.oidc_tenants.split(",") if name.strip()),
    )


def _key_set(settings: Settings, context: ssl.SSLContext) -> Mapping[str, Any]:
    """Fetch the keys, from where the issuer's own description says unless the settings do."""
    place: Any = settings.oidc_keys
    if not place:
        described = _fetched(f"{settings.oidc_issuer.rstrip('/')}/.well-known/openid-configuration", context)
        if described.get("issuer") != settings.oidc_issuer:
            message = f"the issuer describes itself as {described.get('issuer')!r}, not as MNEMOLOG_OIDC_ISSUER says"
            raise ValueError(message)
        place = described.get("jwks_uri")
    if not isinstance(place, str) or not private(place):
        message = f"the issuer's keys must be at an https:// address, not at {place!r}"
        raise ValueError(message)
    return _fetched(place, context)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Keys come from where they were looked for."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow nobody."""


def _fetched(url: str, context: ssl.SSLContext) -> Mapping[str, Any]:
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _NoRedirect)
    deadline = time.monotonic() + _SECONDS
    with opener.open(url, timeout=_SECONDS) as answer:
        raw = _read(answer, deadline)
    found = json.loads(raw)
    if not isinstance(found, dict):
        message = f"{url} answered no JSON object"
        raise ValueError(message)  # noqa: TRY004 -- what came over the network is a wrong value, not a wrong call
    return found


def _read(answer: IO[bytes], deadline: float) -> bytes:
    """Read an answer that is neither too long nor comes too slowly. Raises OSError, ValueError."""
    raw = b""
    while chunk := answer.read1(1 << 16):  # type: ignore[attr-defined] # an HTTP answer has it
        raw += chunk
        if len(raw) > _LARGEST:
            message = "the issuer's answer is larger than a set of keys may be"
            raise ValueError(message)
        if time.monotonic() > deadline:
            message = "the issuer's answer does not come to an end"
            raise TimeoutError(message)
    return raw
