"""`POST /oauth/token`: OAuth2 client credentials, in the body or as HTTP Basic (contract §1.1, RFC 6749 §4.4, §5.2).

1. Several tenants may have a client of the same id: it is the one whose secret matches, compared in constant time.
2. A secret in Basic is taken as it stands, and percent-decoded only if that fails: SDKs differ, secrets are one.
3. Errors have OAuth2's own shape, and never an empty body.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import parse_qs, unquote_plus

from starlette.requests import Request
from starlette.responses import Response

from mnemolog.domain.errors import Unavailable
from mnemolog.domain.reads import ClientRow
from mnemolog.gateway import auth, intake
from mnemolog.gateway.answers import answer
from mnemolog.gateway.call import Call, Face
from mnemolog.gateway.problems import Problem
from mnemolog.gateway.tenancy import asked_tenant

_MAX_BODY = 64 << 10
_CLIENT_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")
_UNCACHED = {"cache-control": "no-store", "pragma": "no-cache"}


class Credentials(NamedTuple):
    """A client's id and secret as it sent them."""

    client: str
    secret: str


async def token(call: Call) -> Response:
    """Give a client its token."""
    try:
        raw = await intake.body(call.request, _MAX_BODY)
        form = parse_qs(raw.decode(), keep_blank_values=True, errors="strict")
    except (Problem, ValueError):
        return _refuse("invalid_request", "the body must be a short form, percent-encoded UTF-8")
    if any(len(values) > 1 for values in form.values()):
        return _refuse("invalid_request", "a parameter is given more than once")
    grant = form.get("grant_type", [""])[0]
    if not grant:
        return _refuse("invalid_request", "grant_type is missing; send grant_type=client_credentials")
    if grant != "client_credentials":
        return _refuse("unsupported_grant_type", "the only grant type is client_credentials")
    if call.face.settings.no_auth:
        return answer(_for_nobody(call.face), headers=_UNCACHED)
    try:
        return await _granted(call, form)
    except Unavailable:
        return _refuse("temporarily_unavailable", "the credentials cannot be read now; try again shortly", 503)


async def _granted(call: Call, form: dict[str, list[str]]) -> Response:
    for credentials in _credentials(call.request, form):
        client = await _matching(call.face, credentials)
        if client is None:
            continue
        hosts = call.request.headers.getlist("host")
        tenant = asked_tenant(client, hosts[0] if hosts else "") if len(hosts) <= 1 else None
        if tenant is None:
            return _refuse(
                "invalid_client", "the host of this request names no tenant that this client may act for", 401
            )
        return answer(auth.issue(call.face, client, tenant), headers=_UNCACHED)
    return _refuse("invalid_client", "the client is not known, or its secret is another one", 401)


def _credentials(request: Request, form: dict[str, list[str]]) -> Iterator[Credentials]:
    if "client_id" in form:
        yield Credentials(form["client_id"][0], form.get("client_secret", [""])[0])
    scheme, _, encoded = request.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() != "basic":
        return
    try:
        raw = base64.b64decode(encoded.strip(), validate=True)
    except ValueError:
        return
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    client, _, secret = text.partition(":")
    yield Credentials(client, secret)
    if (decoded := Credentials(unquote_plus(client), unquote_plus(secret))) != (client, secret):
        yield decoded


async def _matching(face: Face, credentials: Credentials) -> ClientRow | None:
    given = hashlib.sha256(credentials.secret.encode(errors="replace")).hexdigest()
    if not _CLIENT_ID.fullmatch(credentials.client):
        return None
    found = None
    for row in await face.queries.clients(credentials.client):
        if hmac.compare_digest(row["secret_sha256"], given):
            found = row
    return found


def _for_nobody(face: Face) -> dict[str, object]:
    """Answer in the mode that asks nobody: a client that is set up with credentials works unchanged."""
    return {"access_token": "no-auth", "token_type": "bearer", "expires_in": face.settings.token_seconds}


def _refuse(error: str, description: str, status: int = 400) -> Response:
    headers = {**_UNCACHED, "www-authenticate": "Basic"} if status == 401 else _UNCACHED  # noqa: PLR2004 - RFC 6749 §5.2
    return answer({"error": error, "error_description": description}, status, headers)
