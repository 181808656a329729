"""Drift of each column and of the predictions: significant after correction, and large enough to matter."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from mlcore.drift.alike import independent_rows
from mlcore.drift.baseline import (
    PREDICTION,
    SCORE,
    Baseline,
    CategoryBaseline,
    NumericBaseline,
)
from mlcore.drift.columns import as_floats, as_series, category_counts, sorted_present, watched
from mlcore.drift.multivariate import MultivariateDrift
from mlcore.drift.statistics import (
    benjamini_hochberg,
    chi_square,
    cramer_von_mises_p,
    cramers_v,
    distances,
    jensen_shannon,
    kolmogorov_smirnov_p,
    pool_rare,
    population_stability_index,
)

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import DataContract
    from mlcore.policy.monitoring import DriftPolicy

_BINS: Final = 10
#: Conventional reading of the population stability index (Siddiqi, 2006).
_SEVERE: Final = 0.5
#: With fewer rows, threads cost more than they save.
_ALONE_BELOW: Final = 5_000


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """How one column of a window differs from the baseline.

    Parameters
    ----------
    name : str
        A feature, ``prediction``, or ``score``, the probability of the label given.
    kind : {"numeric", "category"}
    statistic, p_value : float
        Kolmogorov-Smirnov for numbers, chi-square for categories.
    adjusted_p : float
        Benjamini-Hochberg over the window's columns.
    psi : float
        Population stability index over ten baseline quantiles, or the categories: the effect that is judged.
    wasserstein : float or None
        Distance in standard deviations of the baseline; None for categories, and where it is not finite.
    missing_before, missing_now : float in [0, 1]
    drifted : bool
    severity : {"none", "moderate", "severe"}
    jensen_shannon : float in [0, 1] or None
        Distance to base 2, over the bins of `psi`.
    cramers_v : float in [0, 1] or None
        None for numbers.
    cramer_von_mises, cramer_von_mises_p : float or None
        Statistic of all values, and the p-value of as many as are independent; None for categories.
    exact : bool or None
        Whether every value of the baseline was compared with, not only quantiles or the commonest categories. None, as
        the other figures after `severity`, in reports from before there were any.
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
    jensen_shannon: float | None = None
    cramers_v: float | None = None
    cramer_von_mises: float | None = None
    cramer_von_mises_p: float | None = None
    exact: bool | None = None

    @property
    def sentence(self) -> str:
        """The finding in words."""
        verb = f"moved ({self.severity})" if self.drifted else "did not move"
        shift = "" if self.wasserstein is None else f", {self.wasserstein:.2g} baseline deviations"
        return f"{self.name} {verb}: PSI {self.psi:.2f}{shift}, adjusted p {self.adjusted_p:.2g}"


@dataclass(frozen=True, slots=True)
class DriftReport:
    """Drift of a window; too few rows to judge is an outcome of its own, never 'no drift'.

    Parameters
    ----------
    outcome : {"drift", "no_drift", "too_little_data"}
        Of the columns, and of whole rows.
    rows : int
    columns : tuple of ColumnDrift
    multivariate : MultivariateDrift or None
        Of whole rows; None where the policy does not ask for it, and for models that kept none.
    """

    outcome: Literal["drift", "no_drift", "too_little_data"]
    rows: int
    columns: tuple[ColumnDrift, ...]
    multivariate: MultivariateDrift | None = None

    @property
    def drifted(self) -> tuple[ColumnDrift, ...]:
        """The columns that drifted, the largest effect first."""
        return tuple(sorted((item for item in self.columns if item.drifted), key=lambda item: -item.psi))

    @property
    def joint(self) -> MultivariateDrift | None:
        """The drift of whole rows, where there is such while no feature alone has drifted."""
        found = self.multivariate
        alone = [item for item in self.drifted if item.name not in (PREDICTION, SCORE)]
        return found if found is not None and found.outcome == "drift" and not alone else None

    @property
    def exact(self) -> bool:
        """Whether every column was compared with every value of the baseline."""
        return all(item.exact for item in self.columns)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the ledger."""
        columns = [asdict(item) for item in self.columns]
        whole = None if self.multivariate is None else self.multivariate.to_json()
        return {
            "format": 1,
            "outcome": self.outcome,
            "rows": self.rows,
            "exact": self.exact,
            "columns": columns,
            "multivariate": whole,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DriftReport:
        """Return what `to_json` wrote."""
        whole = values.get("multivariate")
        return cls(
            values["outcome"],
            values["rows"],
            tuple(ColumnDrift(**item) for item in values["columns"]),
            None if whole is None else MultivariateDrift.from_json(whole),
        )


def detect_drift(
    baseline: Baseline,
    frame: pd.DataFrame,
    predictions: np.ndarray[Any, Any],
    contract: DataContract,
    policy: DriftPolicy,
    *,
    minimum_rows: int,
    blocks: int | None = None,
    scores: np.ndarray[Any, Any] | None = None,
    threads: int = 2,
    only_deciding: bool = False,
) -> DriftReport:
    """Compare a window with the baseline, column by column, and whole rows by ``policy.multivariate``.

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
        as if there were one row a block, or as many more as values differed within blocks of training (Kish, 1965).
    scores : ndarray of shape (n_rows,), optional
        Probability of the label given, for classification.
    threads : int, default=2
        Columns looked at at the same time. Sorting and merging let go of the interpreter's lock; answers do not change.
    only_deciding : bool, default=False
        Whole rows are compared only where no feature alone has drifted. Where one has, they change neither `outcome`,
        `drifted` nor `joint`: they are a page's to tell, and cost more than everything else.

    Raises
    ------
    DriftError
        If ``policy.multivariate`` needs a package that is not installed.
    """
    if len(frame) < minimum_rows:
        return DriftReport("too_little_data", len(frame), ())
    now = blocks if blocks is not None else len(frame)
    sizes = (baseline.blocks, now)
    answered = (baseline.blocks if baseline.answer_blocks is None else baseline.answer_blocks, now)
    names = [column.name for column in contract.features if watched(column)]
    series = {name: frame[name] for name in names} | {PREDICTION: as_series(predictions)}
    series |= {} if scores is None else {SCORE: as_series(scores)}
    known = [name for name in series if name in baseline.numeric or name in baseline.categories]

    def look(name: str) -> ColumnDrift:
        independent = answered if name in (PREDICTION, SCORE) else sizes
        if name in baseline.numeric:
            return _numeric(name, baseline.numeric[name], series[name], independent)
        return _category(name, baseline.categories[name], series[name], independent)

    if threads > 1 and len(frame) >= _ALONE_BELOW:
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(look, known))
    else:
        found = [look(name) for name in known]
    adjusted = benjamini_hochberg(np.array([item.p_value for item in found]))
    columns = tuple(_judge(replace(item, adjusted_p=float(p)), policy) for item, p in zip(found, adjusted, strict=True))
    alone = any(item.drifted and item.name not in (PREDICTION, SCORE) for item in columns)
    whole = None
    if baseline.whole is not None and not (only_deciding and alone):
        kept = baseline.numeric.get(SCORE)
        whole = baseline.whole.compare(frame, contract, policy, (kept.ordered if kept else None, scores))
    moved = any(item.drifted for item in columns) or (whole is not None and whole.outcome == "drift")
    return DriftReport("drift" if moved else "no_drift", len(frame), columns, whole)


def _judge(item: ColumnDrift, policy: DriftPolicy) -> ColumnDrift:
    drifted = item.adjusted_p <= policy.false_discovery_rate and item.psi >= policy.minimum_effect
    severity: Literal["none", "moderate", "severe"] = "none"
    if drifted:
        severity = "severe" if item.psi >= _SEVERE else "moderate"
    return replace(item, drifted=drifted, severity=severity)


def _numeric(name: str, before: NumericBaseline, column: pd.Series, sizes: tuple[int, int]) -> ColumnDrift:
    present, ordered = sorted_present(as_floats(column)), before.ordered
    missing = 1 - len(present) / len(column)
    if not len(present) or not len(ordered):
        return _nothing_to_compare(name, "numeric", before.missing_fraction, missing)
    found = distances(ordered, present)
    independent = (
        independent_rows(before.present, sizes[0], before.alike),
        independent_rows(len(present), sizes[1], before.alike),
    )
    # the statistic grows with the sizes: brought to what as many independent values would have given
    scale = _harmonic(*independent) / _harmonic(len(ordered), len(present))
    edges = np.unique(ordered[-(-np.arange(1, _BINS) * len(ordered) // _BINS) - 1])
    counts = [
        np.diff(np.concatenate([[0], np.searchsorted(data, edges, side="right"), [len(data)]]))
        for data in (ordered, present)
    ]
    shift = found.wasserstein / before.deviation if before.deviation > 0 else np.nan
    return ColumnDrift(
        name=name,
        kind="numeric",
        statistic=found.kolmogorov_smirnov,
        p_value=kolmogorov_smirnov_p(found.kolmogorov_smirnov, independent),
        adjusted_p=1.0,
        psi=population_stability_index(counts[0], counts[1]),
        wasserstein=float(shift) if np.isfinite(shift) else None,
        missing_before=before.missing_fraction,
        missing_now=missing,
        drifted=False,
        severity="none",
        jensen_shannon=jensen_shannon(counts[0], counts[1]),
        cramer_von_mises=found.cramer_von_mises,
        cramer_von_mises_p=cramer_von_mises_p(found.cramer_von_mises * scale, independent),
        exact=before.is_exact,
    )


def _harmonic(first: int, second: int) -> float:
    return first * second / (first + second)


def _category(name: str, before: CategoryBaseline, column: pd.Series, sizes: tuple[int, int]) -> ColumnDrift:
    seen = category_counts(column)
    missing = 1 - sum(seen.values()) / len(column)
    labels = sorted({*before.counts, *seen})
    counts = [np.array([known.get(label, 0) for label in labels], dtype=float) for known in (before.counts, seen)]
    if not labels or counts[0].sum() == 0 or counts[1].sum() == 0:
        return _nothing_to_compare(name, "category", before.missing_fraction, missing)
    independent = (
        independent_rows(int(counts[0].sum()), sizes[0], before.alike),
        independent_rows(int(counts[1].sum()), sizes[1], before.alike),
    )
    tested = pool_rare(counts[0], counts[1], sizes=independent)
    statistic, p_value = chi_square(tested[0], tested[1], sizes=independent)
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
        jensen_shannon=jensen_shannon(counts[0], counts[1]),
        cramers_v=cramers_v(counts[0], counts[1]),
        exact=before.is_exact,
    )


def _nothing_to_compare(name: str, kind: Any, before: float, now: float) -> ColumnDrift:
    return ColumnDrift(name, kind, 0.0, 1.0, 1.0, 0.0, None, before, now, drifted=False, severity="none", exact=True)
