"""How long rows of a table depend on each other: hours of one day's weather are not as many observations."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]

_LENGTHS: Final = tuple(timedelta(hours=hours) for hours in (1, 6, 24, 48, 168))
#: A design effect up to this is as easily chance.
_LEAST_EFFECT: Final = 2.0
_LEAST_BLOCKS: Final = 20


def block_length(frame: pd.DataFrame, times: pd.Series, longest: timedelta) -> timedelta | None:
    """Return the length of blocks that may count as one observation each.

    The shortest block that has at least as many rows as the design effect of the most dependent column says: so many
    rows are worth one independent row. A season is dependence, too: a window sees one stretch of it, whose rows are
    alike. Blocks are tried from an hour to a week.

    Parameters
    ----------
    frame : DataFrame of shape (n_rows, n_columns)
        Numeric columns and columns of categories.
    times : Series of shape (n_rows,)
        When each row was.
    longest : timedelta
        Longer ones are not returned: a window needs several blocks.

    Returns
    -------
    timedelta or None
        None where each row may count for itself.

    References
    ----------
    Kish, L. (1965). Survey sampling. Wiley. (design effect)
    """
    known = times.notna().to_numpy()
    moments = times[known].to_numpy(dtype="datetime64[s]").astype(np.int64)
    columns = [column[known] for column in _as_numbers(frame)]
    lengths = [length for length in _LENGTHS if _cut(moments, length).max(initial=-1) + 1 >= _LEAST_BLOCKS]
    effects = [_design_effect(column, moments, length) for column in columns for length in lengths]
    worst = max(effects, default=1.0)
    if worst <= _LEAST_EFFECT:
        return None
    allowed = [length for length in lengths if length <= longest]
    enough = (length for length in allowed if np.median(np.bincount(_cut(moments, length))) >= worst)
    return next(enough, allowed[-1] if allowed else None)


def _design_effect(values: Array, moments: Array, length: timedelta) -> float:
    """Return how much more the blocks' sums vary than those of as many independent values would."""
    left = values - values.mean()
    total = float(np.square(left).sum())
    if total <= 1e-12 * len(values):
        return 1.0
    return float(np.square(np.bincount(_cut(moments, length), left)).sum()) / total


def _cut(moments: Array, length: timedelta) -> Array:
    """Return the number of each moment's block, without numbers for blocks that have no row."""
    return np.unique(moments // int(length.total_seconds()), return_inverse=True)[1]


def _as_numbers(frame: pd.DataFrame) -> Iterator[Array]:
    """Yield each column as ranks, missing ones in the middle, or as whether it has its most frequent value."""
    for name in frame.columns:
        column = frame[name]
        if column.dtype.kind in "iuf" and column.nunique() > 2:
            yield column.rank(pct=True).fillna(0.5).to_numpy(dtype=float)
        elif column.nunique() > 1:
            yield (column == column.mode().iloc[0]).fillna(False).to_numpy(dtype=float)
