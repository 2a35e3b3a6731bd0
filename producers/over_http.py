"""Commands to a mnemolog server by the CloudEvents HTTP binding: the same publisher where no Kafka is.

1. A thread sends what has come together: one command structured, several as a batch. While a request is under way, the
   next batch gathers; so a busy publisher sends few large requests, and an idle one waits 5 ms.
2. A request that was not answered, or answered with 5xx, is sent again with the same ids until `_PATIENCE` has passed:
   a repeat changes nothing (guarantee 3).
3. Each request asks for the outcomes (`Prefer: wait`); whose outcome did not come in time is asked for again by whoever
   waits for it.
4. Of a batch that is refused, each command is sent alone, so that only those are refused that must be.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, wait
from typing import Any

from mnemolog.domain import canonical, cloud_event
from mnemolog.domain.codec import decode_outcome
from mnemolog.domain.record import OutcomeRecord
from producers.errors import Away, Invalid, PublishError
from producers.http_server import Credentials, HttpServer, Refused
from producers.receipt import Placed, Receipt, await_all
from producers.wishes import Entropy, Wish, bounded, slot_for

_LINGER = 0.005
_BYTES = 1 << 20
_MOST_BYTES = 64 << 20
_PATIENCE = 120.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_WAIT = 10

__all__ = ["Credentials", "OverHttp"]


class _Sent:
    """One command on its way; the server's answer comes into `found`."""

    __slots__ = ("found", "identifier", "raw", "receipt", "user")

    def __init__(self, identifier: str, raw: bytes, *, user: bool) -> None:
        """Take the event in JSON; `user` tells whether it needs an API token."""
        self.identifier, self.raw, self.user = identifier, raw, user
        self.found: Future[Placed] = Future()
        self.receipt = Receipt(identifier, self)

    def placed(self) -> Placed:
        """Wait for the server's answer."""
        return self.found.result()

    def settled(self, seconds: float) -> bool:
        """Wait for the answer that long."""
        return bool(wait([self.found], seconds).done)

    def answered(self, item: dict[str, Any]) -> None:
        """Take the receipt, and the outcome if it has come."""
        if not self.found.done():
            self.found.set_result(
                Placed(item["command"], item["topic"], item["partition"], item["offset"], item["slot"])
            )
        if "outcome" in item:
            record = OutcomeRecord(item["command"], canonical.dumps(item["outcome"]))
            self.receipt.tell(decode_outcome(record))

    def failed(self, error: PublishError) -> None:
        """Take the reason why it was not taken."""
        if not self.found.done():
            self.found.set_exception(error)


class OverHttp:
    """The transport to a server."""

    def __init__(self, url: str, credentials: Credentials, tenant: str) -> None:
        """Name the server; the first command connects. Raises Invalid for a URL that is none."""
        self._server = HttpServer(url, credentials)
        self._tenant = tenant
        self._entropy = Entropy()
        self._changed = threading.Condition()
        self._queue: deque[_Sent] = deque()
        self._bytes = 0
        self._busy = 0
        self._lost: list[Receipt] = []
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="mnemolog-publisher", daemon=True)
        self._thread.start()

    def send(self, wish: Wish) -> Receipt:
        """Queue a command; waits while too much is queued."""
        identifier = wish.key or self._entropy.new_id()
        slot_for(self._tenant, identifier, wish.command)
        raw = bounded(
            wish,
            lambda: cloud_event.written(
                identifier,
                wish.command.TYPE,
                wish.target,
                wish.parts,
                source="mnemolog-publisher",
                tenant=self._tenant,
                trace=wish.trace,
            ),
        )
        sent = _Sent(identifier, raw, user="user" in wish.target)
        with self._changed:
            if self._closing:
                message = "this publisher has been closed"
                raise Away(message)
            while self._bytes > _MOST_BYTES:
                self._changed.wait()
            self._queue.append(sent)
            self._bytes += len(raw)
            self._changed.notify_all()
        return sent.receipt

    def flush(self) -> Sequence[Receipt]:
        """Wait until nothing is queued or under way; return what was given up since the last flush."""
        with self._changed:
            while self._queue or self._busy:
                self._changed.wait()
            lost, self._lost = self._lost, []
        return lost

    def listen(self, receipts: Sequence[Receipt], deadline: float) -> None:
        """Wait for the answers, and ask again for outcomes that were not in them."""
        await_all(receipts, deadline)
        while time.monotonic() < deadline:
            late = [one for one in receipts if one.outcome() is None]
            if not late:
                return
            for user in (True, False):
                several = [sent for sent in map(_sent, late) if sent.user is user]
                for start in range(0, len(several), cloud_event.BATCH_MOST):
                    self._deliver(several[start : start + cloud_event.BATCH_MOST], deadline)

    def close(self) -> None:
        """Send what is queued, end the thread, disconnect."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._server.close()

    # ---- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while several := self._take():
            for user in (True, False):
                if chosen := [one for one in several if one.user is user]:
                    self._deliver(chosen, time.monotonic() + _PATIENCE)
            with self._changed:
                self._lost += [one.receipt for one in several if one.found.exception() is not None]
                self._busy = 0
                self._changed.notify_all()

    def _take(self) -> list[_Sent]:
        """Wait for commands and take a batch of them; empty at the end."""
        with self._changed:
            while not self._queue:
                if self._closing:
                    return []
                self._changed.wait()
            if len(self._queue) == 1 and not self._closing:
                self._changed.wait(_LINGER)
            several: list[_Sent] = []
            size = 0
            while self._queue and len(several) < cloud_event.BATCH_MOST and size < _BYTES:
                if several and size + len(self._queue[0].raw) > _BYTES:
                    break
                several.append(self._queue.popleft())
                size += len(several[-1].raw)
            self._bytes -= size
            self._busy = len(several)
            self._changed.notify_all()
            return several

    def _deliver(self, several: Sequence[_Sent], deadline: float) -> None:
        """Send commands of one credential until they are answered, refused, or the deadline has passed."""
        try:
            items = self._answered(several, deadline)
        except Refused as refusal:
            if len(several) == 1:
                several[0].failed(refusal.reason)
                return
            for one in several:
                self._deliver([one], deadline)
        except Away as error:
            for one in several:
                one.failed(error)
        else:
            for one, item in zip(several, items, strict=True):
                one.answered(item)

    def _answered(self, several: Sequence[_Sent], deadline: float) -> Sequence[dict[str, Any]]:
        """Send one request, again and again if need be, and return its items. Raises Refused, Away."""
        single = len(several) == 1
        body = several[0].raw if single else b"[" + b",".join(one.raw for one in several) + b"]"
        kind = cloud_event.STRUCTURED if single else cloud_event.BATCH
        pause = _FIRST_PAUSE
        while True:
            try:
                found = self._server.post(body, kind, wait=_most(deadline), user=several[0].user)
            except Away as error:
                if time.monotonic() + pause > deadline:
                    message = (
                        f"{error}; {len(several)} commands, the first of them {several[0].identifier}, may have been"
                        " taken all the same, and publishing them again under the same keys is safe"
                    )
                    raise Away(message) from error
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                return [found] if single else found["items"]


def _most(deadline: float) -> int:
    """Return how many seconds a request may wait for outcomes."""
    return max(1, min(_WAIT, round(deadline - time.monotonic())))


def _sent(receipt: Receipt) -> _Sent:
    """Return what a receipt of this transport stands for."""
    if not isinstance(receipt.answer, _Sent):
        message = f"{receipt} is not of this publisher"
        raise Invalid(message)
    return receipt.answer
