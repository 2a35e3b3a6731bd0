"""The embedded runtime: the same workers as everywhere, run by one thread over one SQLite file (design §2).

The round of the loop, for all commands that have come in meanwhile (group commit):

1. append them to the log;
2. sequence: decide, commit durably;
3. project: views and checkpoint;
4. answer whoever waits.

A failing disk ends the round, not the loop: who waits is told, the state is dropped and built from the facts again.
A log that contradicts itself ends the process.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from mnemolog.domain.codec import Encode, Envelope, decode_outcome, encode_command
from mnemolog.domain.errors import MnemologError, Refused, Unavailable
from mnemolog.domain.outcomes import Outcome
from mnemolog.domain.reads import Published
from mnemolog.domain.record import Transaction
from mnemolog.domain.rules import Rules
from mnemolog.domain.times import DAY
from mnemolog.gateway.usage import Recorder
from mnemolog.runtime.condition import Condition
from mnemolog.runtime.folder import Folder, now
from mnemolog.runtime.inbox import BESIDE, Inbox
from mnemolog.runtime.not_gone import NotGone
from mnemolog.runtime.progress import Progress
from mnemolog.runtime.usage_erasing import Places, UsageErasing
from mnemolog.runtime.waiting import Settled, Waiting, settle, tell
from mnemolog.runtime.watching import Watch
from projections.projector import Projector
from projections.store_sqlite import SqliteStore
from workers.eraser import FACTS, proposals
from workers.folding_sqlite import Folding
from workers.log_sqlite import SqliteLog, damaged
from workers.sequencing import Sequencing
from workers.snapshot_sqlite import SqliteSnapshot

_log = logging.getLogger(__name__)
_IDLE = 0.05
_BUSY = 0.001
_NEVER_IDLE = 5.0
"""Seconds after which a server that is written to all the time cuts off what erasures have left in its log."""
_RETRY = 1.0
_HOUSEKEEPING = 60.0
_OUTCOME_DAYS = 1
_OF_THE_DISK = (OSError, sqlite3.OperationalError, Unavailable)
_UNWRITABLE = "the data folder cannot be written"


class Embedded:
    """One data folder's log, workers and views. `submit` is the port `Commands`."""

    def __init__(
        self,
        folder: Folder,
        rules: Rules,
        *,
        write_wait: float = 10.0,
        command_days: int = 7,
        recorder: Recorder | None = None,
        watch: Watch | None = None,
        encode: Encode = encode_command,
    ) -> None:
        """Open the folder; the caller holds its sequencing lock. `recorder` is told what to forget of its counts.

        `encode` writes commands.
        """
        watch = watch or Watch()
        self.sequencing = Condition(0)
        self.projecting = Condition(0)
        self.log: SqliteLog = folder.log()
        self.store = SqliteStore(folder.connection)
        self.projected = Progress()
        self.failed: BaseException | None = None
        self.on_failure: Callable[[], None] = lambda: None
        state = folder.connection()
        self._sequencing = Sequencing(
            self.log,
            lambda: SqliteSnapshot(state, rules),
            rules,
            committed=partial(watch.committed, self.sequencing),
            replayed=partial(watch.replayed, self.sequencing),
        )
        self._state_connection = state
        self._folding = Folding(folder.connection, folder.database)
        self._database = folder.database
        applied = partial(watch.applied, "projector", self.projecting)
        self._projector = Projector(self.log, self.store, applied=applied)
        self._usage = folder.usage()
        forget = (lambda _: None) if recorder is None else recorder.forget
        self._usage_erasing = UsageErasing(self.log, self._usage, Places(folder.usage_places), forget=forget)
        self._write_wait = write_wait
        self._encode = encode
        self._command_days = command_days
        self._inbox = Inbox()
        self._waiting: dict[str, deque[Waiting]] = {}
        self._stopping = threading.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mnemolog-log")
        # Since when; the process before may have been killed between an erasure and its scrubbing.
        self._to_scrub: int | None = now()
        self._kept_house = self._kept_up = 0.0
        self._suffering = False

    # ---- for the face ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the loop and wait until everything in the log is decided and projected. Raises what prevents it."""
        self._thread.start()
        self._started.wait()
        if self.failed is not None:
            self._thread.join()
            raise self.failed

    def stop(self) -> None:
        """Finish the round, save the state, fold the write-ahead log in."""
        self._stopping.set()
        self._inbox.wake()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def trouble(self) -> str:
        """Why writes are not taken; empty while they are."""
        if self.failed is not None:
            return "stopped on an error"
        return _UNWRITABLE if self._suffering else ""

    async def submit(self, envelope: Envelope) -> Outcome:
        """Publish a command and return its outcome once reads show it."""
        waiting = self._put(envelope, placed=False)
        try:
            async with asyncio.timeout(self._write_wait):
                return await waiting.outcome
        except TimeoutError:
            message = "the command was not answered in time; it may still be accepted, and sending it again is safe"
            raise Unavailable(message) from None

    async def propose(self, envelopes: Sequence[Envelope]) -> Sequence[Outcome]:
        """Publish a worker's proposals and return their outcomes in order, once reads show them.

        They wait until users' commands have been taken in, and a few come into each round: a user who comes meanwhile
        waits for no more than these.
        """
        several = [self._accept(envelope, placed=False) for envelope in envelopes]
        self._inbox.propose(several)
        try:
            async with asyncio.timeout(self._write_wait):
                return await asyncio.gather(*(one.outcome for one in several))
        except TimeoutError:
            message = "the proposals were not answered in time; making them again is safe"
            raise Unavailable(message) from None

    async def publish(self, envelopes: Sequence[Envelope], wait: float) -> Sequence[Published]:
        """Append commands; return where they stand, and the outcomes that come within `wait` seconds."""
        several = [self._put(envelope, placed=True) for envelope in envelopes]
        try:
            async with asyncio.timeout(self._write_wait):
                offsets = await asyncio.gather(*(one.appended for one in several if one.appended))
            if wait:
                await asyncio.wait([one.outcome for one in several], timeout=wait)
            known = [one.outcome.result() if one.outcome.done() else None for one in several]
            return [Published(0, offset, outcome) for offset, outcome in zip(offsets, known, strict=True)]
        except TimeoutError:
            message = "the commands were not taken in time; sending them again with the same ids is safe"
            raise Unavailable(message) from None
        finally:
            for one in several:
                if not one.outcome.cancel() and not one.outcome.cancelled():
                    one.outcome.exception()  # seen: nobody else will ask for it

    def _put(self, envelope: Envelope, *, placed: bool) -> Waiting:
        """Hand a command to the loop's thread. Raises Unavailable if it takes no more."""
        waiting = self._accept(envelope, placed=placed)
        self._inbox.put(waiting)
        return waiting

    def _accept(self, envelope: Envelope, *, placed: bool) -> Waiting:
        if self.failed is not None or self._stopping.is_set():
            message = "the server is stopping; send the command again"
            raise Unavailable(message)
        if self._suffering:
            message = f"{_UNWRITABLE}; make room or repair the disk, then send it again"
            raise Refused(message)
        loop = asyncio.get_running_loop()
        appended = loop.create_future() if placed else None
        return Waiting(self._encode(envelope), loop, appended, loop.create_future())

    async def not_scrubbed(self) -> NotGone:
        """Tell whether SQLite's write-ahead log may hold what has been erased."""
        since = self._to_scrub
        return NotGone("write-ahead log", 0 if since is None else 1, since)

    # ---- the loop's thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            try:
                asyncio.run(self._main())
            except sqlite3.DatabaseError as error:
                raise damaged(self._database, error) from error
        except BaseException as error:  # noqa: BLE001 -- the thread ends, and its process must hear of it
            self.failed = error
            if self._started.is_set():
                _log.critical("the log cannot go on: %s", error, exc_info=not isinstance(error, MnemologError))
                self._tell_all("the server has stopped on an error of its log")
                self.on_failure()
        finally:
            self._folding.stop()  # however it ends: a thread that is left keeps its process
            self._started.set()

    async def _main(self) -> None:
        await self._recover()
        self._folding.start()
        self._started.set()
        while not self._stopping.is_set():
            arrived = self._inbox.take(_BUSY if self._sequencing.state.erasing else _IDLE)
            try:
                await self._round(arrived)
            except _OF_THE_DISK as error:
                await self._suffer(error, arrived)
        await self._close()

    async def _recover(self) -> None:
        read = await self._sequencing.start()
        _log.info("replayed %d facts behind the snapshot", read)
        await self._usage_erasing.step()  # before the eraser takes what names the erased
        await self._drain()
        self._sequencing.save()

    async def _round(self, arrived: Sequence[Waiting]) -> None:
        offsets = await self.log.append(0, [waiting.record for waiting in arrived]) if arrived else []
        for waiting in arrived:
            self._waiting.setdefault(waiting.record.headers["ce_id"], deque()).append(waiting)
        settle((w.loop, w.appended, at) for w, at in zip(arrived, offsets, strict=True) if w.appended is not None)
        done = await self._drain(offsets[-1] + 1 if offsets else None)
        if not (done or arrived) or time.monotonic() - self._kept_up > _NEVER_IDLE:
            await self._keep_up()

    async def _drain(self, until: int | None = None) -> bool:
        """Decide and project up to an offset of the commands, or until nothing is left; True if anything was done.

        Commands of other processes, which come seldom, wait for a round without `until`: to ask for them after each
        round would cost an append a tenth of its time.
        """
        done = False
        while until is None or self._sequencing.state.position.offset < until:
            transaction = await self._sequencing.step()
            if transaction is None:
                break
            done = True
            await self._usage_erasing.take(transaction.facts)
            await self._project(self._sequencing.state.offset)
            self._answer(transaction)
            rows = len(transaction.facts) + len(transaction.outcomes)
            self._folding.committed(rows, len(transaction.tombstones))
            if transaction.tombstones or transaction.forget:
                self._to_scrub = self._to_scrub or now()
        if until is None and await self._project(None):
            done = True
        self._stand()
        facts = BESIDE if self._inbox.users_write else FACTS
        proposed = proposals(self._sequencing.state, secrets.token_bytes, self._encode, facts)
        if proposed:
            await self.log.append(0, proposed)
        return done

    def _stand(self) -> None:
        """Say that all that was there is decided and projected."""
        state = self._sequencing.state
        self.sequencing.works(state.position.offset)
        self.sequencing.erasing = len(state.erasing)
        self.projecting.works(self._projector.checkpoint.offset)
        self.sequencing.took()
        self.projecting.took()

    async def _project(self, until: int | None) -> int:
        """Apply facts up to an offset, or until none is left and the store still has all of them."""
        read = 0
        while until is None or self._projector.checkpoint.offset < until:
            count = await self._projector.step()
            if not count:
                break
            read += count
        self.projected.advance(self._projector.checkpoint.offset)
        self._usage_erasing.reached(self._projector.checkpoint.offset)
        return read

    def _answer(self, transaction: Transaction) -> None:
        several: list[Settled] = []
        for record in transaction.outcomes:
            waiting = self._waiting.get(record.key)
            if waiting is None:
                continue
            # One command id may wait twice, with two bodies: outcomes come in the order of the log, one a command.
            first = waiting.popleft()
            several.append((first.loop, first.outcome, decode_outcome(record)))
            if not waiting:
                del self._waiting[record.key]
        settle(several)

    async def _keep_up(self) -> None:
        """Do what must be done now and then: when there is time, and also where there never is."""
        self._kept_up = time.monotonic()
        self._sequencing.save()
        if self._to_scrub is not None and await self.log.scrub():
            self._to_scrub = None
        if time.monotonic() - self._kept_house > _HOUSEKEEPING:
            self._kept_house = time.monotonic()
            self._usage_erasing.keep()
            self._to_scrub = self._to_scrub or now()  # what retention has taken of the usage log
            await self.log.expire(now() - self._command_days * DAY, now() - _OUTCOME_DAYS * DAY)

    async def _suffer(self, error: Exception, arrived: Sequence[Waiting]) -> None:
        """Tell who waits what is wrong with the disk, and begin again from the facts."""
        _log.error("the data folder cannot be written: %s", error)
        what = f"the data folder cannot be written ({error}); the command may not have been kept, send it again"
        self._suffering = True
        self._tell_all(what)
        tell(arrived, what)
        self.sequencing.waits(_UNWRITABLE)
        self.projecting.waits(_UNWRITABLE)
        while not self._stopping.is_set():
            try:
                await self._recover()
            except _OF_THE_DISK as again:
                _log.warning("still cannot write: %s", again)
                self._stopping.wait(_RETRY)
            else:
                self._suffering = False
                return

    def _tell_all(self, what: str) -> None:
        for waiting in self._waiting.values():
            tell(waiting, what)
        self._waiting.clear()
        tell(self._inbox.given_up(), what)

    async def _close(self) -> None:
        self._folding.stop()
        self._sequencing.save()
        self._tell_all("the server is stopping; send the command again")
        self._usage_erasing.keep()
        await self._usage.close()
        await self.store.close()
        self._state_connection.close()
        await self.log.scrub()
        await self.log.close()
