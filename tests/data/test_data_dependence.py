"""How long rows depend on each other."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from mlcore.data.dependence import block_length
from mlcore.data.infer import infer_usecase

WEEK = timedelta(days=7)
HOURS = pd.Series(pd.date_range("2025-01-01", periods=24 * 250, freq="h", tz="UTC"))


def _carried_on(memory: float, count: int, seed: int) -> np.ndarray:
    """Return a series in which each value keeps a share of the one before (AR(1))."""
    values, noise = np.zeros(count), np.random.default_rng(seed).normal(size=count)
    for row in range(1, count):
        values[row] = memory * values[row - 1] + noise[row]
    return values


@pytest.mark.parametrize("seed", range(5))
def test_independent_rows_count_for_themselves(seed):
    """Twenty columns of noise, one of them with gaps, and a category."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(len(HOURS), 20))).rename(columns=str)
    frame["0"] = frame["0"].where(rng.random(len(frame)) < 0.9)
    frame["kind"] = rng.choice(list("abc"), len(frame))
    assert block_length(frame, HOURS, WEEK) is None


@pytest.mark.parametrize(("memory", "length"), [(0.5, 6), (0.8, 24), (0.95, 48)])
def test_the_longer_rows_remember_the_longer_the_blocks(memory, length):
    """The design effect of an AR(1) series is (1 + memory) / (1 - memory) rows: 3, 9 and 39 of them."""
    frame = pd.DataFrame({"x": _carried_on(memory, len(HOURS), 1), "y": _carried_on(0.0, len(HOURS), 2)})
    assert block_length(frame, HOURS, WEEK) == timedelta(hours=length)
    shuffled = frame.sample(frac=1, random_state=0)
    assert block_length(shuffled, HOURS[shuffled.index], WEEK) == timedelta(hours=length)


def test_a_window_keeps_several_blocks():
    """However long rows depend on each other."""
    frame = pd.DataFrame({"x": _carried_on(0.99, len(HOURS), 1)})
    assert block_length(frame, HOURS, timedelta(days=1)) == timedelta(days=1)


def test_a_season_is_dependence():
    """A window sees one stretch of a slow wave: its rows are alike, however much noise is on them."""
    wave, noise = (
        np.sin(np.arange(len(HOURS)) / len(HOURS) * 2 * np.pi),
        np.random.default_rng(0).normal(size=len(HOURS)),
    )
    assert block_length(pd.DataFrame({"x": wave + noise}), HOURS, WEEK) == WEEK
    assert block_length(pd.DataFrame({"x": 0.01 * wave + noise}), HOURS, WEEK) is None


def test_constant_missing_and_untimed_rows_say_nothing():
    """Nothing to measure is not an error."""
    frame = pd.DataFrame({"one": 1.0, "none": np.nan, "label": None}, index=HOURS.index)
    assert block_length(frame, HOURS, WEEK) is None
    assert block_length(frame, pd.Series(pd.NaT, index=HOURS.index, dtype="datetime64[ns]"), WEEK) is None


def test_a_draft_says_what_was_measured(tmp_path):
    """Weather depends on itself for days; noise does not."""
    frame = pd.DataFrame({"at": HOURS, "weather": _carried_on(0.95, len(HOURS), 3), "y": range(len(HOURS))})
    frame.to_parquet(tmp_path / "weather.parquet")
    draft = infer_usecase(str(tmp_path / "weather.parquet"), name="w", target="y", time="at", owner="a@example.org")
    assert draft["monitoring"]["drift"] == {"block": "P1D"}
    frame["weather"] = np.random.default_rng(0).normal(size=len(frame))
    frame.to_parquet(tmp_path / "noise.parquet")
    draft = infer_usecase(str(tmp_path / "noise.parquet"), name="n", target="y", time="at", owner="a@example.org")
    assert "drift" not in draft["monitoring"]
