"""A publisher's transport to a data folder: commands go into its file, whether a server runs on it or not.

With a server, it decides them, and their outcomes are waited for; without, they are decided here.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Sequence

from mnemolog.domain.codec import command_headers, command_value, decode_outcome
from mnemolog.domain.ids import command_id
from mnemolog.domain.record import CommandRecord
from mnemolog.domain.topics import COMMANDS
from mnemolog.runtime.config import Settings
from mnemolog.runtime.folder import Folder, SequencingLock
from mnemolog.runtime.local import decide_all
from mnemolog.runtime.signing import Signatory
from producers.over_kafka import Signs
from producers.receipt import Placed, Receipt
from producers.wishes import Entropy, Wish, bounded, slot_for
from projections.store_sqlite import SqliteStore

_BATCH = 500
_PAGE = 5_000
_POLL = 0.02


class _Appended:
    """A command, and where it stands once the file has it."""

    def __init__(self, transport: LocalTransport, record: CommandRecord) -> None:
        self.record = record
        self.at: int | None = None
        self._transport = transport

    def placed(self) -> Placed:
        """Write what is gathered, if need be, and say where this one stands."""
        if self.at is None:
            self._transport.flush()
        return Placed(self.record.headers["ce_id"], COMMANDS, 0, self.at or 0, int(self.record.key))

    def settled(self, seconds: float) -> bool:
        """Say yes: a file is always there."""
        del seconds
        self.placed()
        return True


class LocalTransport:
    """For one thread."""

    def __init__(self, settings: Settings, tenant: str, actor: str, signs: Signs | None = None) -> None:
        """Open the folder, made where there is none yet; without `signs`, the settings sign if need be."""
        self._folder, self._rules = Folder(settings.data), settings.rules()
        signatory = Signatory(settings)
        self._encode, self._signs = signatory.encode, signs or signatory.headers
        self._tenant, self._actor = tenant, actor
        self._log = self._folder.log()
        self._store = SqliteStore(self._folder.connection)
        self._lock = SequencingLock(self._folder)
        self._loop = asyncio.Runner()
        self._entropy = Entropy()
        self._gathered: list[_Appended] = []
        self._expected: weakref.WeakValueDictionary[str, Receipt] = weakref.WeakValueDictionary()
        self._heard = self._loop.run(self._log.outcomes_end(0))

    def send(self, wish: Wish) -> Receipt:
        """Gather a command, to be written with others."""
        identifier = command_id(self._tenant, self._actor, wish.key) if wish.key else self._entropy.new_id()
        slot = slot_for(self._tenant, identifier, wish.command)
        secret = self._entropy.take(32)
        value = bounded(wish, lambda: command_value(secret, wish.target, wish.parts))
        headers = command_headers(identifier, wish.command.TYPE, self._tenant, self._actor, wish.trace)
        answer = _Appended(self, CommandRecord(str(slot), {**headers, **self._signs(headers, value)}, value))
        receipt = Receipt(identifier, answer)
        if (older := self._expected.get(identifier)) is not None:
            receipt.after(older)
        self._expected[identifier] = receipt
        self._gathered.append(answer)
        if len(self._gathered) >= _BATCH:
            self.flush()
        return receipt

    def flush(self) -> Sequence[Receipt]:
        """Write what is gathered; a file loses nothing, so nothing is returned."""
        if self._gathered:
            offsets = self._loop.run(self._log.append(0, [one.record for one in self._gathered]))
            for one, offset in zip(self._gathered, offsets, strict=True):
                one.at = offset
            self._gathered = []
        return []

    def listen(self, receipts: Sequence[Receipt], deadline: float) -> None:
        """Hear outcomes; where no server runs, decide first."""
        self.flush()
        while any(receipt.outcome() is None for receipt in receipts) and time.monotonic() < deadline:
            if self._lock.acquire():
                try:
                    self._loop.run(decide_all(self._folder, self._log, self._store, self._rules, self._encode))
                finally:
                    self._lock.release()
            if not self._hear():
                time.sleep(_POLL)

    def close(self) -> None:
        """Write what is gathered, and let go of the folder."""
        self.flush()
        self._loop.run(self._store.close())
        self._loop.run(self._log.close())
        self._loop.close()

    def _hear(self) -> bool:
        found = self._loop.run(self._log.outcomes(0, self._heard, _PAGE))
        for offset, record in found:
            self._heard = offset + 1
            receipt = self._expected.get(record.key)
            if receipt is not None:
                receipt.tell(decode_outcome(record))
        return bool(found)
