"""What a column should be, given the others: a fault breaks relations that a season keeps."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.diagnosis.findings import Numbers

if TYPE_CHECKING:
    from mlcore.contract import DataContract
    from mlcore.drift import Baseline

_LEAST_ROWS: Final = 200
#: A category's level needs so many sampled rows to have an effect of its own.
_LEAST_OF_LEVEL: Final = 5
#: Below this share of explained variance the others say too little about a column.
_LEAST_EXPLAINED: Final = 0.5
#: Standardised predictors are cut here: a faulty predictor must not make every other column look faulty, too.
_FURTHEST: Final = 5.0
_RIDGE: Final = 1.0
_HOUR: Final = 3_600_000_000
#: Mean absolute residuals, in units of the last healthy window's or the baseline's, whichever are larger: beyond the
#: first the column contradicts the others, up to the second it agrees with them.
CONTRADICTS: Final = 3.0
_AGREES, _GAIN = 2.0, 3.0


class Relations:
    """Ridge regressions of each number on the others, categories, hour and weekday (Hoerl & Kennard, 1970).

    Fitted on the baseline's sample of whole rows, when first asked for.
    """

    def __init__(self, contract: DataContract, baseline: Baseline, present: Collection[str]) -> None:
        self._sample = baseline.sample
        self._time = contract.time.name if contract.time else ""
        names = [column.name for column in contract.features if column.name in self._sample and column.name in present]
        self._numeric = [name for name in names if name in baseline.numeric]
        self._levels = {name: _levels(self._sample[name]) for name in names if name in baseline.categories}
        self._moments = {name: (item.mean, item.deviation or 1.0) for name, item in baseline.numeric.items()}
        self._fits: dict[str, tuple[Numbers, float] | None] = {}

    def strangeness(self, name: str, rows: Mapping[str, Any]) -> float | None:
        """Return the mean absolute residual of a column, in units of the baseline's; None where nothing relates."""
        told = self.expected(name, rows)
        if told is None:
            return None
        residuals = rows[name] - told[0]
        return float(np.nanmean(np.abs(residuals)) / told[1]) if np.isfinite(residuals).any() else None

    def usual(self, name: str, recent: Mapping[str, Any]) -> float:
        """Return the last healthy window's residual, in units of the baseline's, at least 1: the season explains it."""
        return max(1.0, self.strangeness(name, recent) or 1.0) if name in recent else 1.0

    def expected(self, name: str, rows: Mapping[str, Any]) -> tuple[Numbers, float] | None:
        """Return what the other columns say a column should be, and the usual residual; None where nothing relates."""
        if name not in self._fits:
            self._fits[name] = self._fit(name)
        fit = self._fits[name]
        if fit is None:
            return None
        mean, deviation = self._moments[name]
        return mean + deviation * (self._design(name, rows) @ fit[0]), deviation * fit[1]

    def _fit(self, name: str) -> tuple[Numbers, float] | None:
        if name not in self._numeric or len(self._sample[name]) < _LEAST_ROWS:
            return None
        wanted, design = self._standard(name, self._sample[name]), self._design(name, self._sample)
        there = np.isfinite(wanted)
        wanted, design = wanted[there], design[there]
        if len(wanted) < _LEAST_ROWS or wanted.std() == 0:
            return None
        weights = np.linalg.solve(design.T @ design + _RIDGE * np.eye(design.shape[1]), design.T @ wanted)
        residuals = wanted - design @ weights
        usual = float(np.abs(residuals).mean())
        explained = 1 - residuals.var() / wanted.var()
        # a column that follows exactly is judged to a thousandth of its deviation, not to rounding errors
        return (weights, max(usual, 1e-3)) if explained >= _LEAST_EXPLAINED else None

    def _standard(self, name: str, values: Numbers) -> Numbers:
        mean, deviation = self._moments[name]
        return (np.asarray(values, dtype=float) - mean) / deviation

    def _design(self, name: str, rows: Mapping[str, Any]) -> Numbers:
        others = [other for other in self._numeric if other != name]
        columns = [
            np.clip(np.nan_to_num(self._standard(other, rows[other])), -_FURTHEST, _FURTHEST) for other in others
        ]
        for category, levels in self._levels.items():
            values = np.asarray(rows[category])
            columns += [(values == level).astype(float) for level in levels]
        if self._time in rows and self._time in self._sample:
            angle = 2 * np.pi * (np.asarray(rows[self._time]) / _HOUR % 24) / 24
            columns += [wave(turns * angle) for turns in (1, 2) for wave in (np.sin, np.cos)]
            day = np.asarray(rows[self._time]) // (24 * _HOUR) % 7
            columns += [(day == weekday).astype(float) for weekday in range(7)]
        columns.append(np.ones(len(rows[name])))
        return np.column_stack(columns)


def _levels(values: Numbers) -> list[str]:
    found, counts = np.unique(values, return_counts=True)
    return [str(level) for level, count in zip(found, counts, strict=True) if count >= _LEAST_OF_LEVEL]


def reconciled(now: float | None, undone: float | None, usual: float) -> bool:
    """Whether a column contradicts the others, and agrees with them once something is undone.

    Agreement better than that of the last healthy window, which did not contradict them, is no work of a season.
    """
    if now is None or undone is None or undone > now / _GAIN:
        return False
    return (now >= CONTRADICTS * usual and undone <= _AGREES * usual) or (
        usual < CONTRADICTS <= now and undone <= min(_AGREES, usual)
    )
