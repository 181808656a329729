"""Reading CSV and Parquet from anywhere into a table that has the contract's columns and types, or a clear refusal."""

from __future__ import annotations

import codecs
import difflib
import io
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from mlcore.data.stamps import EPOCH_UNITS, joined, parse
from mlcore.errors import ContractError, IngestError, os_reason

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from mlcore.contract import Column, DataContract

_EXAMPLES: Final = 5
_PIECE: Final = 1 << 20
_LARGEST_EXACT: Final = 2.0**53
_TRUE: Final = frozenset({"true", "1", "1.0", "yes", "y", "t"})
_FALSE: Final = frozenset({"false", "0", "0.0", "no", "n", "f"})
_MISSING: Final = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")


def read_source(uri: str, contract: DataContract) -> pa.Table:
    """Read the file at `uri` as a table of the contract.

    Parameters
    ----------
    uri : str
        A path, ``file://`` or ``s3://`` address ending in ``.csv`` or ``.parquet``.
    contract : DataContract

    Raises
    ------
    IngestError
        If there is no such file, it cannot be read, or it is not what its name says.
    ContractError
        If columns are missing, unknown or repeated, or values do not have the contract's types.
    """
    return conform(read_raw(uri), contract, source=uri)


def read_raw(uri: str) -> pa.Table:
    """Read the file at `uri` as it is: CSV cells as text, Parquet with its own types.

    Raises
    ------
    IngestError
        If there is no such file, it is empty, cannot be read, or is not what its name says.
    """
    import pyarrow as pa

    suffix = _suffix(uri)
    readers = {".csv": _read_csv, ".parquet": _read_parquet}
    if uri and suffix not in readers:
        raise IngestError(
            "this kind of file is not read", subject=uri, expected=".csv or .parquet", got=suffix or "no suffix"
        )
    data = _read_bytes(uri)
    if not data:
        raise IngestError("the file is empty", subject=uri, expected="a header and rows", got="0 bytes")
    try:
        table = readers[suffix](data)
    except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeDecodeError, OSError) as error:
        raise IngestError(
            "the file cannot be read",
            subject=uri,
            expected=f"a {suffix[1:]} file",
            got=str(error).splitlines()[0][:200],
            remedy="Is it whole, and of that kind?",
        ) from None
    if table.num_rows == 0:
        raise IngestError("the table is empty", subject=uri, expected="at least one row", got="a header only")
    return table


def conform(data: pa.Table | pd.DataFrame, contract: DataContract, *, source: str = "table") -> pa.Table:
    """Return `data` with exactly the contract's columns, in its order and types.

    A column that the contract does not know is taken for the one that `plain_name` makes of its name. A time stamp that
    is not there is made of the columns that the contract says it is made of.

    Raises
    ------
    ContractError
        If columns are missing, unknown (where the contract refuses them) or repeated, or values do not parse;
        the message names the column, the first rows and their values.
    """
    import pyarrow as pa

    found = data.column_names if isinstance(data, pa.Table) else [str(name) for name in data.columns]
    known = {*contract.names, *(part for column in contract.columns for part in column.made_of)}
    names = [name if name in known or plain_name(name) not in known else plain_name(name) for name in found]
    made = {
        column.name: column.made_of
        for column in contract.columns
        if column.made_of and column.name not in names and {*column.made_of} <= {*names}
    }
    _check_names([*names, *made], contract, source)
    place = {name: position for position, name in enumerate(names)}
    schema = contract.arrow_schema()

    def values(name: str) -> Any:
        if name in made:
            return joined([_values(_at(data, place[part])) for part in made[name]])
        return _values(_at(data, place[name]))

    columns = [
        _convert(values(column.name), column, schema.field(column.name).type, source) for column in contract.columns
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def plain_name(name: str) -> str:
    """Return a column's name as contracts write it: lower case, digits and underscores, a letter first.

    Examples
    --------
    >>> plain_name("Temp (°C)"), plain_name("T_out"), plain_name("2nd Floor"), plain_name("windSpeed")
    ('temp_c', 't_out', 'c_2nd_floor', 'windspeed')
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    plain = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    return (plain if plain[:1].isalpha() else f"c_{plain}")[:63]


def _at(data: pa.Table | pd.DataFrame, position: int) -> pa.ChunkedArray | pd.Series:
    import pyarrow as pa

    return data.column(position) if isinstance(data, pa.Table) else data.iloc[:, position]


def _values(column: pa.ChunkedArray | pd.Series) -> pa.ChunkedArray | pa.Array:
    """Return a column as Arrow sees it; as text where its cells are of several types."""
    import pyarrow as pa

    if isinstance(column, pa.ChunkedArray):
        return column
    try:
        return pa.array(column, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        cells = zip(column, column.isna(), strict=True)
        return pa.array([None if missing else str(value) for value, missing in cells], pa.string())


def _suffix(uri: str) -> str:
    try:
        path = urlsplit(uri).path  # an address may end in ?region=…
    except ValueError:
        path = uri
    return Path(path).suffix.lower()


def _read_bytes(uri: str) -> bytes:
    try:
        if uri.startswith("s3://"):
            from pyarrow import fs

            system, path = fs.FileSystem.from_uri(uri)
            with system.open_input_stream(path) as stream:
                return stream.read()
        path = unquote(urlsplit(uri).path) if uri.startswith("file://") else uri
        if not path:
            raise IngestError("no file is named", expected="a path, file:// or s3:// address", got="nothing")
        # a pipe or a device is waited for, or read, for ever, and anybody can announce one
        if Path(path).exists() and not Path(path).is_file():
            raise OSError("not a regular file")
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # no file system takes some texts, and no reader some addresses
        raise IngestError(
            "the file cannot be opened",
            subject=uri,
            expected="a readable file",
            got=os_reason(error) if isinstance(error, OSError) else str(error)[:200],
            remedy="Check the path, as the worker sees it.",
        ) from None


def _read_csv(data: bytes) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    reading, parsing = csv.ReadOptions(block_size=1 << 20, encoding=_encoding(data)), _parsing(data)
    header = csv.read_csv(pa.py_buffer(data), read_options=reading, parse_options=parsing).column_names
    # every cell as text: what is a number is the contract's word, not the file's
    options = csv.ConvertOptions(
        column_types=dict.fromkeys(header, pa.string()), null_values=list(_MISSING), strings_can_be_null=True
    )
    reading = csv.ReadOptions(encoding=reading.encoding)
    table = csv.read_csv(pa.py_buffer(data), read_options=reading, parse_options=parsing, convert_options=options)
    if parsing.delimiter == ";":
        table = _pointed(table)
    # lines that end in a delimiter make a column without a name and values
    named = [at for at, name in enumerate(table.column_names) if name or table.column(at).null_count < len(table)]
    return table.select(named)


def _encoding(data: bytes) -> str:
    """Return the encoding of a file: what is no UTF-8 was written by an older office program."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        # piece by piece: as one text a large file would be in memory twice
        for start in range(0, len(data), _PIECE):
            decoder.decode(data[start : start + _PIECE])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _parsing(data: bytes) -> Any:
    """Return how the cells are separated: by what is most frequent in the header."""
    from pyarrow import csv

    header = io.BytesIO(data).readline()
    return csv.ParseOptions(delimiter=max(",;\t", key=lambda sign: header.count(sign.encode())))


def _pointed(table: pa.Table) -> pa.Table:
    """Return the table with points for the decimal commas of columns that hold nothing but numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for number, name in enumerate(table.column_names):
        cells = table.column(number)
        if pc.all(pc.match_substring_regex(cells, pattern=r"^\s*-?\d*,?\d*\s*$")).as_py():
            pointed = pc.replace_substring(cells, pattern=",", replacement=".")
            table = table.set_column(number, pa.field(name, pa.string()), pointed)
    return table


def _read_parquet(data: bytes) -> pa.Table:
    import pyarrow as pa
    from pyarrow import parquet

    return parquet.read_table(pa.BufferReader(data))


def _check_names(names: list[str], contract: DataContract, source: str) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ContractError("columns repeat", subject=source, got=", ".join(repeated), remedy="Rename them apart.")
    missing = [name for name in contract.names if name not in names]
    parts = {part for column in contract.columns for part in column.made_of}
    unknown = [name for name in names if name not in contract.names and name not in parts]
    if missing:
        near = [match for name in missing for match in difflib.get_close_matches(name, unknown, n=1)]
        raise ContractError(
            "columns are missing",
            subject=source,
            expected=", ".join(missing),
            got=", ".join(unknown[:10]) or "none besides those known",
            remedy=f"Is {near[0]!r} what was meant? Rename it." if near else "Add them, or change the contract.",
        )
    if unknown and contract.extra_columns == "refuse":
        raise ContractError(
            "columns are not in the contract",
            subject=source,
            expected=f"only the contract's {len(contract.names)} columns",
            got=", ".join(unknown[:10]),
            remedy="Take them out, or set contract.extra_columns to drop.",
        )


def _convert(values: pa.ChunkedArray | pa.Array, column: Column, wanted: pa.DataType, source: str) -> pa.Array:
    import pyarrow as pa

    combined = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if isinstance(combined, pa.ChunkedArray):
        combined = pa.concat_arrays(combined.chunks) if combined.num_chunks else pa.array([], values.type)
    if pa.types.is_dictionary(combined.type):
        combined = combined.dictionary_decode()
    if combined.type == wanted:
        return combined
    if pa.types.is_null(combined.type):
        return pa.nulls(len(combined), wanted)
    try:
        return _cast(combined, column, wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError):
        raise _refusal(combined, column, wanted, source) from None


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
    bad = []
    for number, value in enumerate(values.to_pylist(), start=1):
        if value is not None and not _converts(value, values.type, column, wanted):
            bad.append(f"row {number}: {str(value)[:40]!r}")
            if len(bad) == _EXAMPLES:
                break
    return ContractError(
        "values do not have the contract's type",
        subject=f"{source}: {column.name}",
        expected=column.type,
        got="; ".join(bad) or str(values.type),
        remedy="Correct them at the source.",
    )


def _converts(value: Any, kind: pa.DataType, column: Column, wanted: pa.DataType) -> bool:
    import pyarrow as pa

    try:
        _cast(pa.array([value], kind), column, wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError):
        return False
    return True
