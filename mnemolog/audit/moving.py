"""Moving a log into topics of another number of partitions (design §3, §4; docs/growing.md).

1. A fact's slot does not change, and `partition = slot % N`: what one new partition gets lies in one old partition
   where there are more of them now, in several where there are fewer; there it is merged by source, as an export is.
2. Facts are written as they were, byte for byte, in the order of each slot, so versions, ordinals, chains and heads are
   equal; the new command topic begins the next epoch at offset 0, which the control record behind the facts says.
3. Whatever still writes to the old topics is noticed: commands that are not decided, or facts that come meanwhile, end
   the move. Begun again, it goes on where it was.
4. At the end the new partitions are walked, and the heads of all slots compared with the old ones.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from mnemolog.audit.exports import merged, placed
from mnemolog.audit.found import Found
from mnemolog.audit.reading import pages
from mnemolog.audit.walk import Walk
from mnemolog.domain.audits import Told, silent
from mnemolog.domain.errors import Corrupt, Unavailable
from mnemolog.domain.ids import partition_of
from mnemolog.domain.ports import Log
from mnemolog.domain.record import CONTROL_KEY, FactRecord, Position, Transaction

_BATCH = 1_000
_BATCH_BYTES = 4 << 20

Heads = dict[int, tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class Place:
    """A log and how many partitions it has."""

    log: Log
    partitions: int


@dataclass(slots=True)
class Stand:
    """How far a log had come when it was looked at: the end of each partition, heads, erased keys, the last epoch."""

    ends: list[int] = field(default_factory=list)
    heads: Heads = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    positions: list[int] = field(default_factory=list)
    epoch: int = 0
    facts: int = 0


async def move(old: Place, new: Place, told: Told = silent) -> int:
    """Move all facts; return how many there are. Raises Corrupt, or Unavailable if the old topics are still used."""
    stand = await _walked(old, told, fence=True)
    await _quiet(old, stand)
    begun = Position(stand.epoch + 1, 0)
    for partition in range(new.partitions):
        await _fill(old, new, partition, stand, begun, told)
    await _quiet(old, stand)
    arrived = await _walked(new, told, fence=False)
    if arrived.heads != stand.heads:
        different = sorted(
            slot
            for slot in arrived.heads.keys() | stand.heads.keys()
            if arrived.heads.get(slot) != stand.heads.get(slot)
        )
        message = f"the heads of {len(different)} slots are not those of the old log, such as slot {different[0]}'s"
        raise Corrupt(message)
    return stand.facts - len(stand.gone)


async def _walked(place: Place, told: Told, *, fence: bool) -> Stand:
    """Walk every partition; with `fence`, whoever sequences it has to let go of it first."""
    stand, found = Stand(), Found()
    for partition in range(place.partitions):
        if fence:
            await place.log.take(partition)
        walk = Walk(partition, place.partitions, found)
        async for page in pages(place.log, partition, told=told):
            walk.take(page)
            stand.gone.update(record.key for record in page if record.value is None)
        walk.finish()
        stand.ends.append(await place.log.end(partition))
        stand.heads |= walk.heads()
        stand.positions.append(walk.position.offset)
        stand.epoch = max(stand.epoch, walk.position.epoch)
        stand.facts += walk.facts
    if found.count:
        message = f"the log does not hold together, run mnemolog audit verify: {found.said[0]}"
        raise Corrupt(message)
    return stand


async def _quiet(old: Place, stand: Stand) -> None:
    """Make sure that nothing is left to decide and nothing has come. Raises Unavailable."""
    for partition, (end, position) in enumerate(zip(stand.ends, stand.positions, strict=True)):
        if await old.log.commands(partition, position, 1):
            message = (
                f"partition {partition} has commands that are not decided: stop gateways and publishers, let the"
                " sequencers finish, stop them too, and begin again"
            )
            raise Unavailable(message)
        if await old.log.end(partition) != end:
            message = f"facts have come to partition {partition} meanwhile: stop the sequencers, and begin again"
            raise Unavailable(message)


async def _fill(old: Place, new: Place, partition: int, stand: Stand, begun: Position, told: Told) -> None:
    """Write what a new partition is to hold, from where an earlier attempt stopped."""
    count, complete = await _already(old, new, partition, stand, begun)
    if complete:
        return
    await new.log.take(partition)
    written, skipped = count, 0
    batch: list[FactRecord] = []
    size = 0
    async for record in _wanted(old, new.partitions, partition, stand):
        if skipped < count:
            skipped += 1
            continue
        batch.append(record)
        size += len(record.value or b"")
        if len(batch) == _BATCH or size > _BATCH_BYTES:
            await new.log.commit(partition, Transaction(begun, "", control=False, facts=tuple(batch)))
            written += len(batch)
            batch, size = [], 0
            told(f"moving into partition {partition}", written, 0)
    if batch:
        await new.log.commit(partition, Transaction(begun, "", control=False, facts=tuple(batch)))
    await new.log.commit(partition, Transaction(begun, "", control=True))


async def _wanted(old: Place, partitions: int, partition: int, stand: Stand) -> AsyncIterator[FactRecord]:
    """Yield what a partition of so many is to hold."""
    step = min(old.partitions, partitions)
    sources = {p: placed(old.log, p, stand.ends[p]) for p in range(old.partitions) if p % step == partition % step}
    async for record in merged(sources):
        if partition_of(int(record.headers["slot"]), partitions) == partition and record.key not in stand.gone:
            yield record


async def _already(old: Place, new: Place, partition: int, stand: Stand, begun: Position) -> tuple[int, bool]:
    """Return how many facts are there, and whether that is all. Raises Unavailable if anything else is there."""
    count, complete, foreign = 0, False, bool(await new.log.commands(partition, 0, 1))
    wanted = _wanted(old, new.partitions, partition, stand)
    async for page in pages(new.log, partition):
        for record in page:
            if record.key == CONTROL_KEY:
                complete = record.headers["position"] == str(begun)
                foreign = foreign or not complete
                continue
            expected = await anext(wanted, None)
            foreign = foreign or expected is None or (record.key, record.value) != (expected.key, expected.value)
            count += 1
    if foreign:
        message = "the new topics hold something else already: name another prefix"
        raise Unavailable(message)
    return count, complete


async def _closed(records: AsyncIterator[FactRecord]) -> None:
    close = getattr(records, "aclose", None)
    if close is not None:
        await close()
