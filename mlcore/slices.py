"""The slices of the validation policy: cut on held-out rows for the gate, found again in folds and windows."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import DataContract
    from mlcore.policy.validation import SliceRule

Array = np.ndarray[Any, Any]

_PARTS: Final = 4


@dataclass(frozen=True, slots=True)
class Slice:
    """Some rows of every table, and how well the model did on those held out.

    Parameters
    ----------
    column, label : str
        The column, and its value or range as text.
    minimum_rows : int
        With fewer it is not judged.
    low, high : float, optional
        Bounds ``low <= value < high`` of a range of numbers; None where it is open, and for single values.
    is_range : bool
    reference : float or None
        The metric on the held-out rows.
    error : float or None
        Root mean square of what estimates were off by on chunks of them; None where it could not be measured.
    """

    column: str
    label: str
    minimum_rows: int
    low: float | None = None
    high: float | None = None
    is_range: bool = False
    reference: float | None = None
    error: float | None = None

    @property
    def name(self) -> str:
        """What people read."""
        return f"{self.column} = {self.label}"

    def measured(self, reference: float, error: float | None) -> Slice:
        """Return it with what was measured on held-out rows; what is not finite is not known."""
        known = [value if value is not None and np.isfinite(value) else None for value in (reference, error)]
        return replace(self, reference=known[0], error=known[1])


@dataclass(frozen=True, slots=True)
class SlicePerformance:
    """One slice of a window.

    Parameters
    ----------
    column, label : str
    rows : int
        Rows that it rests on: those with labels, or all where it is estimated.
    value, lower, upper : float or None
        The metric and its 95 % interval; None where there are too few rows, or nothing to tell an interval from.
    reference : float or None
        The metric on the slice of the held-out rows.
    """

    column: str
    label: str
    rows: int
    value: float | None
    lower: float | None
    upper: float | None
    reference: float | None


def cut_slices(frame: pd.DataFrame, contract: DataContract, rules: Sequence[SliceRule]) -> tuple[Slice, ...]:
    """Return the slices that the rules name: each value of a column, quarters of a column of many numbers.

    Where so many numbers are the smallest one that quarters would begin there, it is a slice of its own.

    Parameters
    ----------
    frame : DataFrame
        Held-out rows.
    contract : DataContract
    rules : sequence of SliceRule

    Examples
    --------
    >>> import pandas as pd
    >>> from mlcore.contract import Column, DataContract
    >>> from mlcore.policy.validation import SliceRule
    >>> columns = (Column(name="age", type="number"), Column(name="y", type="number", role="target"))
    >>> contract = DataContract(task="regression", columns=columns)
    >>> [part.name for part in cut_slices(pd.DataFrame({"age": range(100)}), contract, [SliceRule(column="age")])][0]
    'age = below 24.75'
    """
    found: list[Slice] = []
    for rule in rules:
        if rule.column not in frame:
            continue
        values = frame[rule.column].dropna()
        if contract.column(rule.column).is_numeric and values.nunique() > 2 * _PARTS:
            edges = _quarters(values.to_numpy(dtype=float))
            for (low, high), label in zip(itertools.pairwise([None, *edges, None]), _ranges(edges), strict=True):
                found.append(Slice(rule.column, label, rule.minimum_rows, low, high, is_range=True))
        else:
            labels = values.drop_duplicates().sort_values().astype("string")
            found += [Slice(rule.column, str(label), rule.minimum_rows) for label in labels]
    return tuple(found)


def members(frame: pd.DataFrame, slices: Iterable[Slice]) -> Iterator[Array]:
    """Yield the mask of each slice's rows, none of a table without the column; each column is read once."""
    numbers: dict[str, Array] = {}
    labels: dict[str, tuple[Array, dict[str, int]]] = {}
    for item in slices:
        name = item.column
        if name not in frame:
            yield np.zeros(len(frame), dtype=bool)
        elif item.is_range:
            if name not in numbers:
                numbers[name] = frame[name].to_numpy(dtype=float, na_value=np.nan)
            low, high = -np.inf if item.low is None else item.low, np.inf if item.high is None else item.high
            yield (numbers[name] >= low) & (numbers[name] < high)
        else:
            if name not in labels:
                codes, known = frame[name].astype("string").factorize()
                labels[name] = codes, {label: code for code, label in enumerate(known)}
            codes, places = labels[name]
            yield codes == places.get(item.label, len(places))


def slices_from_json(items: Sequence[Mapping[str, Any]]) -> tuple[Slice, ...]:
    """Return what `slices_to_json` wrote."""
    return tuple(Slice(**item) for item in items)


def slices_to_json(slices: Sequence[Slice]) -> list[dict[str, Any]]:
    """Return plain values."""
    return [asdict(item) for item in slices]


def _quarters(values: Array) -> list[float]:
    """Return where quarters of the values begin, but the lowest."""
    values = values[np.isfinite(values)]
    above = values[values > values.min()]
    quantiles = np.quantile(values, np.arange(1, _PARTS) / _PARTS)
    return [float(edge) for edge in np.unique(np.maximum(quantiles, above.min()))]


def _ranges(edges: Sequence[float]) -> list[str]:
    """Return the ranges between the edges as text, with as many digits as it takes to tell them apart."""
    told = [f"{edge:g}" for edge in edges]
    if len(set(told)) < len(told):
        told = [repr(edge) for edge in edges]
    between = [f"{low} to {high}" for low, high in itertools.pairwise(told)]
    return [f"below {told[0]}", *between, f"from {told[-1]}"]
