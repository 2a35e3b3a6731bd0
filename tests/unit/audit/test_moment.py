"""The state as it was: at any moment of a random past it is what the views were then; what was erased since is told."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from mnemolog.audit.moment import Moment, Then, replayed
from mnemolog.audit.reading import About
from mnemolog.domain.audits import NotAsked
from mnemolog.domain.record import Position
from mnemolog.domain.times import to_text
from projections.projector import Projector, project
from projections.store_memory import MemoryStore
from tests.given import NOON
from tests.histories import Told
from tests.unit.pipeline import Pipeline
from tests.wishes import (
    add_memory,
    add_message,
    append_events,
    create_session,
    create_space,
    delete_event,
    delete_memory,
    delete_space,
    erase_owner,
    erase_range,
    update_memory,
)

pytestmark = pytest.mark.unit


def then(line: Pipeline, about: About, moment: Moment) -> Then:
    """Replay what a pipeline's log says."""
    return asyncio.run(replayed(line.log, line.partitions, about, moment, project))


def contents(found: Then) -> list[Any]:
    """Return the texts of the rows."""
    return [row.fields["content"] for row in found.rows]


async def _at_every_moment(seed: int) -> None:
    told = await Told(seed, partitions=1).more(150)
    store = MemoryStore()
    projector, tenants = Projector(told.log, store), ("acme", "acme/client", "bolt")
    live: list[tuple[Position, dict[str, Any]]] = []
    records = [record for record in await told.log.facts(0, 0, 100_000) if record.value and "source" in record.headers]
    ends = {r.headers["source"]: r.offset for r in records}
    erased = {record.key for record in await told.log.facts(0, 0, 100_000) if record.value is None}
    for source, offset in ends.items():
        cut = MemoryStore()
        projector = Projector(_Cut(told.log, offset + 1, erased), cut)  # type: ignore[arg-type]
        while await projector.step():
            pass
        live.append((Position.parse(source), dict(cut.all_rows.get(0, {}))))
    for position, rows in live[:: max(1, len(live) // 12)]:
        found: dict[str, Any] = {}
        for tenant in tenants:
            state = await replayed(told.log, 1, About(tenant=tenant), Moment(position=position), project)
            found |= {row.key: row for row in state.rows}
        assert found.keys() <= rows.keys()
        hidden = rows.keys() - found.keys()
        gone = [row for key, row in rows.items() if _kind(key) == "owner"]
        for key in hidden:
            row = rows[key]
            below = [one["below"] for one in gone if row.items() >= {n: one[n] for n in ("agent", "invoker")}.items()]
            parent = "/session/" in key or row.get("ordinal", 0) < max(below, default=0)
            assert parent or _kind(key) in {"hidden", "owner"}, "only what a hidden parent hides may be left out"
        for key, row in found.items():
            assert {n: v for n, v in row.fields.items() if n != "session"} == rows[key]


def _kind(key: str) -> str:
    return key.split("/")[-2]


class _Cut:
    """A log as it was when it ended at an offset, without what was erased since."""

    def __init__(self, log: Any, end: int, erased: set[str]) -> None:
        self._log, self._end, self._erased = log, end, erased

    async def facts(self, partition: int, start: int, limit: int) -> Any:
        records = [r for r in await self._log.facts(partition, start, limit) if r.offset < self._end]
        return [replace(r, value=None) if r.key in self._erased else r for r in records]

    async def end(self, partition: int) -> int:
        del partition
        return self._end


@pytest.mark.parametrize("seed", [1, 2])
def test_the_state_at_a_position_is_what_the_views_were_then(seed: int) -> None:
    """For every tenant, at moments all over a random past."""
    asyncio.run(_at_every_moment(seed))


def test_an_update_has_not_happened_before_it() -> None:
    """By time and by position: the moment itself belongs to it."""
    line = Pipeline()
    memory = line.say(add_memory("likes tea"))
    line.say(update_memory(memory, content="likes coffee"))
    about = About(stream=memory)
    times = [NOON + 1_000, NOON + 2_000]
    assert contents(then(line, about, Moment(time=times[0] - 1))) == []
    assert contents(then(line, about, Moment(time=times[0]))) == ["likes tea"]
    assert contents(then(line, about, Moment(time=times[1]))) == ["likes coffee"]
    assert contents(then(line, about, Moment(position=Position(0, 0)))) == ["likes tea"]
    assert contents(then(line, about, Moment.parse("0:1"))) == ["likes coffee"]
    assert contents(then(line, about, Moment.parse(to_text(times[0])))) == ["likes tea"]


def test_guarantee_7_what_was_erased_since_is_reported_as_erased() -> None:
    """Over a compacted log: that it was there, who erased it and when; nothing of its text."""
    line = Pipeline()
    kept = line.say(add_memory("kept"))
    gone = line.say(add_memory("a secret"))
    line.say(delete_memory(gone))
    held = then(line, About(owner=("acme", "bot", "ann")), Moment(time=NOON + 2_000))
    line.log.compact(0, nulls=True)
    found = then(line, About(owner=("acme", "bot", "ann")), Moment(time=NOON + 2_000))
    assert [row.fields["id"] for row in found.rows] == [kept]
    assert (held.rows, held.lost) == (found.rows, found.lost), "also while the log still holds it"
    (lost,) = found.lost
    assert not lost.owned, "whose it was is not known any more"
    assert (lost.stream, lost.versions, lost.sure) == (f"acme/memory/{gone}", (0,), True)
    assert (lost.erased.actor, lost.erased.command) == ("client/sb", "command-3")
    before = then(line, About(tenant="acme"), Moment(time=NOON + 1_500))
    assert before.lost == [], "it was written later"
    assert then(line, About(tenant="acme"), Moment(time=NOON + 3_000)).lost == [], "it was erased by then"


def test_guarantee_7_a_message_erased_with_others_is_reported_alone() -> None:
    """One `Erased` takes several; asked about one of them, it alone is told of, still there or not."""
    line = Pipeline()
    line.say(add_message("first"))
    second = line.say(add_message("second")).removeprefix("message/")
    owner = line.say(erase_owner())
    line.say(erase_range("owner", owner))
    about, moment = About(stream=second), Moment(time=NOON + 2_000)
    held = then(line, about, moment)
    line.log.compact(0, nulls=True)
    found = then(line, about, moment)
    assert (held.rows, held.lost) == (found.rows, found.lost)
    assert [(lost.subject, lost.sure) for lost in found.lost] == [(f"message/{second}", True)]


def test_a_position_is_that_of_one_partition() -> None:
    """Where a tenant lies on several, a position says nothing of the others."""
    told = asyncio.run(Told(1, partitions=2).more(2))
    with pytest.raises(NotAsked, match="name a time"):
        asyncio.run(replayed(told.log, 2, About(tenant="acme"), Moment.parse("0:1"), project))


def test_what_lies_around_the_moment_is_not_sure() -> None:
    """By position, with nothing left around it, an erased event may have been there or not."""
    line = Pipeline()
    space = line.say(create_space())
    session = line.say(create_session(space))
    line.say(append_events(space, session))
    line.say(append_events(space, session))
    for number in (0, 1):
        line.say(delete_event(space, session, number))
        line.say(erase_range("session", session, f"event/{number}"))
    line.log.compact(0, nulls=True)
    found = then(line, About(stream=session), Moment(position=Position(0, 2)))
    assert {lost.subject: lost.sure for lost in found.lost} == {"event/0": False, "event/1": False}
    assert [row.kind for row in found.rows] == ["session"]


def test_what_a_deleted_space_hides_is_not_shown() -> None:
    """Its sessions could not be read any more."""
    line = Pipeline()
    space = line.say(create_space())
    line.say(append_events(space, line.say(create_session(space))))
    line.say(add_message("hello"))
    about = About(tenant="acme")
    assert [row.kind for row in then(line, about, Moment()).rows] == ["space", "session", "event", "message"]
    line.say(delete_space(space))
    assert [row.kind for row in then(line, about, Moment()).rows] == ["message"]
