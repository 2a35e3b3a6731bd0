"""The view of memory spaces: a row each, listed by tenant and user in order of creation."""

from __future__ import annotations

from collections.abc import Sequence

from mnemolog.domain.fact import Fact
from mnemolog.domain.ops import Drop, Op, Put, Rank
from mnemolog.domain.schema import sent
from mnemolog.domain.space import SpaceCreated, SpaceDeleted, SpaceErased, SpaceUpdated
from mnemolog.domain.streams import own_id
from projections import names
from projections.hidden import waiting


def view(fact: Fact) -> Sequence[Op]:
    """Return what a fact of a space's stream changes. Its sessions stay: their reads ask for the space first."""
    identifier = own_id(fact.stream)
    key = names.space(fact.tenant, identifier)
    match fact.payload:
        case SpaceCreated() as created:
            row = {"id": identifier, "created": fact.time} | created.model_dump()
            return [
                Put(key, row),
                Rank(key, "user", names.index("spaces", fact.tenant, created.user), fact.time),
                Rank(key, "tenant", names.index("spaces", fact.tenant), fact.time),
            ]
        case SpaceUpdated() as change:
            return [Put(key, sent(change))]
        case SpaceDeleted():
            return [Drop(key), *waiting(fact, "space")]
        case SpaceErased(ended=ended):
            return [Drop(key), *([Drop(names.hidden(fact.tenant, "space", identifier))] if ended else [])]
        case _:
            return []
