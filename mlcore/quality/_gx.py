"""The contract as a Great Expectations suite; the only file that imports great_expectations."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

# read when the library is imported; checks of private data are nobody else's business
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import great_expectations as gx
import great_expectations.expectations as gxe
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.validator.validator import Validator

from mlcore.quality.report import QualityCheck

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.expectations.expectation import Expectation

    from mlcore.contract import Column

_EXAMPLES: Final = 5
_LONGEST_EXAMPLE: Final = 40


def run_checks(table: pa.Table, columns: Sequence[Column], minimum_rows: int) -> tuple[QualityCheck, ...]:
    """Run the suite of `columns` on `table`; verdicts first, details only for what fails.

    The library gets one column at a time: it filters every column of what it is given for each check of one of them.

    Returns
    -------
    tuple of QualityCheck
        In the order of the suite: the table first, then column by column.
    """
    found: list[QualityCheck] = []
    first = columns[0]
    for column in columns:
        suite = _table_suite(minimum_rows) if column is first else []
        suite += _suite(column)
        if suite:
            found += _checked(_narrow(table, column), suite)
    return tuple(found)


def _checked(frame: pd.DataFrame, suite: Sequence[tuple[Expectation, str]]) -> Iterator[QualityCheck]:
    results = _validate(frame, [expectation for expectation, _ in suite], "BOOLEAN_ONLY")
    failed = [expectation for (expectation, _), result in zip(suite, results, strict=True) if not result.success]
    details = iter(_validate(frame, failed, "SUMMARY") if failed else ())
    for (expectation, text), result in zip(suite, results, strict=True):
        yield _passed(expectation, text) if result.success else _failed(expectation, text, next(details))


def _table_suite(minimum_rows: int) -> list[tuple[Expectation, str]]:
    return [(gxe.ExpectTableRowCountToBeBetween(min_value=minimum_rows), f"at least {minimum_rows:,} rows")]


def _suite(column: Column) -> list[tuple[Expectation, str]]:
    suite: list[tuple[Expectation, str]] = []
    present = 1 - column.maximum_missing_fraction
    if present > 0:
        text = "no missing value" if present == 1 else f"at most {_percent(column.maximum_missing_fraction)} missing"
        suite.append((gxe.ExpectColumnValuesToNotBeNull(column=column.name, mostly=present), text))
    share = (
        "" if column.minimum_valid_fraction == 1 else f" for {_percent(column.minimum_valid_fraction)} of the values"
    )
    if column.minimum is not None or column.maximum is not None:
        low = "-∞" if column.minimum is None else f"{column.minimum:g}"
        high = "∞" if column.maximum is None else f"{column.maximum:g}"
        expectation = gxe.ExpectColumnValuesToBeBetween(
            column=column.name,
            min_value=column.minimum,
            max_value=column.maximum,
            mostly=column.minimum_valid_fraction,
        )
        unit = f" {column.unit}" if column.unit else ""
        suite.append((expectation, f"{low} to {high}{unit}{share}"))
    if column.categories is not None:
        expectation = gxe.ExpectColumnValuesToBeInSet(
            column=column.name, value_set=list(column.categories), mostly=column.minimum_valid_fraction
        )
        suite.append((expectation, f"one of {', '.join(column.categories)}{share}"))
    return suite


def _narrow(table: pa.Table, column: Column) -> pd.DataFrame:
    import pandas as pd

    values = table[column.name]
    # a category is compared by its code, once a value, not by the text of every row
    encoded = values.dictionary_encode() if column.type == "category" else values
    return pd.DataFrame({column.name: encoded.to_pandas()})


@functools.cache
def _context() -> Any:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return context


def _validate(
    frame: pd.DataFrame, expectations: Sequence[Expectation], result_format: str
) -> list[ExpectationValidationResult]:
    # the engine itself, not a data source and its batch: those hash every cell of the frame to name it
    engine = PandasExecutionEngine(batch_data_dict={"rows": frame})
    validator = Validator(execution_engine=engine, data_context=_context())
    results = validator.graph_validate(
        configurations=[expectation.configuration for expectation in expectations],
        runtime_configuration={"result_format": {"result_format": result_format}},
    )
    by_type = {result.expectation_config.type: result for result in results}
    # results come back in an order of the library's own
    return [by_type[expectation.expectation_type] for expectation in expectations]


def _key(expectation: Expectation) -> tuple[str, str]:
    return expectation.expectation_type, getattr(expectation, "column", "")


def _passed(expectation: Expectation, text: str) -> QualityCheck:
    kind, column = _key(expectation)
    return QualityCheck(column, kind, True, text, text)


def _failed(expectation: Expectation, text: str, result: ExpectationValidationResult) -> QualityCheck:
    kind, column = _key(expectation)
    facts = result.result
    raised = _exception(result)
    if raised:
        return QualityCheck(column, kind, False, text, raised[:200])
    if "unexpected_count" not in facts:
        return QualityCheck(column, kind, False, text, f"{facts.get('observed_value'):,}")
    count, fraction = int(facts["unexpected_count"]), float(facts["unexpected_percent"] or 0) / 100
    what = f"{'missing' if 'null' in kind else 'other'} value{'' if count == 1 else 's'}"
    examples = dict.fromkeys(str(value)[:_LONGEST_EXAMPLE] for value in facts.get("partial_unexpected_list", ()))
    return QualityCheck(
        column,
        kind,
        False,
        text,
        f"{count:,} {what} ({_percent(fraction)})",
        unexpected_rows=count,
        unexpected_fraction=fraction,
        examples=() if "null" in kind else tuple(examples)[:_EXAMPLES],
    )


def _percent(share: float) -> str:
    """Return a share as people read it: 12.5%, 0.04%."""
    return f"{100 * share:.3g}%"


def _exception(result: ExpectationValidationResult) -> str:
    """Return the message of what the check raised, or nothing; a check of several metrics has one entry for each."""
    told = result.exception_info or {}
    entries = [told] if "raised_exception" in told else list(told.values())
    return next((str(entry["exception_message"]) for entry in entries if entry["raised_exception"]), "")
