"""The winner of a search, once it is known which of the training rows shall count."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mlcore.errors import TrainingError
from mlcore.metrics import Metric
from mlcore.policy.training import Weighting
from mlcore.training.fitting import Bench, Job, fitting_threads, search_metric
from mlcore.training.search import SearchResult, planned_trials
from mlcore.training.trials import Trial


@dataclass(frozen=True, slots=True)
class Choice:
    """The winner and what it was chosen from.

    Parameters
    ----------
    trial : Trial
    weighting : {"everything", "window", "season", "recency"}
        Which rows count for it.
    weightings : mapping of weighting to value
        The search metric of each that it was chosen from, on the newest fold's validation rows.
    rivals : tuple of Trial
        Each algorithm's best trial, fitted with this weighting, and the baseline. With evidence on all folds that it
        met in the search; otherwise, where rows are weighted, on the newest alone.
    """

    trial: Trial
    weighting: Weighting
    weightings: Mapping[str, float] = field(default_factory=dict)
    rivals: tuple[Trial, ...] = ()


def choose(bench: Bench, found: SearchResult) -> Choice:
    """Choose between the weightings that the policy names.

    Each algorithm's best parameters are fitted with each weighting on the newest fold: what is useless with all rows
    may be the best with the right ones. The older folds are met with the chosen one, for the evidence.

    Raises
    ------
    TrainingError
        If nothing can be fitted with any of them.
    """
    policy, metric = bench.usecase.training.rows, search_metric(bench.usecase)
    if not found.best.validation:
        return Choice(found.best, policy.choices[0])
    bests = _best_of_each(found, metric)
    rivals: dict[Weighting, list[Trial]] = {"everything": [*bests, *found.trials[:1]]}
    if policy.choices == ("everything",):
        return Choice(found.best, "everything", {}, tuple(rivals["everything"]))
    # with all rows everything was fitted before
    scores: dict[str, float] = {"everything": found.best.validation[0]} if "everything" in policy.choices else {}
    winners: dict[str, Trial] = {"everything": found.best}
    notes = []
    others = [weighting for weighting in policy.choices if weighting != "everything"]
    pairs = list(itertools.product(others, bests))
    fits = _meet(bench, 0, [(replace(trial, validation=(), train=(), evidence=()), kind) for kind, trial in pairs])
    for (weighting, trial), met in zip(pairs, fits, strict=True):
        rivals.setdefault(weighting, list(found.trials[:1])).insert(-1, met)
        if not met.validation:
            notes.append(f"{trial.candidate}, {weighting}: {met.note}")
        elif weighting not in scores or metric.loss(met.validation[0]) < metric.loss(scores[weighting]):
            scores[weighting], winners[weighting] = met.validation[0], trial
    if not scores:
        raise TrainingError(
            "no candidate can be fitted on the rows that shall count",
            subject=bench.usecase.name,
            expected="one of training.rows.choices that one of them can be fitted with",
            got="; ".join(notes),
            remedy="Add everything or window to the choices, or name candidates that take weights.",
        )
    best = min((item for item in policy.choices if item in scores), key=lambda item: metric.loss(scores[item]))
    told = rivals[best]
    if bench.slices is not None:
        folds = {trial.number: len(trial.validation) for trial in bests}
        for fold in range(1, max(folds.values(), default=1)):
            due = [(trial, best) for trial in told if len(trial.validation) == fold < folds.get(trial.number, 0)]
            again = {trial.number: trial for trial in _meet(bench, fold, due)}
            told = [again.get(trial.number, trial) for trial in told]
    return Choice(winners[best], best, scores, tuple(told))


def _meet(bench: Bench, fold: int, fits: Sequence[tuple[Trial, Weighting]]) -> list[Trial]:
    """Meet a fold with each trial and weighting, in as many threads as there are cores."""
    plan = planned_trials(bench.usecase, seed=bench.seed)

    def meet(fit: tuple[Trial, Weighting]) -> Trial:
        trial, weighting = fit
        return bench.meet(Job(trial, *plan[trial.number], fold), weighting)

    with fitting_threads() as pool:
        return list(pool.map(meet, fits))


def _best_of_each(found: SearchResult, metric: Metric) -> list[Trial]:
    """Return the best trial of each algorithm but the dummy."""
    best: dict[str, Trial] = {}
    for trial in sorted(found.trials, key=lambda item: (-len(item.validation), metric.loss(item.mean_validation))):
        if trial.validation and trial.number:
            best.setdefault(trial.candidate, trial)
    return list(best.values())
