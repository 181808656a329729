"""Diagnosis: the cause is named, on real hours of bike rentals with real kinds of faults."""

from __future__ import annotations

import numpy as np
import pytest

from mlcore.contract import Column, DataContract
from mlcore.data.ingest import conform
from mlcore.diagnosis import Diagnosis, diagnose
from mlcore.drift import DriftReport, MultivariateDrift, build_baseline, detect_drift
from mlcore.metrics import Output, metric_named
from mlcore.performance import Estimate, Performance, realised
from mlcore.quality import check_table


@pytest.fixture(scope="module")
def winter(bikeshare, bikeshare_frame):
    """The baseline of January to April and a model-like prediction: the mean of the hour."""
    rows = bikeshare_frame[bikeshare_frame["recorded_at"] < "2011-05-01"]
    return build_baseline(rows, rows["bikers"].to_numpy(), bikeshare.contract)


def _diagnose_day(bikeshare, baseline, rows):
    quality = check_table(conform(rows, bikeshare.contract), bikeshare.contract, partial=True)
    return diagnose(bikeshare.contract, baseline, rows, quality, None, None)


def _day(frame, day):
    return frame[frame["recorded_at"].dt.strftime("%Y-%m-%d") == day].reset_index(drop=True)


def test_a_sensor_in_another_unit_is_named(bikeshare, bikeshare_frame, winter):
    """Fahrenheit is called Fahrenheit, and lost values are counted."""
    rows = _day(bikeshare_frame, "2011-05-02")
    rows["temperature"] = rows["temperature"] * 1.8 + 32
    rows.loc[:7, "humidity"] = np.nan
    found = _diagnose_day(bikeshare, winter, rows)
    assert found.cause == "data_fault"
    told = {item.name: item.sentence for item in found.features}
    assert "Fahrenheit" in told["temperature"]
    assert "missing" in told["humidity"]
    assert Diagnosis.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("spoil", "column"),
    [
        (lambda rows: rows.assign(humidity=rows["humidity"] * 10), "humidity"),
        (lambda rows: rows.assign(weather="Clear"), "weather"),
        (lambda rows: rows.assign(feels_like=np.nan), "feels_like"),
        (lambda rows: rows.assign(temperature=rows["temperature"] + 273.15), "temperature"),
        (lambda rows: rows.assign(temperature=-999.0), "temperature"),
        (lambda rows: rows.assign(humidity=55.0), "humidity"),
    ],
)
def test_faults_are_found_in_their_column(bikeshare, bikeshare_frame, winter, spoil, column):
    """Wrong scale, renamed category, dead sensor, Kelvin, sentinel values, stuck sensor."""
    found = _diagnose_day(bikeshare, winter, spoil(_day(bikeshare_frame, "2011-05-02")))
    assert found.cause == "data_fault"
    assert column in [item.name for item in found.features]


def test_a_code_of_the_calendar_is_not_stuck(bikeshare, bikeshare_frame):
    """It rests for a whole window at a value that training never had; a sensor that does so is stuck."""
    season = Column(name="season", type="integer")
    contract = DataContract(task="regression", columns=(*bikeshare.contract.columns, season))
    frame = bikeshare_frame.assign(season=bikeshare_frame["recorded_at"].dt.month // 3)
    rows = frame[frame["recorded_at"] < "2011-05-01"]
    known = build_baseline(rows, rows["bikers"].to_numpy(), contract)
    day = _day(frame, "2011-07-04")
    checked = check_table(conform(day, contract), contract, partial=True)
    assert diagnose(contract, known, day, checked, None, None).cause == "healthy"


def test_a_number_that_stands_for_no_value_is_named_though_training_had_a_few(bikeshare, bikeshare_frame, winter):
    """A zero in a quarter of a month's rows, far below the others; the source's own dead day had some, too."""
    rows = bikeshare_frame[bikeshare_frame["recorded_at"].dt.month == 11].reset_index(drop=True)
    assert 0 < np.mean(winter.numeric["humidity"].values == 0) < 0.02
    rows.loc[np.random.default_rng(0).random(len(rows)) < 0.25, "humidity"] = 0
    found = _diagnose_day(bikeshare, winter, rows)
    assert [item.sentence for item in found.features if "stands for no value" in item.sentence]


def test_ordinary_days_are_no_faults(bikeshare, bikeshare_frame, winter):
    """Every day from May to December, seen from a model that knows winter and spring only."""
    days = bikeshare_frame[bikeshare_frame["recorded_at"] >= "2011-05-01"]
    faults = [
        day
        for day, rows in days.groupby(days["recorded_at"].dt.strftime("%Y-%m-%d"))
        if len(rows) >= 12 and _diagnose_day(bikeshare, winter, rows.reset_index(drop=True)).cause == "data_fault"
    ]
    # a hurricane took 6 and 7 hours out of the source, and its temperature of 6 September is one value all day
    faulty = {"2011-08-27", "2011-08-28", "2011-09-06"}
    assert faulty <= set(faults)
    # more than two others would be noise
    assert len(set(faults) - faulty) <= 2, faults


def _performance(value: float | None, reference: float = 20.0):
    outcome = "too_little_data" if value is None else "harmed" if value > 26 else "fine"
    worse = None if value is None else value / reference - 1
    return Performance(outcome, "mean_absolute_error", value, reference, worse, 100, 100 if value else 0)


@pytest.mark.parametrize(
    ("shifted", "value", "cause"),
    [
        (False, 20.0, "healthy"),
        (False, 60.0, "concept_change"),
        (True, 20.0, "harmless_shift"),
        (True, 60.0, "harmful_shift"),
        (False, None, "too_little_data"),
    ],
)
def test_harm_and_shift_give_the_cause(bikeshare, bikeshare_frame, winter, shifted, value, cause):
    """Inputs that moved or not, an error that grew or not: four causes, and one for not knowing."""
    rows = bikeshare_frame[bikeshare_frame["recorded_at"] < "2011-05-01"].sample(700, random_state=0)
    if shifted:
        rows = rows.assign(temperature=rows["temperature"] + 12)
    drift = detect_drift(
        winter, rows, rows["bikers"].to_numpy(), bikeshare.contract, bikeshare.monitoring.drift, minimum_rows=30
    )
    assert diagnose(bikeshare.contract, winter, rows, None, drift, _performance(value)).cause == cause


def _estimate(outcome: str) -> Estimate:
    return Estimate(outcome, "direct_loss", "mean_absolute_error", 60.0, 50.0, 70.0, 20.0, 2.0, 700)


@pytest.mark.parametrize(
    ("value", "outcome", "cause"),
    [
        (None, "suspected", "estimated_harm"),
        (None, "harmed", "harmful_shift"),
        (None, "fine", "harmless_shift"),
        (20.0, "suspected", "harmless_shift"),
        (60.0, "fine", "harmful_shift"),
    ],
)
def test_an_estimate_speaks_only_where_labels_are_missing(bikeshare, bikeshare_frame, winter, value, outcome, cause):
    """Labels always have the last word."""
    rows = bikeshare_frame[bikeshare_frame["recorded_at"] < "2011-05-01"].sample(700, random_state=0)
    rows = rows.assign(temperature=rows["temperature"] + 12)
    drift = detect_drift(
        winter, rows, rows["bikers"].to_numpy(), bikeshare.contract, bikeshare.monitoring.drift, minimum_rows=30
    )
    found = diagnose(bikeshare.contract, winter, rows, None, drift, _performance(value), estimate=_estimate(outcome))
    assert found.cause == cause
    assert ("Without labels" in found.sentence) == (value is None)


@pytest.mark.parametrize(("value", "cause"), [(20.0, "harmless_shift"), (60.0, "harmful_shift")])
def test_rows_that_moved_together_are_a_shift(bikeshare, bikeshare_frame, winter, value, cause):
    """No column moved alone, whole rows did: watched, unless it harms."""
    rows = bikeshare_frame[bikeshare_frame["recorded_at"] < "2011-05-01"]
    found = MultivariateDrift("domain_classifier", "drift", "area under the curve", 0.8, 0.001, (("humidity", 0.2),), 9)
    drift = DriftReport("drift", 700, (), found)
    told = diagnose(bikeshare.contract, winter, rows, None, drift, _performance(value))
    assert told.cause == cause
    assert [item.name for item in told.features] == ["humidity"]
    assert "together" in told.features[0].sentence


def test_performance_needs_labels(bikeshare):
    """Too few labels is said, never 'fine'; harm is a growth of the loss whatever the metric's direction."""
    policy = bikeshare.monitoring.performance
    metric, r2 = (metric_named(name, "regression") for name in ("mean_absolute_error", "r2"))
    truth = np.array([1.0, 2.0, 3.0, 4.0])
    assert realised(truth[:1], Output(truth[:1]), 4, metric, 1.0, policy).outcome == "too_little_data"
    assert realised(truth, Output(truth + 2), 4, metric, 1.0, policy).outcome == "harmed"
    assert realised(truth, Output(truth + 1), 4, metric, 1.0, policy).outcome == "fine"
    assert realised(truth, Output(truth[::-1]), 4, r2, 0.9, policy).outcome == "harmed"
