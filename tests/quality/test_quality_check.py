"""Quality: the verdicts of Great Expectations on the contract, against the same checks written in pandas."""

from __future__ import annotations

import numpy as np
import pytest

from mlcore.data.ingest import conform
from mlcore.quality import QualityReport, check_table
from mlcore.quality.docs import write_data_docs
from tests.support import churn_rows


def _verdicts(report):
    return {(check.column, check.check): check.passed for check in report.checks}


def _in_pandas(frame, contract):
    found = {}
    for column in contract.columns:
        values = frame[column.name]
        if column.maximum_missing_fraction < 1:
            found[column.name, "expect_column_values_to_not_be_null"] = (
                values.isna().mean() <= column.maximum_missing_fraction
            )
        present = values.dropna()
        if column.minimum is not None or column.maximum is not None:
            fine = present.between(
                -np.inf if column.minimum is None else column.minimum,
                np.inf if column.maximum is None else column.maximum,
            )
            found[column.name, "expect_column_values_to_be_between"] = fine.all()
        if column.categories is not None:
            found[column.name, "expect_column_values_to_be_in_set"] = present.isin(column.categories).all()
    return found


@pytest.mark.parametrize("seed", range(6))
def test_verdicts_are_those_of_plain_pandas(seed, bikeshare, bikeshare_frame):
    """Random faults in random columns are found, and nothing else is."""
    rng = np.random.default_rng(seed)
    frame = bikeshare_frame.sample(300, random_state=seed).reset_index(drop=True)
    for column in rng.choice(["temperature", "humidity", "wind_speed"], size=seed % 3, replace=False):
        frame.loc[rng.integers(0, 300, 5), column] = 500.0
    if seed % 2:
        frame.loc[rng.integers(0, 300, 4), "weather"] = "foggy"
        frame.loc[rng.integers(0, 300, 4), "feels_like"] = None
    report = check_table(conform(frame, bikeshare.contract), bikeshare.contract)
    expected = _in_pandas(frame, bikeshare.contract)
    assert {key: value for key, value in _verdicts(report).items() if key[0]} == expected


def test_a_failure_says_what_came(bikeshare, bikeshare_frame):
    """The report names column, expectation, count and examples, and survives the ledger."""
    frame = bikeshare_frame.head(24).assign(weather="foggy")
    report = check_table(conform(frame, bikeshare.contract), bikeshare.contract)
    (failure,) = report.failures
    assert failure.unexpected_rows == 24
    assert "foggy" in failure.sentence
    assert QualityReport.from_json(report.to_json()) == report


def test_a_share_of_faults_can_be_allowed(bikeshare, bikeshare_frame):
    """A promise made for a share of the values is broken above that share, and only there."""
    columns = [
        column.model_copy(update={"maximum_missing_fraction": 0.1, "minimum_valid_fraction": 0.9})
        if column.name in ("weather", "temperature")
        else column
        for column in bikeshare.contract.columns
    ]
    contract = bikeshare.contract.model_copy(update={"columns": tuple(columns)})
    for faults, holds in ((10, True), (11, False)):
        frame = bikeshare_frame.head(100).copy()
        frame.loc[: faults - 1, "weather"] = "foggy"
        frame.loc[: faults - 1, "temperature"] = None
        report = check_table(conform(frame, contract), contract)
        assert report.passed is holds
        assert {(check.column, check.unexpected_rows) for check in report.failures} == (
            set() if holds else {("weather", 11), ("temperature", 11)}
        )


def test_checks_write_nothing_to_the_terminal(bikeshare, bikeshare_frame, capfd):
    """A flow's log is not filled with progress bars."""
    check_table(conform(bikeshare_frame.head(24).assign(weather="foggy"), bikeshare.contract), bikeshare.contract)
    assert capfd.readouterr() == ("", "")


def test_too_few_rows_and_none_at_all_fail(bikeshare, bikeshare_table):
    """An empty table is a failed check, not an exception."""
    assert not check_table(bikeshare_table.slice(0, 3), bikeshare.contract).passed
    assert not check_table(bikeshare_table.slice(0, 0), bikeshare.contract).passed


def test_live_rows_need_no_target(bikeshare, bikeshare_table):
    """Served rows have no true value yet: only what was sent is checked."""
    live = bikeshare_table.slice(0, 24).drop_columns(["bikers"])
    assert check_table(live, bikeshare.contract, partial=True).passed


def test_the_page_escapes_what_the_data_says(tmp_path, bikeshare, bikeshare_frame):
    """A value is never markup."""
    frame = bikeshare_frame.head(24).assign(weather="<script>alert(1)</script>")
    page = write_data_docs(check_table(conform(frame, bikeshare.contract), bikeshare.contract), tmp_path)
    text = page.read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_a_live_window_of_a_contract_that_hashes_a_column_is_checked(churn):
    """What is captured as a hash, or not at all, is not there to be checked; the other inputs are."""
    rows = conform(churn_rows(60), churn.contract)
    kept = [column.name for column in churn.contract.inputs if column.capture == "plain"]
    report = check_table(rows.select(kept), churn.contract, partial=True)
    assert report.passed
    assert {check.column for check in report.checks} >= {"plan", "monthly_fee"}
    assert "customer_id" not in kept
