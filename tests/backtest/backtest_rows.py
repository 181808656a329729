"""A past whose relation changes once, in a use case that trains in a moment."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlcore.usecase import UseCase, parse_usecase

CHANGE = pd.Timestamp("2026-03-02", tz="UTC")  # a Monday
WINDOW = {
    "name": "weekly",
    "period": "week",
    "checks": ["drift", "performance"],
    "minimum_rows": 50,
}


def past(weeks: int = 16, seed: int = 0) -> pd.DataFrame:
    """Return a row every two hours; from `CHANGE` on the same inputs cost thrice as much."""
    rng = np.random.default_rng(seed)
    at = pd.date_range("2026-01-05", periods=20 * 84, freq="2h", tz="UTC")
    load, wind = rng.normal(50, 10, len(at)), rng.gamma(2, 3, len(at))
    cost = (2 * load + wind) * np.where(at >= CHANGE, 3, 1) + rng.normal(0, 5, len(at))
    return pd.DataFrame({"at": at, "load": load, "wind": wind, "cost": cost}).head(weeks * 84)


def usecase(label_wait: str = "P0D", **retraining: object) -> UseCase:
    """Return the use case; its policy may be given."""
    return parse_usecase(
        {
            "format": 1,
            "name": "energy",
            "title": "Energy",
            "description": "Cost of an hour.",
            "owner": {"name": "owner", "email": "owner@example.org"},
            "contract": {
                "task": "regression",
                "minimum_rows": 10,
                "columns": [
                    {"name": "at", "type": "timestamp", "role": "time"},
                    {"name": "load", "type": "number"},
                    {"name": "wind", "type": "number"},
                    {"name": "cost", "type": "number", "role": "target", "maximum_missing_fraction": 1.0},
                ],
            },
            "training": {
                "candidates": [{"name": "ridge", "estimator": "sklearn.linear_model.Ridge", "scale": True}],
                "search": {"folds": 1, "trials": 1, "seconds": 30, "holdout_fraction": 0.2},
            },
            "validation": {"minimum_rows": 50, "resamples": 100},
            "approval": {"required": "never"},
            "monitoring": {"windows": [{**WINDOW, "label_wait": label_wait}]},
            "retraining": {"cooldown": "PT1H", "minimum_new_rows": 50, "budget": 50, **retraining},
        },
        source="test",
    )
