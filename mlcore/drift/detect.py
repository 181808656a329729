"""Drift of each column and of the predictions: significant after correction, and large enough to matter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from mlcore.drift.baseline import PREDICTION, Baseline, CategoryBaseline, NumericBaseline, as_series, watched
from mlcore.drift.statistics import (
    benjamini_hochberg,
    chi_square,
    kolmogorov_smirnov,
    population_stability_index,
    wasserstein,
)

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import DataContract
    from mlcore.policy.monitoring import DriftPolicy

_BINS: Final = 10
#: Conventional reading of the population stability index (Siddiqi, 2006).
_SEVERE: Final = 0.5


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """How one column of a window differs from the baseline.

    Parameters
    ----------
    name : str
        A feature, or ``prediction``.
    kind : {"numeric", "category"}
    statistic, p_value : float
        Kolmogorov-Smirnov for numbers, chi-square for categories.
    adjusted_p : float
        Benjamini-Hochberg over the window's columns.
    psi : float
        Population stability index over ten baseline quantiles, or the categories: the effect that is judged.
    wasserstein : float or None
        Distance in standard deviations of the baseline; None for categories.
    missing_before, missing_now : float in [0, 1]
    drifted : bool
    severity : {"none", "moderate", "severe"}
    """

    name: str
    kind: Literal["numeric", "category"]
    statistic: float
    p_value: float
    adjusted_p: float
    psi: float
    wasserstein: float | None
    missing_before: float
    missing_now: float
    drifted: bool
    severity: Literal["none", "moderate", "severe"]

    @property
    def sentence(self) -> str:
        """The finding in words."""
        verb = f"moved ({self.severity})" if self.drifted else "did not move"
        shift = "" if self.wasserstein is None else f", {self.wasserstein:.2g} baseline deviations"
        return f"{self.name} {verb}: PSI {self.psi:.2f}{shift}, adjusted p {self.adjusted_p:.2g}"


@dataclass(frozen=True, slots=True)
class DriftReport:
    """Drift of a window; too few rows to judge is an outcome of its own, never 'no drift'."""

    outcome: Literal["drift", "no_drift", "too_little_data"]
    rows: int
    columns: tuple[ColumnDrift, ...]

    @property
    def drifted(self) -> tuple[ColumnDrift, ...]:
        """The columns that drifted, the largest effect first."""
        return tuple(sorted((item for item in self.columns if item.drifted), key=lambda item: -item.psi))

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the ledger."""
        return {"format": 1, "outcome": self.outcome, "rows": self.rows, "columns": [asdict(c) for c in self.columns]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DriftReport:
        """Return what `to_json` wrote."""
        return cls(values["outcome"], values["rows"], tuple(ColumnDrift(**item) for item in values["columns"]))


def detect_drift(
    baseline: Baseline,
    frame: pd.DataFrame,
    predictions: np.ndarray[Any, Any],
    contract: DataContract,
    policy: DriftPolicy,
    *,
    minimum_rows: int,
    blocks: int | None = None,
) -> DriftReport:
    """Compare a window with the baseline, column by column.

    A column has drifted when its p-value, corrected over all columns (Benjamini & Hochberg, 1995), is at most
    ``policy.false_discovery_rate`` *and* its population stability index is at least ``policy.minimum_effect``.

    Parameters
    ----------
    baseline : Baseline
    frame : DataFrame of shape (n_rows, n_columns)
        The window's features.
    predictions : ndarray of shape (n_rows,)
    contract : DataContract
    policy : DriftPolicy
    minimum_rows : int
        With fewer the outcome is ``too_little_data``.
    blocks : int, optional
        Independent blocks in the window. Rows of a time series are not independent: significance is then computed
        as if there were one row a block, which raises fewer false alarms.
    """
    if len(frame) < minimum_rows:
        return DriftReport("too_little_data", len(frame), ())
    sizes = (baseline.blocks, blocks if blocks is not None else len(frame))
    names = [column.name for column in contract.features if watched(column)]
    series = {name: frame[name] for name in names} | {PREDICTION: as_series(predictions)}
    found = [
        _numeric(name, baseline.numeric[name], values, sizes)
        if name in baseline.numeric
        else _category(name, baseline.categories[name], values, sizes)
        for name, values in series.items()
        if name in baseline.numeric or name in baseline.categories
    ]
    adjusted = benjamini_hochberg(np.array([item.p_value for item in found]))
    columns = tuple(_judge(replace(item, adjusted_p=float(p)), policy) for item, p in zip(found, adjusted, strict=True))
    outcome: Literal["drift", "no_drift"] = "drift" if any(item.drifted for item in columns) else "no_drift"
    return DriftReport(outcome, len(frame), columns)


def _judge(item: ColumnDrift, policy: DriftPolicy) -> ColumnDrift:
    drifted = item.adjusted_p <= policy.false_discovery_rate and item.psi >= policy.minimum_effect
    severity: Literal["none", "moderate", "severe"] = "none"
    if drifted:
        severity = "severe" if item.psi >= _SEVERE else "moderate"
    return replace(item, drifted=drifted, severity=severity)


def _numeric(name: str, before: NumericBaseline, column: pd.Series, sizes: tuple[int, int]) -> ColumnDrift:
    values = column.to_numpy(dtype=float, na_value=np.nan)
    present = np.sort(values[~np.isnan(values)])
    if not len(present) or not len(before.values):
        return _nothing_to_compare(name, "numeric", before.missing_fraction, float(np.isnan(values).mean()))
    statistic, p_value = kolmogorov_smirnov(before.values, present, sizes=sizes)
    edges = np.unique(np.quantile(before.values, np.linspace(0, 1, _BINS + 1)[1:-1]))
    counts = [
        np.bincount(np.searchsorted(edges, data, side="left"), minlength=len(edges) + 1)
        for data in (before.values, present)
    ]
    return ColumnDrift(
        name=name,
        kind="numeric",
        statistic=statistic,
        p_value=p_value,
        adjusted_p=1.0,
        psi=population_stability_index(counts[0], counts[1]),
        wasserstein=wasserstein(before.values, present) / before.deviation if before.deviation > 0 else None,
        missing_before=before.missing_fraction,
        missing_now=float(np.isnan(values).mean()),
        drifted=False,
        severity="none",
    )


def _category(name: str, before: CategoryBaseline, column: pd.Series, sizes: tuple[int, int]) -> ColumnDrift:
    seen = column.dropna().astype(str).value_counts()
    missing = float(column.isna().mean())
    labels = sorted({*before.counts, *map(str, seen.index)})
    counts = [
        np.array([before.counts.get(label, 0) for label in labels], dtype=float),
        np.array([int(seen.get(label, 0)) for label in labels], dtype=float),
    ]
    if not labels or counts[0].sum() == 0 or counts[1].sum() == 0:
        return _nothing_to_compare(name, "category", before.missing_fraction, missing)
    statistic, p_value = chi_square(counts[0], counts[1], sizes=sizes)
    return ColumnDrift(
        name=name,
        kind="category",
        statistic=statistic,
        p_value=p_value,
        adjusted_p=1.0,
        psi=population_stability_index(counts[0], counts[1]),
        wasserstein=None,
        missing_before=before.missing_fraction,
        missing_now=missing,
        drifted=False,
        severity="none",
    )


def _nothing_to_compare(name: str, kind: Any, before: float, now: float) -> ColumnDrift:
    return ColumnDrift(name, kind, 0.0, 1.0, 1.0, 0.0, None, before, now, drifted=False, severity="none")
