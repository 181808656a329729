"""The gate's speed: a million held-out rows, a thousand resamples; floor: a weighted mean over all rows each."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.known import Known
from benchmarks.timing import race
from mlcore.contract import Column, DataContract
from mlcore.metrics import Output
from mlcore.policy.training import Candidate, TrainingPolicy
from mlcore.usecase import Owner, UseCase
from mlcore.validation import evaluate
from mlcore.validation.bootstrap import Resampler

ROWS, RESAMPLES = 1_000_000, 1000


def run() -> None:
    """Print the table."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"x{i}": rng.normal(size=ROWS) for i in range(5)})
    truth = frame.sum(axis=1).to_numpy() + rng.normal(size=ROWS)
    frame["y"] = truth
    models = [Known(Output(truth + rng.normal(scale=scale, size=ROWS))) for scale in (1.0, 1.01)]
    columns = [Column(name=f"x{i}", type="number") for i in range(5)]
    contract = DataContract(task="regression", columns=(*columns, Column(name="y", type="number", role="target")))
    usecase = UseCase(
        format=1,
        name="million",
        title="A million rows",
        owner=Owner(name="Owner", email="owner@example.org"),
        contract=contract,
        training=TrainingPolicy(candidates=(Candidate(name="any", estimator="sklearn.linear_model.Ridge"),)),
    )
    losses = np.column_stack([np.ones(ROWS), np.abs(truth), np.abs(truth)])
    weights = rng.poisson(1.0, size=ROWS).astype(np.float64)
    floor = "floor: a weighted mean a resample"
    print(f"gate, {ROWS:,} rows, {RESAMPLES:,} resamples")
    race(
        {
            floor: lambda: [weights @ losses[:, 1] / weights.sum() for _ in range(RESAMPLES)],
            "ours: draw, group and resample": lambda: Resampler(ROWS, None, RESAMPLES, np.random.default_rng(0)).totals(
                losses
            ),
            "ours: the whole gate, six metrics": lambda: evaluate(
                *models, frame, usecase, rng=np.random.default_rng(0)
            ),
            "ours: the same, and leaks": lambda: evaluate(
                *models, frame, usecase, rng=np.random.default_rng(0), train=frame.iloc[: ROWS // 2]
            ),
        },
        floor=floor,
        rounds=3,
    )
