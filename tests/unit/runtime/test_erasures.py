"""The list of erasures, applied to a log as it was before: all of it goes, and nothing else."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from mnemolog.audit import erasures
from mnemolog.audit.erasures import Line
from mnemolog.audit.reading import Facts
from mnemolog.audit.returned import returned
from mnemolog.domain import canonical
from mnemolog.domain.codec import link_of
from mnemolog.domain.record import CONTROL_KEY, CommandRecord, FactRecord
from mnemolog.domain.times import to_text
from mnemolog.runtime.audited import audited
from mnemolog.runtime.config import Settings
from mnemolog.runtime.erasures import apply
from mnemolog.runtime.operators import operator
from tests.given import given
from tests.unit.audit import scenes
from tests.wishes import add_memory, add_message, erase_owner, update_memory

pytestmark = pytest.mark.unit


class Records:
    """A log that holds these records."""

    def __init__(self, records: Sequence[FactRecord]) -> None:
        """Number them."""
        self._records = [replace(record, offset=number) for number, record in enumerate(records)]

    async def facts(self, partition: int, start: int, limit: int) -> Sequence[FactRecord]:
        """Return some of them."""
        del partition
        return self._records[start : start + limit]

    async def end(self, partition: int) -> int:
        """Return how many there are."""
        del partition
        return len(self._records)

    async def commands(self, partition: int, start: int, limit: int) -> Sequence[CommandRecord]:
        """Return none."""
        del partition, start, limit
        return []

    async def bounds(self, partition: int) -> tuple[int, int]:
        """Return that there are none."""
        del partition
        return 0, 0


def test_what_an_erasure_under_way_hides_is_listed() -> None:
    """An owner's erasure that has taken nothing yet names nobody, but each memory and message that it hides."""
    story = given(add_memory("one"), add_memory("another's", agent="x"), add_message("two"))
    story.when(lambda s: update_memory(s.id("memory", 0), content="more"))
    story.when(erase_owner())
    hidden = {story.stream("memory", 0), story.stream("group")}
    story.when(add_memory("since"))

    async def listed() -> list[Line]:
        return [line async for line in erasures.lines(Records([record for _, record in story.log]), 1)]

    found = asyncio.run(listed())
    assert {line.stream for line in found} == hidden
    assert {line.how for line in found} == {"erased"}


@pytest.mark.parametrize("seed", range(3))
def test_guarantee_7_a_list_takes_what_was_erased_later_and_nothing_else(seed: int, tmp_path: Path) -> None:
    """For a random past, copied half way: in the copy, the list takes all of what it names and leaves the rest."""
    path, copy = tmp_path / "mnemolog.db", tmp_path / "copy" / "mnemolog.db"
    copy.parent.mkdir()

    def half(number: int) -> None:
        if number == 100:
            with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
                source.backup(target)

    scenes.make(path, seed, 200, half)

    async def applied() -> None:
        settings = Settings(data=tmp_path)
        async with audited(settings) as here:
            await erasures.write(here.log, 1, tmp_path / "list", to_text(2 * 10**15))
            last = await _there(here.log)
        known = erasures.read(tmp_path / "list")
        settings = replace(settings, data=copy.parent)
        async with audited(settings) as here, operator(settings) as held:
            before = await _there(here.log)
            assert await apply(here, held, known, lambda *_: None, force=True)
            after = await _there(here.log)
            left = await returned(here.log, 1, known)
        assert not {thing for thing in left.things if thing.how == "erased"}
        erased = {link for link, line in known.links.items() if line.how == "erased"}
        assert before & erased, "nothing was erased after the copy: choose another seed"
        assert not after & erased
        assert after >= before & last, "what was there at the end is still there"

    asyncio.run(applied())
    result, _ = scenes.verify(copy)
    assert not result.found.count, result.found.said


async def _there(log: Facts) -> set[bytes]:
    """Return the links of all facts but erasures."""
    records = await log.facts(0, 0, 100_000)
    facts = [record for record in records if record.value is not None and record.key != CONTROL_KEY]
    return {link_of(record) for record in facts if "took" not in canonical.reread(record.value or b"")["body"]}
