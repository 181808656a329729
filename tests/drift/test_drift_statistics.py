"""Statistics: equal to scipy's, quiet without a shift, loud with one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mlcore.drift import Baseline, DriftReport, build_baseline, detect_drift
from mlcore.drift.statistics import benjamini_hochberg, chi_square, distances, kolmogorov_smirnov
from mlcore.errors import DriftError
from mlcore.policy.monitoring import DriftPolicy
from tests.support import churn_rows


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("first", "second"), [(50, 80), (1000, 300), (2000, 2000)])
def test_kolmogorov_smirnov_equals_scipy(seed, first, second):
    """Distance and asymptotic p-value agree to 1e-9, ties included."""
    rng = np.random.default_rng(seed)
    a, b = np.sort(rng.normal(size=first).round(2)), np.sort(rng.normal(0.05, 1.1, size=second).round(2))
    expected = stats.ks_2samp(a, b, method="asymp")
    statistic, p_value = kolmogorov_smirnov(a, b)
    assert statistic == pytest.approx(expected.statistic, abs=1e-12)
    assert p_value == pytest.approx(expected.pvalue, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("seed", range(5))
def test_chi_square_and_wasserstein_equal_scipy(seed):
    """The other statistics are the textbook's too."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 100, (2, 6))
    expected = stats.chi2_contingency(counts, correction=False)
    assert chi_square(counts[0], counts[1]) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-9)
    a, b = np.sort(rng.normal(size=100)), np.sort(rng.normal(1, 2, size=70))
    assert distances(a, b).wasserstein == pytest.approx(stats.wasserstein_distance(a, b), rel=1e-9)
    p_values = rng.random(9)
    assert benjamini_hochberg(p_values) == pytest.approx(stats.false_discovery_control(p_values))


def _detect(baseline, frame, churn, **options):
    return detect_drift(
        baseline, frame, frame["left"].to_numpy(), churn.contract, DriftPolicy(), minimum_rows=30, **options
    )


@pytest.fixture
def baseline(churn):
    """A baseline of 2,000 customers."""
    frame = churn_rows(2000)
    return build_baseline(frame, frame["left"].to_numpy(), churn.contract)


def test_no_shift_raises_no_alarm(baseline, churn):
    """Windows from the same source are quiet in at least 97 of 100 cases at 1 %."""
    alarms = sum(_detect(baseline, churn_rows(400, seed), churn).outcome == "drift" for seed in range(1, 101))
    assert alarms <= 3


def test_a_shift_is_found_where_it_is(baseline, churn):
    """The shifted column is named, the others are not."""
    frame = churn_rows(400, 1).assign(monthly_fee=lambda rows: rows["monthly_fee"] * 1.6)
    report = _detect(baseline, frame, churn)
    assert [item.name for item in report.drifted] == ["monthly_fee"]
    assert DriftReport.from_json(report.to_json()) == report


def test_few_rows_and_few_blocks_are_not_judged_like_many(baseline, churn):
    """Too little data is an outcome; dependent rows count as one a block."""
    assert _detect(baseline, churn_rows(10, 1), churn).outcome == "too_little_data"
    shifted = churn_rows(400, 1).assign(monthly_fee=lambda rows: rows["monthly_fee"] * 1.25)
    alone, blocked = (_detect(baseline, shifted, churn, blocks=blocks) for blocks in (None, 8))
    p_values = [next(c.p_value for c in report.columns if c.name == "monthly_fee") for report in (alone, blocked)]
    assert p_values[1] > 100 * p_values[0]


def test_column_order_does_not_matter(baseline, churn):
    """The report is a function of the values, not of where they stand."""
    frame = churn_rows(300, 2)
    assert _detect(baseline, frame, churn) == _detect(baseline, frame[sorted(frame.columns)], churn)


def test_constant_and_missing_columns_are_judged_not_crashed(baseline, churn):
    """All missing, constant, new categories: an answer each."""
    frame = churn_rows(200, 3)
    assert _detect(baseline, frame.assign(monthly_fee=np.nan), churn).outcome in ("drift", "no_drift")
    assert "monthly_fee" in [c.name for c in _detect(baseline, frame.assign(monthly_fee=50.0), churn).drifted]
    assert "plan" in [c.name for c in _detect(baseline, frame.assign(plan="new"), churn).drifted]


def test_a_baseline_survives_its_file_and_stays_small(churn):
    """What is kept with the model is what was measured, under 1 MB for 50 columns' worth of values."""
    frame = churn_rows(50_000)
    kept = build_baseline(frame, frame["left"].to_numpy(), churn.contract)
    data = kept.to_bytes()
    again = Baseline.from_bytes(data)
    assert len(data) < 40_000
    assert again.categories == kept.categories
    assert np.array_equal(again.numeric["calls"].values, kept.numeric["calls"].values)
    for other in (b"", b"hello", pd.Series([1]).to_json().encode()):
        with pytest.raises(DriftError, match="not a baseline"):
            Baseline.from_bytes(other)
