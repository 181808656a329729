"""Whether answers are right on average: prediction beside truth, in bins of equally many rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from mlcore.metrics import Output

Array = np.ndarray[Any, Any]

_BINS: Final = 10


def calibration_curve(truth: Array, output: Output) -> list[tuple[float, float, int]]:
    """Return mean prediction, mean truth and rows of ten bins (Naeini, Cooper & Hauskrecht, 2015).

    For classification it is the probability of the label that was given, and how often that label was right.
    """
    confidence = output.confidence
    predicted = output.values if confidence is None else confidence
    observed = truth if confidence is None else (output.values == truth).astype(float)
    return [
        (float(predicted[rows].mean()), float(observed[rows].mean()), len(rows))
        for rows in equal_bins(predicted, _BINS)
    ]


def calibration_gap(curve: Sequence[Sequence[float]]) -> float:
    """Return the mean distance between prediction and truth over the bins of a `calibration_curve`, each by its rows.

    Examples
    --------
    >>> calibration_gap([(1.0, 2.0, 50), (3.0, 3.0, 50)])
    0.5
    """
    predicted, observed, rows = np.asarray(curve, dtype=float).T
    return float(np.average(np.abs(predicted - observed), weights=rows))


def equal_bins(values: Array, count: int) -> list[Array]:
    """Return the positions of ever larger values in up to `count` parts of equally many; equal ones keep their order.

    As a stable sort has it, at a tenth of its time: only values that a part's end divides need an order.

    Examples
    --------
    >>> [part.tolist() for part in equal_bins(np.array([3.0, 1.0, 1.0, 1.0]), 2)]
    [[1, 2], [3, 0]]
    """
    order = np.argsort(values)
    ordered = values[order]
    ends = np.cumsum([len(part) for part in np.array_split(order, count)])[:-1]
    for value in np.unique(ordered[ends[(ends > 0) & (ends < len(order))]]):
        first, last = np.searchsorted(ordered, value, "left"), np.searchsorted(ordered, value, "right")
        order[first:last].sort()
    return [part for part in np.array_split(order, count) if len(part)]
