"""Realised performance: how sure it is, how late labels came, and where it is worse."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlcore.metrics import Output, metric_named
from mlcore.performance import Labelled, Performance, Slice, realised
from mlcore.performance.realised import chance_of
from mlcore.policy.monitoring import PerformancePolicy

METRIC = metric_named("mean_absolute_error", "regression")
POLICY = PerformancePolicy(minimum_coverage=0.5)


def _measured(truth: np.ndarray, blocks: np.ndarray | None, **known: object) -> Performance:
    frame = pd.DataFrame({"site": np.where(np.arange(len(truth)) % 2, "north", "south")})
    facts = Labelled(frame=frame, blocks=blocks, **known)
    output = Output(np.zeros(len(truth)))
    return realised(truth, output, len(truth), METRIC, 1.0, POLICY, known=facts, rng=np.random.default_rng(0))


def test_intervals_cover_as_often_as_they_say():
    """Errors of a day are alike: an interval from whole days covers the truth, one from rows does not."""
    rng = np.random.default_rng(1)
    covered = {"blocks": 0, "rows": 0}
    days = np.repeat(np.arange(30), 24)
    for _ in range(100):
        truth = 10 + np.repeat(rng.normal(size=30), 24) + 0.3 * rng.normal(size=720)
        for name, blocks in (("blocks", days), ("rows", None)):
            found = _measured(truth, blocks)
            covered[name] += found.lower <= 10 <= found.upper
    assert 90 <= covered["blocks"] <= 99
    assert covered["rows"] < 60


def test_lag_and_slices_are_told():
    """Median and 95th percentile of the lag; each slice with its rows, value and reference."""
    truth = np.where(np.arange(1_000) % 2, 1.0, 3.0)
    slices = (Slice("site", "north", 50, reference=0.9), Slice("site", "south", 501), Slice("gone", "x", 1))
    found = _measured(truth, None, lag_seconds=np.arange(101.0), slices=slices)
    assert (found.lag_median_seconds, found.lag_p95_seconds) == (50.0, 95.0)
    north, south, gone = found.slices
    assert (north.rows, north.value, north.lower, north.upper, north.reference) == (500, 1.0, 1.0, 1.0, 0.9)
    assert (south.rows, south.value) == (500, None)  # fewer than its rule asks for
    assert (gone.rows, gone.value) == (0, None)
    assert Performance.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("before", "error", "earlier", "outcome"),
    [(0.5, 1.1, True, "harmed"), (0.5, 1.3, False, "harmed"), (0.5, 0.55, False, "fine"), (2.0, 1.1, False, "fine"),
     (None, 1.1, False, "fine"), (float("nan"), 1.1, False, "fine")],
)  # fmt: skip
def test_a_model_of_bad_times_is_asked_for_what_the_one_before_it_could(before, error, earlier, outcome):
    """What passes beside its own held-out error of 1 is harm beside a better one, and the sentence says whose it is."""
    answered = Output(np.zeros(100))
    found = realised(np.full(100, error), answered, 100, METRIC, 1.0, POLICY, before=before, held_out_rows=40)
    assert (found.earlier, found.reference, found.outcome) == (earlier, 0.5 if earlier else 1.0, outcome)
    assert ("of a model before it" in found.sentence) == earlier
    assert Performance.from_json(found.to_json()) == found


def test_what_rows_differ_by_is_no_harm():
    """Of windows of a sound model one in twenty at most is called harmed, however few rows it has; harm still is."""
    rng = np.random.default_rng(2)

    def harmed(scale: float) -> int:
        found = 0
        for _ in range(400):
            held_out, errors = rng.exponential(size=120), scale * rng.exponential(size=30)
            found += (
                realised(errors, Output(np.zeros(30)), 30, METRIC, held_out.mean(), POLICY, held_out_rows=120).outcome
                == "harmed"
            )
        return found

    assert harmed(1.0) <= 28  # 20 are expected at most; without the rule there are over 50
    assert harmed(3.0) >= 390


def test_chance_is_the_standard_error_of_a_mean():
    """Of a mean the jackknife is the formula."""
    rng = np.random.default_rng(3)
    truth = rng.normal(size=200)
    found = chance_of(METRIC, METRIC.statistics(truth, Output(np.zeros(200))))
    assert found == pytest.approx(np.abs(truth).std(ddof=1) / np.sqrt(200))


def test_records_of_older_versions_are_read():
    """They have neither interval, lag nor slices."""
    old = {
        "format": 1,
        "outcome": "fine",
        "metric": "r2",
        "value": 0.5,
        "reference": 0.6,
        "worsening_fraction": 0.1,
        "rows": 10,
        "labelled": 10,
    }
    assert Performance.from_json(old).slices == ()


def test_without_enough_labels_the_lag_is_still_known():
    """What has come says how late the rest may be."""
    known = Labelled(frame=pd.DataFrame({"site": ["north"]}), lag_seconds=np.array([7.0]))
    found = realised(np.ones(1), Output(np.ones(1)), 10, METRIC, 1.0, POLICY, known=known)
    assert (found.outcome, found.lag_p95_seconds) == ("too_little_data", 7.0)


@pytest.mark.parametrize("metric", ["balanced_accuracy", "roc_auc"])
def test_slices_of_ratio_metrics_are_of_their_own_rows(metric):
    """The pairs and classes that count are those within the slice."""
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"site": rng.choice(["north", "south"], 600)})
    score = rng.random(600)
    truth = (rng.random(600) < score).astype(np.int64)
    output = Output((score > 0.5).astype(np.int64), np.column_stack([1 - score, score]), np.array([0, 1]))
    kind = metric_named(metric, "classification")
    known = Labelled(frame=frame, slices=(Slice("site", "north", 50),))
    found = realised(truth, output, 600, kind, 0.5, POLICY, known=known, rng=rng).slices[0]
    rows = (frame["site"] == "north").to_numpy()
    assert found.value == pytest.approx(kind.value(truth[rows], output.take(rows)))
    assert found.lower < found.value < found.upper
