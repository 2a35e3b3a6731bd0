"""The names of rows and indexes: spelled here and nowhere else, so that views and queries agree.

A row's key is its tenant and two parts, an event's four; so no key of a tenant `provider/subscriber` has as many parts
as one of the provider's. An index is a JSON list, so that no text in it can be taken for another's part.
"""

from __future__ import annotations

from functools import lru_cache

from mnemolog.domain import canonical

HIDDEN = '["hidden"]'
"""The index of what is hidden and not yet erased, by since when."""
POLICIES = '["policies"]'
"""The index of the tenants that have set a policy."""


@lru_cache(4_096)  # a session's events all go to the same two
def index(*parts: str) -> str:
    """Return the name of an index."""
    return canonical.text(list(parts))


def memory(tenant: str, identifier: str) -> str:
    """Return the key of a memory's row."""
    return f"{tenant}/memory/{identifier}"


def message(tenant: str, identifier: str) -> str:
    """Return the key of a message's row."""
    return f"{tenant}/message/{identifier}"


def space(tenant: str, identifier: str) -> str:
    """Return the key of a space's row."""
    return f"{tenant}/space/{identifier}"


def session(tenant: str, identifier: str) -> str:
    """Return the key of a session's row."""
    return f"{tenant}/session/{identifier}"


def event(tenant: str, session_id: str, sequence: int) -> str:
    """Return the key of an event's row."""
    return f"{tenant}/session/{session_id}/event/{sequence}"


def owner(tenant: str, identifier: str) -> str:
    """Return the key of an owner's erasure that is under way."""
    return f"{tenant}/owner/{identifier}"


def hidden(tenant: str, kind: str, identifier: str, entry: str = "") -> str:
    """Return the key of what is hidden and not yet erased: a stream, or of a session the event with this number."""
    return f"{tenant}/hidden/{kind}.{identifier}.{entry}"


def due(kind: str) -> str:
    """Return the index of sessions by the time when their strategies of this type are to be looked at."""
    return index("due", kind)


def policy(tenant: str) -> str:
    """Return the key of a tenant's policy."""
    return f"{tenant}/policy/policy"


def client(tenant: str, identifier: str) -> str:
    """Return the key of a client's row."""
    return f"{tenant}/client/{identifier}"


def key(tenant: str, identifier: str) -> str:
    """Return the key of the row of a key that signs commands."""
    return f"{tenant}/key/{identifier}"


def token(tenant: str, identifier: str) -> str:
    """Return the key of a token's row."""
    return f"{tenant}/token/{identifier}"
