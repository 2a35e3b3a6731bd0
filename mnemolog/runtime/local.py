"""Commands of the operator on a data folder, whether a server runs on it or not.

With a server, the command goes into the same file, and its outcome is waited for; without, it is sequenced here.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from typing import Self

from mnemolog.domain.codec import Encode, Envelope, decode_outcome
from mnemolog.domain.errors import Unavailable
from mnemolog.domain.outcomes import Accepted, Outcome, Rejected
from mnemolog.domain.record import CommandRecord
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command
from mnemolog.runtime.config import Settings
from mnemolog.runtime.folder import Folder, SequencingLock
from mnemolog.runtime.operator import accepted, envelope_of
from mnemolog.runtime.signing import Signatory
from mnemolog.runtime.usage_erasing import Places, UsageErasing
from projections.due import StoreDue
from projections.projector import Projector
from projections.queries import StoreQueries
from projections.store_sqlite import SqliteStore
from workers.eraser import proposals
from workers.log_sqlite import SqliteLog
from workers.sequencing import Sequencing
from workers.snapshot_sqlite import SqliteSnapshot

_WAIT = 10.0
_POLL = 0.02


class LocalOperator:
    """The port `Operator` on a data folder."""

    def __init__(self, settings: Settings) -> None:
        """Name the folder."""
        self._folder = Folder(settings.data)
        self._rules = settings.rules()
        self._encode = Signatory(settings).encode

    async def __aenter__(self) -> Self:
        """Open the folder, which makes the file where there is none yet."""
        self._log = self._folder.log()
        self._store = SqliteStore(self._folder.connection)
        self.queries = StoreQueries(self._store)
        self.due = StoreDue(self._store)
        self.usage = self._folder.usage()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let go of the folder."""
        await self.usage.close()
        await self._store.close()
        await self._log.close()

    async def submit(self, tenant: str, command: Command) -> Accepted:
        """Send a tenant's command and return its acceptance. Raises Refused, or Unavailable if no server answers."""
        (outcome,) = await self.propose([envelope_of(tenant, command)])
        return accepted(outcome)

    async def propose(self, envelopes: Sequence[Envelope]) -> Sequence[Outcome]:
        """Send commands and return their outcomes in order, once reads show them. Raises Unavailable."""
        lock = SequencingLock(self._folder)
        try:
            records = [self._encode(envelope) for envelope in envelopes]
            return await _sequenced(lock, self._folder, self._log, self._store, records, self._rules, self._encode)
        finally:
            lock.release()


async def _sequenced(
    lock: SequencingLock,
    folder: Folder,
    log: SqliteLog,
    store: SqliteStore,
    records: Sequence[CommandRecord],
    rules: Rules,
    encode: Encode,
) -> Sequence[Outcome]:
    """Append the commands; whoever holds the lock decides them, if need be this process."""
    await log.append(0, records)
    deadline = time.monotonic() + _WAIT
    while time.monotonic() < deadline:
        outcomes = [o for record in records if (o := await _shown(log, store, record)) is not None]
        if len(outcomes) == len(records):
            return outcomes
        if lock.acquire():
            await decide_all(folder, log, store, rules, encode)
            lock.release()
        else:
            await asyncio.sleep(_POLL)
    message = "the server that runs on this data folder has not answered in time; the command may still be accepted"
    raise Unavailable(message)


async def _shown(log: SqliteLog, store: SqliteStore, record: CommandRecord) -> Outcome | None:
    """Return a command's outcome once the views show what it did."""
    found = await log.outcome(0, record.headers["ce_id"])
    if found is None:
        return None
    outcome = decode_outcome(found)
    reached = await store.checkpoint(0)
    shown = reached is not None and reached.position >= outcome.position
    return outcome if shown or isinstance(outcome.result, Rejected) else None


async def decide_all(folder: Folder, log: SqliteLog, store: SqliteStore, rules: Rules, encode: Encode) -> None:
    """Decide and project all that is in the log; the caller holds the sequencing lock. `encode` writes proposals."""
    connection, usage = folder.connection(), folder.usage()
    try:
        sequencing = Sequencing(log, lambda: SqliteSnapshot(connection, rules), rules)
        await sequencing.start()
        erasing = UsageErasing(log, usage, Places(folder.usage_places), forget=lambda _: None)
        await erasing.step()
        while True:
            while (transaction := await sequencing.step()) is not None:
                await erasing.take(transaction.facts)
            proposed = proposals(sequencing.state, secrets.token_bytes, encode)
            if not proposed:
                break
            await log.append(0, proposed)
        sequencing.save()
        projector = Projector(log, store)
        while await projector.step():
            pass
    finally:
        await usage.close()
        connection.close()
