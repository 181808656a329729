"""Arithmetic of generated features on plain arrays: calendar parts, ratios, products, bins."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, Any]

#: Length of one turn of each calendar part, in the part's own unit.
PERIODS: Final[dict[str, float]] = {
    "hour": 24.0,
    "weekday": 7.0,
    "day": 31.0,
    "day_of_year": 365.25,
    "week": 52.18,
    "month": 12.0,
    "quarter": 4.0,
    "is_weekend": 2.0,
}
#: Parts with so few values that a linear model is given one column for each.
DISCRETE_PARTS: Final = frozenset({"hour", "weekday", "month", "quarter", "is_weekend"})

#: With fewer rows, as a request has, hash tables cost more than they save.
FEW: Final = 1_000


def calendar_part(times: Array, part: str) -> Array:
    """Return one calendar part (UTC) of each time as a float; NaN where the time is missing.

    Weekdays count from Monday = 0, weeks are ISO 8601 weeks, everything else counts as people do.

    Parameters
    ----------
    times : ndarray of datetime64[s], shape (n_rows,)
    part : str
        A key of `PERIODS`.

    Examples
    --------
    >>> noon = np.array(["2011-05-01T12:30:00"], dtype="datetime64[s]")
    >>> [float(calendar_part(noon, part)[0]) for part in ("hour", "weekday", "week", "day_of_year")]
    [12.0, 6.0, 17.0, 121.0]
    """
    missing = np.isnat(times)
    filled = np.where(missing, np.datetime64(0, "s"), times)
    days = filled.astype("datetime64[D]")
    weekday = (days.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
    if part == "hour":
        value = (filled - days).astype(np.int64) // 3600
    elif part == "weekday":
        value = weekday
    elif part == "is_weekend":
        value = (weekday >= 5).astype(np.int64)
    elif part == "day":
        value = (days - days.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64) + 1
    elif part == "day_of_year":
        value = _day_of_year(days)
    elif part == "week":
        value = (_day_of_year(days + 3 - weekday) - 1) // 7 + 1  # the week of a date is that of its Thursday
    else:
        month = days.astype("datetime64[M]").astype(np.int64) % 12
        value = month + 1 if part == "month" else month // 3 + 1
    return np.where(missing, np.nan, value.astype(float))


def _day_of_year(days: Array) -> Array:
    return (days - days.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64) + 1


def cyclic(part: str, values: Array) -> tuple[Array, Array]:
    """Return sine and cosine of `values` on the circle whose length is the part's period."""
    angle = 2 * np.pi * values / PERIODS[part]
    return np.sin(angle), np.cos(angle)


def ratio(numerator: Array, denominator: Array) -> Array:
    """Return the quotient, NaN where the denominator is zero or either is missing."""
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator != 0)


def quantile_edges(values: Array, count: int) -> Array:
    """Return the inner edges that cut the present `values` into at most `count` bins of equal share."""
    present = values[np.isfinite(values)]
    if len(present) == 0:
        return np.empty(0)
    return np.unique(np.quantile(present, np.arange(1, count) / count))


def bin_of(values: Array, edges: Array) -> Array:
    """Return the number of the bin of each value, NaN where it is missing."""
    return np.where(np.isnan(values), np.nan, np.searchsorted(edges, values, side="right").astype(float))


def shares(values: Array) -> tuple[Array, Array]:
    """Return the values that are present, sorted, and the share of all rows that each of them has."""
    found, counts = np.unique(values[~_missing(values)], return_counts=True)
    return found, counts / max(len(values), 1)


def share_of(values: Array, known: Array, share: Array) -> Array:
    """Return the share of each value: 0 where it is not among the known ones, NaN where it is missing.

    Examples
    --------
    >>> known, share = shares(np.array(["a", "b", "a", None], dtype=object))
    >>> share_of(np.array(["b", "a", "c", None], dtype=object), known, share).tolist()
    [0.25, 0.5, 0.0, nan]
    """
    share_by_value = dict(zip(known.tolist(), share.tolist(), strict=True))
    found = np.array([share_by_value.get(value, 0.0) for value in values.tolist()], dtype=np.float64)
    return np.where(_missing(values), np.nan, found)


def _missing(values: Array) -> Array:
    if values.dtype == object:
        return np.array([value is None for value in values], dtype=bool)
    return ~np.isfinite(values)


def crossed(columns: list[Array]) -> Array:
    """Return one text per row that joins the columns' values; None where any is missing.

    >>> crossed([np.array(["a", "b", None], dtype=object), np.array([1.0, 2.5, 3.0])]).tolist()
    ['a & 1', 'b & 2.5', None]
    """
    if len(columns[0]) < FEW:
        texts = [_as_text(column) for column in columns]
        return np.array([None if None in row else " & ".join(row) for row in zip(*texts, strict=True)], dtype=object)
    import pandas as pd

    joined = np.zeros(len(columns[0]), dtype=np.int64)
    missing = np.zeros(len(joined), dtype=bool)
    unique = np.array([""], dtype=object)
    for column in columns:
        codes, values = pd.factorize(column if column.dtype == object else column + 0.0)  # there is one zero
        missing |= codes < 0
        if not len(values):
            break
        told = values if column.dtype == object else [f"{value:g}" for value in values]
        pairs, kept = pd.factorize(joined * len(values) + codes)
        unique = np.array(
            [f"{unique[pair // len(values)]} & {told[pair % len(values)]}" for pair in kept], dtype=object
        )
        joined = pairs
    made = np.array([text.removeprefix(" & ") for text in unique], dtype=object)[joined]
    made[missing] = None
    return made


def _as_text(column: Array) -> list[str | None]:
    if column.dtype == object:
        return list(column)
    return [None if np.isnan(value) else f"{value + 0.0:g}" for value in column]
