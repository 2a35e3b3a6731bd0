"""A plot as SVG: panels of lines over minutes, without any library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, log10
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 860, 220, 70, 40, 60
_FONT = 'font-family="sans-serif" font-size="12"'
_PLOT = _WIDTH - _LEFT - 190
_COLOURS = ("#1b6ca8", "#d1662b", "#2c8a4b", "#8b4fa3", "#b59a1e", "#c2385d", "#4a5568")


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes: what it shows, minutes, and a value a minute for each line."""

    title: str
    minutes: Sequence[float]
    lines: Mapping[str, Sequence[float]]


def plot(title: str, panels: Sequence[Panel]) -> str:
    """Return the picture."""
    height = _TOP + len(panels) * (_HEIGHT + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" {_FONT}>',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="20" font-size="14">{escape(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, _TOP + number * (_HEIGHT + _GAP))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, top: int) -> list[str]:
    bottom = top + _HEIGHT
    most = max((value for line in panel.lines.values() for value in line), default=1.0) or 1.0
    last = max(panel.minutes, default=1.0) or 1.0
    parts = [f'<text x="{_LEFT}" y="{top - 6}">{escape(panel.title)}</text>']
    for value in _ticks(most):
        y = bottom - value / most * _HEIGHT
        parts.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_LEFT + _PLOT}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for minute in _ticks(last):
        x = _LEFT + minute / last * _PLOT
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{minute:g} min</text>')
    for number, (name, values) in enumerate(panel.lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(
            f"{_LEFT + minute / last * _PLOT:.1f},{bottom - value / most * _HEIGHT:.1f}"
            for minute, value in zip(panel.minutes, values, strict=True)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(
            f'<text x="{_LEFT + _PLOT + 10}" y="{top + 14 + 16 * number}" fill="{colour}">{escape(name)}</text>'
        )
    return parts


def _ticks(most: float) -> list[float]:
    """Return four or so round values up to the highest."""
    step = 10 ** floor(log10(most / 4)) if most > 0 else 1.0
    step *= next(times for times in (1, 2, 5, 10) if most / (step * times) <= 5)  # noqa: PLR2004 -- lines enough
    return [number * step for number in range(int(most / step) + 1)]
