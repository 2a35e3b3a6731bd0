"""Imports: an export becomes the log of an empty instance, of either runtime and any number of partitions (design §4).

1. Facts are written as they were, so links, chains and heads are equal. The command topic begins a new epoch at offset
   0, which a control record says behind the last fact; until it stands there, no sequencer starts on what is there.
2. An import that was interrupted goes on where it was, if what is there is just the beginning of it; anything else in
   the log is refused.
3. Every fact is walked before it is written: an export that does not hold together is not taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from mnemolog.audit.exports import opened, read
from mnemolog.audit.found import Found
from mnemolog.audit.reading import pages
from mnemolog.audit.walk import Walk
from mnemolog.domain.audits import Told, silent
from mnemolog.domain.errors import Corrupt, Malformed, MnemologError
from mnemolog.domain.ids import partition_of
from mnemolog.domain.ports import Log
from mnemolog.domain.record import CONTROL_KEY, FactRecord, Position, Transaction

_BATCH = 1_000
_BATCH_BYTES = 4 << 20


class NotEmpty(MnemologError):
    """The instance holds something else already."""


async def bring_in(log: Log, partitions: int, folder: Path, told: Told = silent) -> int:
    """Import an export; return how many facts it has. Raises Malformed, Corrupt or NotEmpty.

    1. Check the manifest, and walk all facts, as they will lie in the partitions.
    2. For each partition: take it, leave out what is there from an earlier attempt, write the rest, batch by batch, and
       with the last one the control record.
    """
    manifest = opened(folder)
    if not manifest.whole:
        message = "this export is a part, and an instance needs the whole: export without choosing"
        raise Malformed(message)
    _check(folder, partitions, {int(slot): (one["facts"], one["root"]) for slot, one in manifest.heads.items()})
    begun = Position(manifest.epoch + 1, 0)
    for partition in range(partitions):
        done = await _already(log, partition, (r for r in read(folder) if _in(r, partition, partitions)), begun)
        if done is None:
            continue
        await log.take(partition)
        mine = islice((r for r in read(folder) if _in(r, partition, partitions)), done, None)
        written = done
        for batch in _batches(mine):
            await log.commit(partition, Transaction(begun, "", control=False, facts=tuple(batch)))
            written += len(batch)
            told(f"import partition {partition}", written, 0)
        await log.commit(partition, Transaction(begun, "", control=True))
    return manifest.facts


def _check(folder: Path, partitions: int, heads: dict[int, tuple[int, str]]) -> None:
    found = Found()
    walks = [Walk(partition, partitions, found) for partition in range(partitions)]
    for record in read(folder):
        try:
            walk = walks[partition_of(int(record.headers["slot"]), partitions)]
        except (KeyError, ValueError):
            found.wrong(f"the fact {record.key} has no slot")
            continue
        walk.take([record])
    for walk in walks:
        walk.finish()
    now = {slot: (size, root.hex()) for walk in walks for slot, (size, root) in walk.heads().items()}
    if not found.count and now != heads:
        found.wrong("its facts are not those that the heads of its manifest speak of")
    if found.count:
        message = f"the export does not hold together: {found.said[0]}"
        raise Corrupt(message)


async def _already(log: Log, partition: int, wanted: Iterator[FactRecord], begun: Position) -> int | None:
    """Return how many of the facts are there already; None if the import of this partition is complete.

    Raises NotEmpty if anything else is there.
    """
    _, following = await log.bounds(partition)
    count, complete, foreign = 0, False, following > 0
    async for page in pages(log, partition):
        for record in page:
            if record.key == CONTROL_KEY:
                complete = record.headers["position"] == str(begun)
                foreign = foreign or not complete
                continue
            expected = next(wanted, None)
            if expected is None or (record.key, record.value) != (expected.key, expected.value):
                foreign = True
            count += 1
    if complete and next(wanted, None) is not None:
        foreign = True
    if foreign:
        message = "this instance is not empty, and an import must not be mixed with anything: take a new one"
        raise NotEmpty(message)
    return None if complete else count


def _in(record: FactRecord, partition: int, partitions: int) -> bool:
    return partition_of(int(record.headers["slot"]), partitions) == partition


def _batches(records: Iterator[FactRecord]) -> Iterator[Sequence[FactRecord]]:
    batch: list[FactRecord] = []
    size = 0
    for record in records:
        batch.append(record)
        size += len(record.value or b"")
        if len(batch) == _BATCH or size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
