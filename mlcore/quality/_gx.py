"""The contract as a Great Expectations suite; the only file that imports great_expectations."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

# read when the library is imported; checks of private data are nobody else's business
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import great_expectations as gx
import great_expectations.expectations as gxe

from mlcore.quality.report import QualityCheck

if TYPE_CHECKING:
    import pyarrow as pa
    from great_expectations.core.batch import Batch
    from great_expectations.expectations.expectation import Expectation

    from mlcore.contract import Column

_EXAMPLES: Final = 5
_LONGEST_EXAMPLE: Final = 40
_numbers = itertools.count()


def run_checks(table: pa.Table, columns: Sequence[Column], minimum_rows: int) -> tuple[QualityCheck, ...]:
    """Run the suite of `columns` on `table`; verdicts first, details only for what fails.

    Returns
    -------
    tuple of QualityCheck
        In the order of the suite: the table first, then column by column.
    """
    expectations = _suite(columns, minimum_rows)
    batch = _batch(table)
    results = _validate(batch, [expectation for expectation, _ in expectations], "BOOLEAN_ONLY")
    failed = [
        expectation for (expectation, _), passed in zip(expectations, results, strict=True) if not passed["success"]
    ]
    details = iter(_validate(batch, failed, "SUMMARY") if failed else ())
    return tuple(
        _passed(expectation, text) if result["success"] else _failed(expectation, text, next(details))
        for (expectation, text), result in zip(expectations, results, strict=True)
    )


def _suite(columns: Sequence[Column], minimum_rows: int) -> list[tuple[Expectation, str]]:
    suite: list[tuple[Expectation, str]] = [
        (gxe.ExpectTableRowCountToBeBetween(min_value=minimum_rows), f"at least {minimum_rows:,} rows")
    ]
    for column in columns:
        present = 1 - column.maximum_missing_fraction
        if present > 0:
            text = (
                "no missing value" if present == 1 else f"at most {column.maximum_missing_fraction:.0%} missing values"
            )
            suite.append((gxe.ExpectColumnValuesToNotBeNull(column=column.name, mostly=present), text))
        share = "" if column.minimum_valid_fraction == 1 else f" for {column.minimum_valid_fraction:.0%} of the values"
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


def _batch(table: pa.Table) -> Batch:
    # a source of its own: the context keeps what it was given by name
    source = _context().data_sources.add_pandas(f"batch-{next(_numbers)}")
    definition = source.add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")
    return definition.get_batch(batch_parameters={"dataframe": table.to_pandas()})


@functools.cache
def _context() -> Any:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return context


def _validate(batch: Batch, expectations: Sequence[Expectation], result_format: str) -> list[Mapping[str, Any]]:
    suite = gx.ExpectationSuite(name=f"suite-{next(_numbers)}", expectations=list(expectations))
    found = batch.validate(suite, result_format=result_format).to_json_dict()["results"]
    by_key: dict[tuple[str, str], Mapping[str, Any]] = {}
    for result in found:
        config = result["expectation_config"]
        by_key[config["type"], config["kwargs"].get("column", "")] = result
    # results come back in an order of the library's own
    return [by_key[_key(expectation)] for expectation in expectations]


def _key(expectation: Expectation) -> tuple[str, str]:
    return expectation.expectation_type, getattr(expectation, "column", "")


def _passed(expectation: Expectation, text: str) -> QualityCheck:
    kind, column = _key(expectation)
    return QualityCheck(column, kind, True, text, text)


def _failed(expectation: Expectation, text: str, result: Mapping[str, Any]) -> QualityCheck:
    kind, column = _key(expectation)
    facts = result["result"]
    if result["exception_info"].get("raised_exception"):
        return QualityCheck(column, kind, False, text, str(result["exception_info"]["exception_message"])[:200])
    if "unexpected_count" not in facts:
        return QualityCheck(column, kind, False, text, f"{facts.get('observed_value'):,}")
    count, fraction = int(facts["unexpected_count"]), float(facts["unexpected_percent"] or 0) / 100
    examples = dict.fromkeys(str(value)[:_LONGEST_EXAMPLE] for value in facts.get("partial_unexpected_list", ()))
    return QualityCheck(
        column,
        kind,
        False,
        text,
        f"{count:,} {'missing' if 'null' in kind else 'other'} values ({fraction:.1%})",
        unexpected_rows=count,
        unexpected_fraction=fraction,
        examples=() if "null" in kind else tuple(examples)[:_EXAMPLES],
    )
