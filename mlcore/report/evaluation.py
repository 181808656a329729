"""The page of one evaluation: why this challenger is promoted, held or rejected."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from mlcore.report import charts, comparisons, outoffold, page
from mlcore.report.charts import Point
from mlcore.report.comparisons import CandidateScore, Difference
from mlcore.report.trials import importance_blocks

if TYPE_CHECKING:
    from mlcore.validation import EvaluationReport
    from mlcore.validation.bootstrap import Interval

_KINDS: Final[dict[str, Literal["good", "note", "bad"]]] = {"promote": "good", "hold": "note", "reject": "bad"}
_HOLDS: Final = {"passed": "yes", "failed": "no", "not_judged": "not judged"}
_CAUSES: Final = {
    "dataset": "because new data was published",
    "drift": "because of drift",
    "manual": "because a person asked for it",
    "schedule": "on schedule",
}
#: Failed guards are read first.
_ORDER: Final = ("failed", "not_judged", "passed")
_MOST_SLICES: Final = 30
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.0+)?\+00:00$")


@dataclass(frozen=True, slots=True)
class EvaluationFacts:
    """Everything the page shows besides the report.

    Parameters
    ----------
    title : str
        Of the use case.
    model_version : int
    champion_version : int or None
    algorithm, model_digest : str
    dataset_version : int
    cause : str
        What started the training.
    unit : str, default=""
        Of the target.
    candidates : sequence of CandidateScore, default=()
    learning_curve : sequence of (rows, train, validation), default=()
        The search metric of the winner fitted on ever more rows.
    search_metric : str, default=""
        What the candidates were compared by.
    trials : header and rows, default=((), ())
        Of `trials_table`: everything that was tried.
    importance : sequence of mapping, default=()
        `ModelMetadata.importance`, the most important first.
    out_of_fold : sequence of mapping, default=()
        `ModelMetadata.out_of_fold`: how each candidate did on rows that it was not fitted on.
    """

    title: str
    model_version: int
    champion_version: int | None
    algorithm: str
    model_digest: str
    dataset_version: int
    cause: str
    unit: str = ""
    candidates: Sequence[CandidateScore] = ()
    learning_curve: Sequence[tuple[int, float, float]] = ()
    search_metric: str = ""
    trials: tuple[Sequence[str], Sequence[Sequence[str]]] = ((), ())
    importance: Sequence[Mapping[str, Any]] = ()
    out_of_fold: Sequence[Mapping[str, Any]] = ()


def evaluation_page(report: EvaluationReport, facts: EvaluationFacts) -> str:
    """Return the page."""
    return page.render(f"{facts.title}: may version {facts.model_version} serve?", _blocks(report, facts))


def write_evaluation_page(report: EvaluationReport, facts: EvaluationFacts, path: Path) -> Path:
    """Write the page."""
    return page.write(path, evaluation_page(report, facts))


def candidate_scores(
    trials: Sequence[Mapping[str, Any]], *, chosen: str, higher_is_better: bool, holdout: float | None = None
) -> tuple[CandidateScore, ...]:
    """Return the best trial of each candidate, from the rows that the registry keeps, in the order of the search.

    Parameters
    ----------
    trials : sequence of mapping
        `ModelVersion.candidates`.
    chosen : str
        Name of the winner.
    higher_is_better : bool
        Direction of the search metric.
    holdout : float, optional
        The winner's search metric on the held-out rows; no other candidate is scored there.

    Examples
    --------
    >>> ridge = {"candidate": "ridge", "validation": [3.0, 5.0], "train": [2.0, 2.0], "mean_validation": 4.0}
    >>> candidate_scores([ridge, {**ridge, "mean_validation": 3.5}], chosen="ridge", higher_is_better=False)
    (CandidateScore(name='ridge', train=2.0, validation=3.5, holdout=None, chosen=True),)
    """
    scored = [trial for trial in trials if trial["validation"]]
    most = max((len(trial["validation"]) for trial in scored), default=0)
    sign = -1.0 if higher_is_better else 1.0
    found = []
    for name in dict.fromkeys(str(trial["candidate"]) for trial in scored):
        own = [trial for trial in scored if trial["candidate"] == name]
        # a trial that was stopped has met fewer folds, so its mean is of other rows
        best = min(own, key=lambda trial: (-len(trial["validation"]), sign * trial["mean_validation"]))
        folds = len(best["validation"])
        told = name if folds == most else f"{name} (stopped after {folds} of {most} folds)"
        train = sum(best["train"]) / len(best["train"]) if best["train"] else None
        is_chosen = name == chosen
        found.append(CandidateScore(told, train, best["mean_validation"], holdout if is_chosen else None, is_chosen))
    return tuple(found)


def _blocks(report: EvaluationReport, facts: EvaluationFacts) -> Iterator[str]:
    opponent = f"version {facts.champion_version}" if report.opponent == "champion" else "the dummy baseline"
    yield page.sentence(
        f"{facts.algorithm}, trained on dataset version {facts.dataset_version} "
        f"{_CAUSES.get(facts.cause, facts.cause)}, against {opponent} on the same {report.rows:,} held-out rows.",
        lead=True,
    )
    yield page.callout(report.verdict.capitalize(), report.sentence, _KINDS[report.verdict])
    if len(report.reasons) > 1:
        yield page.table(("every reason against it",), [(reason,) for reason in report.reasons])
    if report.extra_rows:
        yield page.sentence(f"About {report.extra_rows:,} more held-out rows would decide, if the difference stays.")
    yield page.figures(_figures(report))
    yield from _intervals(report)
    yield page.heading("Guards")
    yield page.table(
        ("holds", "guard", "what was found"),
        [
            (_HOLDS[guard.outcome], f"{guard.kind.replace('_', ' ')}: {guard.name}", guard.sentence)
            for guard in sorted(report.guards, key=lambda guard: _ORDER.index(guard.outcome))
        ],
        empty="None was checked.",
    )
    yield from _metrics(report)
    yield from _slices(report)
    yield from _curves(report, facts)
    yield from _candidates(facts, facts.search_metric.replace("_", " ") or report.metric.replace("_", " "))
    yield from outoffold.blocks(facts.out_of_fold, report, algorithm=facts.algorithm, unit=facts.unit)
    yield from _worst(report, facts)
    yield page.sentence(f"Model digest {facts.model_digest}.")


def _candidates(facts: EvaluationFacts, metric: str) -> Iterator[str]:
    if facts.candidates:
        yield page.heading("Candidates")
        yield page.sentence("The further validation and holdout are from train, the more was learned by heart.")
        yield page.picture(comparisons.candidates(facts.candidates, metric=metric))
    if facts.trials[1]:
        yield page.sentence(f"Everything that was tried, by its {metric}; the best first.")
        yield page.table(*facts.trials)
    if facts.importance:
        yield page.heading("What it looks at")
        yield from importance_blocks(facts.importance, metric=metric)


def _figures(report: EvaluationReport) -> Iterator[tuple[str, str]]:
    primary = report.primary
    if primary is not None:
        yield f"{primary.challenger.value:.4g}", f"{primary.name.replace('_', ' ')}, challenger"
        yield f"{primary.opponent.value:.4g}", f"{primary.name.replace('_', ' ')}, {report.opponent}"
    passed = sum(guard.outcome == "passed" for guard in report.guards)
    yield f"{passed} of {len(report.guards)}", "guards hold"
    yield f"{report.rows:,}", "held-out rows"
    if report.units and report.units != report.rows:
        yield f"{report.units:,}", "independent blocks"


def _intervals(report: EvaluationReport) -> Iterator[str]:
    found = [_difference("all rows", report.difference)]
    found += [_difference(f"{item.column} = {item.slice}", item.difference) for item in report.slices[:_MOST_SLICES]]
    drawn = [item for item in found if item is not None]
    if not drawn:
        return
    yield page.heading("Better, and how sure is that?")
    yield page.sentence(
        f"Paired bootstrap over the held-out rows; intervals cover {2 * report.confidence - 1:.0%}. An interval across "
        "the line says nothing either way."
    )
    yield page.picture(comparisons.difference_interval(drawn, metric=report.metric.replace("_", " ")))


def _difference(name: str, interval: Interval | None) -> Difference | None:
    if interval is None or not abs(interval.lower) < float("inf") or not abs(interval.upper) < float("inf"):
        return None
    return Difference(name, interval.value, interval.lower, interval.upper)


def _slices(report: EvaluationReport) -> Iterator[str]:
    if not report.slices:
        return
    yield page.heading("Slices")
    yield page.table(
        ("slice", "rows", "challenger", report.opponent, "p, corrected"),
        [
            (
                f"{item.column} = {item.slice}",
                f"{item.rows:,}",
                _cell(item.challenger),
                _cell(item.opponent),
                "too few rows" if item.adjusted_p is None else f"{item.adjusted_p:.2g}",
            )
            for item in report.slices
        ],
    )


def _metrics(report: EvaluationReport) -> Iterator[str]:
    if len(report.metrics) < 2:
        return
    yield page.heading("Every metric")
    yield page.table(
        ("metric", "challenger", report.opponent, "difference in loss", "from", "to"),
        [
            (
                metric.name.replace("_", " "),
                _cell(metric.challenger.value),
                _cell(metric.opponent.value),
                *(f"{value:+.4g}" for value in _edges(metric.difference)),
            )
            for metric in report.metrics
        ],
    )


def _edges(interval: Interval) -> tuple[float, float, float]:
    return interval.value, interval.lower, interval.upper


def _curves(report: EvaluationReport, facts: EvaluationFacts) -> Iterator[str]:
    pictures = []
    if len(report.calibration) > 1:
        curve = [(point.predicted, point.observed) for point in report.calibration]
        pictures.append(page.picture(comparisons.calibration(curve, unit=facts.unit)))
    if len(facts.learning_curve) > 1:
        drawn = comparisons.learning_curve(facts.learning_curve, metric=report.metric.replace("_", " "))
        pictures.append(page.picture(drawn))
    if pictures:
        yield page.heading("Calibration and learning curve")
        yield page.sentence(
            "Left: is it right on average? Right: would more rows help (do the lines still approach each other)?"
            if len(pictures) > 1
            else "Is what it answers right on average? On the dashed line it is."
        )
        yield page.pictures(pictures)
    if len(report.residuals) > 1:
        yield page.heading("Errors over time")
        points = [
            Point(name, datetime.fromisoformat(item.starts_at), loss)
            for item in report.residuals
            for name, loss in (("challenger", item.challenger), (report.opponent, item.opponent))
        ]
        yield page.picture(charts.lines(points, [], y=f"mean loss a row ({report.metric.replace('_', ' ')})"))


def _worst(report: EvaluationReport, facts: EvaluationFacts) -> Iterator[str]:
    if not report.worst_rows:
        return
    columns = list(report.worst_rows[0].row)
    unit = f" in {facts.unit}" if facts.unit else ""
    yield page.heading("Where it is most wrong")
    yield page.sentence(f"The held-out rows with the largest error of the challenger; truth and answers{unit}.")
    yield page.table(
        ("truth", "challenger", report.opponent, *columns),
        [
            (
                *(_cell(value) for value in (item.truth, item.challenger, item.opponent)),
                *(_cell(item.row.get(column)) for column in columns),
            )
            for item in report.worst_rows
        ],
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str) and _MOMENT.match(value):
        return value[:16].replace("T", " ")
    return f"{value:.4g}" if isinstance(value, float) else str(value)
