"""Whole rows as one matrix of numbers, the same way for every table: what relates columns to each other needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.drift.columns import category_counts, watched

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import DataContract

Array = np.ndarray[Any, Any]

#: Rarer categories are one: trees have no use for more codes, and boosting bins no more values.
_MOST_LABELS: Final = 250
_LARGEST: Final = 3e38  # of a 32-bit float


@dataclass(frozen=True, slots=True)
class Encoding:
    """The columns of a matrix, and the codes of their categories.

    Parameters
    ----------
    names : tuple of str
        Columns in the order of the matrix.
    labels : mapping of column name to tuple of str
        Categories in the order of their codes; columns that are not here are numbers.
    """

    names: tuple[str, ...]
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, frame: pd.DataFrame, contract: DataContract) -> Encoding:
        """Return the encoding of the features that are stored openly and watched, codes in the order of frequency."""
        columns = [
            column
            for column in contract.features
            if watched(column) and column.capture == "plain" and column.name in frame
        ]
        labels = {}
        for column in columns:
            if not column.is_numeric:
                counts = category_counts(frame[column.name])
                labels[column.name] = tuple(sorted(counts, key=lambda label: (-counts[label], label))[:_MOST_LABELS])
        return cls(tuple(column.name for column in columns), labels)

    def encode(self, frame: pd.DataFrame) -> Array:
        """Return the rows as float32, shape (n_rows, n_names): missing values as NaN, new categories as one code.

        What is kept of the rows trained on is float32, too: a value must not differ from itself by being rounded.

        Examples
        --------
        >>> import pandas as pd
        >>> encoding = Encoding(("size", "color"), {"color": ("red", "blue")})
        >>> rows = pd.DataFrame({"color": ["blue", "green", None], "size": [1, 2, 3]})
        >>> encoding.encode(rows).tolist()
        [[1.0, 1.0], [2.0, 2.0], [3.0, nan]]
        """
        matrix = np.empty((len(frame), len(self.names)), dtype=np.float32)
        for position, name in enumerate(self.names):
            column = frame[name]
            if name not in self.labels:
                # trees take no infinite values
                matrix[:, position] = np.clip(column.to_numpy(dtype=float, na_value=np.nan), -_LARGEST, _LARGEST)
            else:
                matrix[:, position] = _codes(column, self.labels[name])
        return matrix

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"names": list(self.names), "labels": {name: list(labels) for name, labels in self.labels.items()}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Encoding:
        """Return what `to_json` wrote."""
        return cls(tuple(values["names"]), {name: tuple(labels) for name, labels in values["labels"].items()})


def without_empty(values: Array) -> Array:
    """Return a matrix that trees can be fitted on: a column without any value, which they refuse, is one of zeros."""
    empty = np.isnan(values).all(axis=0)
    return np.where(empty, np.zeros(1, dtype=values.dtype), values) if empty.any() else values


def _codes(column: pd.Series, labels: tuple[str, ...]) -> Array:
    import pandas as pd

    numbers, found = pd.factorize(column)
    known = {label: float(code) for code, label in enumerate(labels)}
    # the last one stands for a missing value, which factorize numbers -1
    codes = np.array([*(known.get(str(label), float(len(labels))) for label in found), np.nan])
    return codes[numbers]
