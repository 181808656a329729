"""The page of one window: what moved, how much, whether it matters, and what was decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from mlcore.decision import HARM
from mlcore.report import comparisons, page
from mlcore.report.charts import MOST_BARS, Mark, Point, lines
from mlcore.report.comparisons import Distribution, FeatureDrift

if TYPE_CHECKING:
    from mlcore.decision import Decision
    from mlcore.diagnosis import Diagnosis
    from mlcore.drift import ColumnDrift, DriftReport
    from mlcore.performance import Estimate, Performance, SlicePerformance
    from mlcore.quality import QualityReport

#: More histograms than this make the page slow to draw and no clearer.
MOST_PICTURES: Final = 12
_MOST_FAILURES: Final = 20
_MOST_LINES: Final = 5
_MOST_RANKED: Final = 8
#: A smaller one is nothing but the end of the numbers.
_SMALLEST_P: Final = 1e-16
_UNDECIDED: Final = page.callout("Decision", "None was taken yet when this page was written.")
_KINDS: Final[dict[str, Literal["plain", "good", "bad", "note"]]] = {
    "data_fault": "bad",
    "harmful_shift": "bad",
    "concept_change": "bad",
    "estimated_harm": "note",
    "harmless_shift": "note",
    "season": "good",
    "too_little_data": "note",
    "healthy": "good",
}
_TITLES: Final = {
    "data_fault": "The data is wrong, not the world",
    "harmful_shift": "The world has moved, and it harms",
    "concept_change": "The relation has changed",
    "estimated_harm": "Harm is to be expected, labels are missing",
    "harmless_shift": "The world has moved, without harm",
    "season": "Only the season has changed",
    "too_little_data": "Too little data to judge",
    "healthy": "Healthy",
}


@dataclass(frozen=True, slots=True)
class EarlierDrift:
    """Population stability index of each column in an earlier window, and what was found there."""

    starts_at: datetime
    cause: str
    psi: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class WindowFacts:
    """Everything the page shows.

    Parameters
    ----------
    title : str
        Of the use case.
    window_id : str
    starts_at, ends_at : datetime
    model_version : int
    rows, labelled : int
    diagnosis : Diagnosis
    decision : Decision or None
        None where none was made yet.
    quality, drift, performance
        None where the cadence does not ask for it.
    drift_threshold : float
        Population stability index from which on drift counts.
    distributions : sequence of Distribution
        Of any features; those that moved furthest are drawn.
    estimate : Estimate, optional
        What performance is expected to be without labels.
    importance : mapping of column name to float
        Share of the model's importance that each column has.
    earlier : sequence of EarlierDrift
        Windows of the cadence before this one, by time.
    """

    title: str
    window_id: str
    starts_at: datetime
    ends_at: datetime
    model_version: int
    rows: int
    labelled: int
    diagnosis: Diagnosis
    decision: Decision | None
    quality: QualityReport | None
    drift: DriftReport | None
    performance: Performance | None
    drift_threshold: float
    distributions: Sequence[Distribution] = ()
    estimate: Estimate | None = None
    importance: Mapping[str, float] = field(default_factory=dict)
    earlier: Sequence[EarlierDrift] = ()


def window_page(facts: WindowFacts) -> str:
    """Return the page."""
    return page.render(f"{facts.title}: window {facts.window_id}", _blocks(facts))


def write_window_page(facts: WindowFacts, path: Path) -> Path:
    """Write the page."""
    return page.write(path, window_page(facts))


def add_decision(path: Path, action: str, sentence: str, would_change: str) -> None:
    """Write what was decided about a window into its page, if there is one that does not tell it yet."""
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8")
    if _UNDECIDED in text:
        page.write(path, text.replace(_UNDECIDED, "\n".join(_decision(action, sentence, would_change))))


def _decision(action: str, sentence: str, would_change: str) -> Iterator[str]:
    yield page.callout(f"Decision: {action.replace('_', ' ')}", sentence)
    if would_change:
        yield page.sentence(f"What would have changed it: {would_change}")


def _blocks(facts: WindowFacts) -> Iterator[str]:
    cause = facts.diagnosis.cause
    yield page.sentence(
        f"{facts.starts_at:%Y-%m-%d %H:%M} to {facts.ends_at:%Y-%m-%d %H:%M} UTC, answered by version "
        f"{facts.model_version}.",
        lead=True,
    )
    yield page.callout(_TITLES[cause], facts.diagnosis.sentence, _KINDS[cause])
    if facts.decision is not None:
        yield from _decision(facts.decision.action, facts.decision.sentence, facts.decision.would_change)
    else:
        yield _UNDECIDED
    yield page.figures(_figures(facts))
    if facts.diagnosis.features:
        yield page.heading("Feature by feature")
        yield page.table(
            ("feature", "finding", "what was seen"),
            [(item.name, item.finding, item.sentence) for item in facts.diagnosis.features],
        )
    yield from _performance(facts.performance, facts.estimate)
    yield from _drift(facts)
    yield from _quality(facts.quality)


def _figures(facts: WindowFacts) -> Iterator[tuple[str, str]]:
    yield f"{facts.rows:,}", "rows"
    yield f"{facts.labelled / facts.rows:.0%}" if facts.rows else "0%", f"labelled ({facts.labelled:,})"
    if facts.drift is not None and facts.drift.outcome != "too_little_data":
        yield f"{len(facts.drift.drifted)} of {len(facts.drift.columns)}", "columns have moved"
    performance = facts.performance
    if performance is not None and performance.value is not None:
        yield f"{performance.value:.4g}", performance.metric.replace("_", " ")
        yield f"{performance.reference:.4g}", "at validation"
    if facts.quality is not None:
        yield str(len(facts.quality.failures)), f"of {len(facts.quality.checks)} checks failed"


def _performance(performance: Performance | None, estimate: Estimate | None) -> Iterator[str]:
    if performance is None and estimate is None:
        return
    yield page.heading("How well the model does")
    if performance is not None:
        yield page.sentence(performance.sentence)
        if performance.lag_median_seconds is not None and performance.lag_p95_seconds is not None:
            half, most = (_hours(seconds) for seconds in (performance.lag_median_seconds, performance.lag_p95_seconds))
            yield page.sentence(f"Half of the labels came within {half}, 95 % within {most}.")
        yield from _slices(performance.slices)
    if estimate is not None:
        yield page.sentence(estimate.sentence)
        yield from _slices(estimate.slices)


def _slices(slices: Sequence[SlicePerformance]) -> Iterator[str]:
    if slices:
        yield page.table(
            ("slice", "rows", "now", "95 % interval", "at validation"),
            [
                (
                    f"{item.column} = {item.label}",
                    f"{item.rows:,}",
                    "too few rows" if item.value is None else f"{item.value:.4g}",
                    "" if item.lower is None else f"{item.lower:.4g} to {item.upper:.4g}",
                    "" if item.reference is None else f"{item.reference:.4g}",
                )
                for item in slices
            ],
        )


def _hours(seconds: float) -> str:
    for name, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {name}"
    return f"{seconds:.0f} seconds"


def _drift(facts: WindowFacts) -> Iterator[str]:
    if facts.drift is None:
        return
    yield page.heading("What has moved")
    if facts.drift.outcome == "too_little_data":
        yield page.sentence(f"{facts.drift.rows:,} rows are too few to compare with the rows trained on.")
        return
    yield page.sentence(
        "Compared with every value trained on."
        if facts.drift.exact
        else "Compared with quantiles or the commonest categories of what was trained on: approximate."
    )
    for told in facts.diagnosis.evidence.get("season", ()):
        yield page.sentence(f"Season: {told}.")
    if facts.drift.multivariate is not None:
        yield page.sentence(facts.drift.multivariate.sentence)
    ordered = sorted(facts.drift.columns, key=lambda column: (-column.psi, column.name))
    shown = f" The {MOST_BARS} largest are drawn." if len(ordered) > MOST_BARS else ""
    yield page.sentence(
        "Population stability index of each column against the rows trained on. A column has moved when it is beyond "
        f"the dashed line and the difference is significant after correction for all columns.{shown}"
    )
    yield page.picture(
        comparisons.drift_per_feature(
            [FeatureDrift(column.name, column.psi, column.severity) for column in ordered],
            threshold=facts.drift_threshold,
        )
    )
    yield from _over_time(facts)
    # what matters most is drawn first
    ordered.sort(key=lambda column: -column.psi * facts.importance.get(column.name, 0.0))
    yield from _ranking(ordered, facts.importance)
    yield from _histograms(facts.distributions, [column.name for column in ordered])
    yield page.table(
        ("column", "severity", "PSI", "shift in deviations", "p, corrected", "missing before", "missing now"),
        [_row(column) for column in ordered],
    )


def _over_time(facts: WindowFacts) -> Iterator[str]:
    """Draw the columns that moved furthest, now or before."""
    assert facts.drift is not None
    now = EarlierDrift(facts.starts_at, "", {column.name: column.psi for column in facts.drift.columns})
    windows = [item for item in (*facts.earlier, now) if item.psi]
    if len(windows) < 2:
        return
    furthest = {name: max(item.psi.get(name, 0.0) for item in windows) for name in now.psi}
    drawn = sorted(furthest, key=lambda name: (-furthest[name], name))[:_MOST_LINES]
    points = [Point(name, item.starts_at, item.psi[name]) for name in drawn for item in windows if name in item.psi]
    retrained = [Mark(item.starts_at, "harmed") for item in windows if item.cause in HARM]
    yield page.heading("Drift over time")
    yield page.picture(
        lines(points, retrained, y="population stability index", threshold=facts.drift_threshold),
        f"This window and the {len(windows) - 1} before it, each against what the model that answered it was trained "
        f"on; of the columns the {len(drawn)} that moved furthest.",
    )


def _ranking(ordered: Sequence[ColumnDrift], importance: Mapping[str, float]) -> Iterator[str]:
    shown = [column for column in ordered if importance.get(column.name, 0.0) > 0][:_MOST_RANKED]
    if not shown:
        return
    yield page.heading("What matters to the model")
    yield page.sentence(
        "Drift weighted by how much the model relies on the column: a column that has moved far and hardly counts is "
        "less to worry about than one that has moved a little and decides the answer."
    )
    yield page.table(
        ("column", "PSI", "share of importance", "PSI x share", "has moved"),
        [
            (
                column.name,
                f"{column.psi:.3f}",
                f"{importance[column.name]:.1%}",
                f"{column.psi * importance[column.name]:.4f}",
                "yes" if column.drifted else "no",
            )
            for column in shown
        ],
    )


def _histograms(distributions: Sequence[Distribution], order: Sequence[str]) -> Iterator[str]:
    rank = {name: place for place, name in enumerate(order)}
    shown = sorted(distributions, key=lambda item: rank.get(item.name, len(rank)))[:MOST_PICTURES]
    if shown:
        yield page.heading("Side by side")
        yield page.sentence("Grey: the rows trained on. Orange: this window.")
        yield page.pictures(page.picture(comparisons.histogram(item)) for item in shown)


def _row(column: ColumnDrift) -> tuple[str, ...]:
    return (
        column.name,
        column.severity,
        f"{column.psi:.3f}",
        "" if column.wasserstein is None else f"{column.wasserstein:.2f}",
        "<1e-16" if column.adjusted_p < _SMALLEST_P else f"{column.adjusted_p:.2g}",
        f"{column.missing_before:.1%}",
        f"{column.missing_now:.1%}",
    )


def _quality(quality: QualityReport | None) -> Iterator[str]:
    if quality is None:
        return
    yield page.heading("Quality checks")
    failures = quality.failures
    if not failures:
        yield page.sentence(f"All {len(quality.checks)} checks hold.")
        return
    yield page.table(
        ("column", "expected", "observed", "for example"),
        [
            (check.column or "the table", check.expected, check.observed, ", ".join(check.examples))
            for check in failures[:_MOST_FAILURES]
        ],
    )
    if len(failures) > _MOST_FAILURES:
        yield page.sentence(f"And {len(failures) - _MOST_FAILURES} more.")
