"""Univariate drift, 40 numeric and 10 categorical columns: ours, scipy in a loop, alibi-detect where installed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from benchmarks.timing import race
from mlcore.contract import Column, DataContract
from mlcore.drift import build_baseline, detect_drift
from mlcore.policy.monitoring import DriftPolicy

NUMERIC, CATEGORIES = 40, 10
NUMBERS = [f"n{i}" for i in range(NUMERIC)]


def run() -> None:
    """Print the table for 10,000 and 100,000 rows."""
    for rows in (10_000, 100_000):
        reference, window = _frame(rows, 0), _frame(rows, 1)
        columns = [Column(name=name, type="number") for name in NUMBERS]
        columns += [Column(name=f"c{i}", type="category") for i in range(CATEGORIES)]
        contract = DataContract(task="regression", columns=(*columns, Column(name="y", type="number", role="target")))
        answers = np.random.default_rng(2).normal(size=rows)
        baseline = build_baseline(reference, answers, contract)
        contestants = {
            "floor: sort the numeric columns": lambda w=window: [np.sort(w[name].to_numpy()) for name in NUMBERS],
            "ours: KS, chi2, PSI, Wasserstein": lambda w=window, b=baseline, c=contract, a=answers: detect_drift(
                b, w, a, c, DriftPolicy(), minimum_rows=1
            ),
            "scipy ks_2samp in a loop (KS only)": lambda r=reference, w=window: [
                ks_2samp(r[name], w[name], method="asymp") for name in NUMBERS
            ],
        }
        alibi = _alibi(reference)
        if alibi is not None:
            contestants["alibi-detect TabularDrift"] = lambda w=window, a=alibi: a(w)
        print(f"drift, {rows:,} rows")
        race(contestants, floor="floor: sort the numeric columns", rounds=3)


def _frame(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    data = {f"n{i}": rng.normal(size=rows) for i in range(NUMERIC)}
    return pd.DataFrame(data | {f"c{i}": rng.choice(list("abcdef"), rows) for i in range(CATEGORIES)})


def _alibi(reference: pd.DataFrame):
    try:
        from alibi_detect.cd import TabularDrift
    except ImportError:
        print("  alibi-detect is not installed: left out")
        return None
    categories = {f"c{i}": i + NUMERIC for i in range(CATEGORIES)}

    def matrix(frame: pd.DataFrame) -> np.ndarray:
        coded = {name: frame[name].map({letter: n for n, letter in enumerate("abcdef")}) for name in categories}
        return frame.assign(**coded).to_numpy(dtype=float)

    detector = TabularDrift(matrix(reference), p_val=0.05, categories_per_feature=dict.fromkeys(categories.values()))
    return lambda frame: detector.predict(matrix(frame))
