"""`init`: a draft that loads and that its own data passes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlcore.catalogue import catalogue
from mlcore.data.cleaning import clean
from mlcore.data.draft import write_usecase
from mlcore.data.infer import infer_usecase
from mlcore.data.ingest import read_source
from mlcore.errors import IngestError, UseCaseError
from mlcore.policy.validation import LeakPolicy
from mlcore.quality import check_table
from mlcore.training.splits import split_holdout
from mlcore.usecase import load_usecase, parse_usecase
from mlcore.validation.copies import copied_rows

RNG = np.random.default_rng(0)
FILES = {
    "rentals": (
        pd.DataFrame(
            {"at": pd.date_range("2025-01-01", periods=200, freq="h"), "x": RNG.normal(size=200), "y": range(200)}
        ),
        "y",
        "regression",
    ),
    "leavers": (
        pd.DataFrame(
            {"age": RNG.integers(18, 80, 100), "plan": RNG.choice(["a", "b"], 100), "left": RNG.random(100) < 0.3}
        ),
        "left",
        "classification",
    ),
    "grades": (
        pd.DataFrame(
            {
                "score": RNG.normal(size=120),
                "note": [None if i % 3 else "x" for i in range(120)],
                "grade": RNG.choice(list("ABC"), 120),
            }
        ),
        "grade",
        "classification",
    ),
    "names": (
        pd.DataFrame({"Temp (°C)": RNG.normal(size=100), "2nd Floor": RNG.integers(0, 9, 100), "Sales!": range(100)}),
        "Sales!",
        "regression",
    ),
    "traces": (
        pd.DataFrame(
            {
                "tiny": RNG.normal(size=200) * 1e-9,
                "far": 1e9 + RNG.random(200),
                "rare": [None, *range(1, 200)],
                "y": [None, *RNG.normal(size=199)],
            }
        ),
        "y",
        "regression",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_draft_loads_and_its_own_data_passes(name, tmp_path):
    """Whoever runs init can publish at once."""
    frame, target, task = FILES[name]
    source = tmp_path / "file.csv"
    frame.to_csv(source, index=False)
    draft = infer_usecase(str(source), name=name, target=target, time=None, owner="me@example.org")
    write_usecase(draft, tmp_path / name, str(source))
    usecase = load_usecase(tmp_path / name)
    assert usecase.contract.task == task
    report = check_table(read_source(str(source), usecase.contract), usecase.contract)
    assert report.passed, [check.sentence for check in report.failures]
    with pytest.raises(UseCaseError, match="already"):
        write_usecase(draft, tmp_path / name, str(source))


def test_one_missing_cell_among_many_is_allowed_for(tmp_path):
    """However small the share of missing cells is, it does not round to none."""
    source = tmp_path / "file.csv"
    frame = pd.DataFrame({"x": [1.5, *[2.5] * 49_999], "z": [None, *[1.0] * 49_999], "y": 1.25})
    frame.to_csv(source, index=False)
    draft = infer_usecase(str(source), name="many", target="y", time=None, owner="me@example.org")
    assert draft["contract"]["columns"][1]["maximum_missing_fraction"] == 0.0001


def test_a_wrong_target_is_named(tmp_path):
    """The columns that are there are listed."""
    source = tmp_path / "file.csv"
    source.write_text("a,b\n1,2\n")
    with pytest.raises(IngestError, match="a, b"):
        infer_usecase(str(source), name="x", target="c", time=None, owner="me@example.org")
    with pytest.raises(UseCaseError, match="lower case"):
        infer_usecase(str(source), name="X y", target="b", time=None, owner="me@example.org")


def test_the_catalogue_names_every_feature_once(bikeshare, churn):
    """Raw and generated features have unique names within their use case, and an owner."""
    entries = catalogue([bikeshare, churn])
    names = [(entry.usecase, entry.name) for entry in entries]
    assert len(names) == len(set(names))
    assert {"recorded_at_hour", "temperature"} <= {entry.name for entry in entries}
    assert all(entry.owner for entry in entries)


def test_columns_that_would_have_one_name_are_refused(tmp_path):
    """Two columns that differ by a sign only cannot both be in a contract."""
    path = tmp_path / "rows.csv"
    pd.DataFrame({"a b": [1, 2], "a-b": [3, 4], "y": [5, 6]}).to_csv(path, index=False)
    with pytest.raises(UseCaseError, match=r"one name.*a b, a-b"):
        infer_usecase(str(path), name="rows", target="y", time=None, owner="me@example.org")


def _draft(tmp_path, frame: pd.DataFrame, target: str, **given: str):
    """Write a file, draft its use case, load it, and return it with the file's rows."""
    source = tmp_path / "file.csv"
    frame.to_csv(source, index=False)
    draft = infer_usecase(str(source), name="file", target=target, time=given.get("time"), owner="me@example.org")
    write_usecase(draft, tmp_path / "file", str(source))
    usecase = load_usecase(tmp_path / "file")
    return usecase, read_source(str(source), usecase.contract)


HOURS = pd.date_range("2024-11-28 05:00", periods=400, freq="h", tz="UTC")
VALUES = {"load": RNG.normal(size=400), "y": RNG.normal(size=400)}
CLOCKS = {
    "european": {"when": HOURS.strftime("%d/%m/%Y %H:%M")},
    "american": {"when": HOURS.strftime("%m/%d/%Y %I:%M:%S %p")},
    "seconds": {"ts": HOURS.astype("int64") // 10**9},
    "milliseconds": {"timestamp": HOURS.astype("int64") // 10**6},
    "parts": {"No": range(400), "year": HOURS.year, "month": HOURS.month, "day": HOURS.day, "hour": HOURS.hour},
    "end of the day": {
        "when": [f"{at - at.resolution:%d/%m/%Y} 24:00" if at.hour == 0 else f"{at:%d/%m/%Y %H:%M}" for at in HOURS]
    },
    "date and hour": {"dteday": HOURS.strftime("%Y-%m-%d"), "hr": HOURS.hour},
    "date and time": {"date": HOURS.strftime("%d.%m.%Y"), "time": HOURS.strftime("%H:%M:%S")},
    "two": {"reviewed": HOURS[RNG.permutation(400)].astype(str), "sent": HOURS.astype(str)},
}


@pytest.mark.parametrize("name", CLOCKS)
def test_the_clock_is_found_however_it_is_written(name, tmp_path):
    """In one column or several: what is read back are the hours that were written."""
    usecase, table = _draft(tmp_path, pd.DataFrame({**CLOCKS[name], **VALUES}), "y")
    assert table.column(usecase.contract.time.name).to_pandas().dt.floor("h").tolist() == HOURS.tolist()
    assert [column.name for column in usecase.contract.features] == ["load"]


def test_no_more_labels_are_asked_of_a_window_than_a_file_has(tmp_path):
    """Half of the usual share, where many rows have none: or windows would never be judged."""
    for share in (1.0, 0.2):
        (tmp_path / str(share)).mkdir()
        known = np.where(np.arange(400) % 100 < 100 * share, VALUES["y"], np.nan)
        usecase, _ = _draft(tmp_path / str(share), pd.DataFrame({"at": HOURS, **VALUES, "y": known}), "y")
        assert usecase.monitoring.performance.minimum_coverage == share / 2


def test_minutes_without_an_hour_are_no_part_of_the_clock(tmp_path):
    """An hour above 24 is none, and the minute of an unknown hour would order nothing."""
    parts = {"year": HOURS.year, "month": HOURS.month, "day": HOURS.day, "hour": HOURS.hour * 2, "minute": HOURS.minute}
    usecase, _ = _draft(tmp_path, pd.DataFrame({**parts, **VALUES}), "y")
    assert usecase.contract.time.made_of == ("year", "month", "day")


def test_a_clock_that_the_user_names_is_read_or_refused(tmp_path):
    """Several columns are named with commas; what holds no time is no clock."""
    parts = {"a": HOURS.strftime("%Y-%m-%d"), "b": HOURS.strftime("%H:%M")}
    usecase, table = _draft(tmp_path, pd.DataFrame({**parts, **VALUES}), "y", time="a,b")
    assert table.column(usecase.contract.time.name).to_pandas().tolist() == HOURS.tolist()
    with pytest.raises(IngestError, match="no time stamps"):
        infer_usecase(str(tmp_path / "file.csv"), name="x", target="y", time="load", owner="me@example.org")


@pytest.mark.parametrize(
    ("every", "rows", "period"), [("min", 4000, "hour"), ("h", 900, "day"), ("h", 4000, "week"), ("D", 900, "month")]
)
def test_windows_of_a_draft_fit_the_rows(every, rows, period, tmp_path):
    """Two days of minutes are no weeks; a month of days has rows enough to be judged, and a budget of its own."""
    at = pd.date_range("2024-01-01", periods=rows, freq=every, tz="UTC")
    frame = pd.DataFrame({"at": at, "x": RNG.normal(size=rows), "y": RNG.normal(size=rows)})
    usecase, _ = _draft(tmp_path, frame, "y")
    rule = usecase.monitoring.windows[0]
    assert rule.period == period
    assert rule.minimum_rows < {"hour": 60, "day": 24, "week": 168, "month": 28}[period]
    held_out = usecase.training.search.holdout_longest
    assert held_out is not None
    assert held_out.days == {"hour": 14, "day": 14, "week": 28, "month": 120}[period]
    hours = usecase.retraining.cooldown.total_seconds() / 3600
    assert hours == {"hour": 1.5, "day": 36, "week": 252, "month": 1080}[period]
    # two retrainings in five windows
    assert usecase.retraining.budget == 2
    assert usecase.retraining.budget_period.total_seconds() / 3600 == pytest.approx(hours / 1.5 * 5)


def test_rows_of_several_shops_a_day_are_all_kept(tmp_path):
    """Where nothing but the time tells rows apart, and it does not, none is a duplicate; else the policy stands."""
    days = pd.date_range("2024-01-01", periods=200, freq="D", tz="UTC").repeat(3)
    frame = pd.DataFrame({"day": days, "shop": list("abc") * 200, "sold": RNG.normal(size=600)})
    usecase, table = _draft(tmp_path, frame, "sold")
    assert clean(table, usecase.contract, usecase.cleaning).table.num_rows == 600
    (tmp_path / "one").mkdir()
    alone, _ = _draft(tmp_path / "one", frame[frame["shop"] == "a"].drop(columns="shop").assign(x=1.5), "sold")
    assert alone.cleaning.key_duplicates == "keep_last"


def test_cases_of_one_kind_are_all_kept(tmp_path):
    """Passengers of whom little is written down are equal, and their number tells; a few rows twice are copies."""
    frame = pd.DataFrame({"age": RNG.choice(["child", "adult"], 400), "class": RNG.choice(["1st", "2nd", "3rd"], 400)})
    frame["survived"] = RNG.choice(["yes", "no"], 400)
    cases, table = _draft(tmp_path, frame, "survived")
    assert clean(table, cases.contract, cases.cleaning).table.num_rows == 400
    assert "cases of one kind" in (tmp_path / "file" / "usecase.yaml").read_text(encoding="utf-8")
    (tmp_path / "two").mkdir()
    copies, _ = _draft(tmp_path / "two", pd.concat([frame.assign(weight=RNG.normal(size=400))] * 2), "survived")
    assert copies.cleaning.exact_duplicates == "drop"
    assert copies.validation.leaks.maximum_copies_fraction == LeakPolicy().maximum_copies_fraction


def test_as_many_rows_may_repeat_as_repeat_in_the_file(tmp_path):
    """A split of these rows puts so many on both sides, but for its luck; copies among the held-out ones are more."""
    rng, over = np.random.default_rng(3), []
    for number in range(10):
        frame = pd.DataFrame(rng.binomial(5, 0.3, size=(2_000, 4))).add_prefix("q")
        frame["y"] = rng.choice(["a", "b"], 2_000)
        (folder := tmp_path / str(number)).mkdir()
        usecase, table = _draft(folder, frame, "y")
        train, holdout = split_holdout(clean(table, usecase.contract, usecase.cleaning).table.to_pandas(), usecase)
        copied = pd.concat([holdout.iloc[100:], train.sample(100, random_state=0)])
        shares = [copied_rows(usecase, train, rows).value for rows in (holdout, copied)]
        limit = usecase.validation.leaks.maximum_copies_fraction
        assert 0.2 < limit < 0.9
        assert shares[1] > limit
        over.append(shares[0] > limit)
    assert sum(over) <= 4
    assert "looked at as copies" in (folder / "file" / "usecase.yaml").read_text(encoding="utf-8")


def test_running_numbers_and_empty_columns_are_no_features(tmp_path):
    """A number of the row is out of range in every window to come."""
    order = {"id": RNG.permutation(400), "instant": range(400), "empty": "", "yr": HOURS.year, "mday": HOURS.day}
    usecase, _ = _draft(tmp_path, pd.DataFrame({**order, "at": HOURS, **VALUES}), "y")
    assert [column.name for column in usecase.contract.features] == ["load"]


def test_a_file_without_anything_to_learn_from_is_refused(tmp_path):
    """The message says what is there."""
    source = tmp_path / "file.csv"
    pd.DataFrame({"at": HOURS, "y": VALUES["y"]}).to_csv(source, index=False)
    with pytest.raises(UseCaseError, match="nothing to predict from"):
        infer_usecase(str(source), name="x", target="y", time=None, owner="me@example.org")


def test_files_of_european_programs_are_read(tmp_path):
    """Semicolons, decimal commas, letters of Windows, lines that end in a delimiter."""
    source = tmp_path / "file.csv"
    rows = [f"{at:%d/%m/%Y};{at:%H.%M.%S};{at.hour // 4},{at.hour % 4 * 25:02};{at.hour};;" for at in HOURS]
    source.write_bytes("\n".join(["Date;Time;Temp (°C);y;;", *rows]).encode("cp1252"))
    draft = infer_usecase(str(source), name="file", target="Temp (°C)", time=None, owner="me@example.org")
    write_usecase(draft, tmp_path / "file", str(source))
    usecase = load_usecase(tmp_path / "file")
    table = read_source(str(source), usecase.contract)
    assert table.column("temp_c").to_pylist()[:2] == [1.25, 1.5]
    assert usecase.contract.time.made_of == ("date", "time")


def test_a_few_missing_cells_of_a_window_are_no_fault(tmp_path):
    """Seldom a cell of a week, once five: these weeks pass, one that is empty does not."""
    at = pd.date_range("2024-01-01", periods=30 * 168, freq="h", tz="UTC")
    frame = pd.DataFrame({"at": at, "x": RNG.normal(size=len(at)), "y": RNG.normal(size=len(at))})
    frame.loc[RNG.choice(len(at), 14, replace=False), "x"] = np.nan
    frame.loc[5 * 168 : 5 * 168 + 4, "x"] = np.nan
    frame.loc[9 * 168 : 10 * 168, "x"] = np.nan
    usecase, table = _draft(tmp_path, frame, "y")
    passed = [
        check_table(table.slice(168 * week, 168), usecase.contract, partial=True).passed for week in (0, 2, 4, 5, 9)
    ]
    assert passed == [True, True, True, True, False]


@pytest.mark.parametrize("scale", [1e300, 1e30, 1e-30])
def test_numbers_of_any_size_are_numbers(scale, tmp_path):
    """Huge floats are no whole numbers, and infinite ones end no draft; what was drafted reads its own file."""
    rows = np.arange(1.0, 101.0)
    frame = pd.DataFrame({"x": rows * scale * 1.7, "gap": np.where(rows % 9 == 0, np.inf, rows), "y": rows % 7})
    frame.to_csv(tmp_path / "sizes.csv", index=False)
    values = infer_usecase(str(tmp_path / "sizes.csv"), name="sizes", target="y", time=None, owner="a@example.org")
    usecase = parse_usecase(values, source="sizes")
    assert usecase.contract.column("x").type == "number"
    assert usecase.contract.column("gap").maximum == pytest.approx(149.5, abs=1)
    assert read_source(str(tmp_path / "sizes.csv"), usecase.contract).num_rows == 100


DAYS = pd.date_range("1980-01-01", periods=24, freq="MS", tz="UTC").repeat(40)
AMOUNTS = RNG.normal(50, 9, len(DAYS)).round(1)
BY_CUSTOMER = RNG.integers(0, 2, len(DAYS))


@pytest.mark.parametrize("mark", ["?", "-", "n.a.", "-999", "-200"])
def test_marks_of_missing_values_are_found_and_read_as_missing(mark, tmp_path):
    """Among numbers, words and commas; the ranges are those of the values."""
    cells = AMOUNTS.astype(str).astype(object)
    cells[5::50] = mark
    frame = pd.DataFrame({"at": DAYS, "amount": cells, "x": RNG.normal(size=len(DAYS)), "y": BY_CUSTOMER})
    usecase, table = _draft(tmp_path, frame, "y")
    column = usecase.contract.column("amount")
    assert (column.type, column.missing_as) == ("number", (mark,))
    assert column.minimum >= 0
    assert table.column("amount").null_count == len(cells[5::50])
    frame.assign(amount=[cell.replace(".", ",") for cell in cells]).to_csv(
        tmp_path / "german.csv", index=False, sep=";"
    )
    german = infer_usecase(str(tmp_path / "german.csv"), name="g", target="y", time=None, owner="me@example.org")
    read = read_source(str(tmp_path / "german.csv"), parse_usecase(german, source="g").contract)
    if mark != "n.a.":  # the comma's test file has no points to lose
        assert read.column("amount").equals(table.column("amount"))


def test_numbers_that_may_mean_something_are_values(tmp_path):
    """A rare code among others, what most rows have, and -1 stay what they are."""
    codes = np.where(RNG.random(400) < 0.9, 999, RNG.integers(0, 20, 400))
    frame = pd.DataFrame({"at": HOURS, "called": codes, "debt": RNG.integers(-1, 60, 400), **VALUES})
    usecase, _ = _draft(tmp_path, frame, "y")
    assert {column.missing_as for column in usecase.contract.columns} == {()}


@pytest.mark.parametrize("written", ["%y%m%d", "%Y%m%d", "%Y%m"])
def test_months_written_as_numbers_are_months(written, tmp_path):
    """800102 is a day; a table with one moment a month has windows of months, and customers are no features."""
    numbers = DAYS.strftime(written).astype(int)
    customers = np.arange(len(DAYS)) * 7 + 100_000 + RNG.integers(0, 7, len(DAYS))
    frame = pd.DataFrame({"": range(len(DAYS)), "customer_id": customers, "day": numbers, "amount": AMOUNTS})
    usecase, table = _draft(tmp_path, frame.assign(left=BY_CUSTOMER), "left")
    assert table.column("day").to_pandas().tolist() == DAYS.tolist()
    assert usecase.monitoring.windows[0].period == "month"
    assert [column.name for column in usecase.contract.features] == ["amount"]
    assert usecase.training.features[0].parts == ("month",)


def test_the_finer_of_two_clocks_is_taken(tmp_path):
    """A day beside a time of that day says less, wherever it stands; seconds since 1970 are a time, too."""
    for name, values in (("ts", HOURS.strftime("%Y-%m-%dT%H:%M:%SZ")), ("epoch", HOURS.astype("int64") // 10**9)):
        (tmp_path / name).mkdir()
        frame = pd.DataFrame({"day": HOURS.strftime("%Y-%m-%d"), name: values, **VALUES})
        usecase, _ = _draft(tmp_path / name, frame, "y")
        assert usecase.contract.time.name == name


def test_people_who_come_and_go_are_no_feature_shops_that_stay_are_one(tmp_path):
    """Of a customer to come no model was trained on anything."""
    customers = np.arange(400) // 4 * 13 % 997
    frame = pd.DataFrame({"at": HOURS, "client_id": customers, "shop_id": RNG.integers(0, 12, 400), **VALUES})
    usecase, _ = _draft(tmp_path, frame, "y")
    assert [column.name for column in usecase.contract.features] == ["shop_id", "load"]


def test_a_closed_list_of_texts_is_a_feature_names_that_go_on_are_none(tmp_path):
    """Fifty states that come again and again can be learned from; names of which new ones come cannot."""
    rows = 4000
    at = pd.date_range("2024-01-01", periods=rows, freq="h", tz="UTC").astype(str)
    frame = pd.DataFrame(
        {
            "at": at,
            "state": [f"state {number}" for number in RNG.integers(0, 50, rows)],
            "guest": [f"guest {number // 40}" for number in range(rows)],
            "paid": np.where(RNG.random(rows) < 0.3, 1.0, 0.0),
            "y": RNG.normal(size=rows),
        }
    )
    usecase, _ = _draft(tmp_path, frame, "y")
    assert [column.name for column in usecase.contract.features] == ["state", "paid"]
    paid = usecase.contract.column("paid")
    assert (paid.minimum, paid.maximum) == (0, 1)


def test_units_come_from_headers_and_temperatures_may_fall_below_zero(tmp_path):
    """What the contract names can be diagnosed; a summer's lowest temperature is no limit."""
    frame = pd.DataFrame({"at": HOURS, "temp_C": 12 + VALUES["load"], "Wind (km/h)": 5 + VALUES["load"] ** 2, **VALUES})
    usecase, _ = _draft(tmp_path, frame, "y")
    assert [column.unit for column in usecase.contract.features] == ["°C", "km/h", ""]
    wide = pd.DataFrame({"at": HOURS, "temp_C": RNG.uniform(1, 30, 400), **VALUES})
    (tmp_path / "wide").mkdir()
    usecase, _ = _draft(tmp_path / "wide", wide, "y")
    assert usecase.contract.column("temp_c").minimum < -10


def test_one_impossible_value_is_no_range(tmp_path):
    """A wind of a thousand miles an hour is out of the range that the others have."""
    wind = np.abs(RNG.normal(10, 3, 4000))
    wind[7] = 1048.0
    at = pd.date_range("2024-01-01", periods=4000, freq="h", tz="UTC")
    usecase, _ = _draft(tmp_path, pd.DataFrame({"at": at, "wind": wind, "y": RNG.normal(size=4000)}), "y")
    assert usecase.contract.column("wind").maximum < 60


def test_a_draft_says_what_it_decided_beside_it(tmp_path):
    """Comments name the guess and the remedy, and change nothing of what is read."""
    cells = AMOUNTS.astype(str).astype(object)
    cells[::90] = "?"
    frame = pd.DataFrame({"customer_id": range(7, 7 + len(DAYS)), "day": DAYS, "no": RNG.normal(size=len(DAYS))})
    frame = frame.assign(fee_EUR=cells, left=BY_CUSTOMER)
    usecase, _ = _draft(tmp_path, frame, "left")
    text = (tmp_path / "file" / "usecase.yaml").read_text(encoding="utf-8")
    for told in (
        "? was taken for a missing value",
        "mlops init --time",
        "EUR: as the header says",
        "role: feature",
        "harmed where the error is 10%",
        "times in P",
    ):
        assert any(line.lstrip().startswith("#") and told in line for line in text.splitlines())
    assert usecase.contract.column("no").role == "feature"
    names = [candidate.name for candidate in usecase.training.candidates]
    assert names == ["gradient_boosting", "linear", "forest", "neighbours"]
