"""Marks of faults in one column, and what looks like them and is none: real tables are full of it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlcore.contract import Column, DataContract
from mlcore.data.ingest import conform
from mlcore.diagnosis import diagnose
from mlcore.diagnosis.findings import Times
from mlcore.diagnosis.piles import piled
from mlcore.diagnosis.signatures import missing_burst, stuck
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
    days, hours = (Times(at, np.empty(0)) for at in (np.repeat(np.arange(6), 50), np.arange(300)))
    assert stuck(X, before, values, None, times=days) is None
    assert stuck(X, before, values, None, times=hours) is not None
    # over three days on end it is no group
    values[100:250] = 0.3
    assert "stuck" in stuck(X, before, values, None, times=days)
    shorn = np.minimum(RNG.normal(size=300), 0.5)
    assert piled(X, before, shorn, None, times=hours) is not None
    assert piled(X, before, np.where(days.window == 3, 3.0, np.minimum(shorn, 0.4)), None, times=days) is None


def test_a_zero_that_never_was_stands_for_no_value():
    """Near to the other values it may be: what tells is that no training row had it, nor anything so low."""
    agents = RNG.integers(1, 9, 2000).astype(float)
    now = np.where(RNG.random(300) < 0.2, 0.0, RNG.integers(1, 9, 300))
    hours, one = (Times(at, np.empty(0)) for at in (np.arange(300), np.zeros(300)))
    assert "stands for no value" in piled(X, numeric_baseline(pd.Series(agents)), now, None, times=hours)
    # all rows of one moment: what else they hold shows that the number is not the moment's
    assert "stands for no value" in piled(X, numeric_baseline(pd.Series(agents)), now, None, times=one)
    some = np.where(RNG.random(2000) < 0.1, 0.0, agents)
    assert piled(X, numeric_baseline(pd.Series(some)), now, None, times=hours) is None


def test_what_was_beyond_an_edge_and_is_now_on_it_was_cut_off():
    """Of counts, whose values are common: the others are as common as ever. A calmer time is not cut off."""
    calls = numeric_baseline(pd.Series(RNG.poisson(2.0, 4000)))
    now = RNG.poisson(2.0, 400)
    assert "cut off above 3" in piled(X, calls, np.minimum(now, 3).astype(float), None)
    assert "cut off below 2" in piled(X, calls, np.maximum(now, 2).astype(float), None)
    assert piled(X, calls, now.astype(float), None) is None
    assert piled(X, calls, RNG.binomial(3, 0.4, 400).astype(float), None) is None


def test_a_column_that_is_hardly_there_may_be_missing():
    """Gusts are measured now and then; a sensor that always was there is missed."""
    gusts = numeric_baseline(pd.Series(np.where(RNG.random(500) < 0.7, np.nan, 1.0) * RNG.random(500)))
    assert missing_burst(X, gusts, 92, 100) is None
    always = numeric_baseline(pd.Series(RNG.random(500)))
    assert missing_burst(X, always, 20, 100) is not None
    # what the contract allows is looked into where the model is harmed besides
    allowed = Column(name="x", type="number", maximum_missing_fraction=0.3)
    assert missing_burst(allowed, always, 20, 100, harmed=False) is None
    assert missing_burst(allowed, always, 20, 100, harmed=True) is not None


def test_few_rows_lack_more_by_chance():
    """One shop in five reports nothing: of 46 shops a third may, of 460 that is a burst."""
    report = numeric_baseline(pd.Series(np.where(np.arange(500) % 5 == 0, np.nan, RNG.random(500))))
    assert missing_burst(X, report, 15, 46) is None
    assert missing_burst(X, report, 150, 460) is not None
    assert missing_burst(X, report, 23, 46) is not None


def test_outages_that_training_had_are_usual():
    """One station in three reports no gusts in some months: a month of that is none of a burst, one of more is."""
    rng, days = np.random.default_rng(0), np.arange(720)
    silent = (days // 30 % 3 == 0) & (rng.random(720) < 0.4)
    sample = np.where(silent, np.nan, rng.random(720))
    before, month = numeric_baseline(pd.Series(sample)), 720 + np.arange(30)
    usual = {"sample": sample, "times": Times(month, days)}
    assert missing_burst(X, before, 12, 30) is not None
    assert missing_burst(X, before, 12, 30, **usual) is None
    assert missing_burst(X, before, 24, 30, **usual) is not None
    always = numeric_baseline(pd.Series(rng.random(720)))
    assert missing_burst(X, always, 6, 30, **{**usual, "sample": rng.random(720)}) is not None


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


def test_rows_that_come_again_are_found_though_their_times_repeat():
    """Three shops have each time: then the whole row is what tells rows apart."""
    at = pd.date_range("2025-01-01", periods=3_000, freq="h", tz="UTC").floor("3h")
    frame = pd.DataFrame({"at": at, "x": RNG.normal(size=3_000), "y": RNG.normal(size=3_000)})
    contract = DataContract(
        task="regression",
        columns=(
            Column(name="at", type="timestamp", role="time"),
            X,
            Column(name="y", type="number", role="target"),
        ),
    )
    baseline = build_baseline(frame[:2_500], np.zeros(2_500), contract)
    rows = frame[2_500:].reset_index(drop=True)

    def told(rows: pd.DataFrame, baseline=baseline) -> str:
        quality = check_table(conform(rows, contract), contract, partial=True)
        return diagnose(contract, baseline, rows, quality, None, None).sentence

    again = pd.concat([rows, rows[100:200]]).sort_values("at", kind="stable", ignore_index=True)
    assert "17% of the rows were delivered twice: they are others again, at and all" in told(again)
    assert "Nothing is wrong" in told(rows)
    # where rows were alike in training, too, nothing is said
    few = frame.assign(x=(frame["x"] > 0).astype(float))
    known = build_baseline(few[:2_500], np.zeros(2_500), contract)
    more = again.assign(x=(again["x"] > 0).astype(float))
    assert "twice" not in told(more, known)


def test_what_has_grown_is_converted_back_to_the_window_before():
    """Prices are far from training; that today's are a tenth of last week's is no growth."""
    contract = DataContract(task="regression", columns=(X, Column(name="y", type="number", role="target")))
    trained = pd.DataFrame({"x": RNG.normal(30, 3, 2_000), "y": 0.0})
    baseline = build_baseline(trained, np.zeros(2_000), contract)
    week, now = (pd.DataFrame({"x": RNG.normal(120, 10, 300), "y": 0.0}) for _ in range(2))

    def told(rows: pd.DataFrame) -> str:
        quality = check_table(conform(rows, contract), contract, partial=True)
        return diagnose(contract, baseline, rows, quality, None, None, recent=week).sentence

    assert "x is ten times too small" in told(now.assign(x=now["x"] / 10))
    assert "Nothing is wrong" in told(now)
