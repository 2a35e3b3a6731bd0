"""A machine's clock that is set back between two runs of the embedded server, and while it runs."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest

from mnemolog.domain.codec import Envelope
from mnemolog.domain.outcomes import Accepted, Landed, Outcome, Reason, Rejected
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command
from mnemolog.domain.times import SECOND, to_text
from mnemolog.runtime import folder as folders
from mnemolog.runtime.embedded import Embedded
from mnemolog.runtime.folder import Folder, SequencingLock
from tests import wishes
from tests.simulation import invariants

pytestmark = pytest.mark.unit

HOUR = 3_600 * SECOND


def test_guarantee_4_a_clock_set_back_an_hour_loses_and_confuses_nothing(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers go on, times rise, tokens are good, old ones are stale, and a repeat is still a repeat."""
    real, back = folders.now, [0]
    monkeypatch.setattr(folders, "now", lambda: real() - back[0])

    async def story() -> None:
        space = await sent(data, wishes.create_space())
        session = await sent(data, wishes.create_session(space))
        first = wishes.append_events(space, session, wishes.event("first"))
        key = str(uuid.uuid4())
        before = await told(data, first, key)
        back[0] = HOUR
        after, repeat = await told(data, wishes.append_events(space, session)), await told(data, first, key)
        assert [landed(o).subject for o in (before, after)] == ["event/0", "event/1"]
        assert landed(after).time > landed(before).time
        assert isinstance(repeat.result, Accepted)
        assert repeat.result.repeated
        token = to_text(landed(before).time)
        change = wishes.update_events(space, session, wishes.change(0, "new", created_at=token))
        won, lost = await told(data, change), await told(data, change)
        assert landed(won).time > landed(after).time
        assert isinstance(lost.result, Rejected)
        assert lost.result.reason is Reason.STALE_EVENT
        log = Folder(data).log()
        invariants.sound(await invariants.read(log), whole=True)
        await log.close()

    asyncio.run(story())


def landed(outcome: Outcome) -> Landed:
    """Return the first fact of an acceptance."""
    assert isinstance(outcome.result, Accepted), outcome
    return outcome.result.facts[0]


async def sent(data: Path, command: Command) -> str:
    """Send a command; return what it made."""
    return str(landed(await told(data, command)).subject)


async def told(data: Path, command: Command, key: str = "") -> Outcome:
    """Start a server's core on the folder, send it a command, stop it; return the outcome."""
    folder = Folder(data)
    with SequencingLock(folder):
        core = Embedded(folder, Rules())
        core.start()
        try:
            identifier = key or str(uuid.uuid4())
            slot = slot_of_command("acme", identifier, command) or 0
            return await core.submit(Envelope(identifier, "acme", "token/t", slot, bytes(32), command))
        finally:
            core.stop()
