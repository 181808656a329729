"""Season: a move that training knew from the same season is no shift, any other is one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlcore.decision import History, WindowSubject, decide
from mlcore.diagnosis import Diagnosis, diagnose
from mlcore.diagnosis.season import season_of
from mlcore.drift import build_baseline, detect_drift

MICROSECONDS_A_DAY = 24 * 3_600_000_000


def _year(rng, first_day, days, warmer=0.0):
    """Eight rows a day whose value follows the month."""
    times = first_day * MICROSECONDS_A_DAY + np.arange(days * 8) * (MICROSECONDS_A_DAY // 8)
    month = pd.to_datetime(times, unit="us").month.to_numpy()
    values = 10 * np.sin(2 * np.pi * month / 12) + rng.normal(size=len(times)) + warmer
    return {"at": times, "value": values.astype(float)}


@pytest.mark.parametrize("seed", range(5))
def test_a_season_explains_its_own_move_only(seed):
    """The same month of a year before explains; a warmer month and a month never seen do not."""
    rng = np.random.default_rng(seed)
    trained = _year(rng, 18_262, 366)  # 2020
    assert "same months" in (season_of("value", trained, _year(rng, 18_628, 31), "at") or "")
    assert season_of("value", trained, _year(rng, 18_628, 31, warmer=3.0), "at") is None
    half = {name: values[: 180 * 8] for name, values in trained.items()}
    assert season_of("value", half, _year(rng, 18_900, 31), "at") is None


@pytest.mark.parametrize("seed", range(5))
def test_a_month_of_days_has_few_rows_of_its_season(seed):
    """Thirty days of the year before are too few for bins: a season is nearer to them than to the year."""
    rng = np.random.default_rng(seed)
    trained, july, warmer = (
        {name: values[::8] for name, values in _year(rng, day, days, more).items()}
        for day, days, more in ((18_262, 366, 0.0), (18_628 + 181, 31, 0.0), (18_628 + 181, 31, 8.0))
    )
    assert "same months" in (season_of("value", trained, july, "at", independent=1 / 7) or "")
    assert season_of("value", trained, warmer, "at", independent=1 / 7) is None
    half = {name: values[:180] for name, values in trained.items()}
    assert season_of("value", half, july, "at", independent=1 / 7) is None


@pytest.mark.parametrize("seed", range(5))
def test_another_mix_of_hours_is_reweighted(seed):
    """Without the month in training, a window of the night alone is compared with the nights."""
    rng = np.random.default_rng(seed)
    hours = np.arange(60 * 24)
    trained = {"at": hours * 3_600_000_000, "value": 5.0 * (hours % 24 >= 12) + rng.normal(size=len(hours))}
    later = np.arange(100 * 24, 120 * 24)
    later = later[later % 24 < 12]
    night = {"at": later * 3_600_000_000, "value": rng.normal(size=len(later))}
    assert "same hours" in (season_of("value", trained, night, "at") or "")
    moved = {**night, "value": night["value"] + 2}
    assert season_of("value", trained, moved, "at") is None


@pytest.mark.parametrize(("month", "more"), [(1, 12.0), (7, -12.0)])
def test_months_of_real_rentals(bikeshare, bikeshare_frame, month, more):
    """Every other hour of a month, seen from the year's other hours, is its season; 12 degrees more or less are not."""
    contract, policy = bikeshare.contract, bikeshare.monitoring.drift
    even = bikeshare_frame["recorded_at"].dt.hour % 2 == 0
    trained = bikeshare_frame[even]
    baseline = build_baseline(trained, trained["bikers"].to_numpy(), contract)
    rows = bikeshare_frame[~even & (bikeshare_frame["recorded_at"].dt.month == month)].reset_index(drop=True)
    told = []
    for change in (0.0, more):
        moved = rows.assign(temperature=rows["temperature"] + change)
        drift = detect_drift(baseline, moved, rows["bikers"].to_numpy(), contract, policy, minimum_rows=30)
        assert "feels_like" in [item.name for item in drift.drifted]
        told.append(diagnose(contract, baseline, moved, None, drift, None))
    season, warmer = told
    assert {"temperature", "feels_like"}.isdisjoint(item.name for item in season.features)
    assert season.evidence["season"]
    assert "temperature" in [item.name for item in warmer.features]


def test_a_season_asks_for_nothing(bikeshare):
    """Nothing is done, and no person is told to watch."""
    season = Diagnosis("season", "Only the season has changed.", (), {})
    now = pd.Timestamp("2012-01-01", tz="UTC").to_pydatetime()
    decision = decide(WindowSubject(season, 1000), History(has_champion=True), bikeshare.retraining, now)
    assert decision.action == "nothing"
