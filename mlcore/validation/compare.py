"""The gate: promote when surely better, hold when undecided, reject when surely worse or when a guard fails."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.errors import ContractError
from mlcore.metrics import METRICS, Output, metric_named
from mlcore.validation.bootstrap import Resampler
from mlcore.validation.evidence import calibration, change_fraction, residuals
from mlcore.validation.guards import all_guards, slices
from mlcore.validation.leaks import leaks_of_models, leaks_of_rows
from mlcore.validation.report import EvaluationReport, GuardResult, MetricResult, WorstRow
from mlcore.validation.subject import Model, Subject
from mlcore.validation.verdict import decide, on_untold_rows

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.usecase import UseCase

Array = np.ndarray[Any, Any]
_WORST: Final = 10


def evaluate(
    challenger: Model,
    champion: Model | None,
    holdout: pd.DataFrame,
    usecase: UseCase,
    *,
    rng: np.random.Generator,
    train: pd.DataFrame | None = None,
    known_leaks: Sequence[GuardResult] | None = None,
) -> EvaluationReport:
    """Judge `challenger` on held-out rows; the first model is judged against the dummy that came with it.

    Parameters
    ----------
    challenger, champion : Model
        `champion` is None where there is none yet.
    holdout : DataFrame
        Contract columns of rows that neither model was fitted on.
    usecase : UseCase
    rng : numpy.random.Generator
        Draws the resamples.
    train : DataFrame, optional
        Contract columns of the rows the challenger was fitted on; with them leaks are looked for, and models with
        lags look back at them.
    known_leaks : sequence of GuardResult, optional
        What `leaks_of_rows` found in these very rows, where they judge several models: it is the same for all.
    """
    from mlcore.training.splits import target_values, usable

    policy, contract = usecase.validation, usecase.contract
    metric = metric_named(usecase.gate_metric, contract.task)
    rows = usable(holdout, contract)
    truth = target_values(rows, contract)
    opponent: Any = "champion" if champion is not None else "dummy"

    def undecided(sentence: str, extra_rows: int | None = None) -> EvaluationReport:
        return EvaluationReport(
            "hold", sentence, (sentence,), opponent, metric.name, policy.confidence, len(rows), 0, extra_rows=extra_rows
        )

    if len(rows) < policy.minimum_rows:
        sentence = f"{len(rows):,} held-out rows are too few to judge; {policy.minimum_rows:,} are asked for."
        return undecided(sentence, policy.minimum_rows - len(rows))
    if len(np.unique(truth)) < 2:
        return undecided(
            f"In all {len(rows):,} held-out rows {contract.target.name} is {truth[0]}: they cannot tell a model that "
            "knows it from one that always answers so."
        )
    # both look back at the same rows, not each at what it kept of its own training
    given = challenger.output(rows, train)
    answers, why_not = _answers_of(champion, rows, train, given) if champion is not None else (None, "")
    if why_not:
        why_not = f"The champion cannot be compared: {why_not}."
        if policy.when_not_comparable == "hold":
            return undecided(f"{why_not} Train under its contract, or let validation.when_not_comparable be as_first.")
        champion = None
    if answers is None:
        answers = Output.of(challenger.dummy, rows)
    subject = Subject(
        usecase=usecase,
        model=challenger,
        frame=rows,
        truth=truth,
        challenger=given,
        opponent=answers,
        metric=metric,
        resampler=Resampler(len(rows), _blocks(rows, usecase), policy.resamples, rng),
        first=champion is None,
        # a model of somebody's own need not tell how it once did
        own_scores=getattr(champion, "own_scores", {}),
    )
    seed_noise = _seed_noise(challenger, champion, policy.resamples, rng)
    primary = subject.compare(metric, seed_noise=seed_noise)
    others = [item for item in METRICS.values() if item.task == contract.task and item.name != metric.name]
    found, slice_guards = slices(subject)
    if champion is None:
        slice_guards = []  # told, for the card, and not judged: of a constant answer a slice may well be no worse
    leaks = () if train is None else tuple(_leaks(subject, usable(train, contract), primary, seed_noise, known_leaks))
    guards = (*leaks, *all_guards(subject), *slice_guards)
    verdict, sentence, reasons = decide(subject, primary, guards)
    return EvaluationReport(
        verdict=verdict,
        sentence=f"{sentence} {why_not}".rstrip(),
        reasons=(*reasons, why_not) if why_not else reasons,
        opponent=subject.opponent_name,
        metric=metric.name,
        confidence=policy.confidence,
        rows=len(rows),
        units=subject.resampler.units,
        metrics=(primary, *(subject.compare(item) for item in others)),
        guards=guards,
        slices=tuple(found),
        worst_rows=_worst(subject),
        calibration=calibration(subject),
        residuals=residuals(subject),
        extra_rows=_extra_rows(primary, len(rows)) if verdict == "hold" else None,
        change_fraction=change_fraction(subject.challenger, answers) if champion is not None else None,
    )


def _leaks(
    subject: Subject,
    fitted: pd.DataFrame,
    primary: MetricResult,
    seed_noise: Array | float,
    known: Sequence[GuardResult] | None,
) -> Iterator[GuardResult]:
    in_rows = leaks_of_rows(subject.usecase, fitted, subject.frame) if known is None else known
    yield from in_rows
    yield from leaks_of_models(subject, fitted)
    yield from on_untold_rows(subject, fitted, primary, in_rows, seed_noise)


def _answers_of(
    champion: Model, rows: pd.DataFrame, train: pd.DataFrame | None, given: Output
) -> tuple[Output | None, str]:
    """Return the champion's answers, or why it has none that can be compared: the contract is not what it was."""
    try:
        answers = champion.output(rows, train)
    except ContractError as error:
        return None, f"it does not take these rows ({error.message}: {error.subject})"
    if (answers.classes is None) != (given.classes is None):
        return None, "it answers with " + ("numbers" if answers.classes is None else "labels")
    if answers.classes is not None and given.classes is not None:
        known, labels = (classes.tolist() for classes in (answers.classes, given.classes))
        if not set(known) & set(labels):
            told = (", ".join(map(str, items[:5])) for items in (known, labels))
            return None, "it knows {}, and the labels are {}".format(*told)
    return answers, ""


def _seed_noise(challenger: Model, champion: Model | None, resamples: int, rng: np.random.Generator) -> Array | float:
    """Draw how the difference of the two would vary were each trained with other seeds.

    The draws are normal. Student's, for deviations known from a few seeds, made the gate promote equal models half as
    often as it may (benchmarks/reports/validity.md has the rates with these).
    """
    deviations = [model.seed_deviation for model in (challenger, champion) if model is not None]
    scale = math.sqrt(sum(deviation**2 for deviation in deviations))
    return scale * rng.standard_normal(resamples) if scale > 0 else 0.0


def _extra_rows(primary: MetricResult, rows: int) -> int | None:
    """Return how many more rows would bring the interval clear of zero, if the difference stays what it is."""
    value = abs(primary.difference.value)
    half = max(primary.difference.upper - primary.difference.value, primary.difference.value - primary.difference.lower)
    if value == 0 or not math.isfinite(half):
        return None
    return max(0, math.ceil(rows * ((half / value) ** 2 - 1)))


def _blocks(rows: pd.DataFrame, usecase: UseCase) -> Array | None:
    block, time = usecase.validation.block, usecase.contract.time
    if block is None or time is None:
        return None
    numbers: Array = rows[time.name].dt.floor(block).astype("int64").to_numpy()
    return numbers


def _worst(subject: Subject) -> tuple[WorstRow, ...]:
    if subject.challenger.probabilities is None:
        losses = np.abs(subject.truth - subject.challenger.values)
    else:
        index = subject.challenger.class_index(subject.truth)
        taken = subject.challenger.probabilities[np.arange(len(index)), np.maximum(index, 0)]
        losses = 1 - np.where(index >= 0, taken, 0.0)
    plain = [
        column.name for column in subject.usecase.contract.inputs if column.capture == "plain" and not column.sensitive
    ]
    count = min(_WORST, len(losses))
    most = np.argpartition(losses, len(losses) - count)[len(losses) - count :]
    order = most[np.argsort(losses[most])[::-1]]
    return tuple(
        WorstRow(
            row=subject.frame.iloc[int(number)][plain].to_dict(),
            truth=subject.truth[number],
            challenger=subject.challenger.values[number],
            opponent=subject.opponent.values[number],
            loss=float(losses[number]),
        )
        for number in order
    )
