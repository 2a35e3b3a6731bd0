"""Keys and grants of made-up seeds, and records that they sign: the same each time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mnemolog.domain.codec import Envelope, encode_command
from mnemolog.domain.record import CommandRecord
from mnemolog.domain.signature import Key, grant_text, signed_headers
from mnemolog.domain.times import DAY, SECOND, to_text
from tests.given import NOON

AUTHORITY = Key(b"a" * 32)
OTHER_AUTHORITY = Key(b"b" * 32)
AGENT = Key(b"k" * 32)
ACTOR = "agent/planner"


def granted(
    key: Key = AGENT,
    *,
    tenant: str = "acme",
    actor: str = ACTOR,
    authority: Key = AUTHORITY,
    identifier: str = "k-1",
    ends: int = NOON + DAY,
) -> str:
    """Return a grant."""
    return grant_text(authority, tenant, actor, identifier, key.public, to_text(ends))


def signed(
    envelope: Envelope, *, key: Key = AGENT, grant: str | None = None, time: int = NOON - SECOND, **headers: Any
) -> CommandRecord:
    """Return a command's record, signed at a time; further `headers` replace what the signature has covered."""
    record = encode_command(envelope)
    grant = granted(tenant=envelope.tenant, actor=envelope.actor) if grant is None else grant
    proven = signed_headers(key, grant, record.headers, record.value or b"", to_text(time))
    return replace(record, headers={**record.headers, **proven, **headers})
