"""Whether the calendar explains a shift: the window against the training rows of the same season."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from mlcore.diagnosis.findings import Numbers
from mlcore.drift.statistics import population_stability_index

_HOUR: Final = 3_600_000_000
_BINS: Final = 5
#: A population stability index below this is no shift (Siddiqi, 2006).
_SAME: Final = 0.1
#: Fewer training rows of a season, in effect, say nothing of it.
_LEAST_ROWS: Final = 100
#: Where chance alone gives as much as this, nothing can be said, either.
_MOST_CHANCE: Final = 0.6
#: Rows whose season was not trained on must be no more than this.
_LEAST_SEEN: Final = 0.95
#: Days are fewer rows: then the season explains a move that is so much smaller against so many rows of it.
_LEAST_FEW, _SMALLER = 20, 0.5


def season_of(
    name: str, sample: Mapping[str, Any], rows: Mapping[str, Any], time: str, *, independent: float = 1.0
) -> str | None:
    """Return what the calendar says of a column that moved: a sentence where it explains the move, otherwise None.

    The training rows are weighted to the window's mix of months; where those were not all trained on, to its mix of
    hours, and of days of the week. The column has moved with the season when the population stability index against
    them is below 0.1, beyond what is expected of two samples of one law: (bins - 1)(1/n + 1/m) (Yurdakul, 2018), with
    n the effective number of weighted rows (Kish, 1965). Of 20 to 100 of those, too few for bins, the column must be
    half as far away as from all of training, by the largest difference of the distributions (Kolmogorov-Smirnov).

    Parameters
    ----------
    name : str
        The column.
    sample, rows : mapping of column name to ndarray
        Training rows and the window's: floats or text; times in microseconds of UTC.
    time : str
    independent : float in (0, 1], default=1
        Independent blocks a row, where rows depend on those before them: n and m are then blocks.
    """
    if not {name, time} <= sample.keys() or not {name, time} <= rows.keys():
        return None
    for calendar, weights in _same_seasons(sample[time], rows[time]):
        effective = float(weights.sum() ** 2 / np.square(weights).sum())
        if _LEAST_FEW <= effective < _LEAST_ROWS:
            far, near = (_distance(sample[name], rows[name], mix) for mix in (np.ones(len(weights)), weights))
            if near <= _SMALLER * far:
                return f"{name} is nearer to training in the same {calendar} (distance {near:.2f}, not {far:.2f})"
        if effective < _LEAST_ROWS:
            continue
        expected, actual = _counts(sample[name], rows[name], weights * effective / weights.sum())
        effect = population_stability_index(expected, actual)
        chance = (len(actual) - 1) * (1 / effective + 1 / len(rows[name])) / independent
        if chance <= _MOST_CHANCE and effect < _SAME + chance:
            return f"{name} is as it was in training in the same {calendar} (PSI {effect:.2f})"
    return None


def _distance(before: Numbers, now: Numbers, weights: Numbers) -> float:
    """Return the largest difference between the shares of rows up to a value, or of rows with a category."""
    if before.dtype.kind == "f":
        there, now = np.isfinite(before), now[np.isfinite(now)]
        before, weights = before[there], weights[there]
    labels = np.unique(np.concatenate([before, now]))
    size = len(labels)
    shares = [
        np.bincount(np.searchsorted(labels, values), mix, size) / max(1e-12, float(mix.sum()))
        for values, mix in ((before, weights), (now, np.ones(len(now))))
    ]
    apart = shares[0] - shares[1]
    return float(np.abs(np.cumsum(apart)).max(initial=0.0) if before.dtype.kind == "f" else np.abs(apart).sum() / 2)


def _same_seasons(trained: Numbers, now: Numbers) -> Iterator[tuple[str, Numbers]]:
    """Yield calendars whose parts were trained on, and weights of the training rows that give the window's mix."""
    months = _month(trained), _month(now)
    parts = [("months", *months)]
    if not np.isin(months[1], months[0]).all():
        parts = [
            ("hours", trained // _HOUR % 24, now // _HOUR % 24),
            ("days of the week", _weekday(trained), _weekday(now)),
        ]
    for calendar, before, after in parts:
        size = int(max(before.max(), after.max())) + 1
        had, has = np.bincount(before, minlength=size), np.bincount(after, minlength=size)
        if has[had > 0].sum() >= _LEAST_SEEN * len(after):
            yield calendar, (has / np.maximum(had, 1))[before]


def _month(times: Numbers) -> Numbers:
    return times.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64) % 12


def _weekday(times: Numbers) -> Numbers:
    return (times // (24 * _HOUR) + 3) % 7  # the epoch was a Thursday


def _counts(before: Numbers, now: Numbers, weights: Numbers) -> tuple[Numbers, Numbers]:
    """Return the weighted counts before and the counts now: of each category, or of five quantiles before."""
    if before.dtype.kind == "f":
        there, present = np.isfinite(before), now[np.isfinite(now)]
        order = np.argsort(before[there])
        ordered, cumulative = before[there][order], np.cumsum(weights[there][order])
        places = np.searchsorted(cumulative, np.arange(1, _BINS) / _BINS * cumulative[-1]) if len(cumulative) else []
        edges = np.unique(ordered[places])
        size = len(edges) + 1
        codes = [np.searchsorted(edges, values, side="left") for values in (before[there], present)]
        return np.bincount(codes[0], weights[there], size), np.bincount(codes[1], minlength=size).astype(float)
    labels = np.unique(np.concatenate([before, now]))
    codes = [np.searchsorted(labels, values) for values in (before, now)]
    return np.bincount(codes[0], weights, len(labels)), np.bincount(codes[1], minlength=len(labels)).astype(float)
