"""Erasing all of a tenant over HTTP: as much as a request has time for; repeated until it says that it is done.

1. Owner by owner and space by space, each hidden by one fact; the eraser takes the content, as always.
2. Then what had been soft-deleted before, without its grace, and the usage log.
3. What was done in a request that was cut short is done: the next one goes on with what is left.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence

from mnemolog.domain.codec import Envelope
from mnemolog.domain.erasure import Erase, ThingTarget
from mnemolog.domain.memory import Owner
from mnemolog.domain.outcomes import Accepted, Outcome
from mnemolog.domain.owner import EraseOwner
from mnemolog.domain.reads import Filter, Queries, WholeErased
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.schema import Command
from mnemolog.domain.usage import UsageWanted
from mnemolog.runtime.usage import Opened
from projections.due import StoreDue

_AT_ONCE = 20
_PAGE = 500
_SECONDS = 5.0


class TenantErasure:
    """What a gateway calls; `seconds` is how long one call may go on."""

    def __init__(
        self,
        submit: Callable[[Envelope], Awaitable[Outcome]],
        queries: Queries,
        due: StoreDue,
        usage: Opened,
        seconds: float = _SECONDS,
    ) -> None:
        """Take where commands go, where to look, and how to open the usage log."""
        self._submit = submit
        self._queries = queries
        self._due = due
        self._usage = usage
        self._seconds = seconds

    async def __call__(self, tenant: str, actor: str) -> WholeErased:
        """Hide what there is, until it is done or time is up. Raises Unavailable."""
        until = time.monotonic() + self._seconds
        owners = spaces = hidden = 0
        while some := await self._owners(tenant):
            targets = [Owner(agent=agent, invoker=invoker) for agent, invoker in some]
            owners += await self._all(tenant, actor, [EraseOwner(target=target) for target in targets], until)
            if time.monotonic() > until:
                return WholeErased(owners, spaces, hidden, done=False)
        while found := await self._due.spaces(tenant, _PAGE):
            spaces += await self._all(tenant, actor, [_erase("space", one) for one in found], until)
            if time.monotonic() > until:
                return WholeErased(owners, spaces, hidden, done=False)
        waiting = [one for one in await self._due.hidden_of(tenant) if one.kind in {"session", "space"}]
        hidden = await self._all(tenant, actor, [_erase(one.kind, one.id) for one in waiting], until)
        if time.monotonic() > until:
            return WholeErased(owners, spaces, hidden, done=False)
        await asyncio.to_thread(lambda: asyncio.run(self._forget(tenant)))
        return WholeErased(owners, spaces, hidden, done=True)

    async def _owners(self, tenant: str) -> Sequence[tuple[str, str]]:
        """Return some of the owners that have anything that readers see."""
        memories = await self._queries.memories(tenant, Filter(), 0, _PAGE)
        messages = await self._queries.messages(tenant, Filter(), 0, _PAGE)
        found = [(row["agent"], row["invoker"]) for row in memories]
        found += [(row["agent"], row["invoker"]) for row in messages]
        return list(dict.fromkeys(found))

    async def _all(self, tenant: str, actor: str, commands: Sequence[Command], until: float) -> int:
        """Have commands decided, some at once, until time is up; return how many were accepted."""
        accepted = 0
        for start in range(0, len(commands), _AT_ONCE):
            if time.monotonic() > until:
                break
            some = [_surrounded(tenant, actor, command) for command in commands[start : start + _AT_ONCE]]
            outcomes = await asyncio.gather(*map(self._submit, some))
            accepted += sum(isinstance(outcome.result, Accepted) for outcome in outcomes)
        return accepted

    async def _forget(self, tenant: str) -> None:
        async with self._usage() as usage:
            await usage.remove(UsageWanted(tenant))


def _erase(kind: str, identifier: str) -> Erase:
    return Erase(target=ThingTarget.model_validate({"kind": kind, "id": identifier}))


def _surrounded(tenant: str, actor: str, command: Command) -> Envelope:
    identifier = str(uuid.uuid4())
    slot = slot_of_command(tenant, identifier, command) or 0
    return Envelope(identifier, tenant, actor, slot, secrets.token_bytes(32), command)
