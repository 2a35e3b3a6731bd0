"""Writes that answer once reads show them, and reads that wait for a write seen elsewhere (design §10).

A write:

1. gets its id: from the caller's `Idempotency-Key`, or at random;
2. finds its slot; an id that carries none names nothing, and nothing is published;
3. is submitted, and answered when its facts are visible. Later than the write wait, it may still be accepted: the
   problem names the command and says how to go on.

Every answer to a write, a refusal too, carries `Mnemolog-Command`, and `Mnemolog-Position` once it has one. A read that
brings such a position waits until the views have come that far.
"""

from __future__ import annotations

import asyncio
import re
import uuid

from mnemolog.domain.codec import Envelope, encode_command, trace_of
from mnemolog.domain.errors import Refused, Unavailable
from mnemolog.domain.ids import SLOTS, command_id
from mnemolog.domain.outcomes import Accepted, Outcome, Reason, Rejected
from mnemolog.domain.record import Position
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import COMMAND_LIMIT
from mnemolog.domain.schema import Command
from mnemolog.gateway.call import Call, Face
from mnemolog.gateway.problems import Kind, Problem, invalid, missing, refused

COMMAND = "mnemolog-command"
POSITION = "mnemolog-position"
IDEMPOTENCY = "idempotency-key"
_TOKEN = re.compile(r"([0-9]{1,4})/([0-9]{1,18}):([0-9]{1,18})")
_MAX_TOKENS = 16
_FIRST_LOOK = 0.005
_LOOK = 0.1
# Re-encoding may spell numbers longer than the caller did, but not a hundred times.
_SURELY_FITS = COMMAND_LIMIT // 100


async def write(call: Call, command: Command, noun: str) -> Accepted:
    """Send a command and return its acceptance. Raises Problem for anything else; `noun` is what it is about."""
    envelope = _envelope(call, command, noun)
    call.headers[COMMAND] = envelope.id
    outcome = await _submitted(call, envelope)
    call.headers[POSITION] = f"{envelope.slot}/{outcome.position}"
    match outcome.result:
        case Accepted() as accepted:
            return accepted
        case Rejected() as rejected:
            problem = refused(rejected)
            if rejected.reason is Reason.KEY_REUSED:
                problem.detail += f" (command {envelope.id})"
            raise problem


async def honour_positions(call: Call) -> None:
    """Wait until the views hold what the request's positions name. Raises Problem if that takes too long."""
    given = ",".join(call.request.headers.getlist(POSITION))
    if not given.strip():
        return
    tokens = [token.strip() for token in given.split(",")]
    found = [_TOKEN.fullmatch(token) for token in tokens]
    wanted = [(int(f[1]), Position(int(f[2]), int(f[3]))) for f in found if f]
    if len(wanted) < len(found) or len(wanted) > _MAX_TOKENS or any(slot >= SLOTS for slot, _ in wanted):
        message = f"must be what an earlier answer gave, slot/epoch:offset, at most {_MAX_TOKENS} of them"
        raise invalid(message, "header", "Mnemolog-Position")
    wait = call.face.settings.position_wait
    deadline = asyncio.get_running_loop().time() + wait
    for slot, position in wanted:
        await _reach(call.face, slot, position, deadline, wait)


async def _reach(face: Face, slot: int, position: Position, deadline: float, wait: float) -> None:
    pause = _FIRST_LOOK
    while not await face.queries.reached(position, slot):
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            detail = f"the views have not come to this position within {wait:g} s; read again later, or without it"
            raise Problem(Kind.AWAY, detail)
        await asyncio.sleep(min(pause, left))
        pause = min(2 * pause, _LOOK)


def _envelope(call: Call, command: Command, noun: str) -> Envelope:
    asker, face = call.asker, call.face
    key = call.request.headers.get(IDEMPOTENCY)
    if key is not None and not key.strip():
        message = "must not be blank"
        raise invalid(message, "header", "Idempotency-Key")
    if key is None:
        identifier = str(uuid.UUID(bytes=face.entropy(16), version=4))
    else:
        identifier = command_id(asker.tenant, asker.actor, key)
    return surrounded(call, identifier, command, noun, call.request.headers.get("traceparent", ""))


def surrounded(call: Call, identifier: str, command: Command, noun: str, trace: str) -> Envelope:
    """Return the envelope of a caller's command. Raises Problem if it names nothing or is too large."""
    asker, face = call.asker, call.face
    slot = slot_of_command(asker.tenant, identifier, command)
    if slot is None:
        raise missing(noun)
    envelope = Envelope(
        identifier,
        asker.tenant,
        asker.actor,
        slot,
        face.entropy(32),
        command,
        trace_of(trace),
    )
    if call.received > _SURELY_FITS and len(encode_command(envelope).value or b"") > COMMAND_LIMIT:
        raise Problem(Reason.TOO_LARGE, f"the command is longer than {COMMAND_LIMIT} bytes; send less at once")
    return envelope


async def _submitted(call: Call, envelope: Envelope) -> Outcome:
    wait = call.face.settings.write_wait
    try:
        async with asyncio.timeout(wait):
            return await call.face.commands.submit(envelope)
    except Refused as error:
        raise Problem(Kind.AWAY, f"command {envelope.id} was not taken: {error}") from None
    except (Unavailable, TimeoutError):
        again = "read before you repeat it, and send an Idempotency-Key with writes to make repeats safe"
        if IDEMPOTENCY in call.request.headers:
            again = "repeat it with the same Idempotency-Key, which is safe"
        detail = f"command {envelope.id} was sent, but its outcome is not known in time; it may still happen: {again}"
        raise Problem(Kind.LATE, detail) from None
