"""The model card: what a model is, from what, how good, for whom, and where not to trust it; all of it measured.

After Mitchell et al. (2019), Model cards for model reporting. FAT* 2019.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlcore.report import page
from mlcore.report.trials import importance_blocks

if TYPE_CHECKING:
    from mlcore.contract import Column
    from mlcore.modelstore import ModelMetadata
    from mlcore.usecase import UseCase
    from mlcore.validation import EvaluationReport
    from mlcore.validation.report import MetricResult

#: A slice that is worse by more than this share is worth a warning.
_MUCH: Final = 0.25
_WHAT: Final = {
    "limit": "limit",
    "baseline": "better than a constant answer",
    "guard_metric": "further metric",
    "slice": "slice",
    "fairness": "fairness",
    "calibration": "calibration",
    "latency": "latency",
    "size": "size",
    "bad_rows": "missing and unseen values",
    "invariance": "invariance",
    "leak": "leak",
    "labels": "labels",
}


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What the card says besides the use case, the model's own metadata and the evaluation.

    Parameters
    ----------
    version : int
    digest : str
    cause : str
        What started the training.
    created_at : datetime
    dataset_rows : int
    dataset_from, dataset_to : datetime or None
    dataset_source : str
    champion_version : int or None
        What it was judged against.
    """

    version: int
    digest: str
    cause: str
    created_at: datetime
    dataset_rows: int
    dataset_from: datetime | None
    dataset_to: datetime | None
    dataset_source: str
    champion_version: int | None


def write_model_card(
    usecase: UseCase, metadata: ModelMetadata, report: EvaluationReport, facts: CardFacts, path: Path
) -> Path:
    """Write the card of one model version as an HTML page."""
    return page.write_page(path, f"{usecase.title}: model {facts.version}", _blocks(usecase, metadata, report, facts))


def _blocks(usecase: UseCase, metadata: ModelMetadata, report: EvaluationReport, facts: CardFacts) -> Iterator[str]:
    yield page.sentence(usecase.description or f"Predicts {usecase.contract.target.name}.", lead=True)
    opponent = f"version {facts.champion_version}" if report.opponent == "champion" else "the dummy"
    kind = {"promote": "good", "hold": "note", "reject": "bad"}[report.verdict]
    yield page.callout(f"Validation: {report.verdict}", report.sentence, kind)  # type: ignore[arg-type]
    yield page.figures(_figures(metadata, report, facts, opponent))
    yield page.heading("Who answers for it")
    yield page.table(("", ""), [("owner", usecase.owner.name), ("questions to", usecase.owner.email)])
    yield page.heading("What it was made from")
    yield page.table(("", ""), _origin(metadata, facts))
    yield page.heading("How good it is")
    yield page.sentence(
        f"On {report.rows:,} held-out rows that it was not fitted on; intervals cover {2 * report.confidence - 1:.0%} "
        f"and come from {report.units:,} independent units."
    )
    yield page.table(
        ("metric", "value", "from", "to", opponent),
        [
            (
                metric.name.replace("_", " "),
                f"{metric.challenger.value:.4g}",
                f"{metric.challenger.lower:.4g}",
                f"{metric.challenger.upper:.4g}",
                f"{metric.opponent.value:.4g}",
            )
            for metric in report.metrics
        ],
        empty="Nothing could be measured: there were too few held-out rows.",
    )
    yield from _slices(report, opponent)
    yield page.heading("What was checked")
    yield page.table(
        ("check", "outcome", "what was found"),
        [
            (f"{_WHAT.get(guard.kind, guard.kind)}: {guard.name}", guard.outcome.replace("_", " "), guard.sentence)
            for guard in report.guards
        ],
        empty="Nothing.",
    )
    yield page.heading("Where not to trust it")
    yield page.table(("",), [(line,) for line in _caveats(usecase, report)], empty="Nothing is known against it.")
    yield page.heading("What it looks at")
    yield page.table(("column", "type", "unit", "allowed", "meaning"), map(_column, usecase.contract.features))
    yield from importance_blocks(metadata.importance, metric=metadata.metric)


def _figures(
    metadata: ModelMetadata, report: EvaluationReport, facts: CardFacts, opponent: str
) -> Iterator[tuple[str, str]]:
    if report.primary is not None:
        yield f"{report.primary.challenger.value:.4g}", report.primary.name.replace("_", " ")
        yield f"{report.primary.opponent.value:.4g}", f"of {opponent}"
    yield metadata.algorithm.replace("_", " "), "algorithm"
    yield f"{metadata.train_rows:,}", "rows fitted on"
    yield f"{facts.created_at:%Y-%m-%d}", "trained"


def _origin(metadata: ModelMetadata, facts: CardFacts) -> Iterator[tuple[str, str]]:
    code = metadata.provenance
    yield "model digest", facts.digest
    yield "estimator", metadata.estimator
    yield "parameters", ", ".join(f"{key} = {value}" for key, value in metadata.parameters.items()) or "defaults"
    yield "seed", str(metadata.seed)
    yield "started by", facts.cause
    yield "dataset", f"version {metadata.dataset_version}, {facts.dataset_rows:,} rows, from {facts.dataset_source}"
    yield "dataset digest", metadata.dataset_digest
    if facts.dataset_from and facts.dataset_to:
        yield "its rows are of", f"{facts.dataset_from:%Y-%m-%d} to {facts.dataset_to:%Y-%m-%d}"
    yield "fitted, held out", f"{metadata.train_rows:,} rows, {metadata.holdout_rows:,} rows"
    if metadata.metrics.get("weightings"):
        tried = ", ".join(f"{name} {value:.4g}" for name, value in metadata.metrics["weightings"].items())
        yield "rows that count", f"{metadata.metrics['weighting']} ({metadata.metric.replace('_', ' ')}: {tried})"
    dirty = ", with uncommitted changes" if code.get("code_dirty") else ""
    yield "code", f"{code.get('code_commit') or 'not in git'}{dirty}"
    yield "lock", str(code.get("lock_digest") or "none")
    yield "libraries", ", ".join(f"{name} {version}" for name, version in code.get("libraries", {}).items())


def _slices(report: EvaluationReport, opponent: str) -> Iterator[str]:
    judged = [item for item in report.slices if item.challenger is not None]
    if not judged:
        return
    yield page.heading("For whom it is how good")
    yield page.table(
        ("slice", "rows", report.metric.replace("_", " "), opponent),
        [
            (f"{item.column} = {item.slice}", f"{item.rows:,}", f"{item.challenger:.4g}", f"{item.opponent:.4g}")
            for item in judged
        ],
    )


def _caveats(usecase: UseCase, report: EvaluationReport) -> Iterator[str]:
    for guard in report.guards:
        if guard.outcome == "failed":
            yield f"{_WHAT.get(guard.kind, guard.kind)} {guard.name}: {guard.sentence}."
    for item in report.slices:
        if item.challenger is None:
            yield f"{item.column} = {item.slice}: only {item.rows} held-out rows, nothing is known about it."
    if report.primary is not None:
        whole = report.primary.challenger.value
        for item in report.slices:
            if item.challenger is not None and _is_much_worse(item.challenger, report.primary):
                yield f"{item.column} = {item.slice}: {item.challenger:.4g}, against {whole:.4g} on all rows."
    ranged = [c.name for c in usecase.contract.features if c.minimum is not None or c.maximum is not None]
    if ranged:
        yield f"Outside of the allowed ranges of {', '.join(ranged)} it was never tried."
    if usecase.contract.time is not None:
        yield "It was judged on the newest rows of its dataset; on later ones monitoring tells."


def _is_much_worse(value: float, whole: MetricResult) -> bool:
    loss = value - whole.challenger.value
    return (-loss if whole.higher_is_better else loss) > _MUCH * abs(whole.challenger.value)


def _column(column: Column) -> tuple[str, str, str, str, str]:
    if column.categories:
        allowed = ", ".join(column.categories[:8]) + (" …" if len(column.categories) > 8 else "")
    elif column.minimum is None and column.maximum is None:
        allowed = ""
    else:
        low, high = (f"{bound:g}" if bound is not None else "" for bound in (column.minimum, column.maximum))
        allowed = f"{low} to {high}"
    return column.name, column.type, column.unit, allowed, column.description
