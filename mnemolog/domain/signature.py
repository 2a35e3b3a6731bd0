"""Signed commands: a grant says whose key it is, a signature whose command it is (ADR 0016).

All of it is functions of bytes: what is checked stands in the command's record and in the rules, so whoever decides a
command, and whenever, comes to the same end. Signatures are Ed25519 (RFC 8032), keys and signatures are hex.

1. A grant binds a public key to one tenant and actor until an instant. The deployment's authority signs
   `"mnemolog/grant/1" ‖ authority, tenant, actor, id, key, ends`.
2. A command is signed by the granted key: `"mnemolog/command/1" ‖ id, type, tenant, actor, time, SHA-256(value)`.
3. Whoever still has his key asks for the next grant: `"mnemolog/renewal/1" ‖ tenant, key id, time`.

Each field is preceded by its length, 4 bytes, big-endian. Signed are the texts as they stand in headers and grant, so
nobody needs to know a canonical form of anything.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from mnemolog.domain import canonical
from mnemolog.domain.ids import length_prefixed
from mnemolog.domain.times import from_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

GRANT, SIGNATURE, TIME = "grant", "signature", "ce_time"
"""The headers of a signed command; `ce_time` is the time of signing."""
ALGORITHM = "ed25519:"
"""How a signature begins, so that another algorithm can come one day and is refused until then."""
GRANT_LIMIT = 8_192
"""Characters of a grant: it travels with every command, and verified ones are remembered."""
_LENGTH_BYTES = 4
_REMEMBERED = 1_024
_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z")


class Grant(NamedTuple):
    """What an authority says of a public key: whose it is, its `id`, and the instant (text) that ends this grant."""

    authority: str
    tenant: str
    actor: str
    id: str
    key: str
    ends: str


class Proof(NamedTuple):
    """What a command's record brings to prove who said it; `digest` is the SHA-256 of its value."""

    grant: str
    signature: str
    time: str
    digest: bytes


class Key:
    """An Ed25519 key, which signs."""

    def __init__(self, seed: bytes) -> None:
        """Take 32 bytes. Raises ValueError for another number, ImportError where `cryptography` is not installed."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key: Ed25519PrivateKey = Ed25519PrivateKey.from_private_bytes(seed)
        self.public: str = self._key.public_key().public_bytes_raw().hex()

    def sign(self, message: bytes) -> str:
        """Return the signature, as hex: the same message always gives the same one."""
        return self._key.sign(message).hex()


def verified(key: str, message: bytes, signature: str) -> bool:
    """Tell whether a signature (hex) of a message is this public key's (hex)."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True


def instant(text: str) -> int | None:
    """Return the instant (µs) of `2026-11-25T09:30:00Z`, up to nine decimals; None for any other form of time.

    Stricter than what a Python reads as a time: that differs from version to version, and decisions may not.
    """
    try:
        return from_text(text) if _INSTANT.fullmatch(text) else None
    except ValueError:
        return None


# ---- what is signed --------------------------------------------------------------------------------------------------


def command_message(headers: Mapping[str, str], digest: bytes) -> bytes:
    """Return what the signature of a command covers: its headers, `ce_time` among them, and its value's SHA-256."""
    said = length_prefixed([headers[name] for name in ("ce_id", "ce_type", "tenant", "actor", TIME)])
    return b"mnemolog/command/1" + said + len(digest).to_bytes(_LENGTH_BYTES) + digest


def grant_message(grant: Grant) -> bytes:
    """Return what an authority's signature covers."""
    return b"mnemolog/grant/1" + length_prefixed(grant)


def renewal_message(tenant: str, identifier: str, time: str) -> bytes:
    """Return what whoever asks for the next grant of a key signs with it."""
    return b"mnemolog/renewal/1" + length_prefixed([tenant, identifier, time])


# ---- signing ---------------------------------------------------------------------------------------------------------


def signed_headers(key: Key, grant: str, headers: Mapping[str, str], value: bytes, time: str) -> dict[str, str]:
    """Return the headers that sign a command's record at a time (text), by the key of a grant."""
    message = command_message({**headers, TIME: time}, hashlib.sha256(value).digest())
    return {TIME: time, GRANT: grant, SIGNATURE: ALGORITHM + key.sign(message)}


def grant_text(authority: Key, tenant: str, actor: str, identifier: str, key: str, ends: str) -> str:
    """Return a grant as it travels: JSON, with the authority's signature. Raises ValueError for one that is too long.

    A tenant and an actor of a common length are far from that.
    """
    grant = Grant(authority.public, tenant, actor, identifier, key, ends)
    text = canonical.text({**grant._asdict(), "signature": authority.sign(grant_message(grant))})
    if len(text) > GRANT_LIMIT:
        message = f"a grant has at most {GRANT_LIMIT} characters; tenant and actor are too long for one"
        raise ValueError(message)
    return text


# ---- reading ---------------------------------------------------------------------------------------------------------


def proof_of(headers: Mapping[str, str], value: bytes | None) -> Proof | None:
    """Return what a record's headers prove; None where it is not signed."""
    if GRANT not in headers and SIGNATURE not in headers:
        return None
    grant, signature, time = (headers.get(name, "") for name in (GRANT, SIGNATURE, TIME))
    return Proof(grant, signature, time, hashlib.sha256(value or b"").digest())


@lru_cache(_REMEMBERED)  # the result is a function of the text; of each key thousands of commands bring the same one
def read_grant(text: str) -> Grant | None:
    """Return a grant whose signature is that of the authority it names; None for any other text."""
    if len(text) > GRANT_LIMIT:
        return None
    try:
        said = canonical.loads(text)
        grant = Grant(*(_text(said[name]) for name in Grant._fields))
        signature = _text(said["signature"])
    except (ValueError, KeyError, TypeError):
        return None
    return grant if verified(grant.authority, grant_message(grant), signature) else None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
