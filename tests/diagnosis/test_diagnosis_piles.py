"""Piles of one value, judged by how probable so many rows of it are, and by the stretches of training."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlcore.contract import Column
from mlcore.diagnosis.findings import Times
from mlcore.diagnosis.piles import piled
from mlcore.diagnosis.signatures import stuck
from mlcore.drift.baseline import numeric_baseline

X = Column(name="x", type="number")
DAY = 86_400_000_000


def _cold(rng, days):
    """Return lowest temperatures in tenths of a degree, one day like the one before."""
    noise = rng.normal(size=days)
    for day in range(1, days):
        noise[day] = 0.6 * noise[day - 1] + 0.8 * noise[day]
    return np.round(2 + 4 * noise, 1)


def test_a_month_that_was_cut_off_is_told_without_other_columns():
    """A third of its days on one value are no chance; months as they were are."""
    rng = np.random.default_rng(0)
    before = numeric_baseline(pd.Series(_cold(rng, 800)))
    months = [_cold(rng, 31) for _ in range(200)]
    told = [piled(X, before, np.minimum(month, np.sort(month)[19]), None) for month in months]
    assert sum(sentence is not None and "cut off above" in sentence for sentence in told) >= 190
    assert not any(piled(X, before, month, None) for month in months)


def test_zeros_among_values_near_zero_stand_for_none():
    """A quarter of a winter's days at 0.0 degrees, here and there; a week of thaw at 0.0 is the world's."""
    rng = np.random.default_rng(1)
    before = numeric_baseline(pd.Series(_cold(rng, 800)))
    month = _cold(rng, 60)
    gone = month.copy()
    gone[::4] = 0.0
    assert "no value?" in piled(X, before, gone, None)
    thaw = month.copy()
    thaw[20:27] = 0.0
    assert piled(X, before, thaw, None) is None


def test_a_pile_that_a_stretch_of_training_ended_in_is_none():
    """Visibility is told up to 16 km by one of two observers; where none ever did, it is cut off."""
    rng = np.random.default_rng(2)
    hours, far = np.arange(20 * 168) * DAY // 24, rng.gamma(4, 5, 20 * 168).round()
    week, stamps = np.minimum(rng.gamma(4, 5, 168).round(), 16), (20 * 168 + np.arange(168)) * DAY // 24
    nearer, some = (np.where(those, np.minimum(far, 16), far) for those in (hours < 35 * DAY, hours < 7 * DAY))

    def told(known):
        return piled(X, numeric_baseline(pd.Series(known)), week, None, known, Times(stamps, hours))

    assert "cut off above 16" in told(far)
    assert told(nearer) is None
    # one week of twenty may have been a fault, too
    assert "cut off above 16" in told(some)


@pytest.mark.parametrize(("value", "is_stuck"), [(28.7, True), (0.0, False)])
def test_how_long_a_quantity_rested_says_nothing_of_its_other_values(value, is_stuck):
    """Seven weeks without rain are known; of two weeks that have 28.7 mm every day there never were three days."""
    rng = np.random.default_rng(3)
    rain = np.where(rng.random(700) < 0.5, rng.gamma(0.8, 9, 700).round(1), 0.0)
    rain[200:250] = 0.0
    month = np.where(rng.random(31) < 0.5, rng.gamma(0.8, 9, 31).round(1), 0.0)
    month[8:23] = value
    before = numeric_baseline(pd.Series(rain))
    assert before.longest_run >= 50
    assert before.longest_moving_run < 5
    assert (stuck(X, before, month, None) is not None) == is_stuck
