"""Signed heads: what an auditor says of each slot, so that nobody can alter or cut the log behind his back (design §8).

A head names each slot's number of facts and root, the head before it, and the key that signs it. A new key is named by
the old one. The format is docs/audit-format.md; `verifier` checks it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mnemolog.audit import verifier
from mnemolog.audit.verify import Head


class Key:
    """An Ed25519 key."""

    def __init__(self, seed: bytes) -> None:
        """Take 32 bytes. Raises ValueError for another number."""
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @property
    def public(self) -> str:
        """The public key, as hex."""
        return self._key.public_key().public_bytes_raw().hex()

    def sign(self, message: bytes) -> str:
        """Return a signature, as hex."""
        return self._key.sign(message).hex()

    def signed(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return a document with the key's name and signature."""
        named = {**document, "key": self.public}
        return {**named, "signature": self.sign(verifier.signed(named))}


def new_head(
    key: Key,
    created: str,
    heads: Mapping[int, tuple[int, str]],
    before: Mapping[str, Any] | None,
    old: Key | None = None,
) -> dict[str, Any]:
    """Return the head that follows `before`; `old` is the key before, where this one is new."""
    previous = None if before is None else verifier.sha256(verifier.canonical(before)).hex()
    head: dict[str, Any] = {
        "format": verifier.HEAD,
        "number": 1 if before is None else before["number"] + 1,
        "created": created,
        "previous": previous,
        "slots": {str(slot): {"facts": size, "root": root} for slot, (size, root) in sorted(heads.items())},
    }
    if old is not None:
        signature = old.sign(verifier.rotated(key.public, previous or ""))
        head["rotation"] = {"key": old.public, "signature": signature}
    return key.signed(head)


def claims(head: Mapping[str, Any]) -> list[Head]:
    """Return what a head, which has been checked, says of each slot."""
    name = f"head {head['number']} of {head['created']}"
    return [Head(name, int(slot), int(one["facts"]), bytes.fromhex(one["root"])) for slot, one in head["slots"].items()]
