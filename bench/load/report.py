"""What came of a run: figures as data, a text, and a plot as SVG."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from bench.load.plot import Panel, plot

_MIB = 1 << 20
_FLAT = 1.05
_KEEPERS = {"kafka", "redis-server", "qdrant"}


@dataclass(slots=True)
class Heard:
    """Every request (seconds since the start, kind, seconds it took), every error, and memory as it was looked at."""

    requests: list[tuple[float, str, float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    memory: list[tuple[float, dict[str, int]]] = field(default_factory=list)

    def figures(self, seconds: float) -> dict[str, Any]:
        """Return the figures of a run that took so long."""
        kinds = defaultdict[str, list[float]](list)
        for _, kind, took in self.requests:
            kinds[kind].append(took)
        return {
            "seconds": round(seconds),
            "requests": len(self.requests),
            "requests per second": round(len(self.requests) / seconds, 1),
            "errors": len(self.errors),
            "first errors": self.errors[:5],
            "latency ms": {kind: _latency(took) for kind, took in sorted(kinds.items())},
            "latency ms by quarter": [
                _latency([took for at, _, took in self.requests if quarter <= 4 * at / seconds < quarter + 1])
                for quarter in range(4)
            ],
            "memory MiB": {
                name: self._held(name, seconds) for name in sorted({n for _, by in self.memory for n in by})
            },
        }

    def _held(self, name: str, seconds: float) -> dict[str, float]:
        quarters = [
            [by[name] / _MIB for at, by in self.memory if name in by and quarter <= 4 * at / seconds < quarter + 1]
            for quarter in range(4)
        ]
        means = [fmean(quarter) if quarter else 0.0 for quarter in quarters]
        held = {f"quarter {number}": round(mean, 1) for number, mean in enumerate(means, 1)}
        return held | {"last to second": round(means[3] / means[1], 3) if means[1] else 0.0}

    def picture(self, seconds: float, title: str) -> str:
        """Return the plot: latency and memory over time."""
        width = max(seconds / 60, 1.0)
        windows = defaultdict[int, list[float]](list)
        for at, _, took in self.requests:
            windows[int(at / width)].append(took * 1e3)
        times = [(number + 0.5) * width / 60 for number in sorted(windows)]
        latency = {
            f"p{share}": [_share(sorted(windows[number]), share / 100) for number in sorted(windows)]
            for share in (50, 95, 99)
        }
        names = sorted({name for _, by in self.memory for name in by})
        looked = [at / 60 for at, _ in self.memory]
        memory = {name: [by.get(name, 0) / _MIB for _, by in self.memory] for name in names}
        return plot(title, [Panel("latency, ms", times, latency), Panel("resident memory, MiB", looked, memory)])


def wrong(figures: dict[str, Any]) -> list[str]:
    """Return what a soak must not show: errors, or a process whose last quarter holds 5 % more than its second.

    Servers that keep what is written grow with it, and are only told of.
    """
    said = [f"{figures['errors']} errors, such as {figures['first errors'][0]}"] if figures["errors"] else []
    for name, held in figures["memory MiB"].items():
        if name not in _KEEPERS and held["last to second"] > _FLAT:
            said.append(f"{name} holds {held['quarter 4']} MiB in the last quarter, {held['quarter 2']} in the second")
    return said


def text(figures: dict[str, Any]) -> str:
    """Return the figures for a person."""
    rate, errors = figures["requests per second"], figures["errors"]
    lines = [
        f"{figures['requests']:,} requests in {figures['seconds']} s, {rate}/s, {errors} errors",
        f"  {'':<20}{'count':>8}{'p50':>8}{'p95':>8}{'p99':>8}{'max':>8}   ms",
    ]
    rows = [*figures["latency ms"].items()]
    rows += [(f"quarter {number}", one) for number, one in enumerate(figures["latency ms by quarter"], 1)]
    for name, one in rows:
        lines.append(f"  {name:<20}" + "".join(f"{one[what]:>8}" for what in ("count", "p50", "p95", "p99", "max")))
    for name, held in figures["memory MiB"].items():
        quarters = ", ".join(str(held[f"quarter {number}"]) for number in range(1, 5))
        lines.append(f"  {name}: {quarters} MiB by quarter; last to second {held['last to second']}")
    return "\n".join(lines) + "\n"


def _latency(took: list[float]) -> dict[str, float]:
    ordered = sorted(took)
    named = {f"p{share}": round(_share(ordered, share / 100) * 1e3, 1) for share in (50, 95, 99)}
    return {"count": len(ordered), **named, "max": round((ordered[-1] if ordered else 0.0) * 1e3, 1)}


def _share(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0
