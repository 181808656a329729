"""Values as of an earlier time, and statistics over windows of the past, on plain arrays.

A row never sees a row of its own time or of a later one. Each value is computed from the rows of its own window
alone, in an order that is theirs, so that it is the same to the last bit however much history there is around it:
running sums would be quicker, and would differ between training and serving.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, Any]

#: Kinds of steps that look back.
PAST_KINDS: Final = frozenset({"lag", "rolling"})
#: Time of a row without one, in microseconds (numpy's own mark).
NO_TIME: Final = np.iinfo(np.int64).min
_SECOND: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that can be looked back at.

    Parameters
    ----------
    values : mapping of column name to ndarray of shape (n_rows,)
        Numbers as float64, everything else as text or None.
    times : ndarray of int64, shape (n_rows,)
        Microseconds since 1970, `NO_TIME` where missing.
    identity : ndarray of uint64, shape (n_rows,)
        Equal for a row that is given twice.
    """

    values: Mapping[str, Array]
    times: Array
    identity: Array

    def take(self, rows: Array) -> Rows:
        """Return the rows at `rows`, a mask or positions."""
        return Rows({name: column[rows] for name, column in self.values.items()}, self.times[rows], self.identity[rows])


def identity_of(columns: Sequence[Array]) -> Array:
    """Return 64 bits for each row of `columns`; they are the same in any process."""
    import pandas as pd

    return np.asarray(pd.util.hash_pandas_object(pd.DataFrame(dict(enumerate(columns))), index=False))


class Past:
    """The asking rows and every row they may look back at.

    Parameters
    ----------
    asking : Rows
        The rows that get values; they look back at one another too.
    *older : Rows
        More to look back at, the most trusted first. A row that an earlier argument holds already is left out.
    """

    def __init__(self, asking: Rows, *older: Rows) -> None:
        parts = [asking]
        for rows in older:
            known = np.concatenate([part.identity for part in parts])
            parts.append(rows.take(~np.isin(rows.identity, known)))
        self.count = len(asking.times)
        self.times = np.concatenate([part.times for part in parts])
        self.values = {name: np.concatenate([part.values[name] for part in parts]) for name in asking.values}
        self._groups: dict[tuple[str, ...], Array] = {}
        self._timelines: dict[tuple[str, ...], _Timeline] = {}

    def lag(self, column: str, by: Sequence[str], after: int) -> Array:
        """Return the last known value of `column` at or before `after` seconds ago; missing where there is none."""
        line, groups, times = self._line(column, by)
        begin = line.position(groups, np.full(len(times), NO_TIME), "left")
        end = line.position(groups, times - after * _SECOND, "right")
        found = (end > begin) & _asks(groups, times)
        is_text = self.values[column].dtype == object
        result = np.full(len(times), None, dtype=object) if is_text else np.full(len(times), np.nan)
        result[found] = line.values[end[found] - 1]
        return result

    def rolling(
        self, column: str, by: Sequence[str], window: int, after: int, statistics: Sequence[str], centre: float
    ) -> Iterable[Array]:
        """Yield each of `statistics` over the known values in ``[t - after - window, t - after)``.

        Parameters
        ----------
        column : str
        by : sequence of str
            Rows are looked back at only where these are equal.
        window, after : int
            Seconds.
        statistics : sequence of {"mean", "sum", "std", "min", "max", "count"}
            ``std`` is of the sample (n - 1). All but ``count`` are missing where there is no value.
        centre : float
            Near the values; it keeps the digits of ``std`` (Chan, Golub & LeVeque, 1983).
        """
        line, groups, times = self._line(column, by)
        low = line.position(groups, times - (after + window) * _SECOND, "left")
        high = line.position(groups, times - after * _SECOND, "left")
        asks = _asks(groups, times)
        high = np.where(asks, high, low)
        # in the order of the rows looked at: what reduceat computes between two windows is then little
        windows, back = np.unique(low * (len(line.values) + 1) + high, return_inverse=True)
        low, high = np.divmod(windows, len(line.values) + 1)
        count = (high - low).astype(np.float64)
        for statistic in statistics:
            if statistic == "count":
                yield np.where(asks, count[back], np.nan)
            else:
                yield _statistic(statistic, line.values, low, high, count, centre)[back]

    def tail(self, column: str, by: Sequence[str], reach: int) -> Array:
        """Return which rows can still be looked back at, `reach` seconds, by rows later than all of their group.

        That is, per group, the rows of the newest `reach` seconds and the last one before them.
        """
        line = self._timeline(column, by)
        last = np.flatnonzero(np.diff(line.groups, append=-1))
        edge = line.position(line.groups[last], line.times[last] - reach * _SECOND, "left")
        edge = np.maximum(edge - 1, line.position(line.groups[last], np.full(len(last), NO_TIME), "left"))
        starts = np.repeat(edge, np.diff(last, prepend=-1))
        kept = np.zeros(len(self.times), dtype=bool)
        kept[line.rows[np.arange(len(line.rows)) >= starts]] = True
        return kept

    def _line(self, column: str, by: Sequence[str]) -> tuple[_Timeline, Array, Array]:
        return self._timeline(column, by), self._codes(by)[: self.count], self.times[: self.count]

    def _timeline(self, column: str, by: Sequence[str]) -> _Timeline:
        key = (column, *by)
        if key not in self._timelines:
            groups = self._codes(by)
            asked = np.zeros(groups.max(initial=-1) + 2, dtype=bool)
            asked[groups[: self.count]] = True
            # of one request's groups only: no need to sort the others (the last place is of rows without a group)
            self._timelines[key] = _Timeline(self.values[column], np.where(asked[groups], groups, -1), self.times)
        return self._timelines[key]

    def _codes(self, by: Sequence[str]) -> Array:
        """Return the number of each row's group, -1 where one of `by` is missing."""
        import pandas as pd

        key = tuple(by)
        if key not in self._groups:
            columns = [pd.factorize(self.values[name]) for name in by]
            codes, _ = columns[0] if columns else (np.zeros(len(self.times), dtype=np.int64), None)
            for more, labels in columns[1:]:
                missing = (codes < 0) | (more < 0)
                # numbered anew each time, so that the product stays small
                codes = np.where(missing, -1, pd.factorize(codes * len(labels) + more)[0])
            self._groups[key] = codes
        return self._groups[key]


class _Timeline:
    """The known values of one column in the order of group, time and value.

    Values have a place in the order so that the order in which rows of one time came changes no sum's last bit;
    of several values at one time the largest is the last.
    """

    def __init__(self, values: Array, groups: Array, times: Array) -> None:
        known = (
            np.isfinite(values)
            if values.dtype != object
            else np.array([value is not None for value in values], dtype=bool)
        )
        rows = np.flatnonzero(known & _asks(groups, times))
        self.rows = rows[np.lexsort((_sortable(values[rows]), times[rows], groups[rows]))]
        self.values, self.groups, self.times = values[self.rows], groups[self.rows], times[self.rows]
        self._instants = np.unique(self.times)
        self._keys = self._key(self.groups, self.times, "left")

    def position(self, groups: Array, moments: Array, side: Any) -> Array:
        """Return how many values are in earlier groups, or in these before (right: or at) these moments."""
        return np.searchsorted(self._keys, self._key(groups, moments, side))

    def _key(self, groups: Array, moments: Array, side: Any) -> Array:
        # the rank of a time instead of the time itself: group and time fit into one integer
        return groups * (len(self._instants) + 1) + np.searchsorted(self._instants, moments, side)


def _asks(groups: Array, times: Array) -> Array:
    return (groups >= 0) & (times != NO_TIME)


def _sortable(values: Array) -> Array:
    return np.unique(values.astype(str), return_inverse=True)[1] if values.dtype == object else values


def _statistic(name: str, values: Array, low: Array, high: Array, count: Array, centre: float) -> Array:
    with np.errstate(all="ignore"):
        if name == "std":
            spread = values - centre
            total, squares = _reduce(np.add, spread, low, high), _reduce(np.add, np.square(spread), low, high)
            variance = np.maximum(squares - np.square(total) / count, 0) / (count - 1)
            return np.sqrt(np.where(count > 1, variance, np.nan))
        if name in ("min", "max"):
            found = _reduce(np.minimum if name == "min" else np.maximum, values, low, high)
        else:
            found = _reduce(np.add, values, low, high)
        return np.where(count > 0, found / count if name == "mean" else found, np.nan)


def _reduce(operation: np.ufunc, values: Array, low: Array, high: Array) -> Array:
    """Reduce each ``values[low:high]``; what an empty one gives has no meaning."""
    bounds = np.column_stack([low, high]).ravel()
    return np.asarray(operation.reduceat(np.append(values, 0.0), bounds)[::2])
