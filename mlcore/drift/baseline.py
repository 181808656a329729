"""The baseline kept with each model: enough to monitor without the training data."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.errors import DriftError

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import Column, DataContract
    from mlcore.policy.monitoring import DriftPolicy

FORMAT: Final = 1
PREDICTION: Final = "prediction"
_MOST_VALUES: Final = 2_000  # 50 columns of float64 stay under 1 MB
_MOST_CATEGORIES: Final = 500


@dataclass(frozen=True, slots=True)
class NumericBaseline:
    """A numeric column.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Sorted; every value where there are at most 2,000, otherwise that many evenly spaced quantiles.
    rows : int
        Rows it was made from.
    missing_fraction : float in [0, 1]
    mean, deviation : float
    longest_run : int
        Most equal values in a row, in the order of time.
    """

    values: np.ndarray[Any, Any]
    rows: int
    missing_fraction: float
    mean: float
    deviation: float
    longest_run: int


@dataclass(frozen=True, slots=True)
class CategoryBaseline:
    """A column of categories: how often each was seen."""

    counts: Mapping[str, int]
    rows: int
    missing_fraction: float


@dataclass(frozen=True, slots=True)
class Baseline:
    """Everything that drift and performance of one model are measured against.

    Parameters
    ----------
    numeric, categories : mapping of column name to baseline
        ``prediction`` is among them.
    rows : int
        Rows trained on.
    blocks : int
        Independent blocks among them, where the use case names a block length; otherwise the rows.
    """

    numeric: Mapping[str, NumericBaseline]
    categories: Mapping[str, CategoryBaseline]
    rows: int
    blocks: int

    def to_bytes(self) -> bytes:
        """Return a file's content: a NumPy archive without pickle."""
        facts = {
            "format": FORMAT,
            "rows": self.rows,
            "blocks": self.blocks,
            "numeric": {
                name: {key: value for key, value in asdict(item).items() if key != "values"}
                for name, item in self.numeric.items()
            },
            "categories": {name: asdict(item) for name, item in self.categories.items()},
        }
        buffer = io.BytesIO()
        arrays = {f"values:{name}": item.values for name, item in self.numeric.items()}
        np.savez_compressed(buffer, facts=np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8), **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Baseline:
        """Return what `to_bytes` wrote.

        Raises
        ------
        DriftError
            If it is something else, or of a format this code does not know.
        """
        try:
            archive = np.load(io.BytesIO(data), allow_pickle=False)
            facts = json.loads(archive["facts"].tobytes())
            if facts["format"] != FORMAT:
                raise DriftError("a baseline of another format", expected=str(FORMAT), got=str(facts["format"]))
            numeric = {
                name: NumericBaseline(values=archive[f"values:{name}"], **item)
                for name, item in facts["numeric"].items()
            }
        except (ValueError, KeyError, OSError, EOFError) as error:
            raise DriftError("this is not a baseline", got=str(error)[:200], remedy="Train the model again.") from None
        categories = {name: CategoryBaseline(**item) for name, item in facts["categories"].items()}
        return cls(numeric=numeric, categories=categories, rows=facts["rows"], blocks=facts["blocks"])


def build_baseline(
    frame: pd.DataFrame, predictions: np.ndarray[Any, Any], contract: DataContract, *, blocks: int | None = None
) -> Baseline:
    """Summarise the rows a model was trained on.

    Parameters
    ----------
    frame : DataFrame of shape (n_rows, n_columns)
        Columns of `contract`, in the order of time where there is one.
    predictions : ndarray of shape (n_rows,)
        The model's answers for rows it had not been fitted on where there are such; they are what live answers
        are compared with.
    contract : DataContract
    blocks : int, optional
        Independent blocks among the rows; every row for itself if left out.
    """
    columns = [column for column in contract.features if column.type not in ("timestamp", "text")]
    numeric = {column.name: numeric_baseline(frame[column.name]) for column in columns if column.is_numeric}
    categories = {column.name: category_baseline(frame[column.name]) for column in columns if not column.is_numeric}
    answers = as_series(predictions)
    if contract.task == "regression":
        numeric[PREDICTION] = numeric_baseline(answers)
    else:
        categories[PREDICTION] = category_baseline(answers)
    return Baseline(numeric, categories, rows=len(frame), blocks=blocks if blocks is not None else len(frame))


def numeric_baseline(column: pd.Series) -> NumericBaseline:
    """Summarise one numeric column."""
    values = column.to_numpy(dtype=float, na_value=np.nan)
    present = np.sort(values[~np.isnan(values)])
    kept = present
    if len(present) > _MOST_VALUES:
        kept = np.quantile(present, np.linspace(0, 1, _MOST_VALUES), method="inverted_cdf")
    return NumericBaseline(
        values=kept,
        rows=len(values),
        missing_fraction=float(np.isnan(values).mean()) if len(values) else 0.0,
        mean=float(present.mean()) if len(present) else 0.0,
        deviation=float(present.std()) if len(present) else 0.0,
        longest_run=longest_run(values),
    )


def category_baseline(column: pd.Series) -> CategoryBaseline:
    """Summarise one column of categories, booleans or labels."""
    counts = column.dropna().astype(str).value_counts().head(_MOST_CATEGORIES)
    return CategoryBaseline(
        counts={str(name): int(count) for name, count in counts.items()},
        rows=len(column),
        missing_fraction=float(column.isna().mean()) if len(column) else 0.0,
    )


def longest_run(values: np.ndarray[Any, Any]) -> int:
    """Return the length of the longest run of equal values.

    Examples
    --------
    >>> longest_run(np.array([1.0, 2.0, 2.0, 2.0, 3.0]))
    3
    """
    if not len(values):
        return 0
    changes = np.flatnonzero(np.diff(values) != 0)
    edges = np.concatenate([[-1], changes, [len(values) - 1]])
    return int(np.diff(edges).max())


def watched(column: Column) -> bool:
    """Whether a column's drift is looked at."""
    return column.drift and column.type not in ("timestamp", "text")


def independent_blocks(frame: pd.DataFrame, contract: DataContract, policy: DriftPolicy) -> int | None:
    """Return how many blocks of ``policy.block`` the rows come from; None where each row counts for itself."""
    time = contract.time
    if policy.block is None or time is None or time.name not in frame:
        return None
    return int(frame[time.name].dt.floor(policy.block).nunique())


def as_series(values: np.ndarray[Any, Any]) -> pd.Series:
    """Return answers as the columns beside them are."""
    import pandas as pd

    return pd.Series(values)
