"""Reading files: what is right conforms, what is wrong is named by column, row and value."""

from __future__ import annotations

import os

import pandas as pd
import pytest

from mlcore.data.ingest import conform, read_source
from mlcore.errors import ContractError, IngestError

HEADER = "recorded_at,holiday,workingday,weather,temperature,feels_like,humidity,wind_speed,bikers"
ROW = "2011-01-01T00:00:00Z,False,true,clear,3.3,3.0,81,0.0,16"


def _csv(tmp_path, *lines):
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def test_csv_and_parquet_give_the_same_table(tmp_path, bikeshare, bikeshare_table):
    """The format of the file is not part of the data."""
    from pyarrow import parquet

    parquet.write_table(bikeshare_table, tmp_path / "x.parquet")
    assert read_source(str(tmp_path / "x.parquet"), bikeshare.contract).equals(bikeshare_table)
    assert read_source(f"file://{tmp_path}/x.parquet", bikeshare.contract).equals(bikeshare_table)


def test_missing_cells_stay_missing(tmp_path, bikeshare):
    """An empty cell is a missing value of any type, not a zero and not text."""
    table = read_source(_csv(tmp_path, HEADER, "2011-01-01,,,,,,,,"), bikeshare.contract)
    assert table.slice(0, 1).to_pylist()[0]["temperature"] is None
    assert table["holiday"].null_count == table["weather"].null_count == table["bikers"].null_count == 1


@pytest.mark.parametrize(
    ("lines", "kind", "told"),
    [
        ([], IngestError, "empty"),
        ([HEADER], IngestError, "table is empty"),
        ([HEADER, ROW + ",1"], IngestError, "cannot be read"),
        ([HEADER.replace("temperature", "temprature"), ROW], ContractError, "'temprature'"),
        ([HEADER + ",casual", ROW + ",3"], ContractError, "casual"),
        ([HEADER.replace("holiday", "bikers"), ROW], ContractError, "repeat"),
        ([HEADER, ROW.replace("3.3", "warm")], ContractError, "temperature): expected number, got row 1: 'warm'"),
        ([HEADER, ROW, ROW.replace(",16", ",1.5")], ContractError, "bikers): expected integer, got row 2: '1.5'"),
        ([HEADER, ROW.replace("False", "maybe")], ContractError, "row 1: 'maybe'"),
        ([HEADER, ROW.replace("2011-01-01T00:00:00Z", "yesterday")], ContractError, "row 1: 'yesterday'"),
    ],
)
def test_a_faulty_file_is_refused_with_the_place(tmp_path, bikeshare, lines, kind, told):
    """Whoever made the file reads what to mend."""
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(lines) + ("\n" if lines else ""))
    with pytest.raises(kind) as caught:
        read_source(str(path), bikeshare.contract)
    assert told in str(caught.value)


@pytest.mark.parametrize("uri", ["/nowhere/x.csv", "", "x.xlsx", "."])
def test_what_is_no_file_is_refused(uri, bikeshare, tmp_path, monkeypatch):
    """A missing file, a folder, an unknown suffix: one clear error each."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.xlsx").write_bytes(b"PK")
    with pytest.raises(IngestError):
        read_source(uri, bikeshare.contract)


def test_a_parquet_that_is_none_is_refused(tmp_path, bikeshare):
    """A truncated or renamed file is an error, not a traceback of Arrow."""
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(IngestError, match="parquet"):
        read_source(str(tmp_path / "x.parquet"), bikeshare.contract)


def test_extra_columns_can_be_dropped(bikeshare, bikeshare_frame):
    """The contract says what happens to columns it does not know."""
    contract = bikeshare.contract.model_copy(update={"extra_columns": "drop"})
    frame = bikeshare_frame.head(3).assign(casual=1)
    assert conform(frame, contract).column_names == list(contract.names)


def test_conform_takes_frames_with_other_types(bikeshare, bikeshare_frame):
    """Naive times are UTC, 0 and 1 are truth values, whole floats are integers."""
    frame = bikeshare_frame.head(4).copy()
    expected = conform(frame, bikeshare.contract)
    frame["recorded_at"] = frame["recorded_at"].dt.tz_localize(None)
    frame["holiday"] = frame["holiday"].astype(int)
    frame["bikers"] = frame["bikers"].astype(float)
    frame["weather"] = pd.Categorical(frame["weather"])
    assert conform(frame, bikeshare.contract).equals(expected)


def test_large_integers_keep_every_digit(tmp_path, bikeshare):
    """Whole numbers that a double cannot tell apart are read exactly, or refused, never rounded."""
    exact = _csv(tmp_path, HEADER, ROW.replace(",16", ",9007199254740993"))
    assert read_source(exact, bikeshare.contract)["bikers"].to_pylist() == [9_007_199_254_740_993]
    with_point = _csv(tmp_path, HEADER, ROW.replace(",16", ",16.0"))
    assert read_source(with_point, bikeshare.contract)["bikers"].to_pylist() == [16]
    rounded = _csv(tmp_path, HEADER, ROW, ROW.replace(",16", ",9007199254740993.0"))
    with pytest.raises(ContractError, match=r"row 2: '9007199254740993\.0'"):
        read_source(rounded, bikeshare.contract)


def test_spaces_around_a_value_are_no_part_of_it(tmp_path, bikeshare):
    """Numbers, truth values and times are read the same with spaces around them."""
    spaced = _csv(tmp_path, HEADER, "2011-01-01T00:00:00Z , False, true ,clear, 3.3 ,3.0,81,0.0, 16")
    expected = _csv(tmp_path, HEADER, ROW)
    assert read_source(spaced, bikeshare.contract).equals(read_source(expected, bikeshare.contract))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            lambda frame: frame.assign(temperature=[3.3, "warm", pd.NA]),
            "temperature): expected number, got row 2: 'warm'",
        ),
        (
            lambda frame: frame.assign(bikers=[2**70, 1, 2]),
            "bikers): expected integer, got row 1: '1180591620717411303424'",
        ),
        (lambda frame: frame.set_axis([*frame.columns[:-1], "weather"], axis=1), "repeat"),
        (lambda frame: frame.set_axis(range(9), axis=1), "columns are missing"),
    ],
)
def test_a_faulty_frame_is_refused_with_the_place(spoil, told, bikeshare, bikeshare_frame):
    """What pandas tolerates, cells of several types and columns of one name, is no error of Arrow."""
    with pytest.raises(ContractError) as caught:
        conform(spoil(bikeshare_frame.head(3)), bikeshare.contract)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "\0",
        "a\0.csv",
        "\ud800.csv",
        "x" * 5000 + ".csv",
        "s3:///",
        "s3://a b/c.csv",
        "file://[x/y.csv",
        "/etc/passwd",
    ],
)
def test_what_no_file_can_be_called_is_refused(bikeshare, uri):
    """Anybody can announce anything: it is one clear error, so that a batch can be kept with its reason."""
    with pytest.raises(IngestError):
        read_source(uri, bikeshare.contract)


def test_a_pipe_is_not_waited_for(tmp_path, bikeshare):
    """Nor a folder: only a file ends."""
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    for name in ("pipe.csv", "folder.csv"):
        with pytest.raises(IngestError, match="not a regular file"):
            read_source(str(tmp_path / name), bikeshare.contract)
