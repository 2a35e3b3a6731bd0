"""The view of valid credentials: found by the id of a client or key, or by the hash of a token; listed by tenant."""

from __future__ import annotations

from collections.abc import Sequence

from mnemolog.domain.access import ClientCreated, ClientRevoked, KeyCreated, KeyRevoked, TokenCreated, TokenRevoked
from mnemolog.domain.fact import Fact
from mnemolog.domain.ops import Drop, Op, Put, Rank
from projections import names


def view(fact: Fact) -> Sequence[Op]:
    """Return what a fact of an access stream changes."""
    tenant = fact.tenant
    match fact.payload:
        case ClientCreated() as created:
            key = names.client(tenant, created.client)
            row = created.model_dump(exclude={"client"}) | {"id": created.client}
            return _listed(fact, key, row, "client", created.client)
        case TokenCreated() as created:
            key = names.token(tenant, created.token)
            row = created.model_dump(exclude={"token", "token_sha256"}) | {"id": created.token}
            return _listed(fact, key, row, "token", created.token_sha256)
        case KeyCreated() as created:
            key = names.key(tenant, created.key)
            row = created.model_dump(exclude={"key"}) | {"id": created.key}
            return _listed(fact, key, row, "key", created.key)
        case ClientRevoked(client=client):
            return [Drop(names.client(tenant, client))]
        case TokenRevoked(token=token):
            return [Drop(names.token(tenant, token))]
        case KeyRevoked(key=revoked):
            return [Drop(names.key(tenant, revoked))]
        case _:
            return []


def _listed(fact: Fact, key: str, row: dict[str, object], kind: str, found_by: str) -> Sequence[Op]:
    return [
        Put(key, row | {"tenant": fact.tenant, "created": fact.time}),
        Rank(key, "credential", names.index(kind, found_by), fact.time),
        Rank(key, "all", names.index(f"{kind}s"), fact.time),
    ]
