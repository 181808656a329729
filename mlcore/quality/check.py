"""Checking a table against its contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcore.quality.report import QualityCheck, QualityReport

if TYPE_CHECKING:
    import pyarrow as pa

    from mlcore.contract import DataContract


def check_table(table: pa.Table, contract: DataContract, *, partial: bool = False) -> QualityReport:
    """Check every promise of `contract` that can be broken by a table of the right types.

    Parameters
    ----------
    table : Table
        Columns of the contract, as `mlcore.data.ingest.conform` returns them.
    contract : DataContract
    partial : bool, default=False
        Live rows: only the inputs that are captured as they are are there, and the window decides how many rows
        are enough.

    Returns
    -------
    QualityReport
        The verdicts are those of Great Expectations. Bad data is a result, not an exception.
    """
    if table.num_rows == 0:
        empty = QualityCheck("", "expect_table_row_count_to_be_between", False, "at least one row", "none")
        return QualityReport(0, (empty,))
    # the engine behind the checks costs seconds to import: only the run that checks pays
    from mlcore.quality._gx import run_checks

    columns = [column for column in contract.inputs if column.capture == "plain"] if partial else contract.columns
    least_rows = 1 if partial else contract.minimum_rows
    return QualityReport(table.num_rows, run_checks(table, columns, least_rows))
