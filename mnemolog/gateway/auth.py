"""Who is asking: client tokens on `/v1`, API tokens on `/api/v2`, and nobody else (design §10).

1. The tenant comes from the token alone.
2. A client token is signed here; its client is looked up again on each call, so a revocation acts at once, and a client
   made anew under the same id does not inherit the tokens of the old one.
3. Each token made here opens one face: `/v1` data belongs to clients, `/api/v2` spaces to users, and a client is no
   user. A token of the OIDC issuer, where there is one, names a user and opens both.
"""

from __future__ import annotations

import hashlib
import uuid
from functools import lru_cache
from typing import Any, Literal

import jwt
from starlette.requests import Request

from mnemolog.domain.reads import ClientRow
from mnemolog.domain.times import SECOND
from mnemolog.gateway import oidc
from mnemolog.gateway.call import Face
from mnemolog.gateway.principal import Principal
from mnemolog.gateway.problems import Kind, Problem

Entrance = Literal["open", "client", "token", "either"]
"""What opens a route."""

NOBODY = Principal(tenant="", actor="")
_ALGORITHM = "HS256"
_LONGEST = 8_192
_WANT = {
    "client": "send 'Authorization: Bearer …' with a token from /oauth/token; API tokens open /api/v2 only",
    "token": "send 'Authorization: Token …' with an API token; tokens from /oauth/token open /v1 only",
    "either": "send 'Authorization: Bearer …' with a token from /oauth/token, or 'Token …' with an API token",
}


async def authenticate(face: Face, request: Request, entrance: Entrance) -> Principal:
    """Return who asks. Raises Problem if nobody known does, Unavailable if that cannot be told."""
    if entrance == "open":
        return NOBODY
    if face.settings.no_auth:
        nobody = face.settings
        return Principal(nobody.no_auth_tenant, "anonymous", nobody.no_auth_user, admin=True, roles=("auditor",))
    scheme, _, credential = request.headers.get("authorization", "").strip().partition(" ")
    credential = credential.strip()
    found = None
    if credential and len(credential) <= _LONGEST:
        if entrance in {"token", "either"} and scheme.lower() in {"token", "bearer"}:
            found = await _by_token(face, credential)
        if found is None and entrance in {"client", "either"} and scheme.lower() == "bearer":
            found = await _by_client(face, credential)
        if found is None and face.issuer is not None and scheme.lower() == "bearer":
            found = await oidc.principal(face.issuer, credential, face.clock())
    if found is None:
        said = "the credential is not valid here" if credential else "a credential is needed"
        scheme = "Token" if entrance == "token" else "Bearer"
        headers = {"www-authenticate": scheme}
        raise Problem(Kind.UNAUTHENTICATED, f"{said}; {_WANT[entrance]}", headers=headers)
    return found


def issue(face: Face, client: ClientRow, tenant: str) -> dict[str, Any]:
    """Return the answer to a token request."""
    now = face.clock() // SECOND
    made = str(uuid.UUID(bytes=face.entropy(16), version=4))
    claims = {
        "sub": client["id"],
        "tenant": tenant,
        "zone": client["tenant"],
        "made": client["created"],
        "admin": client["admin"],
        "roles": client["roles"],
        "iat": now,
        "exp": now + face.settings.token_seconds,
        "jti": made,
    }
    return {
        "access_token": jwt.encode(claims, face.settings.token_key, _ALGORITHM),
        "token_type": "bearer",
        "expires_in": face.settings.token_seconds,
        "scope": " ".join(["memory", *(["memory.admin"] if client["admin"] else []), *client["roles"]]),
        "jti": made,
    }


async def _by_token(face: Face, credential: str) -> Principal | None:
    row = await face.queries.token(hashlib.sha256(credential.encode("latin-1")).hexdigest())
    if row is None:
        return None
    return Principal(row["tenant"], f"token/{row['id']}", row["user"], roles=tuple(row["roles"]))


async def _by_client(face: Face, credential: str) -> Principal | None:
    claims = _claims(face, credential)
    if claims is None:
        return None
    for row in await face.queries.clients(claims["sub"]):
        if row["tenant"] == claims["zone"] and row["created"] == claims["made"]:
            actor = f"client/{row['id']}"
            return Principal(claims["tenant"], actor, admin=row["admin"], roles=tuple(row["roles"]))
    return None


def _claims(face: Face, credential: str) -> dict[str, Any] | None:
    try:
        claims = _verified(credential, face.settings.token_key)
        # By our own clock, so that time is an input like any other.
        return claims if face.clock() < int(claims["exp"]) * SECOND else None
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return None


@lru_cache(1_024)  # a client sends the same token with each request of half a day; what is no token is not kept
def _verified(credential: str, key: bytes) -> dict[str, Any]:
    """Return what a token says that was signed with the key. Raises whatever is wrong with it."""
    options: Any = {"verify_exp": False, "verify_iat": False, "require": ["sub", "tenant", "zone", "made", "exp"]}
    claims: dict[str, Any] = jwt.decode(credential, key, [_ALGORITHM], options)
    return claims
