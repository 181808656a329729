"""Time stamps as files write them: in many formats, in several columns, as seconds since 1970."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: What numbers of these units count: from 1970 in UTC.
EPOCH_UNITS: Final = ("s", "ms")
_DATES: Final = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%Y", "%d/%m/%y",
    "%m/%d/%y", "%d.%m.%y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d %Y", "%b %d, %Y", "%B %d, %Y",
    "%b %Y", "%B %Y", "%Y%m%d",
)  # fmt: skip
_CLOCKS: Final = ("", " %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p", " %H.%M.%S", " %H.%M", " %H")
_TRIED: Final = 50


def parse(values: pd.Series, written: str) -> pd.Series:
    """Return times in UTC.

    Parameters
    ----------
    values : Series
        Text, or numbers where they count from 1970.
    written : str
        As strptime has it, ``s`` or ``ms``; empty: ISO 8601. The hour may be 24 at the end of a day.

    Raises
    ------
    ValueError
        If a value is something else.

    Examples
    --------
    >>> import pandas as pd
    >>> str(parse(pd.Series(["31/12/2024 23:30"]), "%d/%m/%Y %H:%M")[0]), str(parse(pd.Series([86400]), "s")[0])
    ('2024-12-31 23:30:00+00:00', '1970-01-02 00:00:00+00:00')
    >>> str(parse(pd.Series(["31/12/2024 24:00"]), "%d/%m/%Y %H:%M")[0])
    '2025-01-01 00:00:00+00:00'
    """
    import pandas as pd

    if written in EPOCH_UNITS:
        return pd.to_datetime(pd.to_numeric(values), unit=written, utc=True)
    text = values.str.strip()
    if written == "%y%m%d":
        text = text.str.zfill(6)  # as a number 050131 has no zero before it
    way = written or "ISO8601"
    try:
        return pd.to_datetime(text, utc=True, format=way)
    except ValueError:
        if "%H" not in written:
            raise
        smaller = written.partition("%H")[2].count("%")  # minutes and seconds, zero then
        begun = text.str.replace(rf"(?<!\d)24((?:\D0?0){{{smaller}}})$", r"0\1", regex=True)
        ends = text.notna() & (begun != text)
        if not ends.any():
            raise
        return pd.to_datetime(begun, utc=True, format=way) + pd.to_timedelta(ends.astype("int64"), unit="D")


def format_of(present: pd.Series) -> str | None:
    """Return how `present`, text without missing values, writes its times; None where it holds something else.

    Of two formats that both fit, as day and month do where no day is above 12, the one under which fewer rows step
    back in time, and then the one with the shorter span.

    Examples
    --------
    >>> import pandas as pd
    >>> format_of(pd.Series(["11/12/2024", "12/12/2024", "13/12/2024"])), format_of(pd.Series(["a", "b"]))
    ('%d/%m/%Y', None)
    """
    first = present.iloc[:: max(1, len(present) // _TRIED)]
    found = []
    for written in ("", *(date + clock for date, clock in itertools.product(_DATES, _CLOCKS))):
        try:
            parse(first, written)
            times = parse(present, written)
        except (ValueError, OverflowError):
            continue
        if not written:
            return ""
        found.append((steps_back(times), times.max() - times.min(), written))
    return min(found)[2] if found else None


def steps_back(times: pd.Series) -> float:
    """Return the share of rows that are earlier than the row before; missing times are passed over."""
    steps = np.diff(times.dropna().to_numpy(dtype="datetime64[us]").astype(np.int64))
    return float((steps < 0).mean()) if len(steps) else 0.0


def joined(parts: Sequence[pa.Array | pa.ChunkedArray]) -> pa.Array | pa.ChunkedArray:
    """Return the parts of time stamps as one text each, a blank between them; missing where one of them is.

    Examples
    --------
    >>> import pyarrow as pa
    >>> joined([pa.array([2024, 2025]), pa.array(["1", "2.0"]), pa.array([3.0, None])]).to_pylist()
    ['2024 1 3', None]
    """
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(*(_text(part) for part in parts), " ", null_handling="emit_null")


def _text(values: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        return pc.strftime(values, format="%Y-%m-%d")
    if not pa.types.is_string(values.type):
        values = pc.cast(values, pa.string())
    return pc.replace_substring_regex(pc.utf8_trim_whitespace(values), pattern=r"^(\d+)\.0*$", replacement=r"\1")
