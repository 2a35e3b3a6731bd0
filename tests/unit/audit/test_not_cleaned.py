"""What is erased in the log and not yet cleaned out of its files is counted, with the age of the oldest."""

from __future__ import annotations

import asyncio

import pytest

from mnemolog.audit.not_cleaned import NotCleaned, not_cleaned
from tests.unit.pipeline import Pipeline
from tests.wishes import add_memory, delete_memory, update_memory

pytestmark = pytest.mark.unit


def test_erased_values_are_counted_until_the_cleaner_has_taken_them() -> None:
    """All facts of an entry; since the first erasure whose values are left; nothing once the log is compacted."""
    line = Pipeline(1)
    assert asyncio.run(not_cleaned(line.log, 0)) == NotCleaned(0, None)
    first, second, stays = (line.say(add_memory(text)) for text in ("a", "b", "c"))
    line.say(update_memory(first, content="d"))
    assert asyncio.run(not_cleaned(line.log, 0)).values == 0
    line.say(delete_memory(first))
    since = line.now
    line.say(delete_memory(second))
    assert asyncio.run(not_cleaned(line.log, 0)) == NotCleaned(3, since)
    line.log.compact(0)
    assert asyncio.run(not_cleaned(line.log, 0)) == NotCleaned(0, None)
    line.say(delete_memory(stays))
    assert asyncio.run(not_cleaned(line.log, 0)) == NotCleaned(1, line.now)
