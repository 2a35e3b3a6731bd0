"""A partition that is written to all the time is never idle, and forgets all the same (guarantee 7)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from unittest.mock import patch

import pytest

from mnemolog.domain import erasure
from mnemolog.domain.codec import Envelope, encode_command
from mnemolog.domain.record import CommandRecord
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command
from mnemolog.domain.streams import own_id
from mnemolog.runtime import roles
from mnemolog.runtime.condition import Condition
from tests import wishes
from tests.given import KEY, NOON
from workers.log_memory import MemoryLog
from workers.sequencing import Sequencing
from workers.snapshot_memory import MemorySnapshot

pytestmark = pytest.mark.unit


class Busy(MemoryLog):
    """A log to which somebody appends with every read of it."""

    said = 0

    def record(self, command: Command) -> CommandRecord:
        """Return a user's command as a record."""
        self.said += 1
        name = f"c{self.said}"
        slot = slot_of_command("acme", name, command) or 0
        return encode_command(Envelope(name, "acme", "client/x", slot, self.said.to_bytes(32, "big"), command))

    async def commands(self, partition: int, start: int, limit: int) -> list[CommandRecord]:
        """Let another command come, and return what is there."""
        await asyncio.sleep(0.001)
        await self.append(0, [self.record(wishes.add_memory("more"))])
        return list(await super().commands(partition, start, limit))


def test_guarantee_7_what_is_being_erased_goes_on_although_commands_never_end() -> None:
    """A memory too large for one command is taken in ranges, to its closing `Erased`."""

    async def settled() -> None:
        """Return at once: there is no group here."""

    async def story() -> None:
        log, snapshot = Busy(lambda: NOON, partitions=1), MemorySnapshot(KEY)
        first = Sequencing(log, lambda: snapshot, Rules())
        await first.start()
        await log.append(0, [log.record(wishes.add_memory("text"))])
        done = await first.step()
        assert done is not None
        memory = own_id(done.facts[0].headers["stream"])
        changes = [wishes.update_memory(memory, content=f"text {n}") for n in range(6)]
        await log.append(0, [log.record(one) for one in (*changes, wishes.delete_memory(memory))])

        async def closed() -> bool:
            facts = [f for f in await log.facts(0, 0, 100_000) if f.headers.get("stream", "").endswith(memory)]
            return facts[-1].headers["ce_type"] == "memory.erased.v1" and b'"ended":true' in (facts[-1].value or b"")

        working = asyncio.create_task(
            roles.sequence(log, lambda: Sequencing(log, lambda: snapshot, Rules()), Condition(0), settled)
        )
        try:
            async with asyncio.timeout(20):
                while not await closed():  # noqa: ASYNC110 -- a log tells nobody
                    await asyncio.sleep(0.01)
        finally:
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working

    with patch.object(erasure, "ERASE_LIMIT", 3), patch.object(roles, "_ERASE_SECONDS", 0.005):
        asyncio.run(story())
