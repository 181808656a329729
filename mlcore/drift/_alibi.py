"""alibi-detect behind our protocol: the only file that imports it. Its licence allows non-production use only."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.drift.multivariate import LEAST_BLOCKS, Detector, MultivariateDrift, Rows
from mlcore.errors import DriftError

if TYPE_CHECKING:
    from mlcore.policy.monitoring import DriftPolicy, Multivariate

Array = np.ndarray[Any, Any]
Found = tuple[float, float, tuple[tuple[str, float], ...]]

#: Rows of each table: kernels compare every row with every other.
_MOST_ROWS: Final = 1_000
#: Of the context-aware test, which solves for every fold and permutation.
_MOST_WITH_CONTEXT: Final = 300
_MOST_COLUMNS: Final = 5
_DAY: Final = 86_400_000_000


def alibi_detector(name: Multivariate) -> Detector:
    """Return a detector of alibi-detect.

    All of them take rows for independent: where the policy names a block length, one row of each block is drawn, else
    at most 1,000 rows. Kernels see numbers in deviations of the reference, categories as the rank of their frequency,
    and the reference's mean for missing values.

    Raises
    ------
    DriftError
        If alibi-detect is not installed, or PyTorch where the detector needs it.
    """
    measure, run, needs_torch = _DETECTORS[name]
    for package, wanted in (("alibi_detect", True), ("torch", needs_torch)):
        if wanted and importlib.util.find_spec(package) is None:
            raise DriftError(
                "a drift detector cannot be had",
                subject=f"monitoring.drift.multivariate: {name}",
                expected=f"the package {package.replace('_', '-')}",
                got="it is not installed",
                remedy=f"pip install 'mlops-loop[{'alibi-torch' if needs_torch else 'alibi'}]', or choose "
                "domain_classifier.",
            )

    def detect(reference: Rows, window: Rows, policy: DriftPolicy) -> MultivariateDrift:
        rng = np.random.default_rng(0)
        rows = len(window.values)
        if name == "alibi_model_uncertainty" and (reference.scores is None or window.scores is None):
            raise DriftError(
                "model uncertainty needs probabilities",
                subject=f"monitoring.drift.multivariate: {name}",
                expected="a classifier trained by this version",
                got="a model without scores",
                remedy="Choose domain_classifier, or train again.",
            )
        sample = [_independent(item, rng) for item in (reference, window)]
        if min(len(item.values) for item in sample) < LEAST_BLOCKS:
            return MultivariateDrift(name, "too_little_data", measure, None, None, (), rows)
        statistic, p_value, columns = run(*sample)
        drifted = p_value <= policy.false_discovery_rate
        shown = columns[:_MOST_COLUMNS] if drifted else ()
        return MultivariateDrift(name, "drift" if drifted else "no_drift", measure, statistic, p_value, shown, rows)

    return detect


def _classifier(reference: Rows, window: Rows) -> Found:
    from alibi_detect.cd import ClassifierDrift
    from sklearn.ensemble import HistGradientBoostingClassifier

    trees = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, random_state=0)
    detector = ClassifierDrift(
        reference.values.astype(float), trees, backend="sklearn", preds_type="probs", binarize_preds=False, n_folds=5
    )
    return _found(detector.predict(window.values.astype(float)))


def _mmd(reference: Rows, window: Rows) -> Found:
    from alibi_detect.cd import MMDDrift

    before, now, _ = _prepared(reference, window)
    return _found(MMDDrift(before, backend="pytorch", n_permutations=199, device="cpu").predict(now))


def _lsdd(reference: Rows, window: Rows) -> Found:
    from alibi_detect.cd import LSDDDrift

    before, now, _ = _prepared(reference, window)
    return _found(LSDDDrift(before, backend="pytorch", n_permutations=199, device="cpu").predict(now))


def _spot_the_diff(reference: Rows, window: Rows) -> Found:
    from alibi_detect.cd import SpotTheDiffDrift

    before, now, names = _prepared(reference, window)
    detector = SpotTheDiffDrift(
        before, backend="pytorch", n_diffs=1, l1_reg=1e-3, n_folds=2, epochs=30, batch_size=64, device="cpu", verbose=0
    )
    answer = detector.predict(now)
    weights = np.abs(np.asarray(answer["data"]["diffs"])).sum(axis=0)
    total: dict[str, float] = {}
    for name, weight in zip(names, weights.tolist(), strict=True):
        total[name] = total.get(name, 0.0) + weight
    ranked = sorted(total.items(), key=lambda item: -item[1])
    return (*_found(answer)[:2], tuple((name, round(weight, 4)) for name, weight in ranked))


def _uncertainty(reference: Rows, window: Rows) -> Found:
    from alibi_detect.cd import ClassifierUncertaintyDrift

    assert reference.scores is not None
    assert window.scores is not None
    # the entropy of the label given against all others
    before, now = (np.column_stack([scores, 1 - scores]) for scores in (reference.scores, window.scores))
    detector = ClassifierUncertaintyDrift(before, model=lambda given: given, preds_type="probs")
    return _found(detector.predict(now))


def _context_mmd(reference: Rows, window: Rows) -> Found:
    from alibi_detect.cd import ContextMMDDrift

    if reference.times is None or window.times is None:
        raise DriftError(
            "context-aware MMD needs a clock",
            subject="monitoring.drift.multivariate: alibi_context_mmd",
            expected="a contract with a time column",
            got="none",
            remedy="Choose alibi_mmd.",
        )
    reference, window = (
        rows.take(np.arange(len(rows.values))[:: 1 + len(rows.values) // _MOST_WITH_CONTEXT])
        for rows in (reference, window)
    )
    before, now, _ = _prepared(reference, window)
    assert reference.times is not None
    assert window.times is not None
    detector = ContextMMDDrift(
        before, _clock(reference.times), backend="pytorch", n_permutations=199, device="cpu", verbose=False
    )
    detector._detector.clf = _Propensity()
    return _found(detector.predict(now, _clock(window.times)))


class _Propensity:
    """How likely a context is the window's; alibi-detect's own asks scikit-learn for what 1.8 no longer has."""

    def fit(self, contexts: Array, is_window: Array) -> None:
        """Learn it."""
        from sklearn.linear_model import LogisticRegression

        self._model = LogisticRegression().fit(contexts, is_window)

    def calibrate(self, contexts: Array, is_window: Array) -> None:
        """Do nothing: its probabilities are calibrated."""

    def predict(self, contexts: Array) -> Array:
        """Return the probability of the window."""
        return np.asarray(self._model.predict_proba(contexts)[:, 1])


_DETECTORS: Final[dict[str, tuple[str, Callable[[Rows, Rows], Found], bool]]] = {
    "alibi_classifier": ("Kolmogorov-Smirnov distance of a classifier's scores", _classifier, False),
    "alibi_mmd": ("squared maximum mean discrepancy", _mmd, True),
    "alibi_lsdd": ("least-squares density difference", _lsdd, True),
    "alibi_spot_the_diff": ("Kolmogorov-Smirnov distance of a classifier's scores", _spot_the_diff, True),
    "alibi_model_uncertainty": ("Kolmogorov-Smirnov distance of the model's uncertainty", _uncertainty, False),
    "alibi_context_mmd": ("conditional maximum mean discrepancy", _context_mmd, True),
}


def _found(answer: Any) -> Found:
    data = answer["data"]
    return float(np.mean(data["distance"])), float(np.min(data["p_val"])), ()


def _independent(rows: Rows, rng: np.random.Generator) -> Rows:
    order = rng.permutation(len(rows.values))
    if rows.blocks is not None:
        order = order[np.unique(rows.blocks[order], return_index=True)[1]]
        order = rng.permutation(order)
    kept = rows.take(np.sort(order[:_MOST_ROWS]))
    if rows.scores is None:
        return kept
    scores = rng.choice(rows.scores, min(len(rows.scores), len(kept.values)), replace=False)
    return Rows(kept.names, kept.values, kept.blocks, kept.times, scores)


def _prepared(reference: Rows, window: Rows) -> tuple[Array, Array, tuple[str, ...]]:
    """Return both tables in deviations of the reference, without missing values."""
    mean, deviation = np.nanmean(reference.values, axis=0), np.nanstd(reference.values, axis=0)
    mean = np.nan_to_num(mean)
    scale = np.where(deviation > 0, deviation, 1.0)
    before, now = (
        np.nan_to_num((np.where(np.isnan(rows.values), mean, rows.values) - mean) / scale).astype(np.float32)
        for rows in (reference, window)
    )
    return before, now, reference.names


def _clock(times: Array) -> Array:
    """Return the hour of the day, the day of the week and of the year, each as a point on a circle."""
    angles = [2 * np.pi * (times % period) / period for period in (_DAY, 7 * _DAY, 365.2425 * _DAY)]
    return np.column_stack([turn(angle) for angle in angles for turn in (np.sin, np.cos)]).astype(np.float32)
