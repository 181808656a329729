"""Cells that are not of their column's type: refused, or missing and told of where the past is only looked at."""

from __future__ import annotations

import pandas as pd
import pytest

from mlcore.contract import DataContract
from mlcore.data.ingest import conform, read_past, read_source
from mlcore.errors import ContractError
from mlcore.quality import check_table

CONTRACT = DataContract.model_validate(
    {
        "task": "regression",
        "columns": (
            {"name": "at", "type": "timestamp", "role": "time"},
            {"name": "rooms", "type": "integer", "missing_as": ("-999",)},
            {"name": "y", "type": "number", "role": "target"},
        ),
    }
)


def _file(tmp_path, rooms):
    at = pd.date_range("2025-01-01", periods=len(rooms), freq="h", tz="UTC")
    pd.DataFrame({"at": at, "rooms": rooms, "y": 1.5}).to_csv(tmp_path / "rows.csv", index=False)
    return str(tmp_path / "rows.csv")


def test_one_fraction_among_whole_numbers_does_not_end_a_look_at_the_past(tmp_path):
    """It is refused where rows are published, with its place; the past is read without it, and it is told of."""
    source = _file(tmp_path, ["3"] * 60 + ["2.5", "four"] + ["7"] * 40)
    with pytest.raises(ContractError, match=r"rooms.*row 61: '2.5'; row 62: 'four'"):
        read_source(source, CONTRACT)
    table, unreadable = read_past(source, CONTRACT)
    assert table.column("rooms").to_pylist() == [3] * 60 + [None, None] + [7] * 40
    assert "row 61: '2.5'; row 62: 'four'" in unreadable[0].sentence
    failed = check_table(table, CONTRACT).failures
    assert [check.sentence for check in failed] == ["rooms: expected no missing value, got 2 missing values (1.96%)"]


def test_a_column_of_another_type_is_refused_whoever_reads_it(tmp_path):
    """More than half of the cells: it is not the cells that are wrong."""
    source = _file(tmp_path, ["2.5"] * 60 + ["3"] * 40)
    with pytest.raises(ContractError, match=r"expected integer.*missing_as"):
        read_past(source, CONTRACT)


def test_cells_that_only_together_cannot_be_read_are_refused(tmp_path):
    """Each is a whole number, but as decimals, which one of them is, the other one would be rounded."""
    with pytest.raises(ContractError, match="expected integer"):
        read_past(_file(tmp_path, ["3.0", "9007199254740993"]), CONTRACT)


@pytest.mark.parametrize("written", ["-999", "-999.0", -999, -999.0, " "])
def test_what_the_contract_calls_missing_is_missing_however_it_is_written(written):
    """As text or as a number, in files and in frames."""
    frame = pd.DataFrame({"at": ["2025-01-01", "2025-01-02"], "rooms": [written, type(written)(5)], "y": 1.0})
    assert conform(frame, CONTRACT).column("rooms").to_pylist() == [None, 5]


def test_a_small_share_is_told_as_it_is():
    """Not as 0%."""
    columns = (CONTRACT.columns[0], CONTRACT.columns[1].model_copy(update={"maximum_missing_fraction": 0.0004}))
    contract = CONTRACT.model_copy(update={"columns": (*columns, CONTRACT.columns[2])})
    at = pd.date_range("2025-01-01", periods=500, freq="h", tz="UTC")
    table = conform(pd.DataFrame({"at": at, "rooms": [None, *[3.0] * 499], "y": 1.0}), contract)
    assert [check.sentence for check in check_table(table, contract).failures] == [
        "rooms: expected at most 0.04% missing, got 1 missing value (0.2%)"
    ]
