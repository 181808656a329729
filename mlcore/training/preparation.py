"""The second step of a model: imputation, one-hot encoding and scaling of the feature matrix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

Array = np.ndarray[Any, Any]

#: With a larger share of values that are not zero a sparse matrix saves nothing (scikit-learn's own limit).
_DENSE: Final = 0.3


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
    sparse_fit : bool, default=False
        Whether an estimator that is fitted on what `fit_transform` returns is given few ones instead of many zeros,
        where that is a sparse matrix. It is how to compute, not what, and part of no digest.

    Attributes
    ----------
    medians_, levels_, indicated_, means_, scales_
        What was learned.
    """

    #: of models that were saved before there was a choice
    sparse_fit = False

    def __init__(
        self,
        names: list[str],
        discrete: list[int],
        impute: bool,
        one_hot: bool,
        scale: bool,
        sparse_fit: bool = False,
    ) -> None:
        self.names = names
        self.discrete = discrete
        self.impute = impute
        self.one_hot = one_hot
        self.scale = scale
        self.sparse_fit = sparse_fit

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

    def fit_transform(self, matrix: Array, target: object = None) -> Any:
        """Learn from `matrix` and return it prepared; as a sparse matrix (CSR) where `sparse_fit` says so."""
        self.fit(matrix, target)
        width = len(self.numeric_) + len(self.indicated_) + sum(len(levels) for levels in self.levels_)
        filled = len(self.numeric_) + len(self.indicated_) + len(self.levels_)
        if not self.sparse_fit or filled > _DENSE * width:
            return self.transform(matrix)
        from scipy.sparse import csr_matrix

        numbers, ones, begin = self._numbers(matrix), self._ones(matrix), filled - len(self.levels_)
        columns = np.empty((len(matrix), filled), dtype=np.int32)
        values = np.ones((len(matrix), filled))
        columns[:, :begin], values[:, :begin] = np.arange(begin), numbers
        kept = np.ones((len(matrix), filled), dtype=bool)
        for position, (known, places) in enumerate(ones, begin):
            columns[known, position] = places
            kept[:, position] = known
        ends = np.concatenate([[0], kept.sum(axis=1).cumsum()])
        return csr_matrix((values[kept], columns[kept], ends), shape=(len(matrix), width))

    def transform(self, matrix: Array) -> Array:
        """Return the prepared matrix, shape (n_rows, n_prepared)."""
        if not (self.impute or self.one_hot or self.scale):
            return matrix
        numbers = self._numbers(matrix)
        # made in place: the one-hot columns are most of the memory that a linear model takes
        prepared = np.zeros((len(matrix), numbers.shape[1] + sum(len(levels) for levels in self.levels_)))
        prepared[:, : numbers.shape[1]] = numbers
        for known, places in self._ones(matrix):
            prepared[np.flatnonzero(known), places] = 1.0
        return prepared

    def _numbers(self, matrix: Array) -> Array:
        """Return what is no one-hot column: numbers, and whether they were missing."""
        numbers = matrix[:, self.numeric_]
        missing = np.isnan(numbers)
        if self.impute:
            numbers[missing] = np.broadcast_to(self.medians_, numbers.shape)[missing]
        if self.scale:
            numbers = (numbers - self.means_) / self.scales_
        return np.concatenate([numbers, missing[:, self.indicated_]], axis=1) if len(self.indicated_) else numbers

    def _ones(self, matrix: Array) -> Iterator[tuple[Array, Array]]:
        """Yield for each encoded column which rows have a known value, and the prepared column of each of these."""
        begin = len(self.numeric_) + len(self.indicated_)
        for position, levels in zip(self.encoded_, self.levels_, strict=True):
            column = matrix[:, position]
            if not len(levels):
                yield np.zeros(len(matrix), dtype=bool), np.empty(0, dtype=int)
                continue
            place = np.searchsorted(levels, column)
            known = levels[place.clip(max=len(levels) - 1)] == column
            yield known, begin + place[known]
            begin += len(levels)

    def get_feature_names_out(self, input_features: object = None) -> Array:  # noqa: ARG002 - scikit-learn's signature
        """Return the name of each prepared column."""
        names = [self.names[position] for position in self.numeric_]
        names += [f"{names[position]}_missing" for position in self.indicated_]
        for position, levels in zip(self.encoded_, self.levels_, strict=True):
            names += [f"{self.names[position]}_is_{level:g}" for level in levels]
        return np.array(names, dtype=object)
