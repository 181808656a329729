"""Every picture is drawn offline, shows its data, and is readable in light and dark."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest

from mlcore.report import charts, comparisons
from mlcore.report.charts import Bar, Mark, Point, Span
from mlcore.report.comparisons import CandidateScore, Difference, Distribution, FeatureDrift
from mlcore.report.drawing import INK

DAY = datetime(2011, 4, 1, tzinfo=UTC)
NAME = "wind & <rain>"


def _spans(name: str) -> list[Span]:
    return [
        Span(name, "a", DAY, DAY + timedelta(seconds=9), "by hand"),
        Span("approve", "b", DAY, DAY + timedelta(seconds=90), "an event", "waiting"),
    ]


def _points(name: str) -> list[Point]:
    return [Point(name, DAY + timedelta(days=day), 10.0 + day) for day in range(9)]


PICTURES: dict[str, Callable[[str], str]] = {
    "timeline": lambda name: charts.timeline(_spans(name)),
    "lines": lambda name: charts.lines(_points(name), [Mark(DAY, "retrained")], y="error"),
    "bars": lambda name: charts.bars([Bar("April", name, 0.3)], x="index", threshold=0.2),
    "drift": lambda name: comparisons.drift_per_feature([FeatureDrift(name, 0.3, "moderate")], threshold=0.2),
    "numbers": lambda name: comparisons.histogram(Distribution(name, "m", (), (0.0, 1.0, 2.0), (0.2, 0.8), (1.0, 0.0))),
    "categories": lambda name: comparisons.histogram(Distribution("c", "", ("a", name), (), (0.2, 0.8), (1.0, 0.0))),
    "candidates": lambda name: comparisons.candidates([CandidateScore(name, 1.0, 2.0, 3.0, True)], metric="error"),
    "difference": lambda name: comparisons.difference_interval(
        [Difference(name, 1.0, -1, 3)], metric="error", margin=0.5
    ),
}
EMPTY: dict[str, Callable[[], str]] = {
    "timeline": lambda: charts.timeline([]),
    "lines": lambda: charts.lines([], [], y="error"),
    "bars": lambda: charts.bars([], x="index"),
    "drift": lambda: comparisons.drift_per_feature([], threshold=0.2),
    "candidates": lambda: comparisons.candidates([], metric="error"),
    "difference": lambda: comparisons.difference_interval([], metric="error"),
}


def _texts(svg: str) -> list[str]:
    return [item.text or "" for item in ElementTree.fromstring(svg).iter() if item.tag.endswith("text")]


@pytest.mark.parametrize("kind", PICTURES)
def test_picture_names_what_it_shows(kind: str):
    """The name from the data stands in the picture as text, whatever signs it has."""
    assert any(NAME in text for text in _texts(PICTURES[kind](NAME)))


@pytest.mark.parametrize("kind", PICTURES)
def test_picture_takes_the_colour_of_the_page(kind: str):
    """Text is in the page's own colour, and no background hides the page's."""
    svg = PICTURES[kind]("wind")
    assert INK not in svg
    assert 'fill="currentColor"' in svg
    assert not re.search(r'<rect[^>]*fill="(white|#fff(fff)?)"', svg)


@pytest.mark.parametrize("kind", PICTURES)
def test_picture_loads_nothing(kind: str):
    """No picture points anywhere outside the page."""
    svg = PICTURES[kind]("wind")
    assert not re.search(r'(href|src)="(?!#)', svg)
    assert "<image" not in svg
    assert "<script" not in svg


@pytest.mark.parametrize("kind", PICTURES)
def test_same_data_same_picture(kind: str):
    """Drawing is deterministic, so that a page changes only with its facts."""
    assert PICTURES[kind]("wind") == PICTURES[kind]("wind")


@pytest.mark.parametrize("kind", EMPTY)
def test_nothing_to_show_is_no_error(kind: str):
    """A loop in which nothing happened yet still has its page."""
    assert EMPTY[kind]().startswith("<svg")


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_can_share_a_page(kind: str):
    """No picture has an id or refers to one, so that two on one page cannot borrow each other's parts."""
    assert not re.search(r'\bid="|url\(#', PICTURES[kind]("wind"))


def test_bars_are_ranked_and_capped():
    """Of many features the largest are shown, the largest first."""
    items = [Bar("May", f"feature{number:02}", number / 10) for number in range(charts.MOST_BARS + 5)]
    shown = [text for text in _texts(charts.bars(items, x="index")) if text.startswith("feature")]
    assert shown == [f"feature{number:02}" for number in range(charts.MOST_BARS + 4, 4, -1)]


def test_end_labels_do_not_collide():
    """Series that end at the same value have their names one above the other."""
    points = [Point(name, DAY + timedelta(days=day), 10.0) for name in ("one", "two") for day in range(3)]
    root = ElementTree.fromstring(charts.lines(points, [], y="error"))
    heights = {
        item.text: float(re.search(r",\s*(-?[\d.]+)\)", item.attrib["transform"])[1])  # type: ignore[index]
        for item in root.iter()
        if item.tag.endswith("text") and item.text in ("one", "two")
    }
    assert abs(heights["one"] - heights["two"]) >= 12


@pytest.mark.parametrize(("days", "named"), [(1, r"\w\w\w \d\d"), (9, r"\w\w\w \d\d"), (700, r"\w\w\w 20\d\d")])
def test_series_over_time_name_days_or_months(days: int, named: str):
    """Nine days are not an axis of noons, two years not one of days."""
    points = [Point("a", DAY + timedelta(days=day), 10.0) for day in range(days + 1)]
    shown = [text for text in _texts(charts.lines(points, [], y="error")) if re.fullmatch(named, text)]
    assert 1 <= len(shown) <= 10
    assert len(set(shown)) == len(shown)


def test_times_are_drawn_in_utc():
    """The axis says UTC, and means it, on a machine that lives elsewhere."""
    code = (
        "from datetime import *; from mlcore.report.charts import *\n"
        "at = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)\n"
        "print(timeline([Span('x', 'x', at, at + timedelta(seconds=60), 'c')]))"
    )
    drawn = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TZ": "Asia/Tokyo"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert any(text.startswith("12:00") for text in _texts(drawn))
    assert not any(text.startswith("21:") for text in _texts(drawn))


def test_unbounded_interval_is_not_drawn_as_a_number():
    """A value that is not finite leaves a gap instead of a broken picture."""
    svg = charts.lines([Point("a", DAY, 1.0), Point("a", DAY + timedelta(days=1), float("nan"))], [], y="error")
    assert "NaN" not in svg
