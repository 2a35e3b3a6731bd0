"""Every figure that a process keeps of its work, declared once: what `/metrics` shows besides how its roles stand.

1. Names follow Prometheus' conventions: `mnemolog_` before, the unit behind, `_total` behind what only rises.
2. A label is one of a small, known set: a kind of command, a route's template, a status, a reason. Never a tenant, an
   id or anything that a caller wrote.
3. Counters are of the process and begin with it; how partitions stand is asked when the page is (`standing`).
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from mnemolog.domain.catalogue import COMMANDS
from mnemolog.domain.codec import decode_outcome, is_rejection, is_repeat
from mnemolog.domain.outcomes import Rejected
from mnemolog.domain.record import CommandRecord, OutcomeRecord, Transaction

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
UNKNOWN = "unknown"
disable_created_metrics()  # type: ignore[no-untyped-call] # a counter's beginning is the process's


class Metrics:
    """The figures of one process."""

    def __init__(self) -> None:
        """Declare them all, so that each stands on the page from the beginning."""
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        info = Gauge("mnemolog_info", "1, with the version that runs.", ["version"], registry=registry)
        info.labels(_version()).set(1)

        # ---- deciding
        self.commands = Counter(
            "mnemolog_commands",
            "Commands decided, by kind and result: accepted, repeated (accepted before), rejected.",
            ["kind", "result"],
            registry=registry,
        )
        self.rejections = Counter(
            "mnemolog_rejections", "Commands refused, by kind and reason.", ["kind", "reason"], registry=registry
        )
        self.dead_letters = Counter(
            "mnemolog_dead_letters", "Records of the command topic that could not be read.", registry=registry
        )
        self.facts = Counter("mnemolog_facts", "Facts committed.", registry=registry)
        self.transactions = Histogram(
            "mnemolog_transaction_seconds", "Time to commit a batch.", buckets=_FAST, registry=registry
        )
        self.replayed = Gauge(
            "mnemolog_replay_offset", "Next fact of a partition's replay.", ["partition"], registry=registry
        )
        self.replay_end = Gauge(
            "mnemolog_replay_end_offset", "Where a partition's replay ends.", ["partition"], registry=registry
        )

        # ---- projecting and indexing
        self.batches = Histogram(
            "mnemolog_batch_seconds",
            "Time to apply a batch of facts, by role: projector, vectors.",
            ["role"],
            buckets=_FAST,
            registry=registry,
        )
        self.unembedded = Counter(
            "mnemolog_unembedded", "Texts that the model failed on: no search finds them.", registry=registry
        )

        # ---- the face
        self.requests = Counter(
            "mnemolog_http_requests",
            "HTTP requests answered, by method, route template and status.",
            ["method", "route", "status"],
            registry=registry,
        )
        self.latency = Histogram(
            "mnemolog_http_request_seconds",
            "Time to answer an HTTP request, by method and route template.",
            ["method", "route"],
            buckets=_FAST,
            registry=registry,
        )
        self.under_way = Gauge("mnemolog_http_requests_under_way", "HTTP requests not answered yet.", registry=registry)
        self.searches = Histogram(
            "mnemolog_search_seconds",
            "Time to search, waiting for the scope included, by result: found, refused.",
            ["result"],
            buckets=_FAST,
            registry=registry,
        )

        # ---- retention
        self.retention_runs = Counter(
            "mnemolog_retention_runs",
            "Retention runs, by what (timers, sweep) and result (done, failed).",
            ["what", "result"],
            registry=registry,
        )
        self.retained = Counter(
            "mnemolog_retention_proposals",
            "What retention proposed, by category and result: done, refused.",
            ["category", "result"],
            registry=registry,
        )
        self.swept = Gauge(
            "mnemolog_retention_swept_as_of_seconds",
            "The instant (Unix time) as of which the last nightly sweep was done.",
            registry=registry,
        )
        self.not_gone = Gauge(
            "mnemolog_erased_not_gone",
            "Erased for every reader and not yet gone physically, by place.",
            ["place"],
            registry=registry,
        )
        self.not_gone_age = Gauge(
            "mnemolog_erased_not_gone_seconds",
            "How old the oldest of that is, by place; 0 where nothing waits.",
            ["place"],
            registry=registry,
        )
        self.used = Counter("mnemolog_usage_recorded", "Reads counted in the usage log.", registry=registry)
        self.unused = Counter(
            "mnemolog_usage_dropped",
            "Reads that the usage log had no room for while it could not be written.",
            registry=registry,
        )

    def committed(self, taken: Sequence[CommandRecord], transaction: Transaction, seconds: float) -> None:
        """Count what became of a batch."""
        self.transactions.observe(seconds)
        self.facts.inc(len(transaction.facts))
        self.dead_letters.inc(len(transaction.dead_letters))
        tally, reasons = Tally[tuple[str, str]](), Tally[tuple[str, str]]()
        for kind, outcome in decided(taken, transaction):
            result = result_of(outcome)
            tally[kind, result] += 1
            if result == "rejected":
                reasons[kind, _reason(outcome)] += 1
        for (kind, result), count in tally.items():
            self.commands.labels(kind, result).inc(count)
        for (kind, reason), count in reasons.items():
            self.rejections.labels(kind, reason).inc(count)


def decided(taken: Sequence[CommandRecord], transaction: Transaction) -> Sequence[tuple[str, OutcomeRecord]]:
    """Return kind and outcome of a batch's commands, in order; a record without a name has no outcome."""
    named = [kind_of(record) for record in taken if record.headers.get("ce_id")]
    return list(zip(named, transaction.outcomes, strict=True))


def kind_of(record: CommandRecord) -> str:
    """Return a command's type if there is such a type: anybody may write anything into a header."""
    kind = record.headers.get("ce_type", "")
    return kind if kind in COMMANDS else UNKNOWN


def result_of(outcome: OutcomeRecord) -> str:
    """Return what became of a command, in one word."""
    if is_rejection(outcome):
        return "rejected"
    return "repeated" if is_repeat(outcome) else "accepted"


def _reason(outcome: OutcomeRecord) -> str:
    result = decode_outcome(outcome).result
    return str(result.reason) if isinstance(result, Rejected) else UNKNOWN


def _version() -> str:
    try:
        return version("mnemolog")
    except PackageNotFoundError:
        return "0"
