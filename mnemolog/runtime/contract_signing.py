"""Worked signatures for other languages: `docs/signature-vectors.json`, which the same code as everywhere has made."""

from __future__ import annotations

import hashlib
from typing import Any

from mnemolog.domain.codec import command_headers, command_value
from mnemolog.domain.signature import (
    ALGORITHM,
    TIME,
    Key,
    command_message,
    grant_message,
    grant_text,
    read_grant,
    renewal_message,
    signed_headers,
)
from mnemolog.domain.times import DAY, to_text

_AT = 1_795_000_000_123_456
_SEEDS = {"authority": bytes(range(32)), "key": bytes(range(32, 64))}


def signature_vectors() -> dict[str, Any]:
    """Return a key, its grant, two commands that it signs, and a request for its next grant."""
    authority, key = Key(_SEEDS["authority"]), Key(_SEEDS["key"])
    grant = grant_text(authority, "acme", "agent/é", "k-1", key.public, to_text(_AT + DAY))
    known = read_grant(grant)
    time = to_text(_AT)
    renewal = renewal_message("acme", "k-1", time)
    memory = {"agent": "a", "invoker": "ünï"}
    return {
        "keys": {
            name: {"seed": seed.hex(), "public": Key(seed).public} for name, seed in _SEEDS.items()
        },
        "grant": {
            "text": grant,
            "message": grant_message(known).hex() if known else "",
        },
        "commands": [
            _command(key, grant, "memory.add-memory.v1", memory, [{"content": "likes tea ☕"}]),
            _command(key, grant, "policy.set-retention.v1", {}, [{"memory_days": 30}]),
        ],
        "renewal": {
            "tenant": "acme",
            "id": "k-1",
            "time": time,
            "message": renewal.hex(),
            "signature": key.sign(renewal),
        },
    }  # fmt: skip


def _command(key: Key, grant: str, kind: str, target: dict[str, Any], parts: list[dict[str, Any]]) -> dict[str, Any]:
    identifier = "3aebeb15-d66e-597a-891d-000000000000"
    headers, value = command_headers(identifier, kind, "acme", "agent/é"), command_value(bytes(32), target, parts)
    signed = signed_headers(key, grant, headers, value, to_text(_AT))
    digest = hashlib.sha256(value).digest()
    return {
        "headers": {**headers, **signed},
        "value": value.decode(),
        "sha256": digest.hex(),
        "message": command_message({**headers, TIME: signed[TIME]}, digest).hex(),
        "signature": signed["signature"].removeprefix(ALGORITHM),
    }
