"""Which fit is due next, in whatever order fits end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mlcore.metrics import METRICS
from mlcore.training.halving import KEPT_AT_LEAST, Halving, Place
from mlcore.training.trials import Trial

METRIC = METRICS["mean_absolute_error"]


def _trials(count: int) -> list[Trial]:
    return [Trial(number, f"candidate {number}", "any", {}) for number in range(count)]


def _end(halving: Halving, place: Place, losses: np.ndarray, failing: frozenset[Place]) -> None:
    number, fold = place
    trial = halving.trials[number]
    if place in failing:
        halving.met(replace(trial, state="failed"))
    else:
        halving.met(replace(trial, validation=(*trial.validation, float(losses[number, fold]))))


def _run(losses: np.ndarray, failing: frozenset[Place], cores: int, rng: np.random.Generator) -> tuple[Trial, ...]:
    """Let fits end in a random order on so many cores; hold what is promised of the order in which they begin."""
    halving = Halving(_trials(len(losses)), losses.shape[1], METRIC)
    running: list[Place] = []
    newest = 0
    while True:
        while len(running) < cores and (place := halving.due()) is not None:
            assert place not in running
            assert all(abs(place[1] - fold) <= 1 for _, fold in running)
            assert place[1] >= newest
            newest = place[1]
            running.append(place)
        if not running:
            assert halving.left == 0
            return halving.trials
        _end(halving, running.pop(int(rng.integers(len(running)))), losses, failing)


@pytest.mark.parametrize("seed", range(40))
def test_who_goes_on_does_not_depend_on_the_order_in_which_fits_end(seed: int) -> None:
    """One core or seven, some fits failing: every trial has the same scores and the same state."""
    rng = np.random.default_rng(seed)
    count, folds = int(rng.integers(1, 24)), int(rng.integers(1, 5))
    losses = rng.integers(0, 12, size=(count, folds)).astype(float)
    failing = frozenset((int(n), int(f)) for n, f in zip(*np.nonzero(rng.random((count, folds)) < 0.1), strict=True))
    alone = _run(losses, failing, 1, rng)
    assert all(_run(losses, failing, cores, rng) == alone for cores in (2, 7))
    met = [trial for trial in alone if trial.validation]
    if folds > 1 and met:
        ranked = sorted(met, key=lambda trial: (trial.validation[0], trial.number))
        kept = ranked[: max(KEPT_AT_LEAST, (len(met) + 1) // 2)]
        assert {trial.number for trial in met if trial.state != "stopped"} == {t.number for t in kept} | (
            {0} & {trial.number for trial in met}
        )


def test_no_core_waits_for_the_last_fit_of_a_fold() -> None:
    """While the newest fold's last fit runs, the surely better ones begin the next fold; the worse ones wait."""
    halving = Halving(_trials(7), 3, METRIC)
    assert [halving.due() for _ in range(7)] == [(number, 0) for number in range(7)]
    due = []
    for number in range(6):
        halving.met(replace(halving.trials[number], validation=(10.0 - number,)))
        due.append(halving.due())
    # the baseline at once; number 3 is among the best four whatever the three after it do
    assert due == [(0, 1), None, None, (3, 1), (4, 1), (5, 1)]
    assert halving.due() is None
    halving.met(replace(halving.trials[6], validation=(20.0,)))
    assert halving.due() == (2, 1)
    assert halving.trials[1].state == halving.trials[6].state == "stopped"


def test_what_the_budget_cuts_off_is_no_contender() -> None:
    """Closed, only the baseline's fits are due, and nothing is left when they have ended."""
    halving = Halving(_trials(9), 2, METRIC)
    begun = [halving.due() for _ in range(3)]
    halving.close()
    for place in begun:
        assert place is not None
        halving.met(replace(halving.trials[place[0]], validation=(1.0,)))
    assert halving.left == 1
    assert (halving.due(), halving.due()) == ((0, 1), None)
    halving.met(replace(halving.trials[0], validation=(1.0, 2.0)))
    assert halving.left == 0
    assert [trial.state for trial in halving.trials] == ["done", *["skipped"] * 8]
