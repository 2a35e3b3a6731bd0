"""What a worker does with a partition, for as long as it is assigned: sequence it, or project it (design §5, §6).

Trouble with Kafka or a store is waited out inside, starting again from the fence or the checkpoint; after being fenced
it is not taken again before the group has had time to say whose it is; what contradicts itself ends the process. How
it goes is told to the partition's condition all the while.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial

from mnemolog.domain.codec import Encode, encode_command
from mnemolog.domain.errors import Fenced, Unavailable
from mnemolog.domain.ports import Log, Store
from mnemolog.runtime.condition import Condition
from mnemolog.runtime.watching import Watch
from projections.projector import Projector
from workers.eraser import proposals
from workers.sequencing import Sequencing

_log = logging.getLogger(__name__)
_RETRY = 0.5
_FENCED = 12.0
"""Seconds to wait when fenced: twice the group's session. If the partition had gone to another, this work has been
cancelled by then; if not, nobody else would do it."""
_SAVE_SECONDS = 5.0
_ERASE_SECONDS = 0.05
_MARK_SECONDS = 3_600.0
"""A partition of the fact topic that nothing is written to does not compact: the control record is (design §4)."""


async def sequence(
    log: Log,
    begun: Callable[[], Sequencing],
    condition: Condition,
    settled: Callable[[], Awaitable[None]],
    mark_seconds: float = _MARK_SECONDS,
    encode: Encode = encode_command,
) -> None:
    """Sequence a partition until cancelled; fenced, wait for that. `encode` writes what the eraser proposes.

    `begun` gives a sequencing that has not been started. `settled` returns once no rebalance is under way: a partition
    that is on its way to another must not be taken back.
    """
    partition = condition.partition
    while True:
        sequencing = begun()
        try:
            condition.waits("the facts are replayed")
            read = await sequencing.start()
            _log.info("partition %d: replayed %d facts behind the snapshot", partition, read)
            await _decide(log, sequencing, condition, mark_seconds, encode)
        except Fenced:
            condition.waits("another sequencer has taken it, or the broker gave our transaction up")
            _log.warning("partition %d: fenced; %s", partition, condition.trouble)
            await asyncio.sleep(_FENCED)
        except Unavailable as error:
            condition.waits(str(error))
            _log.warning("partition %d: %s", partition, error)
            await asyncio.sleep(_RETRY)
        finally:
            sequencing.save()
        await settled()


async def _decide(log: Log, sequencing: Sequencing, condition: Condition, mark_seconds: float, encode: Encode) -> None:
    saved = written = time.monotonic()
    eraser = asyncio.create_task(_erase(log, sequencing, condition, encode), name="mnemolog-eraser")
    try:
        while not eraser.done():
            transaction = await sequencing.step()
            now = time.monotonic()
            condition.works(sequencing.state.position.offset)
            if now - saved > _SAVE_SECONDS:
                sequencing.save()
                saved = now
            if transaction is not None:
                written = now
                continue  # the log waits a little where there is nothing, so this loop does not spin
            condition.took()
            if now - written > mark_seconds:
                await sequencing.mark()
                written = now
        await eraser  # whatever has ended it
    finally:
        eraser.cancel()


async def _erase(log: Log, sequencing: Sequencing, condition: Condition, encode: Encode) -> None:
    """Propose the next ranges of what is being erased, once those before are decided, and no faster than users notice.

    By the clock: a partition that is written to all the time is never idle, and must forget all the same.
    """
    proposed = -1
    while True:
        await asyncio.sleep(_ERASE_SECONDS)
        if not sequencing.settled or sequencing.state.position.offset <= proposed:
            continue
        condition.erasing = len(sequencing.state.erasing)
        if records := proposals(sequencing.state, secrets.token_bytes, encode):
            proposed = (await log.append(condition.partition, records))[-1]


async def project(log: Log, store: Store, condition: Condition, watch: Watch) -> None:
    """Project a partition until cancelled; at the log's end the log waits a little, so this loop does not spin."""
    applied = partial(watch.applied, "projector", condition)
    projector = Projector(log, store, condition.partition, applied=applied)
    while True:
        try:
            if not await projector.step():
                condition.took()
            condition.works(projector.checkpoint.offset)
        except Unavailable as error:
            condition.waits(str(error))
            _log.warning("partition %d: %s", condition.partition, error)
            await asyncio.sleep(_RETRY)
