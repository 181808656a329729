"""What the baseline keeps of whole rows and of their clock: single columns alone cannot tell a fault from a season."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import DataContract

#: 100 kB as 32-bit floats: beside the quantiles a baseline of 50 columns stays under 1 MB.
_MOST_CELLS: Final = 25_000
_MOST_ROWS: Final = 2_000
HOURS_OF_WEEK: Final = 168


def sample_rows(frame: pd.DataFrame, contract: DataContract) -> dict[str, np.ndarray[Any, Any]]:
    """Return whole rows, drawn with a fixed seed, in their order: features, target and time, as far as stored openly.

    Numbers and a target's truth values are 32-bit floats, categories text (missing: empty), the time int64
    microseconds.
    """
    roles = ("time", "feature", "target")
    columns = [
        column
        for column in contract.columns
        if column.role in roles and column.type != "text" and column.capture == "plain" and column.name in frame
    ]
    columns = [column for column in columns if column.type != "timestamp" or column.role == "time"]
    rows = min(len(frame), _MOST_ROWS, _MOST_CELLS // max(1, len(columns)))
    # never every n-th row: n may be a multiple of the day's length
    chosen = np.sort(np.random.default_rng(0).choice(len(frame), rows, replace=False))
    kept = frame.iloc[chosen]
    found = {}
    for column in columns:
        values = kept[column.name]
        if column.role == "time":
            found[column.name] = microseconds(values)
        elif column.is_numeric or (column.role == "target" and column.type == "boolean"):
            found[column.name] = values.to_numpy(dtype=float, na_value=np.nan).astype(np.float32)
        else:
            found[column.name] = values.astype(object).where(values.notna(), "").astype(str).to_numpy(dtype=str)
    return found


def occupied_hours(frame: pd.DataFrame, contract: DataContract) -> tuple[float, ...]:
    """Return for each hour of the week, from Monday in UTC, the share of its occurrences that had a row."""
    time = contract.time
    if time is None or time.name not in frame:
        return ()
    hours = np.unique(microseconds(frame[time.name].dropna()) // 3_600_000_000)
    if not len(hours):
        return ()
    # the epoch was a Thursday
    seen = np.bincount((hours + 72) % HOURS_OF_WEEK, minlength=HOURS_OF_WEEK)
    possible = np.bincount((np.arange(hours[0], hours[-1] + 1) + 72) % HOURS_OF_WEEK, minlength=HOURS_OF_WEEK)
    return tuple(float(share) for share in np.round(seen / np.maximum(possible, 1), 4))


def repeated_fraction(frame: pd.DataFrame, contract: DataContract) -> float:
    """Return the share of rows whose key another row before them has; 0 where the contract has no key."""
    keys = [column.name for column in contract.keys if column.name in frame]
    return float(frame.duplicated(subset=keys).mean()) if keys and len(frame) else 0.0


def repeated_rows(frame: pd.DataFrame, contract: DataContract) -> float:
    """Return the share of rows that are, in everything a caller sends, another row before them."""
    names = [column.name for column in contract.inputs if column.name in frame]
    if any(column.name in names for column in contract.keys) and not repeated_fraction(frame, contract):
        return 0.0  # rows without a common key are not the same
    return float(frame.duplicated(subset=names).mean()) if names and len(frame) else 0.0


def microseconds(times: pd.Series) -> np.ndarray[Any, Any]:
    """Return time stamps as microseconds since 1970 in UTC."""
    return times.to_numpy(dtype="datetime64[us]").astype(np.int64)


def from_archive(archive: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Return the sample that a baseline's file holds; older files hold none."""
    return {name.removeprefix("sample:"): archive[name] for name in archive if name.startswith("sample:")}
