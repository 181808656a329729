"""The gate's bootstrap: a million rows, a thousand resamples; floor: one weighted mean per resample."""

from __future__ import annotations

import numpy as np

from benchmarks.timing import race
from mlcore.validation.bootstrap import MAXIMUM_UNITS, Resampler

ROWS, RESAMPLES = 1_000_000, 1000


def run() -> None:
    """Print the table."""
    rng = np.random.default_rng(0)
    losses = np.column_stack([np.ones(ROWS), rng.exponential(size=ROWS)])
    weights = rng.poisson(1.0, size=(RESAMPLES, MAXIMUM_UNITS)).astype(np.float64)
    groups = losses[:MAXIMUM_UNITS, 1]
    print(f"gate, {ROWS:,} rows, {RESAMPLES:,} resamples")
    race(
        {
            "floor: a weighted mean per resample": lambda: weights @ groups / weights.sum(axis=1),
            "ours: draw, group and resample": lambda: Resampler(ROWS, None, RESAMPLES, np.random.default_rng(0)).totals(
                losses
            ),
        },
        floor="floor: a weighted mean per resample",
        rounds=3,
    )
