"""The first step of every model: a DataFrame of contract columns in, one number per feature and row out."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from mlcore.errors import ContractError
from mlcore.training import generators

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]

#: Code of a category that is missing, or that training never saw.
UNKNOWN: Final = -1.0
#: A column keeps a code for at most this many categories, the most frequent; the others are unknown.
MAXIMUM_CATEGORIES: Final = 200
#: Estimators that work in float32 take nothing larger.
LARGEST: Final = 3e38


class ModelFeatures(TransformerMixin, BaseEstimator):
    """Takes the columns a model may see and makes the generated features.

    Categories become codes 0, 1, … in the contract's order (or alphabetical), -1 where they are missing or
    were never seen; booleans 0 and 1; missing and infinite numbers NaN. Keys and raw timestamps never leave.
    Nothing about the target is used.

    Parameters
    ----------
    columns : list of [name, type, categories or None]
        The columns to read.
    raw : list of str
        Those of them that go to the model as they are.
    steps : list of dict
        ``{"kind", "columns", "parts", "count", "monomials", "names"}`` of each generated feature.

    Attributes
    ----------
    categories_ : dict of str to list of str
        Known values of each category feature, in code order.
    edges_ : dict of str to ndarray
        Inner bin edges of each binned column.
    """

    def __init__(self, columns: list[list[Any]], raw: list[str], steps: list[dict[str, Any]]) -> None:
        self.columns = columns
        self.raw = raw
        self.steps = steps

    def fit(self, frame: pd.DataFrame, target: object = None) -> Self:  # noqa: ARG002 - target-free by design
        """Learn the categories and the bin edges of `frame`."""
        self.edges_: dict[str, Array] = {}
        self.categories_: dict[str, list[str]] = {}
        values = self._read(frame)
        for step in self.steps:
            if step["kind"] == "bins":
                for column in step["columns"]:
                    self.edges_[column] = generators.quantile_edges(values[column], step["count"])
            self._generate(step, values)
        declared = {name: categories for name, _, categories in self.columns}
        for name in self.get_feature_names_out():
            if values[name].dtype == object:
                self.categories_[name] = list(declared.get(name) or _most_frequent(values[name]))
        return self

    def transform(self, frame: pd.DataFrame) -> Array:
        """Return the features of `frame`, shape (n_rows, n_features), float64.

        Raises
        ------
        ContractError
            If a column is missing or holds values that are not of its type.
        """
        values = self._read(frame)
        for step in self.steps:
            self._generate(step, values)
        names = self.get_feature_names_out()
        matrix = np.empty((len(frame), len(names)))
        for position, name in enumerate(names):
            column = values[name]
            matrix[:, position] = _codes(column, self.categories_[name]) if column.dtype == object else column
        matrix[~np.isfinite(matrix)] = np.nan
        return np.clip(matrix, -LARGEST, LARGEST, out=matrix)

    def get_feature_names_out(self, input_features: object = None) -> Array:  # noqa: ARG002 - scikit-learn's signature
        """Return the name of each column of the result."""
        return np.array([*self.raw, *(name for step in self.steps for name in step["names"])], dtype=object)

    def _read(self, frame: pd.DataFrame) -> dict[str, Array]:
        missing = [name for name, _, _ in self.columns if name not in frame.columns]
        if missing:
            raise ContractError(
                "columns are missing",
                subject=", ".join(missing),
                expected=", ".join(name for name, _, _ in self.columns),
                remedy="Send every input column of the contract; a value may be empty, a column may not.",
            )
        return {name: _read_column(frame[name], kind) for name, kind, _ in self.columns}

    def _generate(self, step: dict[str, Any], values: dict[str, Array]) -> None:
        kind, columns, names = step["kind"], step["columns"], step["names"]
        if kind in ("calendar", "cyclic"):
            for position, (column, part) in enumerate((c, p) for c in columns for p in step["parts"]):
                made = generators.calendar_part(values[column], part)
                if kind == "calendar":
                    values[names[position]] = made
                else:
                    values[names[2 * position]], values[names[2 * position + 1]] = generators.cyclic(part, made)
        elif kind == "ratio":
            values[names[0]] = generators.ratio(values[columns[0]], values[columns[1]])
        elif kind == "cross":
            values[names[0]] = generators.crossed([values[column] for column in columns])
        elif kind == "bins":
            for column, name in zip(columns, names, strict=True):
                values[name] = generators.bin_of(values[column], self.edges_[column])
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                for factors, name in zip(step["monomials"], names, strict=True):
                    values[name] = np.prod([values[column] for column in factors], axis=0)


def _read_column(column: pd.Series, kind: str) -> Array:
    try:
        if kind == "timestamp":
            return _read_times(column)
        if kind in ("category", "text"):
            values = column.to_numpy(dtype=object, na_value=None)
            return np.array([None if value is None else str(value) for value in values], dtype=object)
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError) as error:
        raise ContractError(
            "values are not of the column's type",
            subject=str(column.name),
            expected=kind,
            got=str(error)[:120],
            remedy="Send values of the type that the contract gives the column.",
        ) from None


def _read_times(column: pd.Series) -> Array:
    import pandas as pd

    times = column if isinstance(column.dtype, pd.DatetimeTZDtype) else pd.to_datetime(column, utc=True)
    return times.to_numpy(dtype="datetime64[ns]").astype("datetime64[s]")


def _most_frequent(column: Array) -> list[str]:
    counts = Counter(value for value in column if value is not None)
    kept = sorted(counts, key=lambda value: (-counts[value], value))[:MAXIMUM_CATEGORIES]
    return sorted(kept)


def _codes(column: Array, categories: list[str]) -> Array:
    code = {category: float(position) for position, category in enumerate(categories)}
    return np.array([code.get(value, UNKNOWN) for value in column], dtype=np.float64)
