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

from mlcore.data.casting import Unreadable, convert
from mlcore.data.stamps import joined
from mlcore.errors import ContractError, IngestError, os_reason

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from mlcore.contract import DataContract

_PIECE: Final = 1 << 20
_MISSING: Final = (
    "", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "-NaN", "null", "NULL", "None",
)  # fmt: skip


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


def read_past(uri: str, contract: DataContract) -> tuple[pa.Table, tuple[Unreadable, ...]]:
    """Read the file at `uri` for what was to be seen in it, single cells that cannot be read counting as missing.

    Raises
    ------
    IngestError, ContractError
        As `read_source` does, the latter for values only where more than half of a column cannot be read.
    """
    unreadable: list[Unreadable] = []
    table = conform(read_raw(uri), contract, source=uri, unreadable=unreadable)
    return table, tuple(unreadable)


def conform(
    data: pa.Table | pd.DataFrame,
    contract: DataContract,
    *,
    source: str = "table",
    unreadable: list[Unreadable] | None = None,
) -> pa.Table:
    """Return `data` with exactly the contract's columns, in its order and types.

    A column that the contract does not know is taken for the one that `plain_name` makes of its name. A time stamp that
    is not there is made of the columns that the contract says it is made of. With `unreadable`, a list, single cells
    that do not parse become missing and are told of there.

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
        convert(values(column.name), column, schema.field(column.name).type, source, unreadable)
        for column in contract.columns
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
    return (plain if plain[:1].isalpha() else f"c_{plain}" if plain else "unnamed")[:63]


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
    named = [
        at for at, name in enumerate(table.column_names) if name.strip() or table.column(at).null_count < len(table)
    ]
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
    """Return the table with points for the decimal commas of columns that hold nothing but numbers, or no values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for number, name in enumerate(table.column_names):
        cells = table.column(number)
        numbers = pc.match_substring_regex(cells, pattern=r"^\s*[+-]?\d*,?\d+([eE][+-]?\d+)?\s*$")
        # short and without a digit it is a mark for no value: ?, -, n.a.
        others = pc.match_substring_regex(cells, pattern=r"^\D{0,4}$")
        if pc.any(numbers).as_py() and pc.all(pc.or_(numbers, others)).as_py():
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
