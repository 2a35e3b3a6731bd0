"""All of a tenant is erased over HTTP, some seconds at a time, until nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mnemolog.domain.codec import Envelope, decode_outcome, encode_command
from mnemolog.domain.ids import make_id, partition_of
from mnemolog.domain.outcomes import Outcome
from mnemolog.domain.reads import Filter, WholeErased
from mnemolog.domain.usage import Usage, UsageRecord, UsageScope, UsageWanted
from mnemolog.runtime.tenant_erasure import TenantErasure
from projections.due import StoreDue
from projections.queries import StoreQueries
from tests import wishes
from tests.given import NOON
from tests.unit.pipeline import Pipeline
from workers.usage_memory import MemoryUsage

pytestmark = pytest.mark.unit


class Scene:
    """Two tenants with owners, spaces and a session that was soft-deleted; each read once."""

    def __init__(self) -> None:
        self.line = line = Pipeline(2)
        self.usage = MemoryUsage()
        self.queries = StoreQueries(line.store, 2)
        self.due = StoreDue(line.store, 2)
        for tenant in ("acme", "bolt"):
            for invoker in ("ann", "bob"):
                line.say(wishes.add_memory("tea", invoker=invoker), tenant=tenant)
            line.say(wishes.add_message("hello", invoker="cid"), tenant=tenant)
            space = line.say(wishes.create_space("u1"), tenant=tenant)
            session = line.say(wishes.create_session(space), tenant=tenant)
            line.say(wishes.delete_session(space, session), tenant=tenant)
            line.say(wishes.create_space("u2"), tenant=tenant)
            key = make_id(NOON, 0, tenant.ljust(32).encode(), 0)
            record = UsageRecord(key, tenant, "client/a", "list", UsageScope(), NOON, NOON, 1, 1)
            asyncio.run(self.usage.write([record]))
        line.project()

    async def submit(self, envelope: Envelope) -> Outcome:
        """Have a command decided and projected."""
        partition = partition_of(envelope.slot, 2)
        await self.line.log.append(partition, [encode_command(envelope)])
        transaction = await self.line.sequencings[partition].step()
        assert transaction is not None
        while await self.line.projectors[partition].step():
            pass
        return decode_outcome(transaction.outcomes[-1])

    def erase(self, seconds: float) -> WholeErased:
        """Erase all of one tenant, for so long."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[Usage]:
            yield self.usage

        whole = TenantErasure(self.submit, self.queries, self.due, opened, seconds)
        return asyncio.run(whole("acme", "client/admin"))

    def left(self, tenant: str) -> tuple[int, int, int, int]:
        """Return what readers see of a tenant: memories, messages, spaces; and its usage records."""

        async def counts() -> tuple[int, int, int, int]:
            return (
                await self.queries.count_memories(tenant, Filter()),
                await self.queries.count_messages(tenant, Filter()),
                await self.due.count_spaces(tenant),
                await self.usage.count(UsageWanted(tenant)),
            )

        return asyncio.run(counts())


def test_all_of_a_tenant_goes_and_nothing_of_another() -> None:
    """Owner by owner, space by space, also what had been soft-deleted, and its usage log."""
    scene = Scene()
    erased = scene.erase(60)
    assert (erased.owners, erased.spaces, erased.done) == (3, 2, True)
    assert scene.left("acme") == (0, 0, 0, 0)
    assert scene.left("bolt") == (2, 1, 2, 1)
    again = scene.erase(60)
    assert (again.owners, again.spaces, again.done) == (0, 0, True)


def test_what_has_no_time_is_left_for_the_next_request() -> None:
    """It says that it is not done, and what is done is done."""
    scene = Scene()
    assert not scene.erase(0).done
    assert scene.left("acme")[3] == 1
    for _ in range(20):
        if scene.erase(0.05).done:
            break
    assert scene.left("acme") == (0, 0, 0, 0)
