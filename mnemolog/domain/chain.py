"""Commitments, links and chains: what lets an auditor walk a stream, also across the holes that erasure leaves.

1. `commitment = SHA-256(value bytes)`; the salt inside the value dies with the body, so nothing can be guessed back.
2. `link = SHA-256("mnemolog/link/1" ‖ SHA-256(sealed) ‖ commitment)`, `sealed` the length-prefixed header values.
3. A chain starts at `SHA-256("mnemolog/stream/1" ‖ stream)` and goes on `SHA-256(before ‖ link)` (design §8).
4. `salt = HMAC-SHA-256(secret, "salt" ‖ key)`, `digest = SHA-256(salt ‖ canonical part)` (design §5).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from mnemolog.domain.ids import hmac_sha256, length_prefixed


def commitment(value: bytes) -> bytes:
    """Return the hash that stands for a fact's value."""
    return hashlib.sha256(value).digest()


def link(sealed: Sequence[str], committed: bytes) -> bytes:
    """Return a fact's link: its sealed header values, in their fixed order, and its commitment."""
    headers = hashlib.sha256(length_prefixed(sealed)).digest()
    return hashlib.sha256(b"mnemolog/link/1" + headers + committed).digest()


def start(stream: str) -> bytes:
    """Return the chain of a stream without facts."""
    return hashlib.sha256(b"mnemolog/stream/1" + stream.encode()).digest()


def extend(before: bytes, new: bytes) -> bytes:
    """Return the chain after one more link."""
    return hashlib.sha256(before + new).digest()


def salt(secret: bytes, key: str) -> bytes:
    """Return the salt of the fact with this key (`stream@version`), from its command's secret."""
    return hmac_sha256(secret, b"salt" + key.encode())


def digest(salted: bytes, canonical_part: bytes) -> bytes:
    """Return what a repeat of the command is compared with."""
    return hashlib.sha256(salted + canonical_part).digest()
