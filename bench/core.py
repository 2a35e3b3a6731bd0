"""The core without HTTP: commands sequenced and facts projected per second, beside bare durable commits."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from pathlib import Path

from mnemolog.domain.codec import Envelope, encode_command
from mnemolog.domain.ids import slot_in
from mnemolog.domain.record import CommandRecord
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command
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
        "bare durable SQLite commits per second": round(1e3 * _COMMITS / sum(bare_commits(folder.path / "bare.db"))),
    }


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
