"""What is erased in the log and whose bytes its files still have: the null record is written, the cleaner has not come.

Two passes over the fact topic: which keys have null records, and which of their values are still there.
"""

from __future__ import annotations

from typing import NamedTuple

from mnemolog.audit.reading import Facts, pages
from mnemolog.domain.audits import Told, silent
from mnemolog.domain.codec import decode_fact
from mnemolog.domain.erasure import Erased
from mnemolog.domain.record import FactRecord
from mnemolog.domain.streams import fact_key


class NotCleaned(NamedTuple):
    """How many erased values are still in the files, and when the oldest of them was erased (µs)."""

    values: int
    since: int | None


async def not_cleaned(log: Facts, partition: int, told: Told = silent) -> NotCleaned:
    """Look through one partition, up to the end that it has now."""
    end = await log.end(partition)
    gone: set[str] = set()
    async for page in pages(log, partition, below=end, told=told):
        gone.update(record.key for record in page if record.value is None)
    left: set[str] = set()
    erased: dict[str, int] = {}
    if not gone:
        return NotCleaned(0, None)
    async for page in pages(log, partition, below=end, told=told):
        for record in page:
            if record.value is not None and record.key in gone:
                left.add(record.key)
            elif _erases(record):
                erased |= _taken(record, gone)
    return NotCleaned(len(left), min((erased[key] for key in left if key in erased), default=None))


def _erases(record: FactRecord) -> bool:
    return record.value is not None and record.headers.get("ce_type", "").endswith(".erased.v1")


def _taken(record: FactRecord, gone: set[str]) -> dict[str, int]:
    """Return the keys of what a fact has taken, with its time; only those whose null records are still there."""
    fact = decode_fact(record, linked=False)
    if not isinstance(fact.payload, Erased):
        return {}
    keys = (fact_key(fact.stream, took.version) for took in fact.payload.took)
    return {key: fact.time for key in keys if key in gone}
