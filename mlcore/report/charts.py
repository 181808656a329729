"""Pictures as SVG, drawn by Vega-Altair without a browser; colours everybody can tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import altair as alt

#: Okabe & Ito (2008), for colour-vision deficiencies.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
_WIDTH: Final = 860


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took time: a flow run, on its stage's lane."""

    lane: str
    name: str
    started: datetime
    finished: datetime
    cause: str


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
    """Draw what ran when, one lane a stage, coloured by what caused it."""
    import altair as alt

    lanes = list(dict.fromkeys(span.lane for span in spans))
    chart = (
        alt.Chart(_data(spans))
        .mark_bar(height=12, cornerRadius=2)
        .encode(
            x=alt.X("started:T", title="wall clock (UTC)", axis=alt.Axis(format="%H:%M:%S")),
            x2="finished:T",
            y=alt.Y("lane:N", sort=lanes, title=None),
            color=_colour("cause:N", "started by"),
            tooltip=["name:N", "cause:N"],
        )
        .properties(width=_WIDTH - 160, height=24 * len(lanes))
    )
    return _svg(chart)


def lines(points: Sequence[Point], marks: Sequence[Mark], *, y: str) -> str:
    """Draw series over time, with vertical lines at `marks`."""
    import altair as alt

    series = (
        alt.Chart(_data(points))
        .mark_line(strokeWidth=1.8)
        .encode(x=alt.X("at:T", title=None), y=alt.Y("value:Q", title=y), color=_colour("series:N", None))
    )
    layers = [series]
    if marks:
        base = alt.Chart(_data(marks))
        layers.append(base.mark_rule(strokeDash=[4, 3], color="#5b6678").encode(x="at:T"))
        layers.append(
            base.mark_text(align="left", dx=4, dy=-4, baseline="top", color="#5b6678", fontSize=11).encode(
                x="at:T", y=alt.value(4), text="label:N"
            )
        )
    return _svg(alt.layer(*layers).properties(width=_WIDTH - 60, height=260))


def bars(items: Sequence[Bar], *, x: str, threshold: float | None = None) -> str:
    """Draw effects, one group of bars a name, the largest first, with the line from which on they count."""
    import altair as alt

    chart = (
        alt.Chart(_data(items))
        .mark_bar()
        .encode(
            x=alt.X("value:Q", title=x),
            y=alt.Y("name:N", sort=alt.EncodingSortField("value", op="max", order="descending"), title=None),
            yOffset=alt.YOffset("group:N", sort=list(dict.fromkeys(item.group for item in items))),
            color=_colour("group:N", None),
        )
    )
    layers = [chart]
    if threshold is not None:
        rule = alt.Chart(alt.Data(values=[{"value": threshold}]))
        layers.append(rule.mark_rule(strokeDash=[4, 3], color="#1d2430").encode(x="value:Q"))
    names = {item.name for item in items}
    groups = {item.group for item in items}
    return _svg(alt.layer(*layers).properties(width=_WIDTH - 200, height=max(60, 14 * len(names) * len(groups))))


def _data(items: Sequence[Any]) -> Any:
    import altair as alt

    return alt.Data(
        values=[
            {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(item).items()}
            for item in items
        ]
    )


def _colour(field: str, title: str | None) -> alt.Color:
    import altair as alt

    return alt.Color(
        field, title=title, scale=alt.Scale(range=list(COLOURS)), legend=alt.Legend(orient="top", labelLimit=320)
    )


def _svg(chart: alt.Chart | alt.LayerChart) -> str:
    import vl_convert

    spec = chart.configure_axis(labelFontSize=12, titleFontSize=12).configure_view(stroke=None).to_json()
    return str(vl_convert.vegalite_to_svg(spec))
