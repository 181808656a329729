"""Which column of a file is its clock, or which columns together: what `mlops init` orders the rows by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mlcore.data.stamps import format_of, joined, parse, steps_back
from mlcore.errors import IngestError

if TYPE_CHECKING:
    import pandas as pd

#: What columns that hold a part of a date are called, from the largest part to the smallest, with strptime's letter.
_PARTS: Final = (
    (("year", "yr", "yyyy"), "%Y", 1800, 2200),
    (("month", "mnth", "mon", "mo", "mm"), "%m", 1, 12),
    (("day", "dayofmonth", "day_of_month", "mday", "dd"), "%d", 1, 31),
    (("hour", "hr", "hours", "hh"), "%H", 0, 24),
    (("minute", "min", "minutes"), "%M", 0, 59),
)
_HOUR: Final = 3
_NAMES: Final = ("timestamp", "observed_at", "row_time")
_EPOCH_NAMES: Final = (
    "ts",
    "time",
    "timestamp",
    "date",
    "datetime",
    "epoch",
    "unixtime",
    "unix_time",
    "unix_timestamp",
)
#: Dates may be numbers in columns that are called something like it, in these ways, and between these numbers.
_DATE_NAME: Final = re.compile(r"(^|_)(date|day|dt|month|period|yearmonth|yyyymm|yyyymmdd|yymmdd|snapshot)(_|$)|date$")
_DIGITS: Final = (("%Y%m%d", 18000101, 22001231), ("%Y%m", 180001, 220012), ("%y%m%d", 10101, 991231))
#: Of two clocks one is finer where it is of the other's days nearly always.
_SAME_DAY: Final = 0.99
#: 1990 to 2100 in seconds: a number called time in between counts them.
_EPOCH: Final = (631_152_000, 4_102_444_800)
_LEAST_PRESENT: Final = 0.5


@dataclass(frozen=True, slots=True)
class Clock:
    """The time of a file's rows.

    Parameters
    ----------
    name : str
        Its column in the contract.
    times : Series
        In UTC.
    format : str
        How the file writes it, as `stamps.parse` takes it.
    made_of : tuple of str
        Columns that give it together; empty where one does.
    """

    name: str
    times: pd.Series
    format: str = ""
    made_of: tuple[str, ...] = ()


def find_clock(
    frame: pd.DataFrame,
    written: pd.DataFrame,
    formats: Mapping[str, str],
    target: str,
    named: Sequence[str],
    source: str,
) -> Clock | None:
    """Return the clock of a file: what the user named, or the columns that look like one; None without any.

    Of several time stamps the one that the file is sorted by, and of those the first; but dates give way to times of
    the same days, and dates that repeat are completed by a column that holds the time of day.

    Parameters
    ----------
    frame : DataFrame
        Times, numbers and text; plain names.
    written : DataFrame
        The same as the file has it.
    formats : mapping of name to str
        How the columns that hold times write them.
    target : str
    named : sequence of str
        Columns that the user says the time is in.
    source : str
        For messages.

    Raises
    ------
    IngestError
        If what the user named holds no times.
    """
    if named:
        clock = _alone(frame, formats, named[0]) if len(named) == 1 else _of_parts(frame, written, named)
        if clock is None:
            raise IngestError(
                "no time stamps",
                subject=f"{source}: {', '.join(named)}",
                expected="dates, or seconds or milliseconds since 1970",
                got=", ".join(str(value) for value in frame[named[0]].dropna().unique()[:3]),
                remedy="Write them as 2024-12-31 23:59.",
            )
        return clock
    stamps = [
        Clock(name, frame[name], formats.get(name, ""))
        for name in frame.columns
        if name != target and frame[name].dtype.kind == "M" and frame[name].notna().mean() >= _LEAST_PRESENT
    ]
    numbers = [name for name in frame.columns if name != target and (name in _EPOCH_NAMES or _DATE_NAME.search(name))]
    counted = [clock for name in numbers if frame[name].dtype.kind in "iuf" and (clock := _alone(frame, formats, name))]
    if stamps or counted:
        clock = _finest(min(stamps or counted, key=lambda clock: steps_back(clock.times)), [*stamps, *counted])
        return next(_completed(frame, written, clock, target), clock)
    parts = _parts(frame, target)
    return _of_parts(frame, written, parts) if len(parts) >= 2 else None


def _finest(clock: Clock, others: Sequence[Clock]) -> Clock:
    """Return the clock of `others` that is of the same days and has most times, where the first tells days only."""
    days = clock.times
    known = days.dropna()
    if not known.dt.normalize().equals(known) or known.is_unique:
        return clock
    finer = [other for other in others if other.times.nunique() > known.nunique() and _same_days(days, other.times)]
    return max(finer, key=lambda other: other.times.nunique(), default=clock)


def _same_days(days: pd.Series, times: pd.Series) -> bool:
    both = days.notna() & times.notna()
    return bool(both.mean() >= _LEAST_PRESENT and (days[both] == times[both].dt.normalize()).mean() >= _SAME_DAY)


def _alone(frame: pd.DataFrame, formats: Mapping[str, str], name: str) -> Clock | None:
    values = frame[name]
    if values.dtype.kind == "M":
        return Clock(name, _utc(values), formats.get(name, ""))
    if values.dtype.kind not in "iuf" or not len(values.dropna()):
        return None
    low, high = values.min(), values.max()
    for unit, scale in (("s", 1), ("ms", 1000)):
        if low >= _EPOCH[0] * scale and high <= _EPOCH[1] * scale:
            return Clock(name, parse(values, unit), unit)
    if not values.notna().all() or not (values % 1 == 0).all():
        return None
    text = values.astype("int64").astype(str)
    for way, least, most in _DIGITS:
        if low >= least and high <= most:
            try:
                return Clock(name, parse(text, way), way)
            except (ValueError, OverflowError):
                continue
    return None


def _completed(frame: pd.DataFrame, written: pd.DataFrame, clock: Clock, target: str) -> Iterator[Clock]:
    """Yield the dates of a column with the times of day of another one."""
    name, dates = clock.name, clock.times.dropna()
    if not dates.dt.normalize().equals(dates) or dates.is_unique:
        return
    hours = [other for other in _parts(frame, target)[-1:] if other in _PARTS[_HOUR][0]]
    clocks = [
        other
        for other in frame.columns
        if other != target
        and frame[other].dtype == object
        and frame[other].dropna().str.match(r"\s*\d\d?[:.]\d\d").all()
    ]
    for other in (*clocks, *hours):
        made = _of_parts(frame, written, (name, other))
        if made is not None:
            yield made


def _parts(frame: pd.DataFrame, target: str) -> tuple[str, ...]:
    """Return the columns that are called and look like year, month, day and so on, down to the first that is not."""
    found: list[str] = []
    for names, _, low, high in _PARTS:
        fits = [
            name
            for name in names
            if name in frame and name != target and frame[name].dtype.kind in "iuf" and frame[name].notna().all()
            and (frame[name] % 1 == 0).all() and frame[name].between(low, high).all()
        ]  # fmt: skip
        if found and not fits:
            break
        found += fits[:1]
    return tuple(found)


def _of_parts(frame: pd.DataFrame, written: pd.DataFrame, parts: Sequence[str]) -> Clock | None:
    import pyarrow as pa

    text = joined([pa.array(written[part], from_pandas=True) for part in parts]).to_pandas()
    letters = {name: letter for names, letter, _, _ in _PARTS for name in names}
    spelled = [letters.get(part, "") for part in parts]
    present = text.dropna().astype(str)
    first = [spelled[0]] if spelled[0] else ["%Y-%m-%d", format_of(present.str.partition(" ")[0]) or "%Y/%m/%d"]
    formats = [" ".join([way, *spelled[1:]]) for way in first] if all(spelled[1:]) else [format_of(present)]
    for way in formats:
        try:
            times = parse(text, "" if way is None else way)
        except (ValueError, OverflowError):
            continue
        name = next(name for name in _NAMES if name not in frame or name in parts)
        return Clock(name, times, way or "", tuple(parts))
    return None


def _utc(values: pd.Series) -> pd.Series:
    return values.dt.tz_convert("UTC") if values.dt.tz is not None else values.dt.tz_localize("UTC")
