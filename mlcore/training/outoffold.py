"""What the fits of a search answered for rows they were not fitted on, kept as a few figures for each candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.calibration import calibration_curve
from mlcore.metrics import Metric, Output
from mlcore.slices import Slice, members
from mlcore.training.splits import stretches

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import DataContract

Array = np.ndarray[Any, Any]

#: Stretches of time that a fold is looked at in.
_STRETCHES: Final = 8


@dataclass(frozen=True, slots=True)
class FoldEvidence:
    """How one fit did on its fold's validation rows, by the gate's metric.

    Parameters
    ----------
    rows : int
    value : float or None
        None where the metric is not defined, here and below.
    calibration : tuple of (mean prediction, mean truth, rows)
        As `calibration_curve` has it.
    residuals : tuple of (moment, mean loss, rows)
        In the order of time, each from its moment on (ISO 8601); empty without time.
    slices : tuple of (column, label, value, rows)
        Those of the validation policy that have as many rows as it asks for.
    """

    rows: int
    value: float | None
    calibration: tuple[tuple[float, float, int], ...] = ()
    residuals: tuple[tuple[str, float, int], ...] = ()
    slices: tuple[tuple[str, str, float | None, int], ...] = ()

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FoldEvidence:
        """Return what was written as JSON."""
        parts = {name: tuple(map(tuple, values[name])) for name in ("calibration", "residuals", "slices")}
        return cls(rows=values["rows"], value=values["value"], **parts)


@dataclass(frozen=True, slots=True)
class CandidateEvidence:
    """The best trial of an algorithm, fold by fold, the newest first.

    Parameters
    ----------
    candidate : str
    parameters : mapping
    metric : str
        What values and losses are measured by: the gate's metric.
    folds : tuple of FoldEvidence
        A trial that was stopped met the newest one alone.
    """

    candidate: str
    parameters: Mapping[str, Any]
    metric: str
    folds: tuple[FoldEvidence, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Questions:
    """How the validation rows of a fold are cut, the same for every trial that meets it."""

    stretches: tuple[tuple[str, Array], ...]
    slices: tuple[tuple[str, str, Array], ...]

    @classmethod
    def of(cls, rows: pd.DataFrame, contract: DataContract, slices: Sequence[Slice]) -> Questions:
        """Cut a fold's validation rows by time and into those of the slices that are large enough to judge."""
        parts = stretches(rows[contract.time.name], _STRETCHES) if contract.time is not None else []
        places = zip(slices, map(np.flatnonzero, members(rows, slices)), strict=True)
        return cls(
            tuple(parts), tuple((part.column, part.label, at) for part, at in places if len(at) >= part.minimum_rows)
        )

    def ask(self, truth: Array, output: Output, metric: Metric) -> FoldEvidence:
        """Return the figures of one fit's answers."""
        losses = metric.row_loss(truth, output) if self.stretches else np.empty(0)
        return FoldEvidence(
            rows=len(truth),
            value=_finite(metric.value(truth, output)),
            calibration=tuple(calibration_curve(truth, output)),
            residuals=tuple((start, float(losses[part].mean()), len(part)) for start, part in self.stretches),
            slices=tuple(
                (column, label, _finite(metric.value(truth[at], output.take(at))), len(at))
                for column, label, at in self.slices
            ),
        )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
