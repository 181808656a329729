"""Which algorithm with which parameters: every candidate on the same folds, within a budget, reproducibly."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.errors import TrainingError
from mlcore.metrics import Metric
from mlcore.policy.training import Candidate
from mlcore.training.fitting import Bench, Job, Runner, in_threads, search_metric
from mlcore.training.pipeline import build_pipeline
from mlcore.training.trials import SearchJournal, Trial

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.usecase import UseCase

Progress = Callable[[int, int, "Trial"], None]

#: Of more trials than this, only the better half goes on after the newest fold (successive halving).
KEPT_AT_LEAST: Final = 4


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
    metric = search_metric(usecase).name
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
    journal: SearchJournal | None = None,
    runner: Runner = in_threads,
    clock: Callable[[], float] = time.perf_counter,
) -> SearchResult:
    """Score every planned trial on the same folds and choose the best mean.

    All trials meet the newest fold; then the worse half stops, and the others meet the remaining folds
    (successive halving; Jamieson & Talwalkar, 2016). Which trial wins depends on the data, the use case and
    `seed` alone as long as the time budget is not reached; a trial that it cuts off is marked ``skipped``.

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
    journal : SearchJournal, optional
        Fits that an earlier, killed search has finished are taken from it, and counted in the budget.
    runner : callable, default=in_threads
        Where the fits run.
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
    bench = Bench.of(frame, usecase, seed=seed, clock=clock)
    metric = search_metric(usecase)
    budget = usecase.training.search.seconds if budget_seconds is None else budget_seconds
    known = journal.read() if journal is not None else {}
    spent = sum({trial.number: trial.seconds for trial in known.values()}.values())
    started, done, planned = clock() - spent, 0, len(trials) * len(bench.folds)
    running = list(range(len(trials)))
    for fold in range(len(bench.folds)):
        met_before = [known[number, fold] for number in running if (number, fold) in known]
        to_meet = (Job(trials[number], *plan[number], fold) for number in running if (number, fold) not in known)
        due = itertools.takewhile(lambda job: job.trial.number == 0 or clock() - started <= budget, to_meet)
        for trial in itertools.chain(met_before, runner(due, bench)):
            if journal is not None and (trial.number, fold) not in known:
                journal.add(trial, fold)
            trials[trial.number] = trial
            done += 1
            if progress is not None:
                progress(done, planned, trial)
        running = [number for number in running if len(trials[number].validation) == fold + 1]
        if fold == 0 and len(bench.folds) > 1:
            kept = _better_half(trials, running, metric)
            planned = done + len(kept) * (len(bench.folds) - 1)
            for number in set(running) - set(kept):
                trials[number] = replace(trials[number], state="stopped")
            running = kept
    folds = len(bench.folds)
    trials = [replace(trial, state="done") if len(trial.validation) == folds else trial for trial in trials]
    return SearchResult(_best(trials, metric, usecase), tuple(trials), metric.name, folds)


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
