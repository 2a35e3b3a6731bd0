"""The core without HTTP: commands sequenced and facts projected per second, beside bare durable commits."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from pathlib import Path

from mnemolog.domain import canonical, chain
from mnemolog.domain.codec import Envelope, canonical_part, decode_command, encode_command
from mnemolog.domain.fact import SEALED
from mnemolog.domain.ids import slot_in
from mnemolog.domain.record import CommandRecord
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command, sent
from mnemolog.domain.session import EventAppended
from mnemolog.domain.session_commands import (
    AppendEvents,
    CreateSession,
    Emitter,
    InSpace,
    NewEvent,
    NewSession,
    SessionTarget,
)
from mnemolog.domain.space import ByUser, CreateSpace, NewSpace
from mnemolog.runtime.folder import Folder
from projections.projector import Projector
from projections.store_sqlite import SqliteStore
from workers.log_sqlite import connect
from workers.sequencing import Sequencing
from workers.snapshot_sqlite import SqliteSnapshot

_COMMANDS = 2_000
_BATCHES = 20
_COMMITS = 200
_ROUNDS = 5
_TENANT, _USER = "bench", "u"


def core(path: Path) -> dict[str, float]:
    """Return figures per second, and their ratios to the bare commit."""
    return asyncio.run(_measure(Folder(path)))


async def _measure(folder: Folder) -> dict[str, float]:
    log, connection = folder.log(), folder.connection()
    store = SqliteStore(folder.connection)
    rules = Rules()
    sequencing = Sequencing(log, lambda: SqliteSnapshot(connection, rules), rules)
    projector = Projector(log, store)
    await sequencing.start()

    async def decided(*commands: Command) -> tuple[str, float, float]:
        """Return the id that came last, and the seconds that deciding and projecting took."""
        await log.append(0, [record_of(command) for command in commands])
        start = time.perf_counter()
        subject = ""
        while (transaction := await sequencing.step()) is not None:
            subject = transaction.facts[-1].headers["ce_subject"]
        middle = time.perf_counter()
        while await projector.step():
            pass
        return subject, middle - start, time.perf_counter() - middle

    space, _, _ = await decided(CreateSpace(target=ByUser(user=_USER), parts=(NewSpace(),)))
    opened = CreateSession(target=InSpace(space=space, user=_USER), parts=(NewSession(participants=[_USER]),))
    session, _, _ = await decided(opened)
    target = SessionTarget(space=space, user=_USER, session=session)
    event = NewEvent(body={"content": "hello, this is an event"}, emitter=Emitter(type="user", id=_USER))
    _, single, projected = await decided(*(AppendEvents(target=target, parts=(event,)) for _ in range(_COMMANDS)))
    _, batched, _ = await decided(*(AppendEvents(target=target, parts=(event,) * 200) for _ in range(_BATCHES)))
    await store.close()
    connection.close()
    await log.close()
    return {
        "single-event commands sequenced per second": round(_COMMANDS / single),
        "events sequenced per second, batches of 200": round(_BATCHES * 200 / batched),
        "facts projected per second": round(_COMMANDS / projected),
        "fixed work of a single-event command (read, check, spell, hash), µs": round(fixed_work(target, event), 1),
        "bare durable SQLite commits per second": round(1e3 * _COMMITS / sum(bare_commits(folder.path / "bare.db"))),
    }


def fixed_work(target: SessionTarget, event: NewEvent) -> float:
    """Return the µs that the bytes of a command and of its fact take alone, whatever is decided.

    The command is read and checked; its part and its fact's value are spelled; salt, digest, commitment, link and chain
    are made. No state, no decision, no log: what the format itself costs (design §4, §8).
    """
    record = record_of(AppendEvents(target=target, parts=(event,)))
    sealed = [f"{name} of some length" for name in SEALED]
    took = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        for _ in range(_COMMANDS):
            envelope = decode_command(record)
            salted = chain.salt(envelope.secret, "bench/session/019a9bd4-5c80-8a2f-9e41-6f0c2b7d8e13@0")
            digest = chain.digest(salted, canonical_part(envelope.command.parts[0]))
            made = EventAppended(body=event.body, type=event.type, emitter=sent(event.emitter), tokens=5)
            value = canonical.dumps({"salt": salted.hex(), "digest": digest.hex(), "body": sent(made)})
            chain.extend(salted, chain.link(sealed, chain.commitment(value)))
        took.append((time.perf_counter() - start) / _COMMANDS * 1e6)
    return min(took)


def record_of(command: Command) -> CommandRecord:
    """Return a command as a client of the bench sends it."""
    identifier = str(uuid.uuid4())
    slot = slot_of_command(_TENANT, identifier, command)
    if slot is None:
        slot = slot_in(identifier)
    return encode_command(Envelope(identifier, _TENANT, "bench", slot, secrets.token_bytes(32), command))


def bare_commits(path: Path) -> list[float]:
    """Return the milliseconds, sorted, of small durable commits, one after the other: what none on this disk beats."""
    database = connect(path, durable=True)
    database.execute("CREATE TABLE IF NOT EXISTS bare (value BLOB)")
    found = []
    for _ in range(_COMMITS):
        start = time.perf_counter()
        database.execute("INSERT INTO bare VALUES (?)", (b"x" * 700,))
        found.append((time.perf_counter() - start) * 1e3)
    database.close()
    return sorted(found)
