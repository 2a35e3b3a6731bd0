"""The eraser: goes on with what was hidden because it was too large to erase in one command (design §5).

It only proposes: one `EraseRange` per waiting stream and round, until the closing `Erased`; the sequencer decides, and
users' commands come in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from mnemolog.domain.codec import Encode, Envelope, encode_command
from mnemolog.domain.decision import OwnerState, SpaceState
from mnemolog.domain.erasure import EraseRange, EraseTarget
from mnemolog.domain.ids import proposal_id, slot_in
from mnemolog.domain.record import CommandRecord
from mnemolog.domain.space import inside
from mnemolog.domain.streams import kind_of, own_id, tenant_of
from mnemolog.domain.window import WORKERS
from workers.state import State

ACTOR = f"{WORKERS}eraser"
_AT_ONCE = 20
FACTS = 100
"""Taken in one round, of all that waits: what comes between two writes of a user."""


def proposals(
    state: State, entropy: Callable[[int], bytes], encode: Encode = encode_command, facts: int = FACTS
) -> Sequence[CommandRecord]:
    """Return the commands that take the next range of each waiting stream, as `encode` writes them; at most 20.

    `facts` are what they may take together, where there are not more streams than that.
    """
    waiting = sorted(state.erasing)[:_AT_ONCE]
    limit = max(1, facts // max(1, len(waiting)))
    return [encode(_proposal(state, name, limit, entropy(32))) for name in waiting]


def _proposal(state: State, name: str, limit: int, secret: bytes) -> Envelope:
    identifier = own_id(name)
    lowest = state.written(name, None, 1)
    owned = state.owned(_owner(state, name), 1)
    first = (lowest[0].version if lowest else -1, owned[0].ordinal if owned else -1)
    command = EraseRange(target=EraseTarget(kind=_kind(name), id=identifier, limit=limit))
    return Envelope(
        proposal_id("erase-range", name, *(str(number) for number in first)),
        tenant_of(name),
        ACTOR,
        slot_in(identifier),
        secret,
        command,
    )


def _kind(name: str) -> Literal["memory", "session", "contents", "owner"]:
    match kind_of(name):
        case "session" | "owner" as kind:
            return kind
        case "space":
            return "contents"
        case _:
            return "memory"


def _owner(state: State, name: str) -> bytes:
    """Return the mark of what goes with a stream, empty where nothing does."""
    found = state.stream(name)
    if found and isinstance(found.body, SpaceState):
        return inside(state, own_id(name))
    return found.body.owner if found and isinstance(found.body, OwnerState) else b""
