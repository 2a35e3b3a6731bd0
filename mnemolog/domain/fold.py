"""The fold: what one more fact changes in the state. Total and pure, and content with holes.

The law of holes (design §6): for every log and every set of erasures, folding the compacted log gives the same
decisions as folding the whole log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mnemolog.domain import access, memory, message, owner, policy, session, space
from mnemolog.domain.decision import Body, Delta, Ended, Head, Seen, Slot, Stream, Written
from mnemolog.domain.erasure import Erased
from mnemolog.domain.fact import Fact
from mnemolog.domain.memory import MemoryDeleted
from mnemolog.domain.streams import kind_of, own_id
from mnemolog.domain.window import remember

_EVOLVERS: dict[str, Callable[[Seen, Any, Fact, Delta], Body]] = {
    "space": space.evolve,
    "session": session.evolve,
    "memory": memory.evolve,
    "group": message.evolve,
    "owner": owner.evolve,
    "policy": policy.evolve,
    "access": access.evolve,
}
_NEVER_ERASED = {"policy", "access"}


def evolve(seen: Seen, fact: Fact) -> Delta:
    """Return what changes: the slot's counters, the stream, its indexes, the window, and what erasure will need."""
    delta = Delta({}, {}, {}, {}, {}, {}, {}, {}, {})
    kind = kind_of(fact.stream)
    found = seen.stream(fact.stream)
    before = None if found is None or isinstance(found.body, Ended) else found.body
    body = _EVOLVERS[kind](seen, before, fact, delta)
    delta.streams[fact.stream] = Stream(Head(fact.version + 1, fact.chain, fact.time), body)
    if isinstance(fact.payload, MemoryDeleted | owner.OwnerErased) or _ranged(kind, fact):
        delta.erasing[fact.stream] = not isinstance(body, Ended)
    slot = seen.slot(fact.slot)
    delta.slots[fact.slot] = Slot(fact.ordinal + 1, max(slot.last, fact.time))
    remember(seen, fact, delta)
    if isinstance(fact.payload, Erased):
        for gone in fact.payload.took:
            delta.written[fact.stream, gone.version] = None
    elif kind not in _NEVER_ERASED:
        delta.written[fact.stream, fact.version] = Written(
            fact.version, fact.subject, fact.ordinal, fact.link, fact.command, fact.nth, fact.time
        )
    return delta


def _ranged(kind: str, fact: Fact) -> bool:
    """Tell whether a fact takes a range of a whole stream, with which the eraser goes on until it has ended."""
    return isinstance(fact.payload, Erased) and kind != "group" and fact.subject == own_id(fact.stream)
