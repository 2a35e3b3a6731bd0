"""What a process tells of its work while it works: figures, spans, and a log line for what went wrong.

One `Watch` a process. The core knows nothing of it: it calls the hooks that the composition root hands it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager

from mnemolog.domain.codec import trace_of
from mnemolog.domain.ports import Scope
from mnemolog.domain.reads import Found, Search
from mnemolog.domain.record import CommandRecord, FactRecord, Transaction
from mnemolog.domain.times import from_text
from mnemolog.runtime.condition import Condition
from mnemolog.runtime.logs import within
from mnemolog.runtime.metrics import Metrics, decided, result_of
from mnemolog.runtime.tracing import Off, Open, Tracing

_requests = logging.getLogger("mnemolog.requests")
_SERVER_ERROR = 500


class Watch:
    """Figures and traces of one process."""

    def __init__(self, tracing: Tracing | None = None) -> None:
        """Take where traces go; nowhere, if nothing is said."""
        self.metrics = Metrics()
        self.tracing: Tracing = tracing or Off()

    # ---- the hooks of the workers ------------------------------------------------------------------------------------

    def committed(
        self, condition: Condition, taken: Sequence[CommandRecord], transaction: Transaction, seconds: float
    ) -> None:
        """Take that a batch was decided."""
        self.metrics.committed(taken, transaction, seconds)
        if not taken:
            return
        condition.took(taken[-1].time)
        traced = [record for record in taken if record.headers.get("ce_id")]
        for record, (kind, outcome) in zip(traced, decided(taken, transaction), strict=True):
            if trace := trace_of(record.headers.get("traceparent", "")):
                attributes: dict[str, str | int | float] = {
                    "messaging.destination.partition.id": str(condition.partition),
                    "messaging.kafka.offset": record.offset,
                    "mnemolog.command": outcome.key,
                    "mnemolog.result": result_of(outcome),
                }
                self.tracing.record(f"decide {kind}", trace, seconds, attributes)

    def replayed(self, condition: Condition, offset: int, end: int) -> None:
        """Take how far a replay has come."""
        self.metrics.replayed.labels(str(condition.partition)).set(offset)
        self.metrics.replay_end.labels(str(condition.partition)).set(end)

    def applied(self, role: str, condition: Condition, records: Sequence[FactRecord], seconds: float) -> None:
        """Take that a role has applied a batch of facts."""
        self.metrics.batches.labels(role).observe(seconds)
        newest = next((r.headers["ce_time"] for r in reversed(records) if "ce_time" in r.headers), None)
        if newest is not None:
            condition.took(from_text(newest))
        for record in records:
            if trace := trace_of(record.headers.get("traceparent", "")):
                attributes: dict[str, str | int | float] = {
                    "messaging.destination.partition.id": str(condition.partition),
                    "messaging.kafka.offset": record.offset,
                    "mnemolog.command": record.headers.get("command", ""),
                }
                self.tracing.record(f"{role} {record.headers['ce_type']}", trace, seconds, attributes)

    # ---- the face ----------------------------------------------------------------------------------------------------

    def begun(self, trace: str, *, traced: bool) -> Request:
        """Take that a request has come."""
        self.metrics.under_way.inc()
        span = self.tracing.begin(trace_of(trace)) if traced else None
        return Request(self.metrics, span, trace_of(trace))


class Request:
    """A request under way."""

    def __init__(self, metrics: Metrics, span: Open | None, brought: str) -> None:
        """Take its span and the traceparent that it brought; what is logged meanwhile names its trace."""
        self._metrics = metrics
        self._span = span
        self._begun = time.perf_counter()
        self.trace = span.trace if span else ""
        self._logging: AbstractContextManager[None] = within(trace=(self.trace or brought)[3:35])
        self._logging.__enter__()

    def answered(self, method: str, route: str, status: int, command: str) -> None:
        """Take how it ended."""
        seconds = time.perf_counter() - self._begun
        self._metrics.under_way.dec()
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.latency.labels(method, route).observe(seconds)
        level = logging.WARNING if status >= _SERVER_ERROR else logging.DEBUG
        if _requests.isEnabledFor(level):
            ids = {"method": method, "route": route, "status": status, "ms": round(seconds * 1_000, 3)}
            extra = {"ids": ids | ({"command": command} if command else {})}
            _requests.log(level, "%s %s answered %d in %.1f ms", method, route, status, seconds * 1_000, extra=extra)
        if self._span:
            attributes: dict[str, str | int | float] = {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
            }
            if command:
                attributes["mnemolog.command"] = command
            self._span.end(f"{method} {route}", attributes, failed=status >= _SERVER_ERROR)
        self._logging.__exit__(None, None, None)


class WatchedSearch:
    """The port `Search`, timed."""

    def __init__(self, search: Search, metrics: Metrics) -> None:
        """Take what searches."""
        self._search = search
        self._metrics = metrics

    async def search(self, scope: Scope, query: str, threshold: float, top: int) -> Sequence[Found]:
        """Search, and note how long that took."""
        begun, result = time.perf_counter(), "refused"
        try:
            found = await self._search.search(scope, query, threshold, top)
            result = "found"
            return found
        finally:
            self._metrics.searches.labels(result).observe(time.perf_counter() - begun)
