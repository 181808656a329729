"""Faults in tables that nobody prepared: units that no contract names, customers by the month, short histories."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlcore.contract import Column, DataContract
from mlcore.data.ingest import conform
from mlcore.diagnosis import diagnose
from mlcore.diagnosis.findings import Times
from mlcore.diagnosis.piles import piled
from mlcore.diagnosis.signatures import stuck
from mlcore.drift import build_baseline
from mlcore.drift.baseline import numeric_baseline
from mlcore.quality import check_table

RNG = np.random.default_rng(3)
X = Column(name="x", type="number")
AT = Column(name="at", type="timestamp", role="time")
CONTRACT = DataContract(task="regression", columns=(AT, X, Column(name="y", type="number", role="target")))


def _told(trained: pd.DataFrame, before: pd.DataFrame, rows: pd.DataFrame) -> str:
    baseline = build_baseline(trained, np.zeros(len(trained)), CONTRACT)
    quality = check_table(conform(rows, CONTRACT), CONTRACT, partial=True)
    return diagnose(CONTRACT, baseline, rows, quality, None, None, recent=before).sentence


def _fares(rows: int, start: str, mean: float = 18.0) -> pd.DataFrame:
    at = pd.date_range(start, periods=rows, freq="h", tz="UTC")
    return pd.DataFrame({"at": at, "x": RNG.gamma(9, mean / 9, rows).round(1), "y": 0.0})


TRAINED, WEEK, NOW = _fares(3_000, "2024-01-01"), _fares(168, "2024-05-06"), _fares(168, "2024-05-13")


@pytest.mark.parametrize(
    ("factor", "offset", "named"),
    [(1.8, 32.0, "Fahrenheit"), (3.6, 0.0, "km/h for m/s"), (0.621371, 0.0, "miles for km"), (0.453592, 0.0, "pounds")],
)
def test_a_unit_that_nobody_named_is_told_by_the_digits(factor, offset, named):
    """Fares have one decimal; converted they have many, until the conversion is undone."""
    assert named in _told(TRAINED, WEEK, NOW.assign(x=NOW["x"] * factor + offset))


def test_decimals_that_never_were_are_none_of_the_world_where_the_values_are_others_too():
    """By whatever it was multiplied; a better meter of the same fares is no fault, nor are higher fares."""
    assert "decimals that it never had" in _told(TRAINED, WEEK, NOW.assign(x=NOW["x"] * 2.7182818))
    better = NOW.assign(x=NOW["x"] + RNG.uniform(-0.05, 0.05, 168))
    dearer = _fares(168, "2024-05-13", 31.0)
    assert {_told(TRAINED, WEEK, rows) for rows in (NOW, better, dearer)} == {"Nothing is wrong."}


def test_a_week_of_hours_is_long_enough_to_see_where_it_was_cut_off():
    """A third of 168 rows have one value that hardly any had; a busy hour's round number is no edge."""
    before = numeric_baseline(TRAINED["x"])
    values = NOW["x"].to_numpy()
    for cut in (np.minimum(values, np.quantile(values, 0.65, method="lower")),
                np.maximum(values, np.quantile(values, 0.35, method="higher"))):  # fmt: skip
        assert "cut off" in piled(X, before, cut, None)
    whole = numeric_baseline(TRAINED["x"].round())
    assert piled(X, whole, np.round(values), None) is None


def test_zeros_here_and_there_stand_for_no_value_and_in_one_piece_for_a_rest():
    """A few of training were zero; a quarter now is a default of the source. A machine is off for a while."""
    trained = np.where(RNG.random(3_000) < 0.01, 0.0, TRAINED["x"])
    before, values = numeric_baseline(pd.Series(trained)), NOW["x"].to_numpy()
    assert "no value" in piled(X, before, np.where(RNG.random(168) < 0.25, 0.0, values), None)
    assert piled(X, before, np.where(np.arange(168) < 42, 0.0, values), None) is None


def test_air_that_is_full_of_water_is_not_stuck():
    """At the end of the scale a quantity rests as it did in training, only longer; in the middle it does not."""
    trained = np.clip(RNG.normal(75, 12, 3_000), 20, 100).round(1)
    trained[500:520] = 100.0
    before = numeric_baseline(pd.Series(trained))
    wet, odd = (np.clip(RNG.normal(80, 8, 168), 20, 99).round(1) for _ in range(2))
    wet[40:80], odd[40:80] = 100.0, 81.3
    assert stuck(X, before, wet, None) is None
    assert "stuck at 81.3 for 4" in stuck(X, before, odd, None)


def test_customers_of_one_month_do_not_all_have_one_value():
    """Each row is of somebody: unlike the rate of the month, which all rows share, what they pay differs."""
    months = np.repeat(np.arange(20.0), 100)
    rate, paid = np.repeat(RNG.normal(3, 1, 20), 100), RNG.normal(60, 9, 2_000).round(2)
    alike = np.full(300, 55.5)
    times, before = Times(np.zeros(300), months), numeric_baseline(pd.Series(paid))
    assert "stuck at 55.5" in stuck(X, before, alike, None, paid, times)
    assert "stuck at 55.5" in stuck(X, before, np.concatenate([alike[:150], paid[:150]]), None, paid, times)
    assert stuck(X, numeric_baseline(pd.Series(rate)), alike, None, rate, times) is None
    assert stuck(X, before, paid[:300], None, paid, times) is None


def test_hours_are_missed_after_a_week_of_history():
    """Every hour of seven days had rows; of a shop that closes at night none is missed at night."""
    at = pd.date_range("2024-01-01", periods=8 * 1440, freq="min", tz="UTC")
    frame = pd.DataFrame({"at": at, "x": RNG.normal(size=len(at)), "y": 0.0})
    open_at_day = frame[frame["at"].dt.hour.between(7, 21)].reset_index(drop=True)
    for rows, missed in ((frame, "5 of 24 hours"), (open_at_day, "5 of 15 hours")):
        trained, day = rows[rows["at"] < at[7 * 1440]], rows[rows["at"] >= at[7 * 1440]].reset_index(drop=True)
        assert _told(trained, day, day) == "Nothing is wrong."
        holes = day[~day["at"].dt.hour.between(10, 14)].reset_index(drop=True)
        assert missed in _told(trained, day, holes)
