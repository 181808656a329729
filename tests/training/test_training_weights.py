"""Which training rows count: laws of the weights, and the choice between them on planted pasts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlcore.errors import TrainingError, UseCaseError
from mlcore.policy.training import RowsPolicy
from mlcore.training.run import fit_winner, train_model
from mlcore.training.search import planned_trials
from mlcore.training.weights import row_weights
from mlcore.usecase import UseCase, parse_usecase

DAYS = pd.Series(pd.date_range("2023-01-01", periods=3 * 365, freq="D", tz="UTC"))
POLICY = RowsPolicy(window=timedelta(days=60), half_life=timedelta(days=30))
ALL = ("everything", "window", "season", "recency")


def _usecase(choices: tuple[str, ...] = ALL, estimator: str = "sklearn.linear_model.Ridge", **rows: Any) -> UseCase:
    return parse_usecase(
        {
            "format": 1,
            "name": "sales",
            "title": "Sales",
            "owner": {"name": "Owner", "email": "owner@example.org"},
            "contract": {
                "task": "regression",
                "columns": [
                    {"name": "at", "type": "timestamp", "role": "time"},
                    {"name": "x", "type": "number"},
                    {"name": "y", "type": "number", "role": "target"},
                ],
            },
            "training": {
                "candidates": [{"name": "one", "estimator": estimator}],
                "search": {"trials": 1, "folds": 12, "holdout_fraction": 0.04, "metric": "mean_absolute_error"},
                "rows": {"choices": list(choices), "window": "P60D", "half_life": "P30D", **rows},
            },
        },
        source="test",
    )


def _past(slope: np.ndarray) -> pd.DataFrame:
    """Return three years in which y is x times a slope of the day, and noise."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=len(DAYS))
    return pd.DataFrame({"at": DAYS, "x": x, "y": slope * x + rng.normal(scale=0.3, size=len(DAYS))})


@pytest.mark.parametrize("weighting", ["window", "season", "recency"])
def test_weights_are_shares_whatever_the_order(weighting):
    """From 0 to 1, the newest row counts fully, and each row's weight is its own."""
    weights = row_weights(weighting, DAYS, POLICY)
    assert weights.min() >= 0
    assert weights.max() == weights[-1] == 1
    order = np.random.default_rng(0).permutation(len(DAYS))
    assert (row_weights(weighting, DAYS[order], POLICY) == weights[order]).all()
    gone = DAYS.where(DAYS.index != 5)
    assert row_weights(weighting, gone, POLICY)[5] <= weights[weights > 0].min()


def test_recency_halves_and_the_window_ends():
    """As the policy says."""
    recency, window = (row_weights(kind, DAYS, POLICY) for kind in ("recency", "window"))
    assert recency[-31] == pytest.approx(0.5)
    assert recency[-61] == pytest.approx(0.25)
    assert (np.diff(recency) > 0).all()
    assert window.sum() == 61
    assert set(window) == {0.0, 1.0}


def test_the_same_season_counts_whatever_the_year():
    """A year ago as much as today, half a year ago least."""
    weights = row_weights("season", DAYS, POLICY)
    assert weights[-366] == pytest.approx(1.0, abs=1e-3)
    assert weights[-183] == weights.min() == pytest.approx(0.05)
    assert weights[-31] == pytest.approx(np.exp(-0.5), abs=1e-3)


def test_everything_is_no_weights_at_all():
    """And rows without any time cannot be told apart."""
    assert row_weights("everything", DAYS, POLICY) is None
    assert row_weights("recency", pd.Series(pd.NaT, index=range(3), dtype="datetime64[ns, UTC]"), POLICY) is None
    frame = _past(np.ones(len(DAYS)))
    plain, chosen = (
        train_model(frame, _usecase(choices), seed=0) for choices in (("everything",), ("everything",) * 2)
    )
    assert plain.pipeline[-1].coef_ == chosen.pipeline[-1].coef_
    assert plain.scores.weightings == {}


@pytest.mark.parametrize(
    ("slope", "right"),
    [
        pytest.param(np.where(np.arange(len(DAYS)) < 800, 1.0, -1.0), {"window", "recency"}, id="the world changed"),
        pytest.param(
            np.where(DAYS.dt.month > 6, 1.0, -1.0), {"season", "window", "recency"}, id="the half of the year"
        ),
    ],
)
def test_the_choice_follows_the_past(slope, right):
    """What is chosen beats everything on rows that nobody chose by."""
    frame = _past(slope)
    trained, plain = (train_model(frame, _usecase(choices), seed=0) for choices in (ALL, ("everything",)))
    metric = trained.metric
    assert trained.scores.weighting in right
    assert set(trained.scores.weightings) == set(ALL)
    assert trained.scores.holdout[metric] < 0.9 * plain.scores.holdout[metric]


def test_season_alone_finds_the_season():
    """November and December are like those of other years, and not like this autumn, nor like all of the year."""
    slope = np.where(DAYS.dt.dayofyear > 305, -1.0, 1.0)
    frame = _past(slope)
    trained, plain = (train_model(frame, _usecase((kind,)), seed=0) for kind in ("season", "everything"))
    assert trained.scores.holdout[trained.metric] < plain.scores.holdout[trained.metric]


def test_a_world_that_stands_still_loses_little():
    """Choosing costs no more than noise where all rows are worth the same."""
    frame = _past(np.ones(len(DAYS)))
    trained, plain = (train_model(frame, _usecase(choices), seed=0) for choices in (ALL, ("everything",)))
    assert trained.scores.holdout[trained.metric] < 1.05 * plain.scores.holdout[plain.metric]


def test_the_winner_is_made_again_with_its_weights():
    """The same rows, recipe, seed and weighting give the same coefficients to the last bit."""
    frame = _past(np.where(np.arange(len(DAYS)) < 800, 1.0, -1.0))
    usecase = _usecase(("everything", "recency"))
    trained = train_model(frame, usecase, seed=0)
    candidate, _ = planned_trials(usecase, seed=0)[1]
    again = fit_winner(trained.train, usecase, candidate, trained.parameters, 0, trained.scores.weighting)
    assert trained.scores.weighting == "recency"
    assert (again[-1].coef_ == trained.pipeline[-1].coef_).all()


def test_neighbours_take_no_weights():
    """What an algorithm cannot do is left out of the choice, and one clear error where nothing is left."""
    frame = _past(np.where(np.arange(len(DAYS)) < 800, 1.0, -1.0))
    neighbours = "sklearn.neighbors.KNeighborsRegressor"
    trained = train_model(frame, _usecase(ALL, neighbours), seed=0)
    assert set(trained.scores.weightings) == {"everything", "window"}
    assert trained.scores.weighting == "window"
    with pytest.raises(TrainingError, match="takes no weights"):
        train_model(frame, _usecase(("recency",), neighbours), seed=0)


def test_without_times_all_rows_count(make_churn):
    """Said when the use case is read."""
    definition = make_churn().model_dump(mode="json", exclude_defaults=True)
    definition["training"]["rows"] = {"choices": ["recency"]}
    with pytest.raises(UseCaseError, match="without a time column"):
        parse_usecase(definition, source="churn")
