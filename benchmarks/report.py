"""The page of a window of 100,000 rows and 20 features: asked for are at most 3 seconds and 1.5 MB.

Features alternate between numbers and categories, a quarter of them has moved, 23 earlier windows are drawn. What is
timed is what `monitor` does for the page once the window is diagnosed: histograms' shares, pictures, HTML. The first
page of a process also imports what draws.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from mlcore.contract import Column, DataContract
from mlcore.decision import Decision
from mlcore.diagnosis import Diagnosis, FeatureDiagnosis
from mlcore.drift import build_baseline, detect_drift
from mlcore.performance import Performance
from mlcore.policy.monitoring import DriftPolicy
from mlcore.report.distributions import distributions
from mlcore.report.window import EarlierDrift, WindowFacts, window_page

ROWS, FEATURES, EARLIER = 100_000, 20, 23
MOST_SECONDS, MOST_BYTES = 3.0, 1_500_000
_NAMES = [f"feature_{number}" for number in range(FEATURES)]
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def run() -> None:
    """Draw the page three times, and print."""
    contract = DataContract(
        task="regression",
        columns=(
            *(Column(name=name, type="category" if number % 2 else "number") for number, name in enumerate(_NAMES)),
            Column(name="target", type="number", role="target"),
        ),
    )
    rng = np.random.default_rng(0)
    trained, window = _rows(rng, 0.0), _rows(rng, 1.0)
    answers = rng.normal(size=(2, ROWS))
    baseline = build_baseline(trained, answers[0], contract)
    drift = detect_drift(baseline, window, answers[1], contract, DriftPolicy(multivariate="none"), minimum_rows=30)
    found = tuple(FeatureDiagnosis(item.name, "shift", item.sentence, item.psi) for item in drift.drifted)
    earlier = [
        EarlierDrift(
            _BEGIN + timedelta(days=day), "healthy", dict(zip(_NAMES, rng.uniform(0, 0.3, FEATURES), strict=True))
        )
        for day in range(EARLIER)
    ]
    for number in (1, 2, 3):
        wall, processor = time.perf_counter(), time.process_time()
        text = window_page(
            WindowFacts(
                title="Wide",
                window_id="wide/daily/2026-01-24T00",
                starts_at=_BEGIN + timedelta(days=EARLIER),
                ends_at=_BEGIN + timedelta(days=EARLIER + 1),
                model_version=3,
                rows=ROWS,
                labelled=ROWS // 2,
                diagnosis=Diagnosis("harmful_shift", "Five moved and the model is harmed.", found, {}),
                decision=Decision("retrain", "The window is harmed.", "An error back in its limits.", {}),
                quality=None,
                drift=drift,
                performance=Performance("harmed", "mean_absolute_error", 52.6, 19.9, 1.64, ROWS, ROWS // 2),
                drift_threshold=0.2,
                distributions=distributions(
                    baseline, window.assign(prediction=answers[1]), contract, [*_NAMES, "prediction"]
                ),
                importance=dict.fromkeys(_NAMES, 1 / FEATURES),
                earlier=earlier,
            )
        )
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        size = len(text.encode())
        reached = "reached" if processor < MOST_SECONDS and size < MOST_BYTES else "missed"
        print(
            f"  page {number}: {wall:.2f} s by the clock, {processor:.2f} s of processor time, {size / 1e6:.2f} MB: "
            f"{reached} by processor time"
        )


def _rows(rng: np.random.Generator, shift: float) -> pd.DataFrame:
    columns = {}
    for number, name in enumerate(_NAMES):
        numbers = rng.normal(shift if number < FEATURES // 4 else 0.0, 1, ROWS)
        columns[name] = np.round(numbers).astype(int).astype(str) if number % 2 else numbers
    return pd.DataFrame({**columns, "target": rng.normal(size=ROWS)})
