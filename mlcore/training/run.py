"""One training: split, search, fit the winner, measure it on rows it never saw."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.errors import TrainingError
from mlcore.metrics import Output, all_metrics, metric_named
from mlcore.policy.training import Candidate, Weighting
from mlcore.training.choice import choose
from mlcore.training.fitting import (
    Bench,
    Job,
    Runner,
    fitting_here,
    fitting_threads,
    in_threads,
    score_sample,
    search_metric,
    training_weights,
)
from mlcore.training.importance import Importance, permutation_importance
from mlcore.training.outoffold import CandidateEvidence
from mlcore.training.pipeline import build_pipeline
from mlcore.training.search import Progress, SearchResult, dummy_candidate, planned_trials, search
from mlcore.training.splits import Fold, evenly_spread, split_holdout, target_values, usable
from mlcore.training.trials import SearchJournal, Trial
from mlcore.training.weights import fit_weighted, takes_weights

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

    from mlcore.usecase import UseCase

Array = np.ndarray[Any, Any]

#: Takes the rows fitted on, the rows held out, and what the winner answers for these.
Beside = Callable[["pd.DataFrame", "pd.DataFrame", Output], None]

#: Further seeds that the winner is fitted with, to see what a seed is worth.
SIBLINGS: Final = 2
#: Shares of the newest fold's training rows that the learning curve is drawn from, besides all of them.
_CURVE: Final = (0.1, 0.3)


@dataclass(frozen=True, slots=True)
class Scores:
    """Every metric on the rows fitted on, on the validation folds (search metric only), and held out.

    Parameters
    ----------
    train, validation, holdout, dummy_holdout : mapping of metric name to value
    overfitting_gap : float
        The search metric's loss on held-out rows minus that on training rows; the larger, the more the model
        learned by heart, or the more the world moved.
    learning_curve : tuple of (rows, train, validation)
        The search metric of the winner on the newest fold, fitted on ever more of its rows, the newest ones.
    seed_deviation : float
        Standard deviation, over three seeds, of the gate's metric on held-out rows: how lucky a model can be.
    weighting : {"everything", "window", "season", "recency"}
        Which of the training rows counted.
    weightings : mapping of weighting to value
        The search metric of each that it was chosen from, on the newest fold's validation rows.
    """

    train: Mapping[str, float]
    validation: Mapping[str, float]
    holdout: Mapping[str, float]
    dummy_holdout: Mapping[str, float]
    overfitting_gap: float
    learning_curve: tuple[tuple[int, float, float], ...] = ()
    seed_deviation: float = 0.0
    weighting: Weighting = "everything"
    weightings: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the ledger."""
        return {
            "train": dict(self.train),
            "validation": dict(self.validation),
            "holdout": dict(self.holdout),
            "dummy_holdout": dict(self.dummy_holdout),
            "overfitting_gap": self.overfitting_gap,
            "learning_curve": [list(step) for step in self.learning_curve],
            "seed_deviation": self.seed_deviation,
            "weighting": self.weighting,
            "weightings": dict(self.weightings),
        }


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A fitted pipeline and what was measured while it came about.

    The pipeline is the very one that was scored: it is not refitted on the held-out rows afterwards. `train` are the
    rows that it was fitted on, `holdout` the others, and `output` what it answers for these. `out_of_fold` has how the
    best trial of each algorithm, the baseline among them, did on validation rows.
    """

    pipeline: Pipeline
    dummy: Pipeline
    algorithm: str
    estimator: str
    parameters: Mapping[str, Any]
    seed: int
    metric: str
    scores: Scores
    trials: tuple[Trial, ...]
    importance: tuple[Importance, ...]
    trained_from: datetime | None
    trained_to: datetime | None
    seconds: Mapping[str, float]
    train: pd.DataFrame
    holdout: pd.DataFrame
    output: Output
    out_of_fold: tuple[CandidateEvidence, ...] = ()

    @property
    def train_rows(self) -> int:
        """How many rows it was fitted on."""
        return len(self.train)

    @property
    def holdout_rows(self) -> int:
        """How many rows it was measured on."""
        return len(self.holdout)


def train_model(
    frame: pd.DataFrame,
    usecase: UseCase,
    *,
    seed: int,
    progress: Progress | None = None,
    journal: SearchJournal | None = None,
    runner: Runner = in_threads,
    beside: Beside | None = None,
    clock: Callable[[], float] = time.perf_counter,
    evidence: bool = True,
) -> TrainedModel:
    """Train the use case's best candidate.

    The newest rows are held out by `split_holdout`; the gate judges on the same ones.

    Parameters
    ----------
    frame : DataFrame
        Contract columns, any order of rows.
    usecase : UseCase
    seed : int
    progress : callable, optional
        ``(fits done, fits planned, trial)`` after each fit of the search.
    journal : SearchJournal, optional
        Remembers the search's fits, for a training that was killed to go on from.
    runner : callable, default=in_threads
        Where the search's fits run.
    beside : callable, optional
        Called as soon as the winner has answered the held-out rows, while the evidence is still measured beside it.
    clock : callable, default=time.perf_counter
    evidence : bool, default=True
        Whether what only tells of the model is measured, too: importance, learning curve, scores on rows that it was
        fitted on. It is the same model without. A recipe without a choice is then not fitted on folds either.

    Raises
    ------
    TrainingError
        If there are too few rows, a target with one class only, or no candidate can be fitted.
    UseCaseError
        If the training section asks for something impossible.
    """
    contract = usecase.contract
    missing = [name for name in contract.names if name not in frame.columns]
    if missing:
        raise TrainingError("columns are missing", subject=usecase.name, expected=", ".join(missing))
    began = clock()
    train, holdout = split_holdout(frame, usecase)
    target, truth = target_values(train, contract), target_values(holdout, contract)
    if len(np.unique(target)) < 2:
        raise TrainingError(
            "nothing to learn",
            subject=contract.target.name,
            expected="at least 2 different values among the training rows",
            got=f"only {target[0]}",
            remedy="Look at where the target comes from; a constant needs no model.",
        )
    bench = Bench.of(train, usecase, seed=seed, clock=clock, held_out=holdout if evidence else None)
    found = None if evidence else _without_choice(train, usecase, seed)
    if found is None:
        found = search(bench, progress=progress, journal=journal, runner=runner)
    searched = clock()
    chosen = choose(bench, found)
    best, weighting = chosen.trial, chosen.weighting
    weights = training_weights(train, usecase, weighting)
    candidate, _ = planned_trials(usecase, seed=seed)[best.number]
    metric = metric_named(usecase.training.search.metric, contract.task)
    gate = metric_named(usecase.gate_metric, contract.task)
    pipeline = build_pipeline(usecase, candidate, best.parameters, seed, threads=-1)
    dummy = build_pipeline(usecase, dummy_candidate(usecase), {}, seed)
    seeds = range(seed + 1, seed + 1 + SIBLINGS) if "random_state" in pipeline[-1].get_params() else ()
    siblings = [build_pipeline(usecase, candidate, best.parameters, other)[1:] for other in seeds]
    pipeline[0].fit(train)
    dummy.steps[0] = pipeline.steps[0]  # it learns nothing about the target: both would learn the same
    known, held_out = (pipeline[0].transform(rows) for rows in (train, holdout))

    def measure_known() -> Mapping[str, float]:
        scored = score_sample(len(train))
        return all_metrics(contract.task, target[scored], Output.of(pipeline[1:], known[scored]))

    def measure_sibling(sibling: Pipeline) -> float:
        return gate.value(truth, Output.of(_fit(sibling, known, target, weights), held_out))

    # what is fitted once more, only to be measured, keeps the cores busy that the winner leaves
    with fitting_threads() as pool:
        winner = pool.submit(_fit, pipeline[1:], known, target, weights)
        luck = [pool.submit(measure_sibling, sibling) for sibling in siblings]
        curve = pool.submit(_learning_curve, bench, candidate, best) if evidence else None
        _fit(dummy[1:], known, target)
        winner.result()
        fitted = clock()
        trained = pool.submit(measure_known) if evidence else None
        output = Output.of(pipeline[1:], held_out)
        on_holdout = all_metrics(contract.task, truth, output)
        if beside is not None:
            beside(train, holdout, output)
        importance: tuple[Importance, ...] = ()
        if evidence:
            importance = permutation_importance(pipeline, holdout, truth, metric, np.random.default_rng(seed))
        on_train = trained.result() if trained is not None else {}
        learning_curve = curve.result() if curve is not None else ()
        scores = [on_holdout.get(gate.name, float("nan")), *(other.result() for other in luck)]
    lost = [metric.loss(measured.get(metric.name, float("nan"))) for measured in (on_train, on_holdout)]
    return TrainedModel(
        pipeline=pipeline,
        dummy=dummy,
        algorithm=candidate.name,
        estimator=candidate.estimator,
        parameters=best.parameters,
        seed=seed,
        metric=metric.name,
        scores=Scores(
            train=on_train,
            validation={metric.name: best.mean_validation} if best.validation else {},
            holdout=on_holdout,
            dummy_holdout=all_metrics(contract.task, truth, Output.of(dummy[1:], held_out)),
            overfitting_gap=lost[1] - lost[0] if np.isfinite(lost).all() else 0.0,
            learning_curve=learning_curve,
            seed_deviation=_seed_deviation(scores),
            weighting=weighting,
            weightings=chosen.weightings,
        ),
        trials=found.trials,
        importance=importance,
        trained_from=_edge(train, usecase, "min"),
        trained_to=_edge(train, usecase, "max"),
        seconds={"search": searched - began, "fit": fitted - searched, "measure": clock() - fitted},
        train=train,
        holdout=holdout,
        output=output,
        out_of_fold=tuple(
            CandidateEvidence(trial.candidate, trial.parameters, gate.name, trial.evidence)
            for trial in chosen.rivals
            if trial.evidence
        ),
    )


def fit_winner(
    train: pd.DataFrame,
    usecase: UseCase,
    candidate: Candidate,
    parameters: Mapping[str, Any],
    seed: int,
    weighting: Weighting = "everything",
) -> Pipeline:
    """Fit a candidate with all of its parameters given, fixed and searched, on the training rows.

    Raises
    ------
    TrainingError
        If it cannot be fitted.
    """
    pipeline = build_pipeline(usecase, candidate, parameters, seed, threads=-1)
    with fitting_here():
        known = pipeline[0].fit(train).transform(train)
        weights = training_weights(train, usecase, weighting)
        _fit(pipeline[1:], known, target_values(train, usecase.contract), weights)
    return pipeline


def _without_choice(train: pd.DataFrame, usecase: UseCase, seed: int) -> SearchResult | None:
    """Return the one candidate of a recipe that leaves nothing to choose, met by no fold; None for other recipes."""
    (_, *plan), choices = planned_trials(usecase, seed=seed), usecase.training.rows.choices
    if len(plan) != 1 or len(choices) != 1:
        return None
    candidate, parameters = plan[0]
    model = build_pipeline(usecase, candidate, parameters, seed)
    if not takes_weights(model, training_weights(train, usecase, choices[0])):
        return None
    only = Trial(1, candidate.name, candidate.estimator, {**candidate.parameters, **parameters})
    return SearchResult(only, (only,), search_metric(usecase).name, 0)


def _learning_curve(bench: Bench, candidate: Candidate, best: Trial) -> tuple[tuple[int, float, float], ...]:
    """Fit the winner on a tenth and on three tenths of the newest fold's rows; on all of them it was fitted before."""
    fold, steps = bench.folds[0], []
    for fraction in _CURVE:
        rows = fold.train[-max(2, int(len(fold.train) * fraction)) :]
        smaller = Bench(bench.frame, bench.target, (Fold(rows, fold.validation),), bench.usecase, bench.seed)
        trial = smaller.meet(Job(replace(best, validation=(), train=(), evidence=()), candidate, best.parameters, 0))
        if trial.validation:
            steps.append((len(rows), trial.train[0], trial.validation[0]))
    return (*steps, (len(fold.train), best.train[0], best.validation[0]))


def _seed_deviation(scores: Sequence[float]) -> float:
    """How much the scores of the winner and of its siblings differ, which is no merit of any of them.

    References
    ----------
    Bouthillier, X. et al. (2021). Accounting for variance in machine learning benchmarks. MLSys 3.
    """
    return float(np.std(scores, ddof=1)) if len(scores) > 1 and np.isfinite(scores).all() else 0.0


def golden_rows(frame: pd.DataFrame, usecase: UseCase) -> pd.DataFrame:
    """Return up to ``serving.golden_rows`` rows, evenly spread over `frame`, input columns only."""
    rows = usable(frame, usecase.contract)
    return rows.iloc[evenly_spread(len(rows), usecase.serving.golden_rows)][
        [column.name for column in usecase.contract.inputs]
    ].reset_index(drop=True)


def _fit(pipeline: Pipeline, train: Any, target: Any, weights: Array | None = None) -> Pipeline:
    """Fit within `fitting_here`, which keeps the warnings that the search has noted."""
    try:
        fit_weighted(pipeline, train, target, weights)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        raise TrainingError("the winner cannot be fitted on all training rows", got=str(error)[:200]) from None
    estimator = pipeline[-1]
    if "n_jobs" in estimator.get_params():
        # Threads help to fit; to answer one row they only cost, and services run one thread a request.
        estimator.set_params(n_jobs=None)
    return pipeline


def _edge(train: pd.DataFrame, usecase: UseCase, which: str) -> datetime | None:
    import pandas as pd

    if usecase.contract.time is None:
        return None
    edge = getattr(pd.to_datetime(train[usecase.contract.time.name], utc=True), which)()
    return None if pd.isna(edge) else edge.to_pydatetime()
