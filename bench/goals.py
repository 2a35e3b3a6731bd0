"""What each figure should be: where a goal is missed, the page says so."""

from __future__ import annotations

from typing import NamedTuple


class Goal(NamedTuple):
    """At most, or at least, so much."""

    value: float
    at_least: bool

    def share(self, figure: float) -> float:
        """Return how a figure stands to the goal: 1 has just reached it, 2 is twice as good."""
        if not figure:
            return float("inf") if not self.at_least else 0.0
        return figure / self.value if self.at_least else self.value / figure


def _most(value: float) -> Goal:
    return Goal(value, at_least=False)


def _least(value: float) -> Goal:
    return Goal(value, at_least=True)


GOALS: dict[tuple[str, str], Goal] = {
    ("appends", "one client, first events, p50 ms"): _most(3),
    ("appends", "one client, first events, p99 ms"): _most(10),
    ("appends", "one client, after 20,000 events, p50 ms"): _most(3),
    ("appends", "one client, after 20,000 events, p99 ms"): _most(10),
    ("appends", "events per second, batches of 200"): _least(15_000),
    ("appends", "appends per second, 32 clients"): _least(1_500),
    ("search", "10,000 memories: search, p50 ms"): _most(10),
    ("search", "10,000 memories: search above the embedder, p50 ms"): _most(2),
    ("search", "10,000 memories: ratio to the bare embedder, 8 clients"): _least(0.75),
    ("search", "ratio to the bare embedder in batches, 1 client"): _least(0.7),
    ("search", "ratio to the bare embedder in batches, 16 clients"): _least(0.7),
    ("search", "100,000 memories: search, p50 ms"): _most(15),
    ("audit", "walked (chains, versions, ordinals) per second"): _least(50_000),
    ("audit", "walked, decided again, views compared per second"): _least(10_000),
    ("audit", "the same on all cores, per second"): _least(10_000),
    ("audit", "replayed to the middle of the log per second"): _least(30_000),
    ("redis", "facts rebuilt per second (read, decoded, applied)"): _least(30_000),
    ("kafka", "single-event commands sequenced per second"): _least(15_000),
    ("kafka", "ratio to the bare transactional loop"): _least(0.35),
    ("publishing", "ratio, each round beside its own bare one"): _least(0.5),
    ("large", "list page of 50 out of 100,000, p50 ms"): _most(5),
    ("large", "count of 100,000, p50 ms"): _most(2),
    ("large", "`contains` over 10,000, p50 ms"): _most(25),
    ("large", "restart until writes and reads are taken, s"): _most(3),
    ("large", "sequencer's state, bytes a stream"): _most(250),
    ("large", "sequencer's state in memory, bytes an event"): _most(16),
    ("kafka-large", "write to readable at 100/s, p50, ms"): _most(15),
    ("kafka-large", "write to readable at 100/s, p99, ms"): _most(60),
    ("kafka-large", "warm start with 1000000 facts, s"): _most(3),
}
