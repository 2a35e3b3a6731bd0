"""Workers' proposals on the embedded server: users' commands come first, and all are answered."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mnemolog.domain.codec import Envelope
from mnemolog.domain.errors import Unavailable
from mnemolog.domain.expiry import ExpireRecord, RecordTarget
from mnemolog.domain.ids import make_id, slot_in
from mnemolog.domain.outcomes import Accepted, Outcome, Rejected
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command
from mnemolog.runtime import inbox
from mnemolog.runtime.embedded import Embedded
from mnemolog.runtime.folder import Folder
from tests import wishes
from tests.given import NOON

pytestmark = pytest.mark.unit


def said(command: Command, n: int = 0) -> Envelope:
    """Return a user's command."""
    slot = slot_of_command("acme", f"u{n}", command) or 0
    return Envelope(f"u{n}", "acme", "client/x", slot, n.to_bytes(32, "big"), command)


def expiry(identifier: str) -> Envelope:
    """Return a proposal to expire a memory, whenever it was written."""
    command = ExpireRecord(target=RecordTarget(kind="memory", id=identifier, cutoff=NOON * 2, policy=0))
    return Envelope(f"expire {identifier}", "acme", "worker/retention", slot_in(identifier), bytes(32), command)


def place(outcome: Outcome) -> int:
    """Return where in the log a command stands."""
    assert outcome.source is not None
    return outcome.source.offset


@pytest.fixture
def core(tmp_path: Path) -> Embedded:
    """Return a core that has not begun: what is said to it waits."""
    return Embedded(Folder(tmp_path), Rules())


def test_a_user_comes_before_proposals_that_wait(core: Embedded) -> None:
    """However many there are; with him come a few, and their outcomes are in their order."""
    proposals = [expiry(make_id(NOON, n, bytes(32), n)) for n in range(200)]

    async def story() -> None:
        waiting = asyncio.ensure_future(core.propose(proposals))
        await asyncio.sleep(0)
        user = asyncio.ensure_future(core.submit(said(wishes.add_memory("text"))))
        await asyncio.sleep(0)
        await asyncio.to_thread(core.start)
        assert place(await user) == 0
        outcomes = await waiting
        assert [outcome.command for outcome in outcomes] == [envelope.id for envelope in proposals]
        assert [place(outcome) for outcome in outcomes] == list(range(1, 201))
        assert all(isinstance(outcome.result, Rejected) for outcome in outcomes)

    try:
        asyncio.run(story())
    finally:
        core.stop()


def test_proposals_have_their_share_while_users_write_all_the_time(
    core: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few in each round, or what is due would be put off for ever."""
    monkeypatch.setattr(inbox, "_BATCH", 20)

    async def story() -> None:
        waiting = asyncio.ensure_future(core.propose([expiry(make_id(NOON, n, bytes(32), n)) for n in range(10)]))
        users = [asyncio.ensure_future(core.submit(said(wishes.add_memory("text"), n))) for n in range(100)]
        await asyncio.sleep(0)
        await asyncio.to_thread(core.start)
        # 20 users and 3 proposals a round.
        assert [place(outcome) for outcome in await waiting] == [*range(20, 23), *range(43, 46), *range(66, 69), 89]
        await asyncio.gather(*users)

    try:
        asyncio.run(story())
    finally:
        core.stop()


def test_what_is_proposed_is_done_when_it_is_answered(core: Embedded) -> None:
    """The views no longer show it; proposed again, there is nothing to do."""

    async def story() -> None:
        added = await core.submit(said(wishes.add_memory("text")))
        assert isinstance(added.result, Accepted)
        memory = added.result.facts[0].subject
        due = expiry(memory)._replace(command=ExpireRecord(target=RecordTarget(kind="memory", id=memory,
            cutoff=added.result.facts[0].time + 1, policy=0)))  # fmt: skip
        (outcome,) = await core.propose([due])
        assert isinstance(outcome.result, Accepted)
        (again,) = await core.propose([due])
        assert isinstance(again.result, Rejected)
        await asyncio.to_thread(core.stop)
        with pytest.raises(Unavailable, match="stopping"):
            await core.propose([due])

    core.start()
    try:
        asyncio.run(story())
    finally:
        core.stop()
