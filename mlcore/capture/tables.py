"""Captured records as Arrow tables; a record that does not fit is set apart and takes no other with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pyarrow as pa

#: What Arrow, pandas and Python raise for a value of another type, out of range, or not there.
_MISFITS: Final = (ValueError, TypeError, OverflowError, KeyError, AttributeError, NotImplementedError)


def table_of(records: list[dict[str, Any]], schema: pa.Schema) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Return the records as a table, and those that do not fit `schema`."""
    try:
        return _table(records, schema), []
    except _MISFITS:
        fits = [_fits(record, schema) for record in records]
    good = [record for record, fit in zip(records, fits, strict=True) if fit]
    return _table(good, schema), [record for record, fit in zip(records, fits, strict=True) if not fit]


def _fits(record: dict[str, Any], schema: pa.Schema) -> bool:
    try:
        _table([record], schema)
    except _MISFITS:
        return False
    return True


def _table(records: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    rows = [{**record, **record.get("features", {})} for record in records]
    return pa.Table.from_arrays(
        [_array([row.get(field.name) for row in rows], field) for field in schema], schema=schema
    )


def _array(values: list[Any], field: pa.Field) -> pa.Array:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(field.type):
        parsed = pd.to_datetime(pd.Series(values, dtype=object), utc=True, format="ISO8601", errors="coerce")
        return pa.array(parsed.dt.floor("us"), type=field.type, from_pandas=True)
    if pa.types.is_floating(field.type):
        return pa.array([None if value is None else float(value) for value in values], field.type)
    if pa.types.is_string(field.type):
        return pa.array([None if value is None else str(value) for value in values], field.type)
    return pc.cast(pa.array(values), field.type)
