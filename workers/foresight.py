"""What a batch of commands will ask the state for: read at once, it costs a fraction of what it costs one by one.

Only a hint. What is foreseen and not needed was read in vain, what is needed and not foreseen is read when it is asked
for: no decision depends on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mnemolog.domain import erasure
from mnemolog.domain.codec import Envelope
from mnemolog.domain.decision import OwnerState
from mnemolog.domain.erasure import Erase, EraseRange
from mnemolog.domain.expiry import ExpireRecord
from mnemolog.domain.memory import DeleteMemory
from mnemolog.domain.record import CommandRecord, named
from mnemolog.domain.streams import kind_of, stream
from workers.state import State


def foresee(state: State, records: Sequence[CommandRecord], envelopes: Iterable[Envelope]) -> None:
    """Have the state read what a batch of commands will ask for.

    1. The acceptances of their ids, of which there are nearly none.
    2. The memories that they take facts of, with these facts and the acceptances that brought them. A memory has few
       facts. Sessions and spaces have many, and a range of them is asked for at once as it is.
    """
    erased = {name: envelope.slot for envelope in envelopes for name in _memories(state, envelope)}
    state.expect(named(records), erased)


def _memories(state: State, envelope: Envelope) -> Iterator[str]:
    match envelope.command:
        case DeleteMemory(target=target):
            yield stream(envelope.tenant, "memory", target.memory)
        case ExpireRecord(target=target) | Erase(target=target) | EraseRange(target=target) if target.kind == "memory":
            yield stream(envelope.tenant, "memory", target.id)
        case EraseRange(target=target) if target.kind == "owner":
            found = state.stream(stream(envelope.tenant, "owner", target.id))
            if found and isinstance(found.body, OwnerState):
                rows = state.owned(found.body.owner, erasure.room(target))
                yield from (row.stream for row in rows if kind_of(row.stream) == "memory")
