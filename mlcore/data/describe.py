"""What a draft says of one column: type, role, unit, range, what may be missing, and why it is no feature."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.data.headers import is_temperature, unit_of
from mlcore.data.markers import markers, sentinel
from mlcore.data.stamps import format_of, parse

if TYPE_CHECKING:
    import pandas as pd

_MOST_CATEGORIES: Final = 30
#: States or districts are more, and yet a closed list: each comes often, and hardly a new one does.
_MOST_LISTED, _ROWS_EACH_LISTED, _NEW_LISTED = 150, 50, 0.001
#: Larger floats have no digit for a one.
_LARGEST_EXACT: Final = 2.0**53
#: A column that only ever grows with time, over more values than this, counts rows or days.
_RUNNING: Final = 10
_LEAST_ROWS: Final = 30
#: By another zone's clock some hours are of another day.
_SAME_DAY: Final = 0.5
#: So much may lie outside of a range that is a guess, and always two cells of a usual window.
_OUTSIDE: Final = 0.01
#: One value of a thousand, and so many times the span of the others away from them.
_RARE, _FAR = 0.001, 2.0
_IDENTITY: Final = re.compile(r"(^|_)(id|no|nr|number|index|row|uuid|guid|key)(_|$)|id$")
#: Names of what is told apart: of these new ones come, where of shops or stations there are a few for good.
_MOST_IDENTITIES: Final = 30
_NEW_FRACTION, _ROWS_EACH = 0.05, 20
_COUNTER: Final = "A number of its own for each row."


def typed(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str], dict[str, tuple[str, ...]]]:
    """Return text columns as what they hold: times, whole numbers, numbers, truth values, or text.

    With them come how each column writes its times, and what each writes for no value.
    """
    import pandas as pd

    formats: dict[str, str] = {}
    absent: dict[str, tuple[str, ...]] = {}
    for name in frame.columns:
        column = frame[name]
        if column.dtype != object:
            continue
        present = column.dropna().astype(str)
        blank = present.str.strip() == ""
        found = markers(present, numbers=True)
        sound = present[~blank & ~present.isin(found)]
        values = _values(sound)
        if values is None:
            # among words fewer marks are no values
            found = markers(present, numbers=False)
            if found:
                frame[name] = column.where(~column.isin(found), None)
        else:
            frame[name], written = values[0].reindex(frame.index), values[1]
            if written is not None:
                formats[name] = written
        if found:
            absent[name] = tuple(dict.fromkeys(text.strip() for text in found))
        elif len(present) and blank.all():
            frame[name] = pd.Series(None, index=frame.index, dtype=object)
    return frame, formats, absent


def _values(present: pd.Series) -> tuple[pd.Series, str | None] | None:
    """Return texts as truth values, numbers, or times with their format; None where they are words."""
    import pandas as pd

    if not len(present):
        return None
    if set(present.str.lower().unique()[:3]) <= {"true", "false"}:
        return (present.str.lower() == "true").astype("boolean"), None
    numbers = pd.to_numeric(present, errors="coerce")
    if numbers.notna().all():
        return numbers, None
    written = format_of(present)
    return None if written is None else (parse(present, written), written)


def without_sentinels(frame: pd.DataFrame, without: str | None) -> tuple[pd.DataFrame, dict[str, tuple[str, ...]]]:
    """Return the frame with the numbers that stand for no value missing, and which they were; the clock has none."""
    absent: dict[str, tuple[str, ...]] = {}
    for name in frame.columns:
        if name == without or frame[name].dtype.kind not in "iuf":
            continue
        number = sentinel(frame[name])
        if number is not None:
            frame[name] = frame[name].where(frame[name] != number)
            absent[name] = (f"{number:g}",)
    return frame, absent


def describe(column: pd.Series, header: str, target: str, times: pd.Series | None, rows: float) -> dict[str, Any]:
    """Return a column's entry in the contract.

    Parameters
    ----------
    column : Series
        In the order of time; its name is that in the contract.
    header : str
        As the file has it.
    target : str
    times : Series or None
    rows : float
        Of a usual window.
    """
    name = str(column.name)
    facts: dict[str, Any] = {"name": name, "type": _type(column)}
    time = times.name if times is not None else None
    why = _no_feature(column, name, times)
    if name in (target, time):
        facts["role"] = "target" if name == target else "time"
    elif why or facts["type"] in ("timestamp", "text"):
        facts["role"] = "metadata"
        facts |= {"description": why} if why else {}
    unit = unit_of(header) if facts["type"] in ("integer", "number") else ""
    if unit:
        facts["unit"] = unit
    missing = float(column.isna().mean())
    if missing and name != time:
        # upwards: one missing cell in a million is a share, too
        facts["maximum_missing_fraction"] = min(1.0, math.ceil(2 * missing * 10_000) / 10_000)
    if facts.get("role") == "metadata":
        return facts
    if facts["type"] in ("integer", "number") and column.notna().any():
        facts |= _range(column, signed=is_temperature(header))
    if facts["type"] == "category":
        facts["categories"] = sorted(map(str, column.dropna().unique()))
    if {"minimum", "categories"} & facts.keys():
        facts["minimum_valid_fraction"] = math.floor((1 - max(_OUTSIDE, min(0.1, 2 / rows))) * 1000) / 1000
    return facts


def _range(column: pd.Series, *, signed: bool) -> dict[str, float]:
    """Return the range of the finite values, widened by half of their span; nothing where floats end before.

    The few values that lie far out are left out: a wind of a thousand miles an hour is no range. It goes below
    zero where values do, or where they may, as temperatures do.
    """
    present = column.dropna().to_numpy(dtype=float)
    present = present[np.isfinite(present)]
    if not len(present):
        return {}
    near, far = np.quantile(present, (_RARE, 1 - _RARE))
    if far > near and math.isfinite(_FAR * (far - near)):
        present = present[(present >= near - _FAR * (far - near)) & (present <= far + _FAR * (far - near))]
    low, high = float(present.min()), float(present.max())
    if {low, high} == {0.0, 1.0} and bool(np.isin(present, (0.0, 1.0)).all()):
        return {"minimum": 0.0, "maximum": 1.0}
    reach = high / 2 - low / 2
    if not math.isfinite(high + reach) or not math.isfinite(low - reach):
        return {}
    # to three digits of the span, whatever the column's scale is
    digits = 2 - math.floor(math.log10(reach)) if reach else 15
    minimum = round(low - reach, digits)
    minimum = minimum if low < 0 or signed else max(0.0, minimum)
    return {"minimum": minimum, "maximum": round(high + reach, digits)}


def missing_in_windows(column: pd.Series, windows: Any) -> float:
    """Return the share of missing cells that a sound window may have: they come in clusters, and a few by chance.

    Twice the share p of all rows with three standard errors of it in a usual window of n rows,
    2p + 3 sqrt(2p / n), or what one window of 20 exceeds; and always two cells.
    """
    missing = column.isna()
    by_window = missing.groupby(windows)
    twice, rows = 2 * float(missing.mean()), float(by_window.size().median())
    usual = max(twice + 3 * math.sqrt(twice / rows), float(by_window.mean().quantile(0.95)), 2 / rows)
    return min(1.0, math.ceil(usual * 10_000) / 10_000)


def _no_feature(column: pd.Series, name: str, times: pd.Series | None) -> str:
    """Return why a column, in the order of time, tells a model nothing of rows to come; empty where it may."""
    if column.isna().all():
        return "Without any value."
    if column.dtype.kind not in "iuf" or len(column) < _LEAST_ROWS:
        return ""
    present = column.dropna().to_numpy(dtype=float)
    if times is not None and np.array_equal(column, times.dt.year):
        return "The year of the time: none that comes was ever trained on."
    different = np.unique(present)
    counts = len(different)
    if times is not None and counts > 1 and (column == times.dt.day).mean() >= _SAME_DAY:
        return "The day of the time: a window of a week sees a few of them."
    whole = bool(np.isfinite(present).all() and (present % 1 == 0).all())
    if whole and counts == len(present) and different[-1] - different[0] == counts - 1:
        return _COUNTER
    steps = np.diff(present)
    if (
        counts > _RUNNING
        and ((steps >= 0).all() or (steps <= 0).all())
        and (counts == len(present) or times is not None)
    ):
        return "A running number: it only moves on with the rows."
    if whole and counts == len(present) and _IDENTITY.search(name):
        return _COUNTER
    if whole and _IDENTITY.search(name) and counts > _MOST_IDENTITIES and _new_ones_come(present, counts):
        return "Tells who or what a row is about: of those to come none was trained on."
    return ""


def _new_ones_come(present: np.ndarray[Any, Any], counts: int) -> bool:
    """Whether the newest fifth of the rows has values that were never before, or there are few rows of each."""
    newest = len(present) * 4 // 5
    unseen = ~np.isin(present[newest:], present[:newest])
    return bool(unseen.mean() >= _NEW_FRACTION or len(present) < _ROWS_EACH * counts)


def _type(column: pd.Series) -> str:
    if column.isna().all():
        return "text"
    kind = column.dtype.kind
    if str(column.dtype) == "boolean" or kind == "b":
        return "boolean"
    if kind in "iu":
        return "integer"
    if kind == "f":
        present = column.dropna()
        whole = len(present) > 0 and bool(((present % 1 == 0) & (present.abs() <= _LARGEST_EXACT)).all())
        return "integer" if whole else "number"
    if kind == "M":
        return "timestamp"
    return "category" if _is_closed(column.dropna()) else "text"


def _is_closed(present: pd.Series) -> bool:
    """Whether texts are few, or a list that rows to come will hardly add to."""
    counts = present.nunique()
    if counts <= _MOST_CATEGORIES:
        return True
    if counts > _MOST_LISTED or len(present) < _ROWS_EACH_LISTED * counts:
        return False
    newest = len(present) * 4 // 5
    return bool((~present.iloc[newest:].isin(present.iloc[:newest])).mean() <= _NEW_LISTED)
