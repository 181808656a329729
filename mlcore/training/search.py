"""Which algorithm with which parameters: every candidate on the same folds, within a budget, reproducibly."""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from mlcore.errors import TrainingError
from mlcore.metrics import Metric, Output, metric_named
from mlcore.policy.training import Candidate
from mlcore.training.pipeline import build_pipeline
from mlcore.training.reproducible import one_thread
from mlcore.training.splits import Fold, search_folds, target_values

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.usecase import UseCase

Progress = Callable[[int, int, "Trial"], None]

#: Fitted rows are scored too, to see over-fitting; this many are enough.
TRAIN_SCORE_ROWS: Final = 20_000
#: Of more trials than this, only the better half goes on after the newest fold (successive halving).
KEPT_AT_LEAST: Final = 4


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate with one set of parameters, and how it did.

    Parameters
    ----------
    number : int
        Position in the search; 0 is the dummy baseline.
    candidate, estimator : str
        Name in the use case, and import path.
    parameters : mapping
        Every parameter that the use case sets, fixed and searched.
    state : {"done", "stopped", "skipped", "failed"}
        ``stopped``: not among the better half after the newest fold; ``skipped``: the budget was spent.
    validation, train : tuple of float
        The search metric on each fold scored, the newest first, and on that fold's training rows.
    seconds : float
    note : str
        Why it failed, or the first warning.
    """

    number: int
    candidate: str
    estimator: str
    parameters: Mapping[str, Any]
    state: Literal["done", "stopped", "skipped", "failed"] = "skipped"
    validation: tuple[float, ...] = ()
    train: tuple[float, ...] = ()
    seconds: float = 0.0
    note: str = ""

    @property
    def mean_validation(self) -> float:
        """Mean of the search metric over the folds scored; nan without any."""
        return float(np.mean(self.validation)) if self.validation else float("nan")

    def to_json(self) -> dict[str, Any]:
        """Return the row of the trials table."""
        return {
            "number": self.number,
            "candidate": self.candidate,
            "estimator": self.estimator,
            "parameters": dict(self.parameters),
            "state": self.state,
            "validation": list(self.validation),
            "train": list(self.train),
            "mean_validation": self.mean_validation if self.validation else None,
            "seconds": round(self.seconds, 4),
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The winner and everything that was tried."""

    best: Trial
    trials: tuple[Trial, ...]
    metric: str
    folds: int


def dummy_candidate(usecase: UseCase) -> Candidate:
    """Return the baseline every search includes: the best constant answer."""
    if usecase.contract.task == "classification":
        return Candidate(name="dummy", estimator="sklearn.dummy.DummyClassifier", parameters={"strategy": "prior"})
    metric = _search_metric(usecase).name
    strategy = "median" if metric in ("mean_absolute_error", "mean_absolute_percentage_error") else "mean"
    return Candidate(name="dummy", estimator="sklearn.dummy.DummyRegressor", parameters={"strategy": strategy})


def planned_trials(usecase: UseCase, *, seed: int) -> list[tuple[Candidate, dict[str, Any]]]:
    """Return what will be tried, in order: the dummy, then the candidates in turn until the budget of trials.

    A grid larger than what is left for its candidate is sampled without replacement, by `seed`.
    """
    policy = usecase.training
    rng = np.random.default_rng(seed)
    grids = []
    for candidate in policy.candidates:
        names = list(candidate.search)
        grid = [dict(zip(names, values, strict=True)) for values in itertools.product(*candidate.search.values())]
        if len(grid) > policy.search.trials:
            chosen = rng.choice(len(grid), size=policy.search.trials, replace=False)
            grid = [grid[position] for position in sorted(chosen)]
        elif len(policy.candidates) * len(grid) > policy.search.trials:
            grid = [grid[position] for position in rng.permutation(len(grid))]
        grids.append([(candidate, parameters) for parameters in grid])
    turns = itertools.zip_longest(*grids)
    tried = [trial for turn in turns for trial in turn if trial is not None]
    return [(dummy_candidate(usecase), {}), *tried[: policy.search.trials]]


def search(
    frame: pd.DataFrame,
    usecase: UseCase,
    *,
    seed: int,
    budget_seconds: float | None = None,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> SearchResult:
    """Score every planned trial on the same folds and choose the best mean.

    All trials meet the newest fold; then the worse half stops, and the others meet the remaining folds
    (Jamieson & Talwalkar, 2016). Which trial wins depends on the data, the use case and `seed` alone as long
    as the time budget is not reached; a trial that it cuts off is marked ``skipped``.

    Parameters
    ----------
    frame : DataFrame
        Training rows only, as `split_holdout` returned them.
    usecase : UseCase
    seed : int
    budget_seconds : float, optional
        Default: the policy's.
    progress : callable, optional
        ``(fits done, fits planned, trial)`` after each fit.
    clock : callable, default=time.perf_counter

    Raises
    ------
    TrainingError
        If no trial could be fitted.
    """
    plan = planned_trials(usecase, seed=seed)
    for candidate, parameters in plan:
        build_pipeline(usecase, candidate, parameters, seed)
    trials = [
        Trial(number, candidate.name, candidate.estimator, {**candidate.parameters, **parameters})
        for number, (candidate, parameters) in enumerate(plan)
    ]
    folds = search_folds(frame, usecase)
    metric = _search_metric(usecase)
    bench = _Bench(frame, target_values(frame, usecase.contract), usecase, metric, seed, clock)
    budget = usecase.training.search.seconds if budget_seconds is None else budget_seconds
    started, done, planned = clock(), 0, len(trials) * len(folds)
    running = list(range(len(trials)))
    for round_number, fold in enumerate(folds):
        for number in running:
            if clock() - started > budget and number > 0:
                continue
            trials[number] = bench.meet(trials[number], *plan[number], fold)
            done += 1
            if progress is not None:
                progress(done, planned, trials[number])
        running = [number for number in running if len(trials[number].validation) == round_number + 1]
        if round_number == 0 and len(folds) > 1:
            kept = _better_half(trials, running, metric)
            planned = done + len(kept) * (len(folds) - 1)
            for number in set(running) - set(kept):
                trials[number] = replace(trials[number], state="stopped")
            running = kept
    trials = [replace(trial, state="done") if len(trial.validation) == len(folds) else trial for trial in trials]
    return SearchResult(_best(trials, metric, usecase), tuple(trials), metric.name, len(folds))


@dataclass(frozen=True, slots=True)
class _Bench:
    """What every trial shares: the rows, the target, the metric, the seed and the clock."""

    frame: pd.DataFrame
    target: Any
    usecase: UseCase
    metric: Metric
    seed: int
    clock: Callable[[], float]

    def meet(self, trial: Trial, candidate: Candidate, parameters: Mapping[str, Any], fold: Fold) -> Trial:
        """Fit the trial on one fold and add its scores."""
        began = self.clock()
        pipeline = build_pipeline(self.usecase, candidate, parameters, self.seed, threads=-1)
        with warnings.catch_warnings(record=True) as caught, one_thread():
            warnings.simplefilter("always")
            try:
                pipeline.fit(self.frame.iloc[fold.train], self.target[fold.train])
                fitted_on = fold.train[:: max(1, len(fold.train) // TRAIN_SCORE_ROWS)]
                validation, train = self._score(pipeline, fold.validation), self._score(pipeline, fitted_on)
            except (ValueError, TypeError, ArithmeticError, np.linalg.LinAlgError) as error:
                return replace(trial, state="failed", note=str(error).strip().splitlines()[0][:200])
        if not np.isfinite(validation):
            return replace(trial, state="failed", note=f"{self.metric.name} is not defined on a validation fold")
        return replace(
            trial,
            validation=(*trial.validation, validation),
            train=(*trial.train, train),
            seconds=trial.seconds + self.clock() - began,
            note=trial.note or (str(caught[0].message).splitlines()[0][:200] if caught else ""),
        )

    def _score(self, pipeline: Any, rows: Any) -> float:
        return self.metric.value(self.target[rows], Output.of(pipeline, self.frame.iloc[rows]))


def _better_half(trials: list[Trial], running: list[int], metric: Metric) -> list[int]:
    ranked = sorted(running, key=lambda number: (metric.loss(trials[number].mean_validation), number))
    kept = set(ranked[: max(KEPT_AT_LEAST, (len(ranked) + 1) // 2)]) | ({0} & set(running))
    return [number for number in running if number in kept]


def _best(trials: list[Trial], metric: Metric, usecase: UseCase) -> Trial:
    most = max(len(trial.validation) for trial in trials)
    if most == 0:
        raise TrainingError(
            "no candidate could be fitted",
            subject=usecase.name,
            got="; ".join(f"{trial.candidate}: {trial.note}" for trial in trials[:5]),
            remedy="Look at the target's values and at the candidates' parameters.",
        )
    complete = [trial for trial in trials if len(trial.validation) == most and trial.state != "failed"]
    return min(complete, key=lambda trial: (metric.loss(trial.mean_validation), trial.number))


def _search_metric(usecase: UseCase) -> Metric:
    return metric_named(usecase.training.search.metric, usecase.contract.task)
