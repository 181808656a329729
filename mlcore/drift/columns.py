"""A column as drift looks at it: its numbers in order, its categories counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import Column

#: A baseline keeps the counts of so many categories, the most frequent.
MOST_CATEGORIES: Final = 500


def watched(column: Column) -> bool:
    """Whether a column's drift is looked at."""
    return column.drift and column.type not in ("timestamp", "text")


def category_counts(column: pd.Series) -> dict[str, int]:
    """Return how often each category is there, by its text.

    Examples
    --------
    >>> import pandas as pd
    >>> category_counts(pd.Series(["b", "a", None, "b"]))
    {'b': 2, 'a': 1}
    """
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        codes, labels = column.cat.codes.to_numpy(), column.cat.categories
    else:
        codes, labels = (_shared_objects(column) if column.dtype == object else None) or pd.factorize(column)
    # -1 stands for a missing value; only the few distinct labels are made text, not every row
    seen = np.bincount(codes + 1, minlength=len(labels) + 1)[1:]
    counts: dict[str, int] = {}
    for label, count in zip(labels, seen.tolist(), strict=True):
        if count:
            counts[str(label)] = counts.get(str(label), 0) + count
    return counts


def _shared_objects(column: pd.Series) -> tuple[np.ndarray[Any, Any], list[Any]] | None:
    """Return a code for each row and the objects they stand for; None where rows do not share their objects.

    Columns of text that come from Arrow hold one object a category: their addresses are told apart ten times faster
    than the texts, and without the interpreter's lock.
    """
    import ctypes

    import pandas as pd

    values = np.ascontiguousarray(column.to_numpy())
    if not len(values):
        return None
    addresses = np.ctypeslib.as_array((ctypes.c_ssize_t * len(values)).from_address(values.ctypes.data))
    codes, distinct = pd.factorize(addresses)
    if len(distinct) > MOST_CATEGORIES:
        return None
    rows = np.empty(len(distinct), dtype=np.intp)
    rows[codes] = np.arange(len(codes))
    labels = values[rows].tolist()
    missing = np.array([pd.isna(label) for label in labels])
    known = np.where(missing, -1, np.cumsum(~missing) - 1)
    return known[codes], [label for label in labels if not pd.isna(label)]


def as_floats(column: pd.Series) -> np.ndarray[Any, Any]:
    """Return a numeric column as float64, missing values as NaN; without a copy where it is that already."""
    if column.dtype == np.float64:
        return column.to_numpy()
    return column.to_numpy(dtype=float, na_value=np.nan)


def sorted_present(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the values that are not NaN, sorted.

    Examples
    --------
    >>> sorted_present(np.array([2.0, np.nan, 1.0])).tolist()
    [1.0, 2.0]
    """
    ordered = np.sort(values)
    return ordered[: np.searchsorted(ordered, np.nan)]  # NaN is sorted to the end


def longest_run(values: np.ndarray[Any, Any], without: float | None = None) -> int:
    """Return the length of the longest run of equal values, of others than `without`.

    Examples
    --------
    >>> rain = np.array([0.0, 0.0, 0.0, 0.4, 1.2, 1.2, 0.0])
    >>> longest_run(rain), longest_run(rain, without=0.0)
    (3, 2)
    """
    if not len(values):
        return 0
    changes = np.flatnonzero(np.diff(values) != 0)
    edges = np.concatenate([[-1], changes, [len(values) - 1]])
    lengths = np.diff(edges)
    if without is not None:
        lengths = lengths[values[edges[1:]] != without]
    return int(lengths.max(initial=0))


def most_frequent(ordered: np.ndarray[Any, Any]) -> float | None:
    """Return the most frequent of sorted values, the first one of several; None without any.

    Examples
    --------
    >>> most_frequent(np.array([0.0, 0.4, 0.4, 1.2]))
    0.4
    """
    if not len(ordered):
        return None
    begins = np.concatenate([[0], np.flatnonzero(np.diff(ordered) != 0) + 1])
    return float(ordered[begins[np.diff(begins, append=len(ordered)).argmax()]])


def as_series(values: np.ndarray[Any, Any]) -> pd.Series:
    """Return answers as the columns beside them are."""
    import pandas as pd

    return pd.Series(values)
