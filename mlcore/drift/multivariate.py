"""Drift that single columns do not show: whole rows of the window against whole rows trained on."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import numpy as np

from mlcore.drift.encoding import without_empty
from mlcore.reproducible import one_thread, sum_in_order

if TYPE_CHECKING:
    from mlcore.policy.monitoring import DriftPolicy, Multivariate

Array = np.ndarray[Any, Any]

#: Blocks needed in the window, half of them in each fold.
LEAST_BLOCKS: Final = 4
#: More blocks are dealt at random into so many groups, which stand for them.
_MOST_UNITS: Final = 200
_PERMUTATIONS: Final = 999
#: Rows that the share of each column is looked up on.
_EXPLAINED_ROWS: Final = 2_000
_MOST_COLUMNS: Final = 5


@dataclass(frozen=True, slots=True)
class Rows:
    """Whole rows of one table.

    Parameters
    ----------
    names : tuple of str
    values : ndarray of shape (n_rows, n_names)
        float32, as `Encoding.encode` gives them.
    blocks : ndarray of shape (n_rows,) or None
        Number of the block of each row, where rows of a block depend on each other; None: each row is for itself.
    times : ndarray of shape (n_rows,) or None
        Microseconds since 1970 in UTC.
    scores : ndarray of shape (n_scores,) or None
        The model's probabilities of the label it gave; of held-out rows in the reference. None for regression.
    """

    names: tuple[str, ...]
    values: Array
    blocks: Array | None = None
    times: Array | None = None
    scores: Array | None = None

    def take(self, rows: Array) -> Rows:
        """Return some of the rows; scores are not of rows."""
        blocks, times = (None if item is None else item[rows] for item in (self.blocks, self.times))
        return Rows(self.names, self.values[rows], blocks, times, self.scores)


@dataclass(frozen=True, slots=True)
class MultivariateDrift:
    """What one detector says of a window's whole rows.

    Parameters
    ----------
    detector : str
    outcome : {"drift", "no_drift", "too_little_data"}
    measure : str
        What `statistic` is.
    statistic, p_value : float or None
        None where there is too little data.
    columns : tuple of (name, share)
        Columns that the windows are told apart by, the most telling first: how much of the statistic is lost without
        each. Empty where there is no drift, or where the detector does not say.
    rows : int
        Rows of the window that were looked at.
    """

    detector: str
    outcome: Literal["drift", "no_drift", "too_little_data"]
    measure: str
    statistic: float | None
    p_value: float | None
    columns: tuple[tuple[str, float], ...]
    rows: int

    @property
    def sentence(self) -> str:
        """The finding in words."""
        if self.statistic is None or self.p_value is None:
            return f"{self.rows:,} rows are too few, or of too few days, to compare whole rows."
        verb = "can be told" if self.outcome == "drift" else "cannot be told"
        by = f", by {', '.join(name for name, _ in self.columns)}" if self.columns else ""
        return (
            f"Whole rows {verb} from those trained on{by}: {self.measure} {self.statistic:.3g}, p {self.p_value:.2g} "
            f"({self.detector.replace('_', ' ')})."
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the ledger."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> MultivariateDrift:
        """Return what `to_json` wrote."""
        columns = tuple((name, float(share)) for name, share in values["columns"])
        return cls(**{**values, "columns": columns})


class Detector(Protocol):
    """Compares whole rows; `domain_classifier` is one, those of alibi-detect are in `mlcore.drift._alibi`."""

    def __call__(self, reference: Rows, window: Rows, policy: DriftPolicy) -> MultivariateDrift:
        """Return what it says of the window; the same rows get the same answer."""


def detector_named(name: Multivariate) -> Detector | None:
    """Return the detector that a use case asks for; None for ``none``.

    Raises
    ------
    DriftError
        If it needs a package that is not installed.
    """
    if name == "none":
        return None
    if name == "domain_classifier":
        return domain_classifier
    from mlcore.drift._alibi import alibi_detector

    return alibi_detector(name)


def domain_classifier(reference: Rows, window: Rows, policy: DriftPolicy) -> MultivariateDrift:
    """Tell whether boosted trees can learn which of two tables a row is from.

    The rows are halved, whole blocks together; trees fitted on each half score the other. Of each half's scores the
    blocks' mean ranks are compared by a studentised permutation test: which blocks are the window's is dealt anew 999
    times. It is exact where blocks are exchangeable, and holds for large numbers where only their sizes or spreads
    differ. The halves' p-values are brought to normal quantiles and averaged, which is valid however they depend on
    each other as far as they are jointly normal. Rows have drifted where p is at most ``policy.false_discovery_rate``
    and the area under the curve is at least what one normal column gives that has moved by
    ``policy.minimum_effect``: Φ(√(PSI / 2)), 0.62 for 0.2.

    References
    ----------
    Friedman, J. H. (2003). On multivariate goodness-of-fit and two-sample testing. PHYSTAT.
    Lopez-Paz, D. & Oquab, M. (2017). Revisiting classifier two-sample tests. ICLR.
    Chung, E. & Romano, J. P. (2013). Exact and asymptotically robust permutation tests. Annals of Statistics 41.

    Examples
    --------
    >>> from mlcore.policy.monitoring import DriftPolicy
    >>> rng = np.random.default_rng(0)
    >>> trained, now = rng.normal(size=(2, 2_000, 3)).astype(np.float32)
    >>> now[:, 1] = now[:, 0] + 0.5 * now[:, 1]
    >>> names = ("a", "b", "c")
    >>> found = domain_classifier(Rows(names, trained), Rows(names, now), DriftPolicy())
    >>> found.outcome, sorted(name for name, _ in found.columns)
    ('drift', ['a', 'b'])
    """
    rng = np.random.default_rng(0)
    reference, window = _in_order(reference), _in_order(window)
    units = [_units(rows, rng) for rows in (reference, window)]
    if not window.names or min(len(np.unique(item)) for item in units) < LEAST_BLOCKS:
        return MultivariateDrift(
            "domain_classifier", "too_little_data", "area under the curve", None, None, (), len(window.values)
        )
    values = np.concatenate([reference.values, window.values])
    is_window = np.repeat([False, True], [len(reference.values), len(window.values)])
    unit = np.concatenate([units[0], units[1] + units[0].max() + 1])
    fold = np.concatenate([_halves(item, rng) for item in units])
    tests = [fold == held_out for held_out in (0, 1)]
    # the halves side by side, each in one thread: an answer that does not depend on the number of cores
    with one_thread(), ThreadPoolExecutor(len(tests), "halves", sum_in_order) as pool:
        shares = list(zip(pool.map(lambda test: _fit(values[~test], is_window[~test]), tests), tests, strict=True))
        return _told(shares, values, is_window, unit, window.names, policy, rng)


def _told(
    shares: list[tuple[Any, Array]],
    values: Array,
    is_window: Array,
    unit: Array,
    names: tuple[str, ...],
    policy: DriftPolicy,
    rng: np.random.Generator,
) -> MultivariateDrift:
    """Return what the trees of each half say of the rows of the other."""
    quantiles, areas = [], []
    for trees, test in shares:
        ranks = _ranks(trees.predict_proba(values[test])[:, 1])
        areas.append(_area(ranks, is_window[test]))
        quantiles.append(NormalDist().inv_cdf(1 - _permutation_p(ranks, is_window[test], unit[test], rng)))
    area, p_value = float(np.mean(areas)), 1 - NormalDist().cdf(float(np.mean(quantiles)))
    smallest = NormalDist().cdf(float(np.sqrt(policy.minimum_effect / 2)))
    drifted = p_value <= policy.false_discovery_rate and area >= smallest
    columns: tuple[tuple[str, float], ...] = ()
    if drifted:
        lost = np.mean([_lost(trees, values[test], is_window[test], rng) for trees, test in shares], axis=0)
        order = [position for position in np.argsort(-lost) if lost[position] >= 0.1 * max(lost.max(), 1e-9)]
        columns = tuple((names[position], round(float(lost[position]), 4)) for position in order[:_MOST_COLUMNS])
    return MultivariateDrift(
        "domain_classifier",
        "drift" if drifted else "no_drift",
        "area under the curve",
        area,
        float(p_value),
        columns,
        int(is_window.sum()),
    )


def _in_order(rows: Rows) -> Rows:
    """Return the rows in an order of their own, so that the one they came in does not choose the halves."""
    key = np.zeros(len(rows.values))
    for weight, column in zip(np.random.default_rng(1).random(rows.values.shape[1]), rows.values.T, strict=True):
        key += weight * np.nan_to_num(column.astype(float), nan=-1.0)
    return rows.take(np.argsort(key, kind="stable"))


def _units(rows: Rows, rng: np.random.Generator) -> Array:
    """Return the number of each row's unit: its block, or one of 200 groups of blocks."""
    blocks = np.arange(len(rows.values)) if rows.blocks is None else np.unique(rows.blocks, return_inverse=True)[1]
    count = int(blocks.max()) + 1 if len(blocks) else 0
    if count <= _MOST_UNITS:
        return np.asarray(blocks)
    return np.asarray((rng.permutation(count) % _MOST_UNITS)[blocks])


def _halves(unit: Array, rng: np.random.Generator) -> Array:
    count = int(unit.max()) + 1
    return np.asarray((rng.permutation(count) % 2)[unit])


def _fit(values: Array, is_window: Array) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    trees = HistGradientBoostingClassifier(
        max_iter=60, max_leaf_nodes=15, min_samples_leaf=20, early_stopping=False, random_state=0
    )
    return trees.fit(without_empty(values), is_window)


def _ranks(scores: Array) -> Array:
    """Return mid-ranks between 0 and 1."""
    from scipy.stats import rankdata

    return np.asarray((rankdata(scores) - 0.5) / len(scores))


def _area(ranks: Array, is_window: Array) -> float:
    """Return the area under the curve: the mean ranks differ by it less a half."""
    return float(0.5 + ranks[is_window].mean() - ranks[~is_window].mean())


def _permutation_p(ranks: Array, is_window: Array, unit: Array, rng: np.random.Generator) -> float:
    """Return the probability of window units of so high mean ranks if units were dealt at random."""
    numbers, place = np.unique(unit, return_inverse=True)
    means = np.bincount(place, weights=ranks) / np.bincount(place)
    mine = np.zeros(len(numbers), dtype=bool)
    mine[place[is_window]] = True
    chosen = np.argsort(rng.random((_PERMUTATIONS, len(numbers))), axis=1)[:, : mine.sum()]
    dealt = np.zeros((1 + _PERMUTATIONS, len(numbers)), dtype=bool)
    dealt[0] = mine
    np.put_along_axis(dealt[1:], chosen, True, axis=1)
    statistics = _studentised(means, dealt)
    return float((1 + (statistics[1:] >= statistics[0] - 1e-12).sum()) / (1 + _PERMUTATIONS + 1e-9))


def _studentised(means: Array, dealt: Array) -> Array:
    """Return Welch's statistic of the window's unit means against the others', one for each dealing."""
    sides = []
    for mask in (dealt.astype(float), (~dealt).astype(float)):
        count = mask.sum(axis=1)
        mean = mask @ means / count
        variance = np.maximum(mask @ means**2 / count - mean**2, 0.0) * count / np.maximum(count - 1, 1)
        sides.append((mean, variance / count))
    return np.asarray((sides[0][0] - sides[1][0]) / np.sqrt(np.maximum(sides[0][1] + sides[1][1], 1e-18)))


def _lost(trees: Any, values: Array, is_window: Array, rng: np.random.Generator) -> Array:
    """Return for each column how much of the area is lost when its values are exchanged between the rows."""
    rows = rng.permutation(len(values))[:_EXPLAINED_ROWS]
    values, is_window = values[rows], is_window[rows]
    if not is_window.any() or is_window.all():
        return np.zeros(values.shape[1])
    whole = _area(_ranks(trees.predict_proba(values)[:, 1]), is_window)
    found = []
    for position in range(values.shape[1]):
        changed = values.copy()
        changed[:, position] = rng.permutation(changed[:, position])
        found.append(whole - _area(_ranks(trees.predict_proba(changed)[:, 1]), is_window))
    return np.array(found)
