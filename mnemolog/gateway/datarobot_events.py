"""`…/sessions/{session}/events/`: events, one by one and in batches (wire contract §3, §3.3).

1. Requests say `type` and a nested `emitter`, answers `eventType`, `emitterType`, `emitterId`.
2. `createdAt` is the token of an event: an update that brings another one is refused.
3. A batch is one command: all of it or nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from mnemolog.domain import session_commands as commands
from mnemolog.domain.outcomes import Accepted
from mnemolog.domain.reads import EventFilter, EventRow
from mnemolog.domain.rules import BATCH_LIMIT
from mnemolog.domain.times import from_text, to_text
from mnemolog.gateway import intake
from mnemolog.gateway.answers import answer, nothing
from mnemolog.gateway.awaiting import write
from mnemolog.gateway.call import Call
from mnemolog.gateway.datarobot import PAGE, SESSION, Paging, listed, paging, session_id, space_id
from mnemolog.gateway.datarobot_sessions import readable_session
from mnemolog.gateway.problems import invalid, missing
from mnemolog.gateway.shapes import Shape, take, take_each

_EVENT = "event"
_ENTRY = "event/"
_FIELDS = {"body": "body", "type": "type", "emitter": "emitter"}
NEW_EVENT = Shape(commands.NewEvent, _FIELDS)
EVENT_CHANGE = Shape(commands.EventChange, {"sequenceId": "sequence_id", **_FIELDS, "createdAt": "created_at"})
_EMITTER = ("type", "id")
_MAX_DIGITS = 15


async def append(call: Call) -> Response:
    """Append an event."""
    target = _session(call)
    event = take(NEW_EVENT, _clean(await intake.document(call)))
    accepted = await write(call, commands.AppendEvents(target=target, parts=(event,)), SESSION)
    return answer((await _written(call, target, accepted))[0], 201)


async def append_batch(call: Call) -> Response:
    """Append up to 200 events with consecutive sequence ids, or none."""
    target = _session(call)
    events = take_each(NEW_EVENT, await _batch(call), "body", "events")
    accepted = await write(call, commands.AppendEvents(target=target, parts=events), SESSION)
    return answer({"items": await _written(call, target, accepted)}, 201)


async def update(call: Call) -> Response:
    """Change an event, if it still has the `createdAt` that the caller saw."""
    target, sequence = _session(call), _sequence(call)
    fields: dict[str, Any] = {"sequenceId": sequence}
    token = intake.last(intake.query(call.request), "createdAt")
    if token is not None:
        _check_time(token, "query", "createdAt")
        fields["createdAt"] = token
    document = _clean(await intake.document(call))
    change = take(EVENT_CHANGE, {name: document[name] for name in _FIELDS if name in document} | fields)
    accepted = await write(call, commands.UpdateEvents(target=target, parts=(change,)), SESSION)
    return answer((await _written(call, target, accepted))[0])


async def update_batch(call: Call) -> Response:
    """Change up to 200 events, or none."""
    target = _session(call)
    items = await _batch(call)
    changes = take_each(EVENT_CHANGE, items, "body", "events")
    seen: set[int] = set()
    for index, change in enumerate(changes):
        if change.sequence_id in seen:
            message = "stands twice in this batch; an event can be changed once"
            raise invalid(message, "body", "events", index, "sequenceId")
        seen.add(change.sequence_id)
        if change.created_at is not None:
            _check_time(change.created_at, "body", "events", index, "createdAt")
    accepted = await write(call, commands.UpdateEvents(target=target, parts=changes), SESSION)
    return answer({"items": await _written(call, target, accepted)})


async def delete(call: Call) -> Response:
    """Hide an event; its sequence id stays used."""
    session, sequence = _session(call), _sequence(call)
    target = commands.EventTarget(space=session.space, user=session.user, session=session.session, sequence=sequence)
    await write(call, commands.DeleteEvent(target=target), _EVENT)
    return nothing()


async def listing(call: Call) -> Response:
    """List events by sequence id: a page of them, or the last n."""
    parameters = intake.query(call.request)
    page = paging(parameters)
    newest = intake.whole(parameters, "lastN", least=1, most=PAGE)
    if newest is not None and "offset" in parameters:
        message = "lastN and offset exclude each other"
        raise invalid(message, "query", "lastN")
    if newest is not None:
        page = Paging(0, min(newest, page.limit))
        newest = page.limit
    session = await readable_session(call, space_id(call), session_id(call))
    wanted = EventFilter(intake.last(parameters, "eventType"), newest, page.offset, page.limit)
    rows, total = await call.face.queries.events(call.asker.tenant, session["id"], wanted)
    call.used("list", len(rows), stream=f"session/{session['id']}")
    return listed([event_of(row) for row in rows], page, total)


def event_of(row: EventRow) -> dict[str, Any]:
    """Return an event as the SDKs read it."""
    return {
        "sequenceId": row["sequence"],
        "body": row["body"],
        "eventType": row["type"],
        "emitterType": row["emitter"].get("type"),
        "emitterId": row["emitter"].get("id"),
        "createdAt": to_text(row["created"]),
    }


def _session(call: Call) -> commands.SessionTarget:
    return commands.SessionTarget(space=space_id(call), user=call.asker.user, session=session_id(call))


def _sequence(call: Call) -> int:
    text: str = call.request.path_params["sequence"]
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise missing(_EVENT)
    return int(text)


async def _batch(call: Call) -> Sequence[Any]:
    events = (await intake.document(call)).get("events")
    if not isinstance(events, list) or not 1 <= len(events) <= BATCH_LIMIT:
        message = f"must be a list of 1 to {BATCH_LIMIT} events"
        raise invalid(message, "body", "events", kind="list_type")
    return [_clean(event) for event in events]


def _clean(event: Any) -> Any:
    """Return an event whose emitter has known fields only: what is unknown is ignored there as on the top level."""
    if not isinstance(event, dict) or not isinstance(event.get("emitter"), dict):
        return event
    emitter: Mapping[str, Any] = event["emitter"]
    return {**event, "emitter": {name: emitter[name] for name in _EMITTER if name in emitter}}


def _check_time(text: str, *loc: str | int) -> None:
    try:
        from_text(text)
    except (ValueError, OverflowError):
        message = "must be an ISO-8601 time, as an earlier answer gave it"
        raise invalid(message, *loc, kind="datetime_parsing") from None


async def _written(call: Call, target: commands.SessionTarget, accepted: Accepted) -> list[dict[str, Any]]:
    """Return the events of a write as they are now, those left out that have gone since. Raises Problem if all have."""
    if accepted.repeated:
        await readable_session(call, target.space, target.session)
    subjects = [fact.subject for fact in accepted.facts if fact.subject.startswith(_ENTRY)]
    sequences = [int(subject.removeprefix(_ENTRY)) for subject in subjects]
    rows = await call.face.queries.event_rows(call.asker.tenant, target.session, sequences)
    found = [event_of(row) for row in rows if row is not None]
    if not found:
        raise missing(_EVENT)
    return found
