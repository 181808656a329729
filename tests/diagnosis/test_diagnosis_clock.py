"""The clock of a window: what its daily pattern says, and that of the window before."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlcore.contract import Column, DataContract
from mlcore.diagnosis.clock import clock_faults, shifted_clock
from mlcore.drift import build_baseline
from mlcore.drift.sample import microseconds

HOUR = 3_600_000_000


def _power(first_day, days, *, late=0, seed=0):
    """Return hours of power, which in winter peaks two hours later than in summer."""
    rng = np.random.default_rng([first_day, seed])
    hours = first_day * 24 + np.arange(days * 24)
    clock = (hours + late) % 24
    winter = (1 - np.cos(2 * np.pi * hours / 24 / 365)) / 2
    peak = np.exp(-0.5 * ((clock - 15 - 2 * winter) / 5) ** 2)
    return {"time": hours * HOUR, "power": peak + 0.1 * rng.normal(size=len(hours))}


@pytest.mark.parametrize("late", [-3, 3])
def test_three_hours_are_told_where_training_and_the_week_before_agree(late):
    """Against training alone three hours gain too little over one; no week as it was is called late."""
    year, last = _power(0, 365), _power(449, 7)
    assert shifted_clock(year, _power(456, 7, late=late), "time", last) == -late
    assert not any(shifted_clock(year, _power(day, 7), "time", _power(day - 7, 7)) for day in range(378, 728, 7))


CONTRACT = DataContract(
    task="regression",
    columns=(
        Column(name="at", type="timestamp", role="time"),
        Column(name="x", type="number"),
        Column(name="y", type="number", role="target"),
    ),
)


@pytest.mark.parametrize(("rows_an_hour", "is_told"), [(3.0, False), (12.0, True)])
def test_hours_are_missed_where_chance_leaves_none_out(rows_an_hour, is_told):
    """Of three customers an hour some hours have none; of twelve, six hours of a day without any are no chance."""
    rng = np.random.default_rng(0)

    def customers(first, weeks, *, without=()):
        hours = pd.date_range(first, periods=weeks * 168, freq="h", tz="UTC")
        at = hours.repeat(rng.poisson(rows_an_hour, len(hours)))
        at = at[~at.hour.isin(without)]
        return pd.DataFrame({"at": at, "x": rng.normal(size=len(at)), "y": 0.0})

    def told(frame):
        return [item.name for item in clock_faults(CONTRACT, baseline, frame, {"at": microseconds(frame["at"])})]

    past = customers("2026-01-05", 40)
    baseline = build_baseline(past, np.zeros(len(past)), CONTRACT)
    assert not any(told(customers("2027-01-04", 1)) for _ in range(50))
    assert (told(customers("2027-01-04", 1, without=(9, 10, 11, 12, 13, 14))) == ["at"]) or not is_told
