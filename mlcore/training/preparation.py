"""The second step of a model: imputation, one-hot encoding and scaling of the feature matrix."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

Array = np.ndarray[Any, Any]


class Preparation(TransformerMixin, BaseEstimator):
    """Makes the feature matrix fit for the estimator.

    Missing numbers get the median of training, and one more column says where they were missing if training
    had any missing there. One-hot columns exist for the values of training; any other value is all zeros.

    Parameters
    ----------
    names : list of str
        Name of each column of the matrix.
    discrete : list of int
        Positions of the columns with few values: categories, crosses, hours, weekdays.
    impute, one_hot, scale : bool
        What to do. An estimator that takes NaN is given NaN.

    Attributes
    ----------
    medians_, levels_, indicated_, means_, scales_
        What was learned.
    """

    def __init__(self, names: list[str], discrete: list[int], impute: bool, one_hot: bool, scale: bool) -> None:
        self.names = names
        self.discrete = discrete
        self.impute = impute
        self.one_hot = one_hot
        self.scale = scale

    def fit(self, matrix: Array, target: object = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Learn medians, levels, means and deviations of `matrix`, shape (n_rows, n_features)."""
        self.encoded_ = [int(position) for position in self.discrete] if self.one_hot else []
        self.numeric_ = [position for position in range(matrix.shape[1]) if position not in set(self.encoded_)]
        self.levels_ = [np.unique(column[np.isfinite(column)]) for column in matrix[:, self.encoded_].T]
        numbers = matrix[:, self.numeric_]
        missing = np.isnan(numbers)
        partly = missing.any(axis=0) & ~missing.all(axis=0)
        self.indicated_ = np.flatnonzero(partly) if self.impute else np.empty(0, dtype=int)
        empty = missing.all(axis=0)
        self.medians_ = np.zeros(numbers.shape[1])
        if len(numbers):
            self.medians_[~empty] = np.nanmedian(numbers[:, ~empty], axis=0)
        filled = np.where(missing, self.medians_, numbers)
        self.means_ = filled.mean(axis=0)
        deviation = filled.std(axis=0)
        # A column whose spread is rounding noise is constant; dividing by the noise would blow it up.
        self.scales_ = np.where(deviation > 1e-12 * np.maximum(np.abs(self.means_), 1), deviation, 1.0)
        return self

    def transform(self, matrix: Array) -> Array:
        """Return the prepared matrix, shape (n_rows, n_prepared)."""
        if not (self.impute or self.one_hot or self.scale):
            return matrix
        numbers = matrix[:, self.numeric_]
        missing = np.isnan(numbers)
        if self.impute:
            numbers[missing] = np.broadcast_to(self.medians_, numbers.shape)[missing]
        if self.scale:
            numbers = (numbers - self.means_) / self.scales_
        flags = missing[:, self.indicated_]
        begin = numbers.shape[1] + flags.shape[1]
        # made in place: the one-hot columns are most of the memory that a linear model takes
        prepared = np.zeros((len(matrix), begin + sum(len(levels) for levels in self.levels_)))
        prepared[:, : numbers.shape[1]], prepared[:, numbers.shape[1] : begin] = numbers, flags
        for position, levels in zip(self.encoded_, self.levels_, strict=True):
            if not len(levels):
                continue
            column = matrix[:, position]
            place = np.searchsorted(levels, column)
            known = np.flatnonzero(levels[place.clip(max=len(levels) - 1)] == column)
            prepared[known, begin + place[known]] = 1.0
            begin += len(levels)
        return prepared

    def get_feature_names_out(self, input_features: object = None) -> Array:  # noqa: ARG002 - scikit-learn's signature
        """Return the name of each prepared column."""
        names = [self.names[position] for position in self.numeric_]
        names += [f"{names[position]}_missing" for position in self.indicated_]
        for position, levels in zip(self.encoded_, self.levels_, strict=True):
            names += [f"{self.names[position]}_is_{level:g}" for level in levels]
        return np.array(names, dtype=object)
