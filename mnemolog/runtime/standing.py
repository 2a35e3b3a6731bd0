"""How the roles of a process stand with their partitions, asked when somebody looks; and the whole page of figures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from mnemolog.domain.errors import Unavailable
from mnemolog.runtime.condition import Condition
from mnemolog.runtime.metrics import Metrics

_ASK_SECONDS = 2.0
_LABELS = ("role", "partition")
MEDIA_TYPE = "text/plain; version=0.0.4"


class Told(Protocol):
    """A role, as far as its figures are concerned."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def joined(self) -> bool:
        """Whether it has its share of the partitions."""
        ...

    def conditions(self) -> Sequence[Condition]:
        """Return how it stands with each partition of the share."""
        ...

    async def lag(self, condition: Condition) -> int:
        """Return how many offsets it is behind with a partition. Raises Unavailable."""
        ...


class Part:
    """A role that a server plays itself, and always has."""

    joined = True

    def __init__(self, name: str, conditions: Sequence[Condition], end: Callable[[int], Awaitable[int]]) -> None:
        """Take its name, how it stands, and where a partition's topic ends."""
        self.name = name
        self._conditions = conditions
        self._end = end

    def conditions(self) -> Sequence[Condition]:
        """Return how it stands."""
        return self._conditions

    async def lag(self, condition: Condition) -> int:
        """Return how many offsets it is behind."""
        return max(0, await self._end(condition.partition) - condition.at)


class Standing:
    """The gauges of one look at the roles."""

    def __init__(self) -> None:
        """Declare them."""
        self.registry = registry = CollectorRegistry()
        self._shares = Gauge("mnemolog_partitions", "Partitions in this process's share.", ["role"], registry=registry)
        self._working = Gauge(
            "mnemolog_partition_works", "1 while it is worked on, else 0.", _LABELS, registry=registry
        )
        self._gaps = Gauge(
            "mnemolog_gap_records",
            "Offsets of its topic not taken yet: of commands for the sequencer, of facts for projector and vectors.",
            _LABELS,
            registry=registry,
        )
        self._lags = Gauge(
            "mnemolog_lag_seconds", "How old what it shows is: 0 at the topic's end.", _LABELS, registry=registry
        )

    async def look(self, roles: Sequence[Told]) -> None:
        """Ask every role. Where the log does not say how long a topic is, the gap is left out.

        The marker of another publisher's transaction at the end of the command topic counts as one offset.
        """
        for role in roles:
            conditions = role.conditions()
            self._shares.labels(role.name).set(len(conditions))
            gaps = await asyncio.gather(*(_gap(role, condition) for condition in conditions))
            for condition, gap in zip(conditions, gaps, strict=True):
                at = (role.name, str(condition.partition))
                self._working.labels(*at).set(not condition.trouble)
                if gap is not None:
                    self._gaps.labels(*at).set(gap)
                if condition.behind is not None:
                    self._lags.labels(*at).set(condition.behind)


async def page(metrics: Metrics, roles: Sequence[Told]) -> bytes:
    """Return all figures of a process in Prometheus' text format."""
    standing = Standing()
    await standing.look(roles)
    erasing = sum(condition.erasing for role in roles for condition in role.conditions())
    metrics.not_gone.labels("erasing").set(erasing)
    return generate_latest(standing.registry) + generate_latest(metrics.registry)


async def _gap(role: Told, condition: Condition) -> int | None:
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            return await role.lag(condition)
    except (Unavailable, TimeoutError):
        return None
