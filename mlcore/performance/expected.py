"""What a metric is expected to be when labels are drawn from calibrated probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcore.metrics import Metric, Output

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Calibration:
    """For each class a monotonous map from the model's probability to the observed one, as points to interpolate.

    Parameters
    ----------
    points : tuple of (ndarray, ndarray)
        Given and calibrated probabilities of each class, increasing.
    """

    points: tuple[tuple[Array, Array], ...]

    @classmethod
    def fitted(cls, truth: Array, output: Output) -> Calibration:
        """Calibrate on rows that the model was not fitted on, each class against the others."""
        from sklearn.isotonic import IsotonicRegression

        assert output.probabilities is not None
        index = output.class_index(truth)
        points = []
        for column in range(output.probabilities.shape[1]):
            isotonic = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
            isotonic.fit(output.probabilities[:, column], index == column)
            points.append((isotonic.X_thresholds_.astype(float), isotonic.y_thresholds_.astype(float)))
        return cls(tuple(points))

    def probabilities(self, output: Output) -> Array:
        """Return calibrated probabilities, shape (n_rows, n_classes), each row's sum 1."""
        assert output.probabilities is not None
        given = output.probabilities
        found = np.column_stack([np.interp(given[:, column], *points) for column, points in enumerate(self.points)])
        total = found.sum(axis=1, keepdims=True)
        return np.where(total > 0, found / np.where(total > 0, total, 1.0), given)

    def to_arrays(self) -> dict[str, Array]:
        """Return what is kept."""
        named = [(f"given:{number}", f"found:{number}") for number in range(len(self.points))]
        return {
            name: values
            for names, pair in zip(named, self.points, strict=True)
            for name, values in zip(names, pair, strict=True)
        }

    @classmethod
    def from_arrays(cls, archive: Mapping[str, Any]) -> Calibration:
        """Return what `to_arrays` wrote."""
        count = sum(name.startswith("given:") for name in archive)
        return cls(tuple((archive[f"given:{number}"], archive[f"found:{number}"]) for number in range(count)))


def expected_value(metric: Metric, output: Output, probabilities: Array) -> float:
    """Return the metric of the expected sums over rows whose labels are drawn from `probabilities`.

    Exact for means over rows; for ratios of sums, as balanced accuracy, the ratio of expectations, which differs from
    the expectation of the ratio by 1/n. The area under the curve is the expected share of rightly ordered pairs among
    the expected pairs.

    Parameters
    ----------
    metric : Metric
        Of classification.
    output : Output
        What the model answered.
    probabilities : ndarray of shape (n_rows, n_classes)
        Of each label, in the order of ``output.classes``.

    Examples
    --------
    >>> from mlcore.metrics import metric_named
    >>> given = np.array([[0.9, 0.1], [0.4, 0.6]])
    >>> output = Output(np.array(["no", "yes"]), given, np.array(["no", "yes"]))
    >>> round(expected_value(metric_named("accuracy", "classification"), output, given), 3)
    0.75
    """
    assert output.classes is not None
    assert output.probabilities is not None
    rows, classes = probabilities.shape
    if not rows:
        return float("nan")
    if metric.name == "roc_auc":
        return _expected_area(output.probabilities, probabilities)
    every = np.tile(np.arange(rows), classes)
    labels = np.repeat(output.classes, rows)
    statistics = metric.statistics(labels, output.take(every))
    return float(metric.finish(probabilities.T.ravel() @ statistics))


def _expected_area(scores: Array, probabilities: Array) -> float:
    classes = range(1, 2) if scores.shape[1] == 2 else range(scores.shape[1])
    areas = [_pairs(scores[:, column], probabilities[:, column]) for column in classes]
    known = [area for area in areas if np.isfinite(area)]
    return float(np.mean(known)) if known else float("nan")


def _pairs(score: Array, positive: Array) -> float:
    """Return the expected share of pairs of a positive and a negative row in which the positive has more."""
    values, place = np.unique(score, return_inverse=True)
    up = np.bincount(place, weights=positive, minlength=len(values))
    down = np.bincount(place, weights=1 - positive, minlength=len(values))
    below = np.cumsum(down) - down
    # a row is no pair with itself
    itself = float((positive * (1 - positive)).sum())
    pairs = up.sum() * down.sum() - itself
    return float(((up * (below + down / 2)).sum() - itself / 2) / pairs) if pairs > 0 else float("nan")
