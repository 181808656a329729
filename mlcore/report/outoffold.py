"""All candidates side by side on rows that they were not fitted on: calibration, losses over time, slices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from mlcore.calibration import calibration_gap
from mlcore.report import charts, comparisons, page
from mlcore.report.charts import Point

if TYPE_CHECKING:
    from mlcore.validation import EvaluationReport

_MOST_SLICES: Final = 30
_HELD_OUT: Final = ", held out"
_ROUNDING: Final = 1e-9

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]


def candidates_table(evidence: Sequence[Mapping[str, Any]]) -> Table:
    """Return header and rows: how each candidate did on the newest fold, which all of them met, and how even.

    Parameters
    ----------
    evidence : sequence of mapping
        `ModelMetadata.out_of_fold`.

    Examples
    --------
    >>> fold = {"rows": 100, "value": 4.0, "calibration": [[1.0, 2.0, 50], [3.0, 3.0, 50]],
    ...         "residuals": [["2026-01-01T00:00:00+00:00", 3.0, 50], ["2026-01-08T00:00:00+00:00", 5.0, 50]],
    ...         "slices": []}
    >>> ridge = {"candidate": "ridge", "parameters": {"alpha": 1}, "metric": "mean_absolute_error", "folds": [fold]}
    >>> header, rows = candidates_table([ridge])
    >>> print(*header, sep=" | ")
    candidate | parameters | mean absolute error | off by, on average over ten bins | largest loss, from | folds met
    >>> print(*rows[0], sep=" | ")
    ridge | alpha = 1 | 4 | 0.5 | 5, 2026-01-08 | 1
    """
    metric = str(evidence[0]["metric"]).replace("_", " ") if evidence else ""
    columns = (metric, "off by, on average over ten bins", "largest loss, from", "folds met")
    header: tuple[str, ...] = ("candidate", "parameters", *columns)
    rows: list[tuple[str, ...]] = []
    for item in evidence:
        newest = item["folds"][0]
        worst = max(newest["residuals"], key=lambda stretch: stretch[1], default=None)
        rows.append(
            (
                str(item["candidate"]),
                ", ".join(f"{name} = {value}" for name, value in item["parameters"].items()),
                _cell(newest["value"]),
                _cell(calibration_gap(newest["calibration"]) if newest["calibration"] else None),
                "" if worst is None else f"{worst[1]:.4g}, {worst[0][:10]}",
                str(len(item["folds"])),
            )
        )
    return header, rows


def slices_table(evidence: Sequence[Mapping[str, Any]], report: EvaluationReport | None = None) -> Table:
    """Return header and rows: each slice of the newest fold, by every candidate; beside it the winner, held out.

    Parameters
    ----------
    evidence : sequence of mapping
        `ModelMetadata.out_of_fold`.
    report : EvaluationReport, optional
        The winner's figures on held-out rows are taken from it, where they are by the same metric.
    """
    names = [str(item["candidate"]) for item in evidence]
    by_candidate = [
        {(column, label): (value, rows) for column, label, value, rows in item["folds"][0]["slices"]}
        for item in evidence
    ]
    held_out = {
        (item.column, item.slice): (item.challenger, item.rows)
        for item in (report.slices if report is not None and _same_metric(evidence, report) else ())
        if item.challenger is not None
    }
    places = list(dict.fromkeys(place for known in by_candidate for place in known))[:_MOST_SLICES]
    header = ("slice", "rows", *names, *(("rows held out", f"winner{_HELD_OUT}") if held_out else ()))
    rows = []
    for place in places:
        own = [known.get(place, (None, 0)) for known in by_candidate]
        beside = held_out.get(place, (None, 0))
        told = (f"{beside[1]:,}" if beside[1] else "", _cell(beside[0])) if held_out else ()
        count = max(rows for _, rows in own)
        rows.append((f"{place[0]} = {place[1]}", f"{count:,}", *(_cell(value) for value, _ in own), *told))
    return header, rows


def blocks(
    evidence: Sequence[Mapping[str, Any]], report: EvaluationReport, *, algorithm: str, unit: str = ""
) -> Iterator[str]:
    """Yield the section of the evaluation page; nothing for models of before this was kept.

    Parameters
    ----------
    evidence : sequence of mapping
        `ModelMetadata.out_of_fold`.
    report : EvaluationReport
        The winner on held-out rows, for comparison.
    algorithm : str
        The winner.
    unit : str, default=""
        Of the target.
    """
    if not evidence:
        return
    metric = str(evidence[0]["metric"]).replace("_", " ")
    yield page.heading("All candidates, out of fold")
    yield page.sentence(
        f"The best trial of each algorithm, asked about the {evidence[0]['folds'][0]['rows']:,} validation rows of the "
        "newest fold, which none of them was fitted on: the same rows for all. These fits had fewer rows to learn from "
        "than the winner has now, and chose it, so the verdict rests on later rows alone, held out."
    )
    yield page.table(*candidates_table(evidence))
    yield from _calibration(evidence, report, algorithm=algorithm, unit=unit)
    yield from _over_time(evidence, report, algorithm=algorithm, metric=metric)
    header, rows = slices_table(evidence, report)
    if rows:
        yield page.sentence(f"By slice, {metric} out of fold on the newest fold{_beside(header)}.")
        yield page.table(header, rows)


def _calibration(
    evidence: Sequence[Mapping[str, Any]], report: EvaluationReport, *, algorithm: str, unit: str
) -> Iterator[str]:
    curves = {
        str(item["candidate"]): [(predicted, observed) for predicted, observed, _ in item["folds"][0]["calibration"]]
        for item in evidence
        if not _is_constant(item)
    }
    if not curves:
        return
    if report.calibration:
        curves[f"{algorithm}{_HELD_OUT}"] = [(point.predicted, point.observed) for point in report.calibration]
    yield page.sentence("Calibration: on the dashed line, answers are right on average.")
    yield page.picture(comparisons.calibrations(curves, unit=unit))


def _over_time(
    evidence: Sequence[Mapping[str, Any]], report: EvaluationReport, *, algorithm: str, metric: str
) -> Iterator[str]:
    points = [
        Point(str(item["candidate"]), datetime.fromisoformat(start), loss)
        for item in evidence
        for fold in reversed(item["folds"])
        for start, loss, _ in fold["residuals"]
    ]
    if not points:
        return
    if _same_metric(evidence, report):
        name = f"{algorithm}{_HELD_OUT}"
        held_out = [Point(name, datetime.fromisoformat(item.starts_at), item.challenger) for item in report.residuals]
        # in the colours of the calibration, where a constant answer is not drawn
        constant = {str(item["candidate"]) for item in evidence if _is_constant(item)}
        drawn = [point for point in points if point.series not in constant]
        points = [*drawn, *held_out, *(point for point in points if point.series in constant)]
    yield page.sentence("Mean loss a row over time, on every fold that a candidate met; then of the winner, held out.")
    yield page.picture(charts.lines(points, [], y=f"mean loss a row ({metric})", legend=True))


def _is_constant(item: Mapping[str, Any]) -> bool:
    """Whether a candidate gave one answer to everything, which is no curve."""
    predicted = [mean for mean, _, _ in item["folds"][0]["calibration"]]
    return not predicted or max(predicted) - min(predicted) <= _ROUNDING * max(map(abs, predicted))


def _same_metric(evidence: Sequence[Mapping[str, Any]], report: EvaluationReport) -> bool:
    return bool(evidence) and evidence[0]["metric"] == report.metric


def _beside(header: Sequence[str]) -> str:
    return "; beside it the winner on the rows held out" if header[-1].endswith(_HELD_OUT) else ""


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
