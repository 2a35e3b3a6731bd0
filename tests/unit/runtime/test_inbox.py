"""The inbox of an embedded log: who came together is taken together, and nobody waits for who does not come."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from mnemolog.domain.record import CommandRecord
from mnemolog.runtime.inbox import Inbox
from mnemolog.runtime.waiting import Waiting

pytestmark = pytest.mark.unit


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Return a loop that whoever waits could be on."""
    made = asyncio.new_event_loop()
    yield made
    made.close()


def command(loop: asyncio.AbstractEventLoop, name: str) -> Waiting:
    """Return a command on its way."""
    return Waiting(CommandRecord("0", {"ce_id": name}, b"{}"), loop, None, loop.create_future())


def names(taken: list[Waiting]) -> str:
    """Return the names of commands, one after the other."""
    return "".join(one.record.headers["ce_id"] for one in taken)


def test_who_was_answered_together_is_waited_for(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as some come in, one after the other, and no longer than all have come."""
    box, late = Inbox(), iter("bcde")
    for name in "abcde":
        box.put(command(loop, name))
    assert names(box.take(0)) == "abcde"
    monkeypatch.setattr("time.sleep", lambda _: box.put(command(loop, next(late))))
    box.put(command(loop, "a"))
    assert names(box.take(0)) == "abcde"


def test_nobody_waits_for_who_does_not_come(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """One look is enough; few that came together are not waited for at all."""
    box = Inbox()
    looks: list[float] = []
    monkeypatch.setattr("time.sleep", looks.append)
    for together, looked in (("abcde", 0), ("f", 1), ("ghi", 1), ("j", 1)):
        for name in together:
            box.put(command(loop, name))
        assert names(box.take(0)) == together
        assert len(looks) == looked


def test_a_wake_brings_nothing(loop: asyncio.AbstractEventLoop) -> None:
    """Whoever waits looks up, takes what is there, and has nothing else in his hands."""
    box = Inbox()
    box.wake()
    assert box.take(60) == []
    box.propose([command(loop, "p")])
    assert names(box.take(60)) == "p"
    assert box.take(0) == []


def test_what_is_given_up_is_out(loop: asyncio.AbstractEventLoop) -> None:
    """Every proposal is handed over once."""
    box = Inbox()
    box.propose([command(loop, name) for name in "pqr"])
    assert names(list(box.given_up())) == "pqr"
    assert box.take(0) == []
