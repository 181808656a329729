"""Metrics by name: direction, value, and the per-row sums that make them cheap to bootstrap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from mlcore.contract import Task
from mlcore.errors import UseCaseError

Array = np.ndarray[Any, Any]

#: Probabilities are kept this far from 0 and 1 before a logarithm is taken.
PROBABILITY_FLOOR: Final = 1e-15


@dataclass(frozen=True, slots=True)
class Output:
    """What a model answers for some rows.

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
        Predicted numbers (regression) or labels (classification).
    probabilities : ndarray of shape (n_rows, n_classes) or None
        One column per class in `classes`; None for regression.
    classes : ndarray of shape (n_classes,) or None
        Labels in column order.
    """

    values: Array
    probabilities: Array | None = None
    classes: Array | None = None

    @classmethod
    def of(cls, model: Any, frame: Any, history: Any = None) -> Output:
        """Ask `model` about the rows of `frame`.

        A classifier without probabilities is taken at its word: 1 for the label it gives.

        Parameters
        ----------
        model : Pipeline or estimator
        frame : DataFrame
        history : DataFrame, optional
            Rows to look back at, for models with lags or rolling statistics; other models cost nothing for it. For
            each row only strictly earlier ones are looked at, so a whole table may be given.
        """
        if history is not None and hasattr(model, "steps") and getattr(model[0], "looks_back", False):
            frame, model = model[0].transform(frame, history), model[1:]
        if not hasattr(model, "classes_"):
            return cls(np.asarray(model.predict(frame), dtype=float))
        classes = np.asarray(model.classes_)
        if hasattr(model, "predict_proba"):
            probabilities = np.asarray(model.predict_proba(frame))
            return cls(classes[probabilities.argmax(axis=1)], probabilities, classes)
        labels = np.asarray(model.predict(frame))
        return cls(labels, (labels[:, None] == classes).astype(float), classes)

    @property
    def confidence(self) -> Array | None:
        """Probability of the label given, shape (n_rows,); None for regression."""
        return None if self.probabilities is None else self.probabilities.max(axis=1)

    def take(self, rows: Array | slice) -> Output:
        """Return the answers for `rows`, a mask, positions or a slice."""
        probabilities = None if self.probabilities is None else self.probabilities[rows]
        return Output(self.values[rows], probabilities, self.classes)

    def class_index(self, truth: Array) -> Array:
        """Return the position of each true label in `classes`, -1 where the model does not know the label."""
        assert self.classes is not None
        order = np.argsort(self.classes)
        position = np.searchsorted(self.classes, truth, sorter=order).clip(max=len(self.classes) - 1)
        index = order[position]
        return np.where(self.classes[index] == truth, index, -1)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric that is a function of weighted sums over rows: ``finish(weights @ statistics)``.

    Parameters
    ----------
    name : str
    task : {"regression", "classification"}
    higher_is_better : bool
    statistics : callable
        ``(truth, output) -> (n_rows, k)``; the first column is the weight's own sum (ones).
    finish : callable
        ``(…, k) totals -> (…)`` values.
    row_loss : callable
        ``(truth, output) -> (n_rows,)``; the higher, the worse the row was predicted.
    """

    name: str
    task: Task
    higher_is_better: bool
    statistics: Callable[[Array, Output], Array]
    finish: Callable[[Array], Array]
    row_loss: Callable[[Array, Output], Array]

    def value(self, truth: Array, output: Output) -> float:
        """Return the metric over all rows; nan where it is not defined (no rows, one class)."""
        if len(truth) == 0:
            return float("nan")
        return float(self.finish(self.statistics(truth, output).sum(axis=0)))

    def loss(self, value: float) -> float:
        """Return `value` turned so that lower is better."""
        return -value if self.higher_is_better else value


def _divide(numerator: Array, denominator: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator == 0, np.nan, numerator / np.where(denominator == 0, 1, denominator))


def _mean(totals: Array) -> Array:
    return _divide(totals[..., 1], totals[..., 0])


def _root_mean(totals: Array) -> Array:
    return np.sqrt(_mean(totals))


def _with_ones(*columns: Array) -> Array:
    """Return a column of ones and these columns, each of them together in memory: it is columns that are summed."""
    parts = [column[:, None] if column.ndim == 1 else column for column in columns]
    table = np.ones((len(parts[0]), 1 + sum(part.shape[1] for part in parts)), order="F")
    np.concatenate(parts, axis=1, out=table[:, 1:])
    return table


def _absolute(truth: Array, output: Output) -> Array:
    return np.abs(truth - output.values)


def _squared(truth: Array, output: Output) -> Array:
    return np.square(truth - output.values)


def _relative(truth: Array, output: Output) -> Array:
    return np.abs(truth - output.values) / np.maximum(np.abs(truth), np.finfo(float).eps)


def _poisson_deviance(truth: Array, output: Output) -> Array:
    """Unit deviance ``2 (y ln(y / m) - y + m)`` with predictions kept above 1e-9 (McCullagh & Nelder, 1989)."""
    mean = np.maximum(output.values, 1e-9)
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithm = np.where(truth > 0, truth * np.log(np.maximum(truth, 1e-300) / mean), 0.0)
    return 2 * (logarithm - truth + mean)


def _r2_statistics(truth: Array, output: Output) -> Array:
    # Centred by a constant: the ratio is unchanged, and the sums keep their digits.
    centred = truth - np.mean(truth)
    return _with_ones(_squared(truth, output), centred, np.square(centred))


def _r2(totals: Array) -> Array:
    spread = totals[..., 3] - _divide(np.square(totals[..., 2]), totals[..., 0])
    return 1 - _divide(totals[..., 1], np.where(spread <= 1e-12 * np.maximum(totals[..., 3], 1e-300), 0.0, spread))


def _log_loss(truth: Array, output: Output) -> Array:
    assert output.probabilities is not None
    index = output.class_index(truth)
    given = output.probabilities[np.arange(len(truth)), index]
    return -np.log(np.clip(np.where(index < 0, 0.0, given), PROBABILITY_FLOOR, 1.0))


def _brier(truth: Array, output: Output) -> Array:
    """Sum over classes of ``(p - [class is true])^2`` halved, which for two classes is Brier's 1950 score."""
    assert output.probabilities is not None
    index = output.class_index(truth)
    known = index >= 0
    residual = output.probabilities.astype(float, copy=True)
    residual[np.flatnonzero(known), index[known]] -= 1
    return (np.square(residual).sum(axis=1) + ~known) / 2


def _wrong(truth: Array, output: Output) -> Array:
    return (truth != output.values).astype(float)


def _right(truth: Array, output: Output) -> Array:
    return (truth == output.values).astype(float)


def _confusion_statistics(truth: Array, output: Output) -> Array:
    """Columns: ones, then for each label seen: is true, is predicted, is both."""
    labels = np.unique(np.concatenate([truth, output.values]))
    true = truth[:, None] == labels
    predicted = output.values[:, None] == labels
    return _with_ones(true.astype(float), predicted.astype(float), (true & predicted).astype(float))


def _confusion(totals: Array) -> tuple[Array, Array, Array]:
    count = (totals.shape[-1] - 1) // 3
    return totals[..., 1 : 1 + count], totals[..., 1 + count : 1 + 2 * count], totals[..., 1 + 2 * count :]


def _balanced_accuracy(totals: Array) -> Array:
    true, _, both = _confusion(totals)
    present = true > 0
    recall = np.where(present, both / np.where(present, true, 1), 0)
    return _divide(recall.sum(axis=-1), present.sum(axis=-1).astype(float))


def _macro_f1(totals: Array) -> Array:
    true, predicted, both = _confusion(totals)
    present = (true + predicted) > 0
    score = np.where(present, 2 * both / np.where(present, true + predicted, 1), 0)
    return _divide(score.sum(axis=-1), present.sum(axis=-1).astype(float))


def _simple(
    name: str, task: Task, row: Callable[[Array, Output], Array], finish: Callable[[Array], Array] = _mean
) -> Metric:
    return Metric(name, task, False, lambda truth, output: _with_ones(row(truth, output)), finish, row)


def _roc_auc_statistics(truth: Array, output: Output) -> Array:
    """Return each row's share in the pair count of the area under the curve (Hanley & McNeil, 1982).

    The area is a ratio of pair counts, not of sums; its influence values (DeLong et al., 1988) are, to first
    order, so resampling them gives the same interval as resampling the rows.
    """
    assert output.probabilities is not None
    assert output.classes is not None
    areas, shares = [], []
    for column, label in enumerate(output.classes):
        if len(output.classes) == 2 and column == 0:
            continue
        positive = truth == label
        if not positive.any() or positive.all():
            continue
        area, influence = _one_against_rest(positive, output.probabilities[:, column])
        areas.append(area)
        shares.append(influence)
    if not areas:
        return _with_ones(np.full(len(truth), np.nan))
    return _with_ones(np.mean(areas) + np.mean(shares, axis=0))


def _one_against_rest(positive: Array, score: Array) -> tuple[float, Array]:
    below_negatives = np.sort(score[~positive])
    below_positives = np.sort(score[positive])

    def share(ordered: Array, values: Array) -> Array:
        left, right = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
        return (left + right) / (2 * len(ordered))

    placement = np.empty(len(score))
    placement[positive] = share(below_negatives, score[positive])
    placement[~positive] = 1 - share(below_positives, score[~positive])
    area = float(placement[positive].mean())
    prevalence = np.where(positive, positive.mean(), (~positive).mean())
    return area, (placement - area) / prevalence


_REGRESSION = (
    _simple("mean_absolute_error", "regression", _absolute),
    _simple("mean_squared_error", "regression", _squared),
    _simple("root_mean_squared_error", "regression", _squared, _root_mean),
    _simple("mean_absolute_percentage_error", "regression", _relative),
    _simple("mean_poisson_deviance", "regression", _poisson_deviance),
    Metric("r2", "regression", True, _r2_statistics, _r2, _squared),
)
_CLASSIFICATION = (
    _simple("log_loss", "classification", _log_loss),
    _simple("brier_score", "classification", _brier),
    Metric("accuracy", "classification", True, lambda t, o: _with_ones(_right(t, o)), _mean, _wrong),
    Metric("balanced_accuracy", "classification", True, _confusion_statistics, _balanced_accuracy, _wrong),
    Metric("f1_macro", "classification", True, _confusion_statistics, _macro_f1, _wrong),
    Metric("roc_auc", "classification", True, _roc_auc_statistics, _mean, _brier),
)
METRICS: Final[dict[str, Metric]] = {metric.name: metric for metric in (*_REGRESSION, *_CLASSIFICATION)}
DEFAULT: Final[dict[Task, str]] = {"regression": "mean_absolute_error", "classification": "log_loss"}


def metric_named(name: str, task: Task) -> Metric:
    """Return the metric called `name`, or the task's default where `name` is empty.

    Raises
    ------
    UseCaseError
        If there is no such metric, or it is for the other task.

    Examples
    --------
    >>> truth, output = np.array([1.0, 2.0, 4.0]), Output(np.array([1.0, 3.0, 2.0]))
    >>> metric_named("mean_absolute_error", "regression").value(truth, output)
    1.0
    """
    known = [metric.name for metric in METRICS.values() if metric.task == task]
    metric = METRICS.get(name or DEFAULT[task])
    if metric is None or metric.task != task:
        raise UseCaseError(f"no such metric for {task}", subject="metric", expected=" or ".join(known), got=repr(name))
    return metric


def all_metrics(task: Task, truth: Array, output: Output) -> dict[str, float]:
    """Return every metric of `task` that is defined on these rows, by name."""
    values = {metric.name: metric.value(truth, output) for metric in METRICS.values() if metric.task == task}
    return {name: value for name, value in values.items() if np.isfinite(value)}
