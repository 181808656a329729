"""The baseline kept with each model: enough to monitor without the training data."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.drift.alike import alikeness
from mlcore.drift.columns import (
    MOST_CATEGORIES,
    as_floats,
    as_series,
    category_counts,
    longest_run,
    most_frequent,
    sorted_present,
    watched,
)
from mlcore.drift.encoding import Encoding
from mlcore.drift.reference import MOST_BYTES, pack_reference, unpack_reference
from mlcore.drift.sample import from_archive, occupied_hours, repeated_fraction, repeated_rows, sample_rows
from mlcore.drift.whole import WholeRows, is_whole, keep_rows, row_blocks
from mlcore.errors import DriftError

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import DataContract
    from mlcore.policy.monitoring import DriftPolicy

FORMAT: Final = 1
PREDICTION: Final = "prediction"
SCORE: Final = "score"
_MOST_VALUES: Final = 2_000  # 50 columns of float64 stay under 1 MB
_ARRAYS: Final = ("values", "reference")


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
    reference : ndarray of shape (n,), optional
        Every value, sorted; kept in a file of its own. None where it was not kept.
    alike : float in [0, 1], optional
        How alike the values of one block are. None where the rows are of no blocks, and in files of older versions:
        the rows of a block then count as one.
    longest_moving_run : int, optional
        Most equal values in a row, of other values than the most frequent one. None in files of older versions.
    """

    values: np.ndarray[Any, Any]
    rows: int
    missing_fraction: float
    mean: float
    deviation: float
    longest_run: int
    reference: np.ndarray[Any, Any] | None = None
    alike: float | None = None
    longest_moving_run: int | None = None

    def longest_run_of(self, value: float) -> int:
        """Return the longest run of the most frequent value, or of all the others.

        What a quantity rested at for long, calm, dry or closed, says nothing of how long it has other values.
        """
        if self.longest_moving_run is None or value == most_frequent(self.values):
            return self.longest_run
        return self.longest_moving_run

    @property
    def ordered(self) -> np.ndarray[Any, Any]:
        """The values to compare with, sorted: all where they are known, otherwise the quantiles."""
        return self.values if self.reference is None else np.asarray(self.reference, dtype=float)

    @property
    def present(self) -> int:
        """How many of the rows have a value."""
        return self.rows - round(self.rows * self.missing_fraction)

    @property
    def is_exact(self) -> bool:
        """Whether `ordered` holds every value."""
        return len(self.values) == self.present or self.reference is not None


@dataclass(frozen=True, slots=True)
class CategoryBaseline:
    """A column of categories: how often each was seen, and `alike` as numbers have it."""

    counts: Mapping[str, int]
    rows: int
    missing_fraction: float
    alike: float | None = None

    @property
    def is_exact(self) -> bool:
        """Whether every category is known: of more than 500 the rare ones are not."""
        return sum(self.counts.values()) == self.rows - round(self.rows * self.missing_fraction)


@dataclass(frozen=True, slots=True)
class Baseline:
    """Everything that drift and performance of one model are measured against.

    Parameters
    ----------
    numeric, categories : mapping of column name to baseline
        ``prediction`` is among them, and for classification ``score``, the probability of the label that was given.
    rows : int
        Rows trained on.
    blocks : int
        Independent blocks among them, where the use case names a block length; otherwise the rows.
    sample : mapping of column name to ndarray
        Whole rows, for what relates columns to each other and to the clock; empty in files of older versions.
    occupied : tuple of float
        For each hour of the week the share of its occurrences that had a row.
    repeated_fraction : float or None
        Share of rows with the key of an earlier row; None where it is not known.
    repeated_rows : float or None
        Share of rows that are an earlier row in all inputs; None where it is not known.
    answer_blocks : int or None
        Independent blocks among the rows that predictions and scores are of; None: as many as `blocks`.
    whole : WholeRows or None
        More of the rows, in the file beside it; None where it was not kept.
    """

    numeric: Mapping[str, NumericBaseline]
    categories: Mapping[str, CategoryBaseline]
    rows: int
    blocks: int
    sample: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    occupied: tuple[float, ...] = ()
    repeated_fraction: float | None = None
    answer_blocks: int | None = None
    repeated_rows: float | None = None
    whole: WholeRows | None = None

    @property
    def held_out_rows(self) -> int:
        """How many rows the predictions are of, which the model was validated by; 0 where there are none."""
        known = self.numeric.get(PREDICTION) or self.categories.get(PREDICTION)
        return 0 if known is None else known.rows

    def to_bytes(self) -> bytes:
        """Return a file's content: a NumPy archive without pickle."""
        facts = {
            "format": FORMAT,
            "rows": self.rows,
            "blocks": self.blocks,
            "numeric": {
                name: {field.name: getattr(item, field.name) for field in fields(item) if field.name not in _ARRAYS}
                for name, item in self.numeric.items()
            },
            "categories": {name: asdict(item) for name, item in self.categories.items()},
            "occupied": self.occupied,
            "repeated_fraction": self.repeated_fraction,
            "repeated_rows": self.repeated_rows,
            "answer_blocks": self.answer_blocks,
            "encoding": None if self.whole is None else self.whole.encoding.to_json(),
        }
        buffer = io.BytesIO()
        arrays = {f"values:{name}": item.values for name, item in self.numeric.items()}
        arrays |= {f"sample:{name}": values for name, values in self.sample.items()}
        np.savez_compressed(buffer, facts=np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8), **arrays)
        return buffer.getvalue()

    def reference_bytes(self) -> bytes:
        """Return the content of the file beside it, with every sorted value; nothing where the quantiles are all."""
        columns = {name: item.reference for name, item in self.numeric.items() if item.reference is not None}
        return pack_reference(columns | (self.whole.to_columns() if self.whole is not None else {}))

    @classmethod
    def from_bytes(cls, data: bytes, reference: Any = b"") -> Baseline:
        """Return what `to_bytes` and `reference_bytes` wrote.

        Parameters
        ----------
        data : bytes
        reference : bytes or mmap, default=b""
            Without it drift of large columns is measured against their quantiles.

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
            sample = from_archive(archive)
        except (ValueError, KeyError, OSError, EOFError) as error:
            raise DriftError("this is not a baseline", got=str(error)[:200], remedy="Train the model again.") from None
        columns = unpack_reference(reference)
        for name, values in columns.items():
            if is_whole(name):
                continue
            if name not in numeric or len(values) != numeric[name].present:
                raise DriftError("the drift reference belongs to another baseline", subject=name)
            numeric[name] = replace(numeric[name], reference=values)
        categories = {name: CategoryBaseline(**item) for name, item in facts["categories"].items()}
        encoding = facts.get("encoding")
        return cls(
            numeric=numeric,
            categories=categories,
            rows=facts["rows"],
            blocks=facts["blocks"],
            sample=sample,
            occupied=tuple(facts.get("occupied", ())),
            repeated_fraction=facts.get("repeated_fraction"),
            repeated_rows=facts.get("repeated_rows"),
            answer_blocks=facts.get("answer_blocks"),
            whole=None if encoding is None else WholeRows.from_columns(columns, Encoding.from_json(encoding)),
        )


def build_baseline(
    frame: pd.DataFrame,
    predictions: np.ndarray[Any, Any],
    contract: DataContract,
    *,
    blocks: int | None = None,
    scores: np.ndarray[Any, Any] | None = None,
    answer_blocks: int | None = None,
    block_of_row: np.ndarray[Any, Any] | None = None,
) -> Baseline:
    """Summarise the rows a model was trained on.

    Parameters
    ----------
    frame : DataFrame of shape (n_rows, n_columns)
        Columns of `contract`, in the order of time where there is one.
    predictions : ndarray of shape (n_predictions,)
        The model's answers for rows it had not been fitted on; they are what live answers are compared with.
    contract : DataContract
    blocks : int, optional
        Independent blocks among the rows; every row for itself if left out.
    scores : ndarray of shape (n_predictions,), optional
        Probability of the label given, for classification.
    answer_blocks : int, optional
        Independent blocks among the rows that `predictions` are of; as many as `blocks` if left out.
    block_of_row : ndarray of shape (n_rows,), optional
        Number of the block of each row, for how alike the values of a block are; if left out they count as one.
    """
    columns = [column for column in contract.features if column.type not in ("timestamp", "text")]
    kept = len(frame) * 8 * (1 + sum(column.is_numeric for column in columns)) <= MOST_BYTES
    numeric = {
        column.name: numeric_baseline(frame[column.name], keep_reference=kept and watched(column))
        for column in columns
        if column.is_numeric
    }
    categories = {column.name: category_baseline(frame[column.name]) for column in columns if not column.is_numeric}
    if block_of_row is not None:
        known = {column.name: alikeness(frame[column.name], block_of_row) for column in columns if watched(column)}
        numeric = {name: replace(item, alike=known.get(name)) for name, item in numeric.items()}
        categories = {name: replace(item, alike=known.get(name)) for name, item in categories.items()}
    answers = as_series(predictions)
    if contract.task == "regression":
        numeric[PREDICTION] = numeric_baseline(answers, keep_reference=kept)
    else:
        categories[PREDICTION] = category_baseline(answers)
    if scores is not None:
        numeric[SCORE] = numeric_baseline(as_series(scores), keep_reference=kept)
    return Baseline(
        numeric,
        categories,
        rows=len(frame),
        blocks=blocks if blocks is not None else len(frame),
        sample=sample_rows(frame, contract),
        occupied=occupied_hours(frame, contract),
        repeated_fraction=repeated_fraction(frame, contract),
        repeated_rows=repeated_rows(frame, contract),
        answer_blocks=answer_blocks,
        whole=keep_rows(frame, contract),
    )


def numeric_baseline(column: pd.Series, *, keep_reference: bool = True) -> NumericBaseline:
    """Summarise one numeric column; with `keep_reference` all of its values are kept beside their quantiles."""
    values = as_floats(column)
    present = sorted_present(values)
    kept = present
    if len(present) > _MOST_VALUES:
        kept = present[_quantile_places(len(present))]
    return NumericBaseline(
        values=kept,
        rows=len(values),
        missing_fraction=1 - len(present) / len(values) if len(values) else 0.0,
        mean=float(present.mean()) if len(present) else 0.0,
        deviation=float(present.std()) if len(present) else 0.0,
        longest_run=longest_run(values),
        longest_moving_run=longest_run(values, most_frequent(present)),
        reference=present if keep_reference and len(present) > _MOST_VALUES else None,
    )


def _quantile_places(count: int) -> np.ndarray[Any, Any]:
    """Return where evenly spaced quantiles are among sorted values: where their share first reaches each.

    Examples
    --------
    >>> values, shares = np.sort(np.random.default_rng(0).random(5_000)), np.linspace(0, 1, 2_000)
    >>> bool((values[_quantile_places(5_000)] == np.quantile(values, shares, method="inverted_cdf")).all())
    True
    """
    places = np.ceil(np.linspace(0, 1, _MOST_VALUES) * count).astype(int) - 1
    return np.maximum(places, 0)


def category_baseline(column: pd.Series) -> CategoryBaseline:
    """Summarise one column of categories, booleans or labels."""
    counts = category_counts(column)
    kept = sorted(counts, key=lambda label: -counts[label])[:MOST_CATEGORIES]
    return CategoryBaseline(
        counts={label: counts[label] for label in kept},
        rows=len(column),
        missing_fraction=1 - sum(counts.values()) / len(column) if len(column) else 0.0,
    )


def independent_blocks(frame: pd.DataFrame, contract: DataContract, policy: DriftPolicy) -> int | None:
    """Return how many blocks of ``policy.block`` the rows come from; None where each row counts for itself."""
    return distinct(row_blocks(frame, contract, policy))


def distinct(blocks: np.ndarray[Any, Any] | None) -> int | None:
    """Return how many blocks `row_blocks` has told apart."""
    import pandas as pd

    return None if blocks is None else len(pd.unique(blocks))
