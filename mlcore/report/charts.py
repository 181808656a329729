"""What happened over time, and how far each feature moved: timeline, lines, bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from mlcore.report.drawing import COLOURS, GREY, INK, WIDTH, data, svg, time_axis, values

if TYPE_CHECKING:
    import altair as alt

#: More names than this do not fit into one picture that can be read.
MOST_BARS: Final = 20
_STATES: Final = {"completed": COLOURS[0], "waiting": COLOURS[4], "failed": COLOURS[1]}
_SHORTEST: Final = 0.004
_LINES_HEIGHT: Final = 260
#: Names of days or months under a picture, at most.
_TICKS: Final = 8


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took time: a flow run, on its stage's lane."""

    lane: str
    name: str
    started: datetime
    finished: datetime
    cause: str
    state: Literal["completed", "waiting", "failed"] = "completed"


@dataclass(frozen=True, slots=True)
class Point:
    """A value of a series at a time."""

    series: str
    at: datetime
    value: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment worth a line in the picture."""

    at: datetime
    label: str


@dataclass(frozen=True, slots=True)
class Bar:
    """An effect of one feature in one window."""

    group: str
    name: str
    value: float


def timeline(spans: Sequence[Span]) -> str:
    """Draw what ran when, one lane a stage, with what started it under the lane's name."""
    import altair as alt

    lanes = list(dict.fromkeys(span.lane for span in spans))
    whole = max(span.finished for span in spans) - min(span.started for span in spans) if spans else timedelta(0)
    # a run of a second is still something to see beside one of ten minutes
    seen = [replace(span, finished=max(span.finished, span.started + whole * _SHORTEST)) for span in spans]
    y = alt.Y("lane:N", sort=lanes, title=None, axis=alt.Axis(labels=False, ticks=False, domain=False))
    states = [state for state in _STATES if any(span.state == state for span in spans)]
    legend = alt.Legend(orient="top", title=None) if len(states) > 1 else None
    bars = (
        alt.Chart(data(seen))
        .mark_bar(height=14, cornerRadius=2)
        .encode(
            x=alt.X("started:T", title="wall clock (UTC)", **time_axis(format="%H:%M:%S")),
            x2="finished:T",
            y=y,
            color=alt.Color(
                "state:N", scale=alt.Scale(domain=states, range=[_STATES[state] for state in states]), legend=legend
            ),
        )
    )
    names = alt.Chart(values([{"lane": lane, "causes": _causes(spans, lane)} for lane in lanes])).encode(y=y)
    layers = (
        names.mark_rule(opacity=0.18, color=GREY),
        bars,
        names.mark_text(align="right", dy=-6, fontSize=13, fontWeight="bold").encode(text="lane:N", x=alt.value(-14)),
        names.mark_text(align="right", dy=8, fontSize=11, color=GREY, limit=270).encode(
            text="causes:N", x=alt.value(-14)
        ),
    )
    return svg(alt.layer(*layers).properties(width=WIDTH - 320, height=36 * max(1, len(lanes))))


def lines(
    points: Sequence[Point], marks: Sequence[Mark], *, y: str, threshold: float | None = None, legend: bool = False
) -> str:
    """Draw series over time, with vertical lines at `marks` and a level one at `threshold`.

    Each is named at its end, or, where some end before others do, in a `legend` above.
    """
    import altair as alt

    names = list(dict.fromkeys(point.series for point in points))
    above = alt.Legend(orient="top", title=None, symbolType="stroke", symbolStrokeWidth=2) if legend else None
    colour = alt.Color("series:N", scale=alt.Scale(domain=names, range=list(COLOURS)), legend=above)
    chart = alt.Chart(data(points))
    layers = [
        chart.mark_line(strokeWidth=1.8).encode(
            x=alt.X("at:T", title="day (UTC)", **_days(points)),
            y=alt.Y("value:Q", title=y),
            color=colour,
            strokeDash=alt.StrokeDash("series:N", sort=names, legend=None),
        ),
    ]
    if not legend:
        layers.append(
            alt.Chart(values(_ends(points, names)))
            .mark_text(align="left", dx=6, fontSize=12, fontWeight="bold")
            .encode(x="at:T", y="value:Q", text="series:N", color=colour)
        )
    if threshold is not None:
        level = alt.Chart(values([{"value": threshold, "label": f"counts from {threshold:g}"}])).encode(y="value:Q")
        layers += [
            level.mark_rule(strokeDash=[4, 3], color=INK),
            level.mark_text(align="left", dx=4, dy=-7, fontSize=11).encode(x=alt.value(0), text="label:N"),
        ]
    told: set[str] = set()
    for mark in sorted(marks, key=lambda mark: mark.at):
        rule = alt.Chart(data([mark])).encode(x="at:T")
        layers.append(rule.mark_rule(strokeDash=[4, 3], color=GREY))
        if mark.label not in told:
            # below each other: two marks may be a day apart
            height = alt.value(6 + 15 * (len(told) % 3))
            layers.append(rule.mark_text(align="left", dx=4, fontSize=12).encode(y=height, text="label:N"))
            told.add(mark.label)
    return svg(alt.layer(*layers).properties(width=WIDTH - 190, height=_LINES_HEIGHT))


def _days(points: Sequence[Point]) -> dict[str, Any]:
    """Return a time axis that names days, or months where there are many; never hours."""
    days = (max(point.at for point in points) - min(point.at for point in points)).days if points else 0
    months = days >= 30 * _TICKS
    return time_axis(format="%b %Y" if months else "%b %d", tickCount=max(1, min(_TICKS, days)))


def bars(items: Sequence[Bar], *, x: str, threshold: float | None = None) -> str:
    """Draw effects, one group of bars a name, the largest first, with the line from which on they count."""
    import altair as alt

    names = ranked(items)[:MOST_BARS]
    shown = [item for item in items if item.name in names]
    groups = list(dict.fromkeys(item.group for item in shown))
    base = alt.Chart(data(shown)).encode(
        y=alt.Y("name:N", sort=names, title=None),
        yOffset=alt.YOffset("group:N", sort=groups),
    )
    layers = [
        base.mark_bar().encode(
            x=alt.X("value:Q", title=x),
            color=alt.Color(
                "group:N",
                scale=alt.Scale(domain=groups, range=list(COLOURS)),
                legend=alt.Legend(orient="top", title=None) if len(groups) > 1 else None,
            ),
        ),
        base.mark_text(align="left", dx=4, fontSize=11).encode(x="value:Q", text=alt.Text("value:Q", format=".3~g")),
    ]
    if threshold is not None:
        layers += limit_line(threshold)
    return svg(alt.layer(*layers).properties(width=WIDTH - 220, height=max(60, 17 * len(names) * max(1, len(groups)))))


def ranked(items: Iterable[Bar]) -> list[str]:
    """Return the names, that with the largest value first.

    Examples
    --------
    >>> ranked([Bar("May", "wind", 0.1), Bar("May", "rain", 0.4), Bar("June", "wind", 0.7)])
    ['wind', 'rain']
    """
    largest: dict[str, float] = {}
    for item in items:
        largest[item.name] = max(item.value, largest.get(item.name, item.value))
    return sorted(largest, key=lambda name: (-largest[name], name))


def limit_line(threshold: float) -> list[alt.Chart]:
    """Return the layers of the line from which on a value counts."""
    import altair as alt

    rule = alt.Chart(values([{"value": threshold, "label": f"counts from {threshold:g}"}])).encode(x="value:Q")
    label = rule.mark_text(align="left", dx=4, dy=-8, fontSize=11).encode(y=alt.value(0), text="label:N")
    return [rule.mark_rule(strokeDash=[4, 3], color=INK), label]


def _causes(spans: Sequence[Span], lane: str) -> str:
    causes = list(dict.fromkeys(span.cause for span in spans if span.lane == lane))
    return causes[0] + (f" and {len(causes) - 1} more" if len(causes) > 1 else "")


def _ends(points: Sequence[Point], names: Sequence[str]) -> list[dict[str, object]]:
    """Return where the name of each series stands: at its last value, or above the name below it."""
    last = {
        name: max((point for point in points if point.series == name), key=lambda point: point.at) for name in names
    }
    apart = max((point.value for point in points), default=0.0) * 15 / _LINES_HEIGHT
    ends: list[dict[str, object]] = []
    lowest = float("-inf")
    for name in sorted(names, key=lambda name: last[name].value):
        lowest = max(last[name].value, lowest + apart)
        ends.append({"series": name, "at": last[name].at, "value": lowest})
    return ends
