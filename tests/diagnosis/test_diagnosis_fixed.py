"""One value too often: what is usual, and what the other columns say, tell a sensor at rest from one that is stuck."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlcore.contract import Column, DataContract
from mlcore.diagnosis.exchanged import swapped
from mlcore.diagnosis.findings import Times
from mlcore.diagnosis.fixed import contradicting, flickers, never_so_still
from mlcore.diagnosis.relations import Relations, reconciled
from mlcore.diagnosis.units import wrong_units
from mlcore.drift import build_baseline

HOUR = 3_600_000_000
RNG = np.random.default_rng(0)
STAMPS, WEEK = np.arange(2000) * HOUR, (2000 + np.arange(168)) * HOUR
TIMES = Times(WEEK, STAMPS)


def test_a_week_of_the_usual_value_alone_is_stuck_where_no_week_ever_had_it():
    """Most applicants were never late, of 168 some always were. Dry weeks and heating that comes to rest are known."""
    late = RNG.poisson(0.25, 2000).astype(float)
    before, none = RNG.poisson(0.25, 168).astype(float), np.zeros(168)
    assert never_so_still(none, late, TIMES, before)
    assert not never_so_still(before, late, TIMES, before)
    dry = np.repeat(RNG.random(20) < 0.5, 100) * RNG.random(2000)
    assert not never_so_still(none, dry, TIMES, before)
    heating = RNG.random(2000) * (RNG.random(2000) < 0.95)
    assert not never_so_still(none, heating, TIMES, RNG.random(168) * (RNG.random(168) < 0.4))


def test_a_feed_that_begins_is_no_flicker():
    """A column had one value until now, and moves from row to row for good: no model that knew it so is harmed."""
    price, holidays = np.random.default_rng(1).random(168), np.repeat([0.0, 1.0, 0.0, 1.0], 500)
    assert not flickers(price, WEEK, np.full(2000, 0.4))
    assert flickers((price > 0.5).astype(float), WEEK, holidays)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_zeros_where_the_others_say_otherwise_are_no_values(share):
    """Nights have zeros, too; of a week in which the relation itself is another nothing is said."""

    def sun(stamps):
        height = np.clip(np.sin(2 * np.pi * (stamps / HOUR % 24 - 6) / 24), 0, None)
        return height * 800, (height * 800 + RNG.normal(size=len(stamps)) * 20, 16.0)

    (known, told), (week, told_of_week) = sun(STAMPS), sun(WEEK)
    gone = np.where(RNG.random(168) < share, 0.0, week)
    value, found = contradicting(gone, told_of_week, known, told, (week, told_of_week)) or (None, 0)
    assert value == 0.0
    assert 0.4 * share < found < 0.6 * share
    assert contradicting(week, told_of_week, known, told, None) is None
    assert contradicting(np.round(week * 0.5, -2), told_of_week, known, told, None) is None


def _known(trained, **units):
    """Return the columns of training rows, their baseline, and how they relate."""
    columns = [Column(name=name, type="number", unit=units.get(name, "")) for name in trained]
    contract = DataContract(task="regression", columns=(*columns, Column(name="y", type="number", role="target")))
    baseline = build_baseline(trained.assign(y=0.0), np.zeros(len(trained)), contract)
    return columns, baseline, Relations(contract, baseline, list(trained))


@pytest.mark.parametrize(("factor", "digits"), [(10.0, 1), (0.1, 3), (1 / 25.4, 2)])
def test_rain_is_compared_by_the_days_it_rained(factor, digits):
    """Two days of three are dry in every unit: beside them the others hardly count."""

    def rain(days):
        return np.where(RNG.random(days) < 0.35, (RNG.gamma(0.8, 7, days) / 0.2).round() * 0.2, 0.0).round(1)

    columns, baseline, relations = _known(pd.DataFrame({"rain": rain(2000)}), rain="mm")
    last = {"rain": rain(168)}

    def found(values):
        return list(wrong_units(columns, baseline, {"rain": values}, last, relations, frozenset()))

    for _ in range(5):
        week = rain(168)
        assert not found(week)
        assert found((week * factor).round(digits))


def test_ten_shops_under_one_sky_do_not_show_how_weather_moves():
    """From 5.1 degrees on Sunday to 4.8 of frost on Monday is a cold front: six steps are no measure of the largest."""
    sundays = (10 - 10 * np.cos(2 * np.pi * np.arange(300) / 365) + 3 * RNG.normal(size=300)).round(1)
    columns, baseline, relations = _known(pd.DataFrame({"temperature": np.repeat(sundays, 10)}), temperature="°C")
    last = {"temperature": np.repeat([1.2, 2.0, 3.1, 3.9, 4.4, 5.0, 5.1], 10)}
    frost = {"temperature": np.repeat([-4.8, -3.1, -2.0, 0.4, 1.9, 2.2, 2.5], 10)}
    assert not list(wrong_units(columns, baseline, frost, last, relations, frozenset()))


def test_a_column_that_none_relates_to_was_exchanged_with_one_that_others_tell():
    """Requests tell the visitors; of response times, which look like them, only their own distribution does."""

    def traffic(hours):
        visitors = RNG.poisson(np.exp(RNG.normal(5.8, 0.6, hours))).astype(float)
        requests = (visitors * RNG.lognormal(1.6, 0.1, hours)).round()
        return pd.DataFrame(
            {"visitors": visitors, "requests": requests, "p95": RNG.lognormal(5.45, 0.5, hours).round()}
        )

    columns, baseline, relations = _known(traffic(2000))
    now, last = traffic(168), {name: values.to_numpy() for name, values in traffic(168).items()}

    def found(rows):
        values = {name: column.to_numpy() for name, column in rows.items()}
        return [item.name for item in swapped(columns, baseline, values, last, relations)]

    assert not found(now)
    assert found(now.assign(visitors=now["p95"], p95=now["visitors"])) == ["visitors", "p95"]


def test_holidays_of_one_year_are_not_those_of_another():
    """A flag that the day of the week tells: two days off in a week are known; working Sundays for once are not."""
    days = np.arange(60 * 7)
    works = np.where(days % 7 < 5, 1.0, 0.0)
    told = (works.copy(), 0.05)
    known = works.copy()
    known[np.isin(days // 7, (3, 20, 40)) & (days % 7 < 2)] = 0.0
    stamps, week = days * 24 * HOUR, np.arange(28) * 24 * HOUR
    month, off = works[:28].copy(), works[:28].copy()
    off[[0, 1, 7]] = 0.0
    month[[5, 6, 12, 13]] = 1.0
    assert contradicting(off, (works[:28], 0.05), known, told, None) is not None
    assert contradicting(off, (works[:28], 0.05), known, told, None, Times(week, stamps)) is None
    assert contradicting(month, (works[:28], 0.05), known, told, None, Times(week, stamps))[0] == 1.0


def test_agreement_beyond_that_of_the_window_before_is_no_season():
    """In autumn all is twice as far from what the others say as in summer; what undoing brings to less is mended."""
    assert reconciled(4.8, 1.4, 2.1)
    assert reconciled(6.9, 2.2, 2.1)
    # where the window before contradicted them, too, the relation is another
    assert not reconciled(4.1, 1.3, 3.1)
    assert not reconciled(4.8, 2.2, 2.1)
    assert not reconciled(4.8, 1.7, 2.1)
    assert not reconciled(2.9, 0.9, 2.1)
