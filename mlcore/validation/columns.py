"""The columns a model looks at, as numbers that two sets of rows share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import Column
    from mlcore.usecase import UseCase

Array = np.ndarray[Any, Any]


def suspects(usecase: UseCase) -> list[Column]:
    """Return the columns that a model sees and that nobody has vouched for."""
    spared = {*usecase.training.exclude, *usecase.validation.leaks.allow}
    return [column for column in usecase.contract.features if column.name not in spared]


def numbers(column: Column, known: pd.DataFrame, frame: pd.DataFrame) -> Array:
    """Return a column as numbers, shape (n,): texts by their place among the values of `known`, -1 where they are new.

    Missing values are NaN.
    """
    import pandas as pd

    values = frame[column.name]
    if column.type == "timestamp":
        return np.where(values.isna(), np.nan, values.astype("int64").to_numpy(dtype=float))
    if column.is_numeric:
        return values.to_numpy(dtype=float, na_value=np.nan)
    levels = np.sort(known[column.name].astype(str).unique())
    return np.where(values.isna(), np.nan, pd.Index(levels).get_indexer(values.astype(str)))


def places(before: Array, now: Array) -> tuple[Array, Array]:
    """Return both as places among the values of `before`, whatever their scale; a new value is between two of them.

    It is on the side of the nearer one: a threshold in the middle of a gap is the same for places and for values.

    Examples
    --------
    >>> places(np.array([1e300, -np.inf, 1e-300, np.nan]), np.array([5.0, 1e-300, 9e299, 1e301]))
    (array([ 2.,  0.,  1., nan]), array([1.25, 1.  , 1.75, 2.5 ]))
    """
    values = np.unique(before[~np.isnan(before)])
    with np.errstate(invalid="ignore"):  # between the two infinities
        middles = values[:-1] / 2 + values[1:] / 2

    def placed(items: Array) -> Array:
        left, right = (np.searchsorted(values, items, side) for side in ("left", "right"))
        found = (left + right - 1) / 2
        between = np.flatnonzero((left == right) & (left > 0) & (left < len(values)))
        found[between] += np.where(items[between] < middles[left[between] - 1], -0.25, 0.25)
        return np.where(np.isnan(items), np.nan, found)

    return placed(before), placed(now)


def told(found: list[str], most: int = 5) -> str:
    """Return what was found as one phrase, the first few in full."""
    rest = len(found) - most
    return "; ".join(found[:most]) + (f"; and {rest} more" if rest > 0 else "")
