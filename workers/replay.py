"""Replay: fold what the snapshot does not know yet, and make sure that the log and the position agree (design §5)."""

from __future__ import annotations

from collections.abc import Callable

from mnemolog.domain.codec import decode_fact
from mnemolog.domain.errors import Corrupt
from mnemolog.domain.fold import evolve
from mnemolog.domain.ports import Log
from mnemolog.domain.record import CONTROL_KEY, FactRecord, Position
from workers.state import State

_PAGE = 1_000
_SAVE_EVERY = 20_000


async def replay(log: Log, partition: int, state: State, told: Callable[[int, int], None] = lambda *_: None) -> int:
    """Fold the facts from the state's offset to the end; return how many records that took.

    `told` hears, page by page, the next offset and the end.

    Facts and the control record both say up to where commands are decided; the furthest counts.
    """
    end = await log.end(partition)
    read = 0
    told(state.offset, end)
    while state.offset < end:
        records = await log.facts(partition, state.offset, _PAGE)
        if not records:
            break
        for record in records:
            fold(state, record)
        read += len(records)
        told(state.offset, end)
        if state.unsaved > _SAVE_EVERY:
            state.save()
    state.offset = max(state.offset, end)
    told(state.offset, state.offset)
    await _agree(log, partition, state)
    return read


def fold(state: State, record: FactRecord) -> None:
    """Fold one record of the fact topic. Raises Malformed for a fact that this code does not know."""
    if record.key == CONTROL_KEY:
        _advance(state, Position.parse(record.headers["position"]), record.headers["command"])
    elif record.value is not None:
        fact = decode_fact(record)
        state.apply(evolve(state, fact))
        _advance(state, Position(fact.source.epoch, fact.source.offset + 1), fact.command)
    state.offset = record.offset + 1


def _advance(state: State, position: Position, command: str) -> None:
    if position > state.position:
        state.position, state.last_command = position, command


async def _agree(log: Log, partition: int, state: State) -> None:
    first, following = await log.bounds(partition)
    position = state.position.offset
    if position > following:
        message = (
            f"the facts say that commands up to offset {position} are decided, but the command log ends at {following}:"
            " it is not the log that these facts came from"
        )
        raise Corrupt(message)
    if first > position:
        message = f"the command log starts at {first}, but commands from {position} on are undecided and gone"
        raise Corrupt(message)
    if position > first:
        for record in await log.commands(partition, position - 1, 1):
            if record.offset == position - 1 and record.headers.get("ce_id", "") != state.last_command:
                message = f"the command at offset {position - 1} is not the one that was decided there"
                raise Corrupt(message)
