"""The view of a tenant's retention policy: one row, and the list of those who have set one."""

from __future__ import annotations

from collections.abc import Sequence

from mnemolog.domain.fact import Fact
from mnemolog.domain.ops import Op, Put, Rank
from mnemolog.domain.policy import RetentionSet
from mnemolog.domain.schema import sent
from projections import names


def view(fact: Fact) -> Sequence[Op]:
    """Return what a fact of a policy stream changes; the stream's first fact says when the policy was first set."""
    if not isinstance(fact.payload, RetentionSet):
        return []
    key = names.policy(fact.tenant)
    first = {"created": fact.time} if fact.version == 0 else {}
    row = first | {"tenant": fact.tenant, "version": fact.version, "updated": fact.time} | sent(fact.payload)
    return [Put(key, row), Rank(key, "all", names.POLICIES, 0)]
