"""The load's report: what it calls wrong, and a plot that can be looked at."""

from __future__ import annotations

import os
import subprocess
from xml.etree import ElementTree as ET

import pytest

from bench.load.memory import resident
from bench.load.report import Heard, text, wrong

pytestmark = pytest.mark.unit
MIB = 1 << 20


def heard(growth: float) -> Heard:
    """Return 400 seconds of requests, with a process that grows by so many bytes a second."""
    found = Heard()
    for second in range(400):
        found.requests.append((second, "search memories" if second % 2 else "add memory", 0.001 * (1 + second % 10)))
        held = {"serve": int(300 * MIB + growth * second), "kafka": 400 * MIB, "redis-server": (10 + second) * MIB}
        found.memory.append((second, held))
    return found


def test_figures_tell_latency_by_kind_and_quarter_and_memory_by_process() -> None:
    """Percentiles are of what was heard; a flat process is told to be flat; a server may grow with what it keeps."""
    figures = heard(0).figures(400)
    assert (figures["requests"], figures["requests per second"], figures["errors"]) == (400, 1.0, 0)
    assert figures["latency ms"]["add memory"] == {"count": 200, "p50": 5.0, "p95": 9.0, "p99": 9.0, "max": 9.0}
    assert [quarter["count"] for quarter in figures["latency ms by quarter"]] == [100] * 4
    assert figures["memory MiB"]["serve"]["last to second"] == 1.0
    assert not wrong(figures)
    assert "400 requests" in text(figures)


def test_a_process_that_grows_and_an_error_are_called_wrong() -> None:
    """Five percent more in the last quarter than in the second is too much; so is one error."""
    growing = heard(0.15 * MIB)
    growing.errors.append("add memory: 500")
    said = wrong(growing.figures(400))
    assert len(said) == 2
    assert "add memory: 500" in said[0]
    assert said[1].startswith("serve holds")
    assert not wrong(heard(0.05 * MIB).figures(400))


def test_the_plot_is_a_picture_with_a_line_for_each_process() -> None:
    """It is well-formed SVG, and its lines have as many points as there were looks."""
    picture = ET.fromstring(heard(1).picture(400, "a title & more"))  # noqa: S314 -- made above
    lines = [element for element in picture.iter() if element.tag.endswith("polyline")]
    assert [len(line.attrib["points"].split()) for line in lines] == [60, 60, 60, 400, 400, 400]
    assert "a title & more" in "".join(picture.itertext())


def test_memory_is_of_descendants_only() -> None:
    """Looked at from its parent, this process is there, by its name; a process without children has none of it."""
    assert resident(os.getppid())
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:  # noqa: S607 -- it has no children, as this one may
        assert not resident(child.pid)
