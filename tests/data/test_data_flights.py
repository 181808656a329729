"""The flights use case: its data keeps its contract, and nothing in it is known only after departure."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

from mlcore.catalogue import catalogue
from mlcore.data.ingest import read_source
from mlcore.quality import check_table
from mlcore.usecase import UseCase, load_usecase

FOLDER = Path(__file__).parent.parent.parent / "usecases" / "flights"


@pytest.fixture(scope="module")
def flights() -> UseCase:
    """The use case as it is shipped."""
    return load_usecase(FOLDER)


def _raw(**changes) -> pd.DataFrame:
    row = {
        "year": 2013, "month": 7, "day": 1, "dep_time": 517, "sched_dep_time": 515, "dep_delay": 2, "arr_time": 830,
        "sched_arr_time": 819, "arr_delay": 11, "carrier": "UA", "flight": 1545, "tailnum": "N1", "origin": "EWR",
        "dest": "IAH", "air_time": 227, "distance": 1400, "hour": 5, "minute": 15,
        "time_hour": pd.Timestamp("2013-07-01T09:00Z"),
    }  # fmt: skip
    return pd.DataFrame([{**row, **changes}]).astype({"arr_delay": "Int16"})


def _prepare(raw: pd.DataFrame) -> pd.DataFrame:
    spec = importlib.util.spec_from_file_location("flights_prepare", FOLDER / "prepare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.prepare(raw)


def test_a_year_of_flights_keeps_its_contract(flights):
    """Every row that is shipped conforms and passes every check."""
    table = read_source(str(FOLDER / "data" / "flights.parquet"), flights.contract)
    report = check_table(table, flights.contract)
    assert report.passed, [check.sentence for check in report.failures]
    assert table.num_rows == 336_775
    assert len(set(table["flight_id"].to_pylist())) == table.num_rows


@pytest.mark.parametrize(("arrival", "delayed"), [(14, False), (15, True), (-20, False), (None, True)])
def test_late_by_a_quarter_of_an_hour_or_never_there_is_delayed(arrival, delayed):
    """A flight that did not arrive, cancelled or diverted, counts as delayed."""
    assert _prepare(_raw(arr_delay=arrival))["delayed"].to_list() == [delayed]


def test_what_happens_after_the_timetable_changes_the_target_only(flights):
    """No feature follows from how the flight went."""
    planned = _prepare(_raw())
    happened = _prepare(_raw(dep_time=900, dep_delay=225, arr_time=1200, arr_delay=221, air_time=300, tailnum="N2"))
    changed = [name for name in planned if not planned[name].equals(happened[name])]
    assert changed == [flights.contract.target.name]
    assert list(planned) == list(flights.contract.names)


def test_the_time_is_the_scheduled_minute_in_utc():
    """The raw table has the hour in UTC and the minute beside it."""
    assert _prepare(_raw())["scheduled_departure"].to_list() == [pd.Timestamp("2013-07-01T09:15Z")]


def test_generated_features_are_in_the_catalogue(flights):
    """The catalogue knows them by the names that the model uses."""
    generated = [entry.name for entry in catalogue([flights]) if entry.kind == "generated"]
    assert generated == ["scheduled_departure_weekday", "carrier_x_origin"]
