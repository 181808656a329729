"""Successive halving: which fit is due next, while others are still running."""

from __future__ import annotations

import bisect
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Final

from mlcore.metrics import Metric
from mlcore.training.trials import Trial

#: Of more trials than this, only the better half goes on after the newest fold.
KEPT_AT_LEAST: Final = 4

#: Number of a trial, and of a fold.
Place = tuple[int, int]


class Halving:
    """All trials meet the newest fold; then the worse half stops, and the others meet the remaining folds.

    Who goes on depends on the scores alone, not on the order in which fits end: a trial goes on as soon as it is sure
    to be among the better half, whatever the fits that are still running will say. So no core waits for the last fit
    of a fold. The first trial, the baseline, always goes on. A fold begins when every fit of the last but one before
    it has ended: two at most are met at a time, and none is come back to.

    Parameters
    ----------
    trials : sequence of Trial
        As they are before any fit, each at the place of its number.
    folds : int
    metric : Metric

    References
    ----------
    Jamieson, K. & Talwalkar, A. (2016). Non-stochastic best arm identification and hyperparameter optimization.
    AISTATS.
    """

    def __init__(self, trials: Sequence[Trial], folds: int, metric: Metric) -> None:
        self._trials = list(trials)
        self._folds, self._metric = folds, metric
        self._running: set[Place] = set()
        #: those that have yet to meet the newest fold, and how the others did there, the best first
        self._waiting = {trial.number for trial in trials}
        self._ranked: list[tuple[float, int]] = []
        self._closed = False

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial as it now is."""
        return tuple(
            replace(trial, state="done")
            if len(trial.validation) == self._folds
            else replace(trial, state="stopped")
            if trial.validation and trial.state != "failed" and not self._open() and not self._goes_on(trial)
            else trial
            for trial in self._trials
        )

    @property
    def left(self) -> int:
        """How many fits are left, at most."""
        going = [
            trial
            for trial in self._trials
            if trial.state != "failed" and (not trial.validation or self._open() or self._goes_on(trial))
        ]
        coming = {(trial.number, fold) for trial in going for fold in range(len(trial.validation), self._folds)}
        if self._closed:
            coming = {place for place in coming if place[0] == 0 or place in self._running}
        return len(coming)

    def due(self, among: Container[Place] | None = None) -> Place | None:
        """Return the next fit, which counts as begun; None where none is due before another one has ended.

        Parameters
        ----------
        among : container of (number, fold), optional
            Only one of these.
        """
        for fold in range(self._folds):
            if any(other < fold - 1 for _, other in self._running):
                return None
            for trial in self._trials:
                place = trial.number, fold
                if self._is_due(trial, place) and (among is None or place in among):
                    self._running.add(place)
                    return place
        return None

    def met(self, trial: Trial) -> None:
        """Take the outcome of a fit that was due."""
        self._trials[trial.number] = trial
        self._running.discard((trial.number, trial.newest_fold))
        if trial.number in self._waiting:
            self._waiting.remove(trial.number)
            if trial.validation:
                bisect.insort(self._ranked, self._rank(trial))

    def close(self) -> None:
        """Let nothing be due any more but the baseline's fits: the budget is spent."""
        self._closed = True

    def _is_due(self, trial: Trial, place: Place) -> bool:
        number, fold = place
        if place in self._running or trial.state == "failed" or len(trial.validation) != fold:
            return False
        return (number == 0 or not self._closed) and (fold == 0 or self._goes_on(trial))

    def _open(self) -> int:
        """Return how many trials are yet to be ranked by the newest fold."""
        if not self._closed:
            return len(self._waiting)
        return sum(fold == 0 for _, fold in self._running)

    def _goes_on(self, trial: Trial) -> bool:
        """Whether a trial that has met the newest fold is sure to be among those that go on."""
        better = bisect.bisect_left(self._ranked, self._rank(trial))
        kept = max(KEPT_AT_LEAST, (len(self._ranked) + 1) // 2)
        return trial.number == 0 or better + self._open() < kept

    def _rank(self, trial: Trial) -> tuple[float, int]:
        return self._metric.loss(trial.validation[0]), trial.number
