"""Small use cases and tables that the training tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlcore.usecase import UseCase, load_usecase, parse_usecase

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def bikeshare() -> UseCase:
    """Return the quickstart use case."""
    return load_usecase(ROOT / "usecases" / "bikeshare")


@pytest.fixture(scope="session")
def rentals() -> pd.DataFrame:
    """Return its table."""
    return pd.read_csv(ROOT / "usecases" / "bikeshare" / "data" / "hourly.csv", parse_dates=["recorded_at"])


def churn_definition(**training: Any) -> dict[str, Any]:
    """Return a classification use case without a time column, as its YAML would be."""
    return {
        "format": 1,
        "name": "churn",
        "title": "Who leaves",
        "owner": {"name": "Owner", "email": "owner@example.org"},
        "contract": {
            "task": "classification",
            "columns": [
                {"name": "customer", "type": "integer", "role": "key"},
                {"name": "age", "type": "number", "maximum_missing_fraction": 0.5},
                {"name": "spend", "type": "number"},
                {"name": "plan", "type": "category", "categories": ["basic", "gold", "free"]},
                {"name": "active", "type": "boolean"},
                {"name": "left", "type": "category", "role": "target"},
            ],
        },
        "training": {
            "candidates": [
                {
                    "name": "logistic",
                    "estimator": "sklearn.linear_model.LogisticRegression",
                    "search": {"C": [0.1, 1.0]},
                    "scale": True,
                    "one_hot": True,
                },
                {
                    "name": "boosting",
                    "estimator": "sklearn.ensemble.HistGradientBoostingClassifier",
                    "parameters": {"max_iter": 30},
                },
            ],
            "search": {"folds": 2, "trials": 4, "seconds": 60.0},
            **training,
        },
    }


@pytest.fixture()
def make_churn() -> Any:
    """Return a maker of the churn use case; keywords replace keys of its training section."""
    return lambda **training: parse_usecase(churn_definition(**training), source="churn")


@pytest.fixture()
def customers() -> pd.DataFrame:
    """Return 600 customers whose leaving depends on spend and plan."""
    rng = np.random.default_rng(3)
    count = 600
    plan = rng.choice(["basic", "gold", "free"], count)
    spend = rng.gamma(2.0, 20.0, count)
    age = rng.normal(45, 12, count)
    age[rng.random(count) < 0.1] = np.nan
    logit = 1.5 * (plan == "free") - 0.05 * (spend - 40)
    left = np.where(rng.random(count) < 1 / (1 + np.exp(-logit)), "yes", "no")
    return pd.DataFrame(
        {
            "customer": np.arange(count),
            "age": age,
            "spend": spend,
            "plan": plan,
            "active": rng.random(count) < 0.7,
            "left": left,
        }
    )
