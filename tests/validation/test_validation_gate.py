"""The gate: promote when surely better, hold when undecided, reject when surely worse or a guard fails."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from mlcore.contract import Column
from mlcore.policy.validation import FairnessRule, Invariance, MetricLimit, SliceRule
from mlcore.validation import EvaluationReport, evaluate
from mlcore.validation.subject import FittedModel
from tests.support import churn_rows


class Fee:
    """A regression 'model' of the monthly fee: the truth plus an error."""

    def __init__(self, error, slope: float = 1.0) -> None:
        self.error, self.slope = error, slope

    def predict(self, frame):
        """Answer the fee that was hidden in `calls`."""
        return self.slope * pd.to_numeric(frame["truth_of_fee"]).fillna(50.0).to_numpy(dtype=float) + self.error(frame)


def _regression(churn, **validation):
    """Return churn turned into the regression of the fee, judged by absolute error."""
    columns = [column for column in churn.contract.columns if column.name not in ("left", "monthly_fee")]
    columns += [Column(name="truth_of_fee", type="number"), Column(name="monthly_fee", type="number", role="target")]
    contract = churn.contract.model_copy(update={"columns": tuple(columns), "task": "regression"})
    for cached in ("target", "time", "keys", "features", "inputs", "names"):
        contract.__dict__.pop(cached, None)
    policy = churn.validation.model_copy(update={"metric": "mean_absolute_error", "block": None, **validation})
    return churn.model_copy(update={"contract": contract, "validation": policy})


def _noise(scale: float, seed: int = 0):
    return lambda frame: np.random.default_rng(seed).normal(scale=scale, size=len(frame))


def _judge(usecase, challenger, champion, rows: int = 600, dummy=None):
    frame = churn_rows(rows).assign(truth_of_fee=lambda item: item["monthly_fee"])
    model = FittedModel(challenger, dummy)
    other = None if champion is None else FittedModel(champion)
    report = evaluate(model, other, frame, usecase, rng=np.random.default_rng(0))
    assert EvaluationReport.from_json(report.to_json()) is not None
    return report


@pytest.mark.parametrize(
    ("challenger", "champion", "verdict"),
    [((1.0, 1), (3.0, 2), "promote"), ((3.0, 1), (1.0, 2), "reject"), ((1.0, 1), (1.0, 1), "hold")],
)
def test_better_worse_and_the_same_are_told_apart(churn, challenger, champion, verdict):
    """The interval of the difference decides; a model that answers just as the champion does is undecided."""
    report = _judge(_regression(churn), Fee(_noise(*challenger)), Fee(_noise(*champion)))
    assert report.verdict == verdict
    assert report.difference.lower <= report.difference.value <= report.difference.upper


def test_equal_models_are_rarely_promoted(churn):
    """At 95 % one-sided confidence at most about one in twenty of equally good challengers is called better."""
    verdicts = [
        _judge(
            _regression(churn, resamples=200, confidence=0.95),
            Fee(_noise(1.0, seed)),
            Fee(_noise(1.0, 1000 + seed)),
            300,
        ).verdict
        for seed in range(60)
    ]
    assert verdicts.count("promote") <= 7  # 60 x 0.05 = 3; more than 7 has a probability under 1 %


def test_luck_with_the_seed_is_no_merit(churn):
    """A small gain is believed of models that a seed does not change, and not of those that it does."""
    better, champion, usecase = Fee(_noise(1.0, 1)), Fee(_noise(1.3, 2)), _regression(churn)
    frame = churn_rows(600).assign(truth_of_fee=lambda item: item["monthly_fee"])
    for deviation, verdict in ((0.0, "promote"), (0.02, "promote"), (0.5, "hold")):
        one, other = (FittedModel(model, seed_deviation=deviation) for model in (better, champion))
        report = evaluate(one, other, frame, usecase, rng=np.random.default_rng(0))
        assert report.verdict == verdict


def test_how_much_the_champions_answers_change_is_measured(churn):
    """In spreads of the champion's answers, whatever the unit; a change of a constant one has no measure in JSON."""
    usecase, fees = _regression(churn), churn_rows(600)["monthly_fee"]
    shifted = _judge(usecase, Fee(lambda _: 3.0), Fee(lambda _: 0.0))
    assert shifted.change_fraction == pytest.approx(3.0 / fees.std(ddof=0))
    assert _judge(usecase, Fee(_noise(1.0)), Fee(_noise(1.0))).change_fraction == 0.0
    constant = _judge(usecase, Fee(_noise(1.0)), Fee(lambda _: 50.0, slope=0.0))
    assert constant.change_fraction == float("inf")
    assert constant.to_json()["change_fraction"] is None


@pytest.mark.parametrize(
    ("slope", "noise", "seed", "verdict"),
    [(1.0, 3.0, 1, "promote"), (0.5, 15.0, 2, "reject"), (0.0, 0.0, 1, "reject")],
    ids=["knows more", "says less", "says nothing"],
)
def test_a_challenger_that_knows_more_may_lose_to_a_constant(churn, slope, noise, seed, verdict):
    """Half of the champion's answer is nearer to any target, mixed-up ones, too, and tells nothing more of it."""
    dummy, champion = Fee(lambda _: 50.0, slope=0.0), Fee(lambda frame: 100 + _noise(30.0, 2)(frame))
    challenger = Fee(lambda frame: 60 + _noise(noise, seed)(frame), slope=slope)
    report = _judge(_regression(churn), challenger, champion, dummy=dummy)
    guard = next(guard for guard in report.guards if guard.kind == "baseline")
    assert report.difference.upper < 0 < guard.value - guard.limit
    assert (report.verdict, guard.outcome) == (verdict, "passed" if verdict == "promote" else "failed")
    assert ("better than the champion's" in guard.sentence) == (verdict == "promote")


def test_the_first_model_is_judged_against_the_dummy(churn):
    """Without a champion a model must beat always giving the same answer."""
    usecase, dummy = _regression(churn), Fee(lambda frame: np.full(len(frame), 50.0), slope=0.0)
    good = _judge(usecase, Fee(_noise(1.0)), None, dummy=dummy)
    assert (good.verdict, good.opponent) == ("promote", "dummy")
    assert _judge(usecase, Fee(_noise(90.0)), None, dummy=dummy).verdict == "reject"


def test_too_few_rows_hold_and_say_how_many_are_missing(churn):
    """A tiny holdout decides nothing."""
    report = _judge(_regression(churn), Fee(_noise(1.0)), Fee(_noise(9.0)), rows=40)
    assert (report.verdict, report.extra_rows) == ("hold", 60)


def test_a_challenger_worse_in_one_slice_is_caught(churn):
    """Better on the whole and much worse for one plan: rejected, the slice named."""

    def uneven(frame):
        return np.where(frame["plan"] == "pro", 6.0, 0.2)

    usecase = _regression(churn, slices=(SliceRule(column="plan"),))
    report = _judge(usecase, Fee(uneven), Fee(_noise(4.0, 2)))
    assert report.verdict == "reject"
    assert any("plan = pro" in reason for reason in report.reasons)


def test_the_slices_of_a_first_model_are_told_and_not_judged(churn):
    """The card of a first model says for whom it is how good; worse than a constant for some is no refusal."""

    def uneven(frame):
        return np.where(frame["plan"] == "pro", 60.0, 0.2)

    usecase = _regression(churn, slices=(SliceRule(column="plan"),))
    report = _judge(usecase, Fee(uneven), None, dummy=Fee(_noise(30.0, 2)))
    assert report.verdict == "promote"
    assert {item.slice: round(item.challenger, 1) for item in report.slices} == {"basic": 0.2, "plus": 0.2, "pro": 60.0}
    assert not [guard for guard in report.guards if guard.kind == "slice"]


@pytest.mark.parametrize(
    ("validation", "kind"),
    [
        ({"limits": (MetricLimit(metric="mean_absolute_error", maximum=0.1),)}, "limit"),
        ({"invariances": (Invariance(column="truth_of_fee", change=10, prediction="not_up"),)}, "invariance"),
        ({"maximum_calibration_error": 0.0001}, "calibration"),
        ({"maximum_latency": timedelta(microseconds=1)}, "latency"),
    ],
)
def test_each_guard_can_refuse(churn, validation, kind):
    """A better challenger is rejected when a guard fails, and the guard is named."""
    report = _judge(_regression(churn, **validation), Fee(_noise(1.0, 1)), Fee(_noise(5.0, 2)))
    assert report.verdict == "reject"
    assert [guard.kind for guard in report.failures] == [kind]


class Leaver:
    """A classifier that says who leaves, by a rule."""

    classes_ = np.array([False, True])

    def __init__(self, rule) -> None:
        self.rule = rule

    def predict_proba(self, frame):
        """Answer with near certainty."""
        yes = np.where(self.rule(frame), 0.9, 0.1)
        return np.column_stack([1 - yes, yes])


def test_unfair_selection_is_refused(churn):
    """Groups of a named column that are treated differently fail demographic parity."""
    rule = FairnessRule(column="plan", maximum_demographic_parity_difference=0.2)
    usecase = churn.model_copy(update={"validation": churn.validation.model_copy(update={"fairness": (rule,)})})
    frame = churn_rows(900)
    unfair, fair = Leaver(lambda rows: rows["plan"] == "pro"), Leaver(lambda rows: rows["customer_id"] % 2 == 0)
    found = [
        next(
            guard.outcome
            for guard in evaluate(
                FittedModel(model), FittedModel(fair), frame, usecase, rng=np.random.default_rng(0)
            ).guards
            if guard.kind == "fairness"
        )
        for model in (unfair, fair)
    ]
    assert found == ["failed", "passed"]
