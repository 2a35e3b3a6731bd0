"""`mnemolog erasures list` and `apply`: what a log has forgotten, and forgetting it again in one that was restored.

Nothing is taken out of a log by hand: what has come back is proposed to the sequencer as commands, so chains, views and
vectors follow as they do after any erasure (ADR 0015).
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Iterator, Sequence

from mnemolog.audit.erasures import Erasures, read, write
from mnemolog.audit.returned import Returned, Thing, returned
from mnemolog.domain.access import ClientTarget, KeyTarget, RevokeClient, RevokeKey, RevokeToken, TokenTarget
from mnemolog.domain.audits import Told
from mnemolog.domain.codec import Envelope
from mnemolog.domain.erasure import Erase, EraseRange, EraseTarget, ThingTarget
from mnemolog.domain.errors import Unavailable
from mnemolog.domain.hiding import Hide, HideTarget
from mnemolog.domain.ids import proposal_id
from mnemolog.domain.message import message_of
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.schema import Command
from mnemolog.domain.streams import kind_of, own_id, tenant_of
from mnemolog.domain.times import to_text
from mnemolog.domain.window import WORKERS
from mnemolog.runtime.audited import Audited, audited
from mnemolog.runtime.bar import Bar
from mnemolog.runtime.config import Settings
from mnemolog.runtime.folder import now
from mnemolog.runtime.operator import Operator, Refused
from mnemolog.runtime.operators import operator

ACTOR = f"{WORKERS}restore"
_BATCH = 500
_PATIENCE = 300.0


async def write_list(settings: Settings, options: argparse.Namespace) -> int:
    """Write the list of the log's erasures."""
    created = to_text(now())
    with Bar() as bar:
        async with audited(settings) as here:
            count = await write(here.log, here.partitions, options.file, created, bar.tell)
    sys.stdout.write(f"{count:,} erasures, deletions and revocations as of {created} in {options.file}\n")
    return 0


async def apply_list(settings: Settings, options: argparse.Namespace) -> int:
    """Apply a list to the log of the settings."""
    erasures = read(options.file)
    with Bar() as bar:
        async with audited(settings) as here, operator(settings) as held:
            done = await apply(here, held, erasures, bar.tell, force=options.force)
    sys.stdout.write(f"{done:,} things had come back and are gone again\n")
    return 0


async def apply(
    here: Audited,
    held: Operator,
    erasures: Erasures,
    told: Told,
    *,
    force: bool = False,
) -> int:
    """Make everything of a list go from a log; return how many things had come back.

    1. Look through the log for facts that the list names. A list that does not know what this log had erased by then is
       of another log: Refused, unless forced.
    2. Propose each thing's erasure, hiding or revocation.
    3. Look again until nothing erased is left; the eraser takes large things in ranges meanwhile.

    Raises Unavailable if something stays.
    """
    found = await returned(here.log, here.partitions, erasures, told)
    if found.unknown and not force:
        message = (
            f"the list of erasures does not know {found.unknown:,} that this log holds: it is of another log. Take the"
            " list of the log that this one was copied from (--force applies it nevertheless)"
        )
        raise Refused(message)
    things, left = found.things, found.things
    deadline = time.monotonic() + _PATIENCE
    while left:
        await _propose(held, sorted(left), told)
        before, left = left, _erased(await returned(here.log, here.partitions, erasures, told))
        if left != before:
            deadline = time.monotonic() + _PATIENCE
        elif time.monotonic() > deadline:
            first = min(left)
            message = (
                f"{len(left)} things of the list stay, such as {first.subject} of {first.stream}; is a sequencer"
                " running? Apply the list again before anything reads from this log"
            )
            raise Unavailable(message)
    return len(things)


def _erased(found: Returned) -> set[Thing]:
    """Return what must still go: what had to be hidden or revoked has been, or was refused as hidden already."""
    return {thing for thing in found.things if thing.how == "erased"}


async def _propose(held: Operator, things: Sequence[Thing], told: Told) -> None:
    for first in range(0, len(things), _BATCH):
        some = things[first : first + _BATCH]
        await held.propose([envelope for thing in some for envelope in _proposals(thing)])
        told("forgetting again", first + len(some), len(things))


def _proposals(thing: Thing) -> Iterator[Envelope]:
    tenant = tenant_of(thing.stream)
    for nth, command in enumerate(_commands(thing)):
        name = proposal_id("restore", thing.how, thing.stream, thing.subject, str(nth))
        slot = slot_of_command(tenant, name, command)
        if slot is not None:
            yield Envelope(name, tenant, ACTOR, slot, secrets.token_bytes(32), command)


def _commands(thing: Thing) -> Iterator[Command]:
    identifier = own_id(thing.stream)
    entry = None if thing.subject == identifier else thing.subject
    match thing.how, kind_of(thing.stream):
        case "revoked", _:
            sort, _, credential = thing.subject.partition("/")
            if sort == "client":
                yield RevokeClient(target=ClientTarget(client=credential))
            elif sort == "key":
                yield RevokeKey(target=KeyTarget(key=credential))
            else:
                yield RevokeToken(target=TokenTarget(token=credential))
        case _, "memory":
            yield Erase(target=ThingTarget(kind="memory", id=identifier))
        case _, "group":
            yield Erase(target=ThingTarget(kind="message", id=message_of(thing.subject)))
        case "hidden", ("session" | "space") as kind:
            yield Hide(target=HideTarget(kind=kind, id=identifier, entry=entry))
        case _, "session" if entry is not None:
            yield Hide(target=HideTarget(kind="session", id=identifier, entry=entry))
            yield EraseRange(target=EraseTarget(kind="session", id=identifier, entry=entry))
        case _, ("session" | "space") as kind:
            yield Erase(target=ThingTarget(kind=kind, id=identifier))
        case _:
            return  # an owner's erasure goes on by itself
