"""Marks of faults in one column, and what looks like them and is none: real tables are full of it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlcore.contract import Column, DataContract
from mlcore.data.ingest import conform
from mlcore.diagnosis import diagnose
from mlcore.diagnosis.signatures import missing_burst, piled, stuck
from mlcore.drift import build_baseline
from mlcore.drift.baseline import numeric_baseline
from mlcore.quality import check_table

RNG = np.random.default_rng(0)
X = Column(name="x", type="number")


def test_what_most_rows_have_is_never_stuck():
    """Rain is 0 for weeks; a value that few rows had is not for as long."""
    mostly = numeric_baseline(pd.Series(np.where(RNG.random(2000) < 0.9, 0.0, RNG.random(2000))))
    rest = np.concatenate([np.zeros(300), RNG.random(20)])
    assert stuck(X, mostly, rest, None) is None
    assert "stuck at 0" in stuck(X, numeric_baseline(pd.Series(RNG.normal(size=2000))), rest, None)


def test_rows_of_one_moment_are_no_run():
    """Fifty bookings of one day alike are a group; fifty hours alike are a stuck sensor."""
    before = numeric_baseline(pd.Series(RNG.normal(size=2000)))
    values = np.concatenate([RNG.normal(size=200), np.full(50, 0.3), RNG.normal(size=50)])
    days, hours = np.repeat(np.arange(6), 50), np.arange(300)
    assert stuck(X, before, values, None, stamps=days) is None
    assert stuck(X, before, values, None, stamps=hours) is not None
    shorn = np.minimum(RNG.normal(size=300), 0.5)
    assert piled(X, before, shorn, None, stamps=hours) is not None
    assert piled(X, before, np.where(days == 3, 3.0, np.minimum(shorn, 0.4)), None, stamps=days) is None


def test_a_column_that_is_hardly_there_may_be_missing():
    """Gusts are measured now and then; a sensor that always was there is missed."""
    gusts = numeric_baseline(pd.Series(np.where(RNG.random(500) < 0.7, np.nan, 1.0) * RNG.random(500)))
    assert missing_burst(X, gusts, 0.92) is None
    assert missing_burst(X, numeric_baseline(pd.Series(RNG.random(500))), 0.2) is not None


def test_growth_over_years_is_no_other_unit():
    """Far from training, but what the month before was; and several rows of one day are not delivered twice."""
    day = pd.date_range("2000-01-01", periods=12_000, freq="8h", tz="UTC").floor("D")
    volume = np.exp(np.arange(12_000) / 1500) * RNG.lognormal(0, 0.2, 12_000)
    frame = pd.DataFrame({"day": day, "volume": volume, "y": RNG.normal(size=12_000)})
    contract = DataContract(
        task="regression",
        columns=(
            Column(name="day", type="timestamp", role="time"),
            Column(name="volume", type="number"),
            Column(name="y", type="number", role="target"),
        ),
    )
    trained = frame.iloc[:2000]
    baseline = build_baseline(trained, trained["y"].to_numpy(), contract)
    before, now = (frame.iloc[at : at + 90].reset_index(drop=True) for at in (9000, 9090))

    def cause(rows: pd.DataFrame) -> str:
        quality = check_table(conform(rows, contract), contract, partial=True)
        return diagnose(contract, baseline, rows, quality, None, None, recent=before).cause

    assert cause(now) == "healthy"
