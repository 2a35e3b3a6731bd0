"""When sessions are to be looked at: an index of deadlines for each type of strategy, and of due extractions.

1. A session is opened with the first deadline that its timers can have; events do not move it: who looks finds the last
   event, and the sequencer puts the timer off (`StrategyRearmed`).
2. New strategies are looked at at once: what they hang on, an update does not say.
3. A due extraction stands in the index `extractions` of its tenant until it is completed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mnemolog.domain.fact import Fact
from mnemolog.domain.ops import Op, Put, Rank, Unrank
from mnemolog.domain.session import StrategyExecuted
from mnemolog.domain.strategy import KINDS, ExtractionCompleted, StrategyRearmed
from mnemolog.domain.times import SECOND, from_text
from projections import names


def opened(key: str, strategies: Sequence[Mapping[str, Any]], created: int) -> Sequence[Op]:
    """Return the places of a new session."""
    ops: list[Op] = []
    for kind in KINDS:
        seconds = _timers(strategies, kind)
        if seconds:
            ops.append(_at(key, kind, created + min(seconds) * SECOND))
    return ops


def changed(key: str, strategies: Sequence[Mapping[str, Any]], now: int) -> Sequence[Op]:
    """Return the places of a session whose strategies have been replaced."""
    return [_at(key, kind, now) if _timers(strategies, kind) else Unrank(key, _family(kind)) for kind in KINDS]


def view(fact: Fact, key: str) -> Sequence[Op]:
    """Return what a fact about a strategy changes."""
    match fact.payload:
        case StrategyExecuted(type=kind):
            off = Unrank(key, _family(kind))
            if kind != "extract_memories":
                return [off]
            index = names.index("extractions", fact.tenant)
            return [off, Put(key, {"extraction_due": fact.time}), Rank(key, "extraction", index, fact.time)]
        case StrategyRearmed(type=kind, due=due):
            return [_at(key, kind, from_text(due)) if due else Unrank(key, _family(kind))]
        case ExtractionCompleted():
            return [Unrank(key, "extraction")]
        case _:
            return []


def _timers(strategies: Sequence[Mapping[str, Any]], kind: str) -> list[int]:
    """Return the seconds of a type's timers."""
    triggers = [strategy["trigger"] for strategy in strategies if strategy["type"] == kind]
    return [trigger[name] for trigger in triggers for name in ("ttl", "idle") if trigger.get(name) is not None]


def _family(kind: str) -> str:
    return f"due {kind}"


def _at(key: str, kind: str, due: int) -> Op:
    return Rank(key, _family(kind), names.due(kind), due)
