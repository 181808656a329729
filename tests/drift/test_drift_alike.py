"""Columns that move within a block are seen more often than once a block; those that do not, are not."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from mlcore.contract import Column, DataContract
from mlcore.drift import Baseline, build_baseline, detect_drift, independent_blocks
from mlcore.drift.alike import alikeness, independent_rows
from mlcore.drift.whole import row_blocks
from mlcore.policy.monitoring import DriftPolicy

HOURS = pd.date_range("2025-01-02", periods=24 * 7 * 56, freq="h", tz="UTC")
WEEKS = np.arange(len(HOURS)) // 168
CONTRACT = DataContract(
    task="regression",
    columns=(
        Column(name="at", type="timestamp", role="time"),
        Column(name="slow", type="number"),
        Column(name="fast", type="number"),
        Column(name="y", type="number", role="target"),
    ),
)
POLICY = DriftPolicy(block=timedelta(days=7), multivariate="none")


def _year(seed: int) -> pd.DataFrame:
    """Return hours in which one column is nearly one value a week, and another is noise."""
    rng = np.random.default_rng(seed)
    slow = rng.normal(size=56)[WEEKS] + 0.1 * rng.normal(size=len(HOURS))
    return pd.DataFrame({"at": HOURS, "slow": slow, "fast": rng.normal(size=len(HOURS)), "y": 0.0})


def _baseline(before: pd.DataFrame) -> Baseline:
    blocks = independent_blocks(before, CONTRACT, POLICY)
    of_row = row_blocks(before, CONTRACT, POLICY)
    return build_baseline(before, before["y"].to_numpy(), CONTRACT, blocks=blocks, block_of_row=of_row)


def _drifted(baseline: Baseline, now: pd.DataFrame) -> set[str]:
    blocks = independent_blocks(now, CONTRACT, POLICY)
    report = detect_drift(baseline, now, now["y"].to_numpy(), CONTRACT, POLICY, minimum_rows=1, blocks=blocks)
    return {item.name for item in report.drifted}


def test_weeks_of_one_year_raise_no_alarm():
    """Four weeks dealt to the window at random differ from the others as weeks do."""
    alarms = 0
    for seed in range(20):
        year, rng = _year(seed), np.random.default_rng(seed)
        dealt = np.isin(WEEKS, rng.permutation(56)[:4])
        alarms += bool(_drifted(_baseline(year[~dealt]), year[dealt]))
    assert alarms == 0


def test_noise_that_moves_is_seen_though_blocks_are_few():
    """Four blocks of rows that depend on each other say little; four of independent rows say what 672 rows do."""
    year = _year(0)
    before, now = year[WEEKS < 52], year[WEEKS >= 52]
    known = _baseline(before)
    assert _drifted(known, now.assign(fast=now["fast"] + 0.6, slow=now["slow"] + 0.6)) == {"fast"}
    # a baseline of before there was such a measure counts a block as one
    assert known.numeric["fast"].alike == pytest.approx(0.0, abs=0.02)
    assert known.numeric["slow"].alike == pytest.approx(1.0, abs=0.02)


def test_what_was_measured_is_kept():
    """It is in the baseline's file, and nothing is made up for files without it."""
    known = _baseline(_year(1))
    again = Baseline.from_bytes(known.to_bytes(), known.reference_bytes())
    assert {name: item.alike for name, item in again.numeric.items()} == {
        name: item.alike for name, item in known.numeric.items()
    }
    assert build_baseline(_year(1), np.zeros(len(HOURS)), CONTRACT).numeric["slow"].alike is None


@pytest.mark.parametrize("kind", ["number", "category", "boolean", "missing"])
def test_alikeness_of_every_kind_of_column(kind):
    """From noise, 0, to one value a block, 1; of a column without values nothing is known."""
    rng = np.random.default_rng(0)
    values = {
        "number": rng.normal(size=2_400),
        "category": rng.choice(list("abc"), 2_400),
        "boolean": rng.random(2_400) < 0.5,
        "missing": np.full(2_400, np.nan),
    }[kind]
    blocks = np.repeat(np.arange(100), 24)
    if kind == "missing":
        assert alikeness(pd.Series(values), blocks) == 1.0
        return
    assert alikeness(pd.Series(values), blocks) < 0.05
    assert alikeness(pd.Series(values[blocks]), blocks) > 0.95
    assert alikeness(pd.Series(values), np.repeat(np.arange(4), 600)) == 1.0  # too few blocks to tell


def test_rows_are_worth_between_a_block_each_and_themselves():
    """Kish's design effect at both of its ends, and in between."""
    found = [independent_rows(240, 10, alike) for alike in (0.0, 0.01, 0.5, 1.0, None)]
    assert found == [240, 195, 19, 10, 10]
    assert (independent_rows(5, 10, 0.5), independent_rows(0, 0, 0.5)) == (5, 0)
