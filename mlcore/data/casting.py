"""Values as files have them, cast to the types of the contract, or a clear refusal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mlcore.data.stamps import EPOCH_UNITS, parse
from mlcore.errors import ContractError

if TYPE_CHECKING:
    import pyarrow as pa

    from mlcore.contract import Column

_EXAMPLES: Final = 5
#: Where more of a column cannot be read its type is wrong, not its cells.
_MOST_UNREADABLE: Final = 0.5
_LARGEST_EXACT: Final = 2.0**53
_TRUE: Final = frozenset({"true", "1", "1.0", "yes", "y", "t"})
_FALSE: Final = frozenset({"false", "0", "0.0", "no", "n", "f"})


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Cells of a column that are not of its type.

    Parameters
    ----------
    column, expected : str
        Its name and type.
    cells : int
    examples : tuple of str
        The first ones, each with its row.
    """

    column: str
    expected: str
    cells: int
    examples: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What counts as missing, in one sentence."""
        values = "1 value is" if self.cells == 1 else f"{self.cells:,} values are"
        count = "counts" if self.cells == 1 else "count"
        return f"{self.column}: {values} not of type {self.expected} and {count} as missing: {'; '.join(self.examples)}"


def convert(
    values: pa.ChunkedArray | pa.Array,
    column: Column,
    wanted: pa.DataType,
    source: str,
    unreadable: list[Unreadable] | None = None,
) -> pa.Array:
    """Return a column in the contract's type.

    Parameters
    ----------
    values : Array
        As the file has them.
    column : Column
    wanted : DataType
        How the contract stores the column.
    source : str
        For messages.
    unreadable : list, optional
        Where given, single values that cannot be cast become missing, and what they were is appended.

    Raises
    ------
    ContractError
        If values do not have the type: any, or with `unreadable` more than half of them.
    """
    import pyarrow as pa

    combined = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if isinstance(combined, pa.ChunkedArray):
        combined = pa.concat_arrays(combined.chunks) if combined.num_chunks else pa.array([], values.type)
    if pa.types.is_dictionary(combined.type):
        combined = combined.dictionary_decode()
    if combined.type == wanted and not column.missing_as:
        return combined
    if pa.types.is_null(combined.type):
        return pa.nulls(len(combined), wanted)
    combined = _without_blanks(combined, column)
    try:
        return _without_sentinels(_cast(combined, column, wanted), column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError):
        if unreadable is None:
            raise _refusal(combined, column, wanted, source) from None
    import pyarrow.compute as pc

    bad = _bad_cells(combined, column, wanted)
    cells = pc.sum(bad).as_py() or 0
    # none where each can be cast, and only all of them together cannot
    if not 0 < cells <= _MOST_UNREADABLE * (len(combined) - combined.null_count):
        raise _refusal(combined, column, wanted, source)
    unreadable.append(Unreadable(column.name, column.type, cells, _examples(combined, bad)))
    kept = pc.if_else(bad, pa.scalar(None, combined.type), combined)
    return _without_sentinels(_cast(kept, column, wanted), column)


def _bad_cells(values: pa.Array, column: Column, wanted: pa.DataType) -> pa.Array:
    """Return which cells cannot be cast."""
    import pyarrow as pa
    import pyarrow.compute as pc

    different = values.unique().drop_null()
    return pc.is_in(values, value_set=pa.array(list(_unreadable(different, column, wanted)), values.type))


def _examples(values: pa.Array, bad: pa.Array) -> tuple[str, ...]:
    """Return the first bad cells, each with its row."""
    import pyarrow.compute as pc

    rows = pc.indices_nonzero(bad).to_pylist()[:_EXAMPLES]
    return tuple(f"row {row + 1}: {str(values[row].as_py())[:40]!r}" for row in rows)


def _unreadable(values: pa.Array, column: Column, wanted: pa.DataType) -> Iterator[Any]:
    """Yield the values that cannot be cast, by halving what holds one."""
    import pyarrow as pa

    try:
        _cast(values, column, wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError):
        if len(values) == 1:
            yield values[0].as_py()
            return
        half = len(values) // 2
        yield from _unreadable(values[:half], column, wanted)
        yield from _unreadable(values[half:], column, wanted)


def _without_blanks(values: pa.Array, column: Column) -> pa.Array:
    """Return text without what stands for no value: what the contract names, and blanks among numbers and times."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = [*column.missing_as, *([] if column.type in ("category", "text") else [""])]
    if not names or not pa.types.is_string(values.type):
        return values
    blank = pc.is_in(pc.utf8_trim_whitespace(values), value_set=pa.array(names))
    return pc.if_else(blank, pa.scalar(None, pa.string()), values) if pc.any(blank).as_py() else values


def _without_sentinels(values: pa.Array, column: Column) -> pa.Array:
    """Return numbers without those that the contract says stand for no value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = [float(text) for text in column.missing_as if _is_number(text)] if column.is_numeric else []
    if not numbers:
        return values
    if pa.types.is_integer(values.type):
        numbers = [int(number) for number in numbers if number.is_integer()]
    absent = pc.is_in(values, value_set=pa.array(numbers, values.type))
    return pc.if_else(absent, pa.scalar(None, values.type), values)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _cast(values: pa.Array, column: Column, wanted: pa.DataType) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.type == "timestamp":
        return _cast_time(values, wanted, column.format)
    if column.type == "boolean" and pa.types.is_string(values.type):
        lowered = pc.utf8_lower(pc.utf8_trim_whitespace(values))
        true, false = (pc.is_in(lowered, value_set=pa.array(sorted(words))) for words in (_TRUE, _FALSE))
        if not pc.all(pc.or_(pc.or_(true, false), pc.is_null(values))).as_py():
            raise ValueError("not a truth value")
        return pc.if_else(pc.is_null(values), None, true)
    if column.type == "boolean" and (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        if not pc.all(
            pc.or_kleene(pc.is_in(values, value_set=pa.array([0, 1], values.type)), pc.is_null(values))
        ).as_py():
            raise ValueError("not a truth value")
        return pc.not_equal(values, pa.scalar(0, values.type))
    if pa.types.is_string(values.type) and column.is_numeric:
        trimmed = pc.utf8_trim_whitespace(values)
        return _whole_text(trimmed) if column.type == "integer" else pc.cast(trimmed, pa.float64())
    if pa.types.is_floating(values.type) and column.type == "integer":
        return _whole(pc.if_else(pc.is_nan(values), None, values))
    if pa.types.is_floating(values.type) and column.type == "number":
        return pc.cast(pc.if_else(pc.is_nan(values), None, values), wanted)
    return pc.cast(values, wanted)


def _whole(numbers: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.cast(numbers, pa.int64(), safe=True)


def _whole_text(values: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return pc.cast(values, pa.int64())
    except pa.ArrowInvalid:
        pass
    # 3.0 is whole, too; but doubles tell integers apart only up to 2**53
    numbers = pc.cast(values, pa.float64())
    if pc.any(pc.greater_equal(pc.abs(numbers), _LARGEST_EXACT)).as_py():
        raise ValueError("a number that its decimal form would round")
    return _whole(numbers)


def _cast_time(values: pa.Array, wanted: pa.DataType, written: str) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        import pyarrow.compute as pc

        aware = pa.types.is_timestamp(values.type) and values.type.tz is not None
        naive = values if aware else pc.cast(values, pa.timestamp("us"))
        return pc.cast(naive if aware else pc.assume_timezone(naive, "UTC"), wanted, safe=False)
    if pa.types.is_integer(values.type) and written not in EPOCH_UNITS:
        values = values.cast(pa.string())  # 20241231 is one
    if not pa.types.is_string(values.type) and written not in EPOCH_UNITS:
        raise ValueError("not a time stamp")
    return pa.array(parse(values.to_pandas(), written).dt.floor("us"), type=wanted)


def _refusal(values: pa.Array, column: Column, wanted: pa.DataType, source: str) -> ContractError:
    return ContractError(
        "values do not have the contract's type",
        subject=f"{source}: {column.name}",
        expected=column.type,
        got="; ".join(_examples(values, _bad_cells(values, column, wanted))) or str(values.type),
        remedy="Correct them at the source; if they stand for no value, name them in the column's missing_as.",
    )
