"""Two things side by side: training and window, candidates, challenger and champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from mlcore.report.charts import MOST_BARS, limit_line
from mlcore.report.drawing import COLOURS, GREY, INK, WIDTH, data, svg, values

if TYPE_CHECKING:
    import altair as alt

_BEFORE: Final = "in training"
_NOW: Final = "in the window"
_SEVERITIES: Final = {"none": GREY, "moderate": COLOURS[4], "severe": COLOURS[1]}
_SCORES: Final = {"train": GREY, "validation": COLOURS[0], "holdout": COLOURS[1]}
_VERDICTS: Final = {"better": COLOURS[2], "worse": COLOURS[1], "undecided": GREY}


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """How far one feature moved, and whether that counts."""

    name: str
    effect: float
    severity: Literal["none", "moderate", "severe"]


@dataclass(frozen=True, slots=True)
class Distribution:
    """Shares of the rows in each bin, in training and in a window.

    Parameters
    ----------
    name, unit : str
    labels : tuple of str
        One a bin, for categories; empty for numbers.
    edges : tuple of float
        One more than there are bins, for numbers; empty for categories.
    before, now : tuple of float in [0, 1]
    """

    name: str
    unit: str
    labels: tuple[str, ...]
    edges: tuple[float, ...]
    before: tuple[float, ...]
    now: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class CandidateScore:
    """One candidate's search metric on the rows it learned from, on the validation folds, and held out."""

    name: str
    train: float | None
    validation: float | None
    holdout: float | None = None
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """Loss of the challenger minus loss of the opponent, with its interval: negative is better."""

    name: str
    value: float
    lower: float
    upper: float


def drift_per_feature(items: Sequence[FeatureDrift], *, threshold: float) -> str:
    """Draw the population stability index of each feature, the largest first, coloured by severity."""
    import altair as alt

    shown = sorted(items, key=lambda item: (-item.effect, item.name))[:MOST_BARS]
    severities = [severity for severity in _SEVERITIES if any(item.severity == severity for item in shown)]
    base = alt.Chart(data(shown)).encode(y=alt.Y("name:N", sort=[item.name for item in shown], title=None))
    layers = [
        base.mark_bar(height=14).encode(
            x=alt.X("effect:Q", title="population stability index"),
            color=alt.Color(
                "severity:N",
                scale=alt.Scale(domain=severities, range=[_SEVERITIES[severity] for severity in severities]),
                legend=alt.Legend(orient="top", title=None),
            ),
        ),
        base.mark_text(align="left", dx=4, fontSize=11).encode(x="effect:Q", text=alt.Text("effect:Q", format=".2f")),
        *limit_line(threshold),
    ]
    return svg(alt.layer(*layers).properties(width=WIDTH - 220, height=24 * max(1, len(shown))))


def histogram(item: Distribution) -> str:
    """Draw one feature in training (area) and in the window (outline), or category by category."""
    import altair as alt

    layers = _numbers(item) if item.edges else _categories(item)
    return svg(alt.layer(*layers).properties(width=WIDTH // 2 - 110, height=150))


def candidates(items: Sequence[CandidateScore], *, metric: str) -> str:
    """Draw every candidate's scores on one line: the further apart train and the others, the more over-fitting."""
    import altair as alt

    names = [f"{item.name} (chosen)" if item.chosen else item.name for item in items]
    rows = [
        {"candidate": name, "score": score, "value": value}
        for name, item in zip(names, items, strict=True)
        for score, value in (("train", item.train), ("validation", item.validation), ("holdout", item.holdout))
        if value is not None
    ]
    base = alt.Chart(values(rows)).encode(y=alt.Y("candidate:N", sort=names, title=None))
    scores = [score for score in _SCORES if any(row["score"] == score for row in rows)]
    range_ = [_SCORES[score] for score in scores]
    dots = base.mark_point(size=90, filled=True, opacity=1).encode(
        x=alt.X("value:Q", title=metric),
        color=alt.Color(
            "score:N", scale=alt.Scale(domain=scores, range=range_), legend=alt.Legend(orient="top", title=None)
        ),
        shape=alt.Shape(
            "score:N", scale=alt.Scale(domain=scores, range=["circle", "square", "diamond"][: len(scores)])
        ),
    )
    line = base.mark_line(color=GREY, strokeWidth=1).encode(x="value:Q", detail="candidate:N")
    return svg(alt.layer(line, dots).properties(width=WIDTH - 260, height=26 * max(1, len(items))))


def difference_interval(items: Sequence[Difference], *, metric: str, margin: float | None = None) -> str:
    """Draw differences with their intervals beside zero: left of it the challenger is better, right of it worse.

    Parameters
    ----------
    items : sequence of Difference
        The whole first, then slices.
    metric : str
    margin : float, optional
        Worsening that still counts as not worse.
    """
    import altair as alt

    rows = [
        {"name": item.name, "value": item.value, "lower": item.lower, "upper": item.upper, "verdict": _verdict(item)}
        for item in items
    ]
    verdicts = [verdict for verdict in _VERDICTS if any(row["verdict"] == verdict for row in rows)]
    colour = alt.Color(
        "verdict:N",
        scale=alt.Scale(domain=verdicts, range=[_VERDICTS[verdict] for verdict in verdicts]),
        legend=alt.Legend(orient="top", title=None),
    )
    y = alt.Y("name:N", sort=[item.name for item in items], title=None)
    base = alt.Chart(values(rows)).encode(y=y, color=colour)
    title = f"difference in loss ({metric}): challenger minus opponent; left is better"
    layers = [
        alt.Chart(values([{"x": 0}])).mark_rule(color=INK).encode(x="x:Q"),
        base.mark_rule(strokeWidth=3).encode(x=alt.X("lower:Q", title=title), x2="upper:Q"),
        base.mark_point(size=90, filled=True, opacity=1).encode(x="value:Q"),
    ]
    if margin:
        rule = alt.Chart(values([{"x": margin, "label": "margin"}])).encode(x="x:Q")
        layers.append(rule.mark_rule(strokeDash=[4, 3], color=GREY))
        layers.append(rule.mark_text(align="left", dx=4, dy=-6, fontSize=11).encode(y=alt.value(0), text="label:N"))
    return svg(alt.layer(*layers).properties(width=WIDTH - 240, height=30 * max(1, len(items))))


def calibration(points: Sequence[tuple[float, float]], *, unit: str) -> str:
    """Draw mean truth over mean prediction of each bin: on the line the predictions are right on average."""
    return svg(_calibration({"": points}, unit=unit).properties(width=WIDTH // 2 - 110, height=240))


def calibrations(curves: Mapping[str, Sequence[tuple[float, float]]], *, unit: str) -> str:
    """Draw the same of several models, by name."""
    return svg(_calibration(curves, unit=unit).properties(width=WIDTH - 220, height=320))


def _calibration(curves: Mapping[str, Sequence[tuple[float, float]]], *, unit: str) -> alt.LayerChart:
    import altair as alt

    rows = [
        {"model": name, "predicted": predicted, "observed": observed}
        for name, points in curves.items()
        for predicted, observed in points
    ]
    edges = [pick(pick(point) for points in curves.values() for point in points) for pick in (min, max)]
    ideal = alt.Chart(values([{"predicted": edge, "observed": edge} for edge in edges]))
    told = f" ({unit})" if unit else ""
    axes = {
        "x": alt.X("predicted:Q", title=f"mean prediction{told}", scale=alt.Scale(zero=False)),
        "y": alt.Y("observed:Q", title=f"mean truth{told}", scale=alt.Scale(zero=False)),
    }
    colour = alt.Color(
        "model:N",
        scale=alt.Scale(domain=list(curves), range=list(COLOURS)),
        legend=alt.Legend(orient="top", title=None) if len(curves) > 1 else None,
    )
    return alt.layer(
        ideal.mark_line(color=GREY, strokeDash=[4, 3]).encode(**axes),
        alt.Chart(values(rows)).mark_line(point=True).encode(**axes, color=colour),
    )


def learning_curve(points: Sequence[tuple[int, float, float]], *, metric: str) -> str:
    """Draw the metric on the rows fitted on and on held-out rows over the number of rows fitted on."""
    import altair as alt

    rows = [
        {"rows": count, "score": score, "value": value}
        for count, train, validation in points
        for score, value in (("train", train), ("validation", validation))
    ]
    base = alt.Chart(values(rows)).encode(
        x=alt.X("rows:Q", title="rows fitted on", scale=alt.Scale(zero=False)),
        y=alt.Y("value:Q", title=metric, scale=alt.Scale(zero=False)),
        color=alt.Color(
            "score:N",
            scale=alt.Scale(domain=["train", "validation"], range=[_SCORES["train"], _SCORES["validation"]]),
            legend=alt.Legend(orient="top", title=None),
        ),
    )
    return svg(alt.layer(base.mark_line(point=True)).properties(width=WIDTH // 2 - 110, height=240))


def _verdict(item: Difference) -> str:
    if item.upper < 0:
        return "better"
    return "worse" if item.lower > 0 else "undecided"


def _numbers(item: Distribution) -> list[alt.Chart]:
    import altair as alt

    # a step ends where the next begins; the last one is repeated so that it has a width
    steps = [
        {"edge": edge, "share": share, "when": when}
        for when, shares in ((_BEFORE, item.before), (_NOW, item.now))
        for edge, share in zip(item.edges, (*shares, shares[-1]), strict=True)
    ]
    unit = f"{item.name} ({item.unit})" if item.unit else item.name
    base = alt.Chart(values(steps)).encode(
        x=alt.X("edge:Q", title=unit, scale=alt.Scale(zero=False, nice=False)),
        y=alt.Y("share:Q", title="share of rows", axis=alt.Axis(format="%", tickCount=4)),
    )
    return [
        base.transform_filter(f"datum.when == '{_BEFORE}'").mark_area(
            interpolate="step-after", opacity=0.55, color=GREY
        ),
        base.transform_filter(f"datum.when == '{_NOW}'").mark_line(
            interpolate="step-after", color=COLOURS[1], strokeWidth=2
        ),
    ]


def _categories(item: Distribution) -> list[alt.Chart]:
    import altair as alt

    rows = [
        {"category": label, "share": share, "when": when}
        for when, shares in ((_BEFORE, item.before), (_NOW, item.now))
        for label, share in zip(item.labels, shares, strict=True)
    ]
    base = alt.Chart(values(rows)).encode(
        x=alt.X("share:Q", title="share of rows", axis=alt.Axis(format="%", tickCount=4)),
        y=alt.Y("category:N", sort=list(item.labels), title=item.name, axis=alt.Axis(labelLimit=120)),
        yOffset=alt.YOffset("when:N", sort=[_BEFORE, _NOW]),
        color=alt.Color("when:N", scale=alt.Scale(domain=[_BEFORE, _NOW], range=[GREY, COLOURS[1]]), legend=None),
    )
    return [base.mark_bar()]
