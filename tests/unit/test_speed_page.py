"""The page of figures says what the data says."""

from __future__ import annotations

import json

import pytest

from bench.__main__ import PARTS, RESULTS
from bench.goals import GOALS, Goal
from bench.page import made

pytestmark = pytest.mark.unit
DATA = json.loads(RESULTS.read_bytes())


def test_page_and_picture_are_those_of_the_data() -> None:
    """Data without its page, or a page without its data, is not committed; `make bench` writes both."""
    for path, text in made(DATA).items():
        assert path.read_text("utf-8") == text, f"{path.name} is not what `make bench` writes"


def test_what_is_missed_is_explained() -> None:
    """By references whose names are those in the data: under others, the section would be left out."""
    assert any("## What is missed" in text for text in made(DATA).values())


def test_every_goal_is_of_a_figure_that_is_measured() -> None:
    """A goal whose figure has another name would never be missed."""
    assert {part for part, _ in GOALS} <= PARTS.keys()
    for part, name in GOALS:
        if part in DATA:
            assert name in DATA[part]["figures"]


@pytest.mark.parametrize(
    ("goal", "figure", "share"),
    [(Goal(10, at_least=True), 5, 0.5), (Goal(10, at_least=False), 5, 2.0), (Goal(10, at_least=True), 0, 0.0)],
)
def test_a_share_of_one_has_reached_the_goal(goal: Goal, figure: float, share: float) -> None:
    """More is better where it is at least, less where it is at most."""
    assert goal.share(figure) == share
