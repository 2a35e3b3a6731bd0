"""The view of sessions and their events.

1. A session has a row, listed in its space; an event has a row, ranked by sequence id in its session and its type.
2. A deleted session loses its row; its events' rows go with their erasure, and nobody reads them without the session.
3. An event's `created` is its concurrency token: the time it was last written.
"""

from __future__ import annotations

from collections.abc import Sequence

from mnemolog.domain.fact import Fact
from mnemolog.domain.ops import Drop, Op, Put, Rank
from mnemolog.domain.schema import sent
from mnemolog.domain.session import (
    EventAppended,
    EventDeleted,
    EventUpdated,
    SessionCreated,
    SessionDeleted,
    SessionErased,
    SessionUpdated,
    StrategyExecuted,
    sequence_of,
)
from mnemolog.domain.strategy import ExtractionCompleted, StrategyRearmed
from mnemolog.domain.streams import own_id
from projections import names, timers
from projections.hidden import waiting


def view(fact: Fact) -> Sequence[Op]:
    """Return what a fact of a session's stream changes."""
    identifier, tenant = own_id(fact.stream), fact.tenant
    key = names.session(tenant, identifier)
    match fact.payload:
        case SessionCreated() as created:
            row = {"id": identifier, "version": 1, "created": fact.time} | created.model_dump()
            place = Rank(key, "space", names.index("sessions", tenant, created.space), fact.time)
            return [Put(key, row), place, *timers.opened(key, created.lifecycle_strategies, fact.time)]
        case SessionUpdated() as change:
            changed = "lifecycle_strategies" in change.model_fields_set
            return [
                Put(key, sent(change)),
                *(timers.changed(key, change.lifecycle_strategies, fact.time) if changed else []),
            ]
        case SessionDeleted():
            return [Drop(key), *waiting(fact, "session")]
        case SessionErased() as erased:
            return _erased(fact, erased, tenant, identifier)
        case StrategyExecuted() | StrategyRearmed() | ExtractionCompleted():
            return timers.view(fact, key)
        case EventAppended() | EventUpdated() | EventDeleted():
            return _event(fact, tenant, identifier)
        case _:
            return []


def _erased(fact: Fact, erased: SessionErased, tenant: str, identifier: str) -> Sequence[Op]:
    whole = fact.subject == identifier
    gone = [names.session(tenant, identifier)] if whole else []
    if erased.ended:
        gone.append(names.hidden(tenant, "session", identifier))
    for entry in sorted({taken.subject for taken in erased.took if taken.subject.startswith("event/")}):
        gone.append(names.event(tenant, identifier, sequence_of(entry)))
        if whole or not erased.left:
            gone.append(names.hidden(tenant, "event", identifier, str(sequence_of(entry))))
    return [Drop(row) for row in gone]


def _event(fact: Fact, tenant: str, session: str) -> Sequence[Op]:
    sequence = sequence_of(fact.subject)
    key = names.event(tenant, session, sequence)
    match fact.payload:
        case EventAppended() as appended:
            said = {"body": appended.body, "type": appended.type, "emitter": appended.emitter}
            row = {"sequence": sequence, "created": fact.time, **said}
            return [
                Put(key, row),
                Rank(key, "session", names.index("events", tenant, session), sequence),
                _typed(key, tenant, session, appended.type, sequence),
            ]
        case EventUpdated() as change:
            fields = sent(change)
            fields.pop("tokens", None)
            put = Put(key, {"created": fact.time} | fields)
            return [put, _typed(key, tenant, session, change.type, sequence)] if "type" in fields else [put]
        case _:
            return [Drop(key), *waiting(fact, "event", str(sequence))]


def _typed(key: str, tenant: str, session: str, kind: str, sequence: int) -> Op:
    return Rank(key, "type", names.index("events", tenant, session, "type", kind), sequence)
