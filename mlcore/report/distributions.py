"""Bins for the histograms of a window, from the baseline that is kept with the model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.report.comparisons import Distribution

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import DataContract
    from mlcore.drift import Baseline
    from mlcore.drift.baseline import CategoryBaseline, NumericBaseline

_BINS: Final = 20
#: A column with more distinct values is not a coarse one.
_MOST_STEPS: Final = 400
_MOST_CATEGORIES: Final = 8


def distributions(
    baseline: Baseline, frame: pd.DataFrame, contract: DataContract, names: Iterable[str]
) -> tuple[Distribution, ...]:
    """Return the distributions of columns in training and in a window.

    Parameters
    ----------
    baseline : Baseline
    frame : DataFrame of shape (n_rows, n_columns)
        The window, with a column ``prediction`` if that is asked for.
    contract : DataContract
    names : iterable of str
        Columns wanted; those that the baseline or the window does not have are left out.
    """
    units = {column.name: column.unit for column in contract.columns}
    units["prediction"] = contract.target.unit
    found = []
    for name in names:
        if name in frame and name in baseline.numeric:
            values = frame[name].to_numpy(dtype=float, na_value=np.nan)
            found.append(_numbers(name, units.get(name, ""), baseline.numeric[name], values[~np.isnan(values)]))
        elif name in frame and name in baseline.categories:
            counts = {str(key): int(count) for key, count in frame[name].dropna().astype(str).value_counts().items()}
            found.append(_categories(name, units.get(name, ""), baseline.categories[name], counts))
    return tuple(found)


def _numbers(name: str, unit: str, before: NumericBaseline, now: np.ndarray[Any, Any]) -> Distribution:
    edges = _edges(np.unique(np.concatenate([before.values, now])))
    return Distribution(
        name,
        unit,
        labels=(),
        edges=tuple(edges.tolist()),
        before=_shares(np.histogram(before.values, edges)[0]),
        now=_shares(np.histogram(now, edges)[0]),
    )


def _edges(distinct: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return about twenty bins of equal width, each holding equally many of the values that a coarse column can have.

    Bins that do not follow the steps of rounded values would draw a comb.

    Examples
    --------
    >>> _edges(np.arange(100.0))[:3].tolist()
    [-0.5, 4.5, 9.5]
    """
    if len(distinct) < 2:
        middle = float(distinct[0]) if len(distinct) else 0.0
        return np.array([middle - 0.5, middle + 0.5])
    low, high = float(distinct[0]), float(distinct[-1])
    if len(distinct) > _MOST_STEPS:
        return np.linspace(low, high, _BINS + 1)
    step = float(np.median(np.diff(distinct)))
    width = step * max(1, round((high - low) / step / _BINS))
    count = int(np.ceil((high - low + step) / width))
    if count > 2 * _BINS:  # a few values far from each other
        return np.linspace(low, high, _BINS + 1)
    edges: np.ndarray[Any, Any] = low - step / 2 + width * np.arange(count + 1)
    return edges


def _categories(name: str, unit: str, before: CategoryBaseline, now: dict[str, int]) -> Distribution:
    total = {label: before.counts.get(label, 0) + now.get(label, 0) for label in {*before.counts, *now}}
    labels = sorted(total, key=lambda label: (-total[label], label))
    shown, rest = labels[:_MOST_CATEGORIES], labels[_MOST_CATEGORIES:]
    counts = [
        np.array(
            [kept.get(label, 0) for label in shown] + ([sum(kept.get(label, 0) for label in rest)] if rest else [])
        )
        for kept in (before.counts, now)
    ]
    names = (*shown, f"{len(rest)} others") if rest else tuple(shown)
    return Distribution(name, unit, names, (), _shares(counts[0]), _shares(counts[1]))


def _shares(counts: np.ndarray[Any, Any]) -> tuple[float, ...]:
    return tuple((counts / max(1, counts.sum())).tolist())
