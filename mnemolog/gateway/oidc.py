"""Tokens of an OIDC issuer: who may come in is somebody else's to say, whose data it is stands in the token.

1. Only signatures by a public key of the issuer count: never `none`, never a shared secret. A key signs with the
   algorithms of its kind alone.
2. Issuer, audience and expiry are checked, and the tenant must be one that the issuer may speak for. Whatever is
   missing or odd makes the token invalid; the answer does not say which.
3. The actor is a hash of issuer and subject: it stays in facts for ever, and a subject may be somebody's name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jwt

from mnemolog.domain.schema import NAME_LIMIT, TENANT_LIMIT
from mnemolog.domain.times import SECOND
from mnemolog.gateway.principal import Principal

ALGORITHMS: Mapping[str, frozenset[str]] = {
    "RSA": frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    "EC": frozenset({"ES256", "ES384", "ES512"}),
    "OKP": frozenset({"EdDSA"}),
}
"""What a key of a kind (RFC 7517) signs with."""
ROLES = {"mnemolog.auditor": "auditor"}
ADMIN = "mnemolog.admin"
_LEEWAY = 30
"""Seconds that the issuer's clock may be ahead of ours."""
_REQUIRED = ["iss", "aud", "exp", "sub"]


class Keys(Protocol):
    """The issuer's public keys, kept by whoever may ask the network."""

    async def key(self, identifier: str | None) -> jwt.PyJWK | None:
        """Return the key of this id, or the only one where a token names none. Raises Unavailable if none is known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Whom to believe, for whom its tokens must be meant, and in which claims the rest stands.

    A claim is named by its name or, inside others, with dots. `tenants` are those that the issuer may speak for; all,
    if there are none.
    """

    url: str
    audience: str
    keys: Keys
    tenant: str = "tenant"
    user: str = "sub"
    roles: str = "roles"
    tenants: frozenset[str] = frozenset()


async def principal(issuer: Issuer, credential: str, now: int) -> Principal | None:
    """Return whom a token speaks for at a time (µs), None if it is not valid. Raises Unavailable."""
    try:
        header = jwt.get_unverified_header(credential)
        claimed = jwt.decode(credential, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return None
    if claimed.get("iss") != issuer.url:
        return None  # not this issuer's: its keys are not even looked for
    identifier = header.get("kid")
    if not isinstance(identifier, str | None):
        return None
    key = await issuer.keys.key(identifier)
    allowed = _allowed(key)
    if key is None or header.get("alg") not in allowed:
        return None
    claims = _verified(issuer, credential, key, sorted(allowed))
    return None if claims is None or not _timely(claims, now // SECOND) else _speaking(issuer, claims)


def _allowed(key: jwt.PyJWK | None) -> frozenset[str]:
    """Return the algorithms of a key: those of its kind, or the one that it names itself."""
    if key is None:
        return frozenset()
    kind = ALGORITHMS.get(str(key.key_type), frozenset())
    named = key._jwk_data.get("alg")  # noqa: SLF001 -- `algorithm_name` says a guess where the key names none
    return kind if named is None else kind & {named}


def _verified(issuer: Issuer, credential: str, key: jwt.PyJWK, allowed: list[str]) -> dict[str, Any] | None:
    options: Any = {"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False}
    try:
        claims: dict[str, Any] = jwt.decode(
            credential, key.key, allowed, options, audience=issuer.audience, issuer=issuer.url
        )
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return None
    return claims


def _timely(claims: Mapping[str, Any], now: int) -> bool:
    """Tell whether it is neither too late nor too early, by our own clock: time is an input like any other."""
    until, since = claims["exp"], claims.get("nbf", 0)
    if not _number(until) or not _number(since):
        return False
    return bool(now < until and since <= now + _LEEWAY)


def _speaking(issuer: Issuer, claims: Mapping[str, Any]) -> Principal | None:
    tenant, user, subject = claim(claims, issuer.tenant), claim(claims, issuer.user), claims["sub"]
    if not _name(tenant, TENANT_LIMIT) or not _name(user, NAME_LIMIT) or not _name(subject, NAME_LIMIT):
        return None
    if issuer.tenants and tenant not in issuer.tenants:
        return None
    held = claim(claims, issuer.roles)
    given = set(held.split()) if isinstance(held, str) else {r for r in held or [] if isinstance(r, str)}
    roles = tuple(ours for theirs, ours in ROLES.items() if theirs in given)
    return Principal(str(tenant), actor(issuer.url, str(subject)), str(user), admin=ADMIN in given, roles=roles)


def actor(issuer: str, subject: str) -> str:
    """Return the principal that facts name: what whoever knows the subject can compute, and nobody can read."""
    named = f"{issuer}\n{subject}"
    return f"oidc/{hashlib.sha256(named.encode()).hexdigest()[:32]}"


def claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim by its name, or by its path where it lies in others; None if it is not there."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for step in name.split("."):
        if not isinstance(found, Mapping) or step not in found:
            return None
        found = found[step]
    return found


def _name(value: Any, most: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= most and value.strip() == value and value.isprintable()


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
