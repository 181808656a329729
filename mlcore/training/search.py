"""Which algorithm with which parameters: every candidate on the same folds, within a budget, reproducibly."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcore.errors import TrainingError
from mlcore.metrics import Metric
from mlcore.policy.training import Candidate
from mlcore.training.fitting import Bench, Job, Runner, in_threads, search_metric
from mlcore.training.halving import Halving
from mlcore.training.pipeline import build_pipeline
from mlcore.training.trials import SearchJournal, Trial

if TYPE_CHECKING:
    from mlcore.usecase import UseCase

Progress = Callable[[int, int, "Trial"], None]


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
    bench: Bench,
    *,
    budget_seconds: float | None = None,
    progress: Progress | None = None,
    journal: SearchJournal | None = None,
    runner: Runner = in_threads,
) -> SearchResult:
    """Score every planned trial on the same folds and choose the best mean.

    All trials meet the newest fold; then the worse half stops, and the others meet the remaining folds (`Halving`).
    Which trial wins depends on the data, the use case and the seed alone as long as the time budget is not reached; a
    trial that it cuts off is marked ``skipped``.

    Parameters
    ----------
    bench : Bench
        Of training rows only, as `split_holdout` returned them.
    budget_seconds : float, optional
        Default: the policy's.
    progress : callable, optional
        ``(fits done, fits planned, trial)`` after each fit.
    journal : SearchJournal, optional
        Fits that an earlier, killed search has finished are taken from it, and counted in the budget.
    runner : callable, default=in_threads
        Where the fits run.

    Raises
    ------
    TrainingError
        If no trial could be fitted.
    """
    usecase, clock = bench.usecase, bench.clock
    plan = planned_trials(usecase, seed=bench.seed)
    for candidate, parameters in plan:
        build_pipeline(usecase, candidate, parameters, bench.seed)
    metric = search_metric(usecase)
    halving = Halving(
        [
            Trial(number, candidate.name, candidate.estimator, {**candidate.parameters, **parameters})
            for number, (candidate, parameters) in enumerate(plan)
        ],
        len(bench.folds),
        metric,
    )
    budget = usecase.training.search.seconds if budget_seconds is None else budget_seconds
    known = journal.read() if journal is not None else {}
    spent = sum({trial.number: trial.seconds for trial in known.values()}.values())
    started, done = clock() - spent, 0

    def take(trial: Trial) -> None:
        nonlocal done
        halving.met(trial)
        done += 1
        if progress is not None:
            progress(done, done + halving.left, trial)

    def next_job() -> Job | None:
        if clock() - started > budget:
            halving.close()
        due = halving.due()
        return None if due is None else Job(halving.trials[due[0]], *plan[due[0]], due[1])

    while (place := halving.due(known)) is not None:
        take(known[place])
    for trial in runner(next_job, bench):
        if journal is not None:
            journal.add(trial, trial.newest_fold)
        take(trial)
    return SearchResult(_best(halving.trials, metric, usecase), halving.trials, metric.name, len(bench.folds))


def _best(trials: Sequence[Trial], metric: Metric, usecase: UseCase) -> Trial:
    """Return the best of those that met the most folds, on these folds; the baseline, which met them all, among them.

    Were it counted by all of its folds, a search that its budget cut short would always have found the baseline.
    """
    fitted = [trial for trial in trials if trial.validation and trial.state != "failed"]
    if not fitted:
        raise TrainingError(
            "no candidate could be fitted",
            subject=usecase.name,
            got="; ".join(f"{trial.candidate}: {trial.note}" for trial in trials[:5]),
            remedy="Look at the target's values and at the candidates' parameters.",
        )
    most = max((len(trial.validation) for trial in fitted if trial.number), default=1)
    complete = [trial for trial in fitted if len(trial.validation) >= most]
    return min(complete, key=lambda trial: (metric.loss(float(np.mean(trial.validation[:most]))), trial.number))
