"""Performance without labels: estimates follow where the inputs are, and say how far they were off."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlcore.errors import ModelFileError
from mlcore.metrics import METRICS, Output, metric_named
from mlcore.performance import Estimate, PerformanceModel, fit_performance_model
from mlcore.performance.expected import expected_value
from mlcore.policy.monitoring import PerformancePolicy
from tests.support import churn_rows

POLICY = PerformancePolicy(maximum_worsening_fraction=0.2)


def _answers(rows: pd.DataFrame) -> Output:
    """What a model that knows the odds, but is too sure of them, says of customers."""
    odds = -3 + 0.5 * rows["calls"] + 0.02 * rows["monthly_fee"]
    leaves = 1 / (1 + np.exp(-1.5 * odds.to_numpy(dtype=float)))
    return Output(leaves > 0.5, np.column_stack([1 - leaves, leaves]), np.array([False, True]))


def _learned(churn, metric: str, rows: pd.DataFrame) -> PerformanceModel:
    truth = rows["left"].to_numpy()
    found = fit_performance_model(rows, truth, _answers(rows), metric_named(metric, "classification"), churn)
    assert found is not None
    return found


@pytest.mark.parametrize("metric", [name for name, item in METRICS.items() if item.task == "classification"])
def test_a_classifier_is_judged_by_its_confidence(churn, metric):
    """Customers who call often are harder to tell: the estimate sees it without a label, in its interval."""
    model = PerformanceModel.from_bytes(_learned(churn, metric, churn_rows(4_000)).to_bytes())
    rows = churn_rows(4_000, seed=1)
    rows = rows[rows["calls"] >= 3]
    estimate = model.estimate(rows, _answers(rows), POLICY, 30)
    real = model.metric.value(rows["left"].to_numpy(), _answers(rows))
    # what validation found is no better a guess, but for metrics that these customers do not change
    assert abs(estimate.value - real) < max(abs(model.reference - real), model.error)
    assert estimate.lower <= real <= estimate.upper
    assert Estimate.from_json(estimate.to_json()) == estimate


def test_the_error_of_estimates_is_that_of_chunks_that_were_not_learned_from(churn):
    """With ever larger chunks it falls; it is never that of an estimator which has seen the answers."""
    errors = [_learned(churn, "accuracy", churn_rows(count)).error for count in (400, 20_000)]
    assert 0 < errors[1] < errors[0] / 2
    # a chunk of 40 rows has a standard error of about 0.07 whatever is known of it
    assert errors[0] > 0.03


def _bikes(rows: pd.DataFrame) -> Output:
    return Output(100.0 + 5 * rows["temperature"].to_numpy(dtype=float))


@pytest.fixture(scope="module")
def regression(bikeshare, bikeshare_frame) -> PerformanceModel:
    """Learned from hours of all seasons."""
    rows = bikeshare_frame.sample(3_000, random_state=0)
    metric = metric_named("mean_absolute_error", "regression")
    found = fit_performance_model(rows, rows["bikers"].to_numpy(float), _bikes(rows), metric, bikeshare)
    assert found is not None
    return found


def test_a_regression_is_judged_by_the_losses_it_had_on_such_rows(bikeshare_frame, regression):
    """Cold hours are predicted better than warm ones: the loss that is estimated is that of the hours at hand."""
    model = PerformanceModel.from_bytes(regression.to_bytes())
    assert len(regression.to_bytes()) < 150_000
    for rows in (bikeshare_frame.query("temperature < 5"), bikeshare_frame.query("temperature > 28")):
        real = model.metric.value(rows["bikers"].to_numpy(float), _bikes(rows))
        estimate = model.estimate(rows, _bikes(rows), POLICY, 30)
        assert estimate.method == "direct_loss"
        assert abs(estimate.value - real) < 0.5 * abs(model.reference - real)
        assert estimate.lower <= real <= estimate.upper


def test_estimated_harm_counts_only_where_the_policy_says_so(bikeshare_frame, regression):
    """Suspected by default; harmed where it counts; nothing of a handful of rows."""
    rows = bikeshare_frame.query("temperature > 20 and humidity < 50")
    strict = POLICY.model_copy(update={"maximum_worsening_fraction": 0.1})
    counting = strict.model_copy(update={"estimated_harm": "counts"})
    outcomes = [regression.estimate(rows, _bikes(rows), policy, 30).outcome for policy in (strict, counting)]
    assert outcomes == ["suspected", "harmed"]
    few = regression.estimate(rows[:5], _bikes(rows[:5]), POLICY, 30)
    assert (few.outcome, few.value) == ("too_little_data", None)
    assert "cannot be estimated" in few.sentence


def test_slices_are_estimated_with_what_they_were_at_validation(bikeshare_frame, regression):
    """Work days and others, each with the reference and the interval of its own."""
    slices = regression.estimate(bikeshare_frame, _bikes(bikeshare_frame), POLICY, 30).slices
    assert [(item.column, item.label) for item in slices] == [("workingday", "False"), ("workingday", "True")]
    for item in slices:
        rows = bikeshare_frame[bikeshare_frame["workingday"].astype(str) == item.label]
        assert item.rows == len(rows)
        assert item.lower < item.value < item.upper
        assert item.value == pytest.approx(item.reference, rel=0.1)


def test_too_few_held_out_rows_teach_nothing(churn):
    """Below a hundred nothing is fitted, and nothing is pretended."""
    rows, metric = churn_rows(90), metric_named("log_loss", "classification")
    assert fit_performance_model(rows, rows["left"].to_numpy(), _answers(rows), metric, churn) is None


def test_another_file_is_refused():
    """Whatever is not what was saved is named as such."""
    with pytest.raises(ModelFileError, match="does not estimate"):
        PerformanceModel.from_bytes(b"something else")


def test_expected_metrics_are_the_mean_over_drawn_labels():
    """Where the model's probabilities are true, the expectation is what drawing labels comes to."""
    rng = np.random.default_rng(0)
    given = rng.dirichlet([1, 1, 2], 3_000)
    classes = np.array(["a", "b", "c"])
    output = Output(classes[given.argmax(axis=1)], given, classes)
    for metric in (item for item in METRICS.values() if item.task == "classification"):
        drawn = [
            metric.value(classes[(given.cumsum(axis=1) < rng.random((len(given), 1))).sum(axis=1)], output)
            for _ in range(30)
        ]
        assert expected_value(metric, output, given) == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / 30**0.5)
