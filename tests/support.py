"""Data and databases that several tests make."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd

#: Seconds that a test waits for what comes of itself, on a machine where starting Python takes ten.
PATIENCE_SECONDS = 120.0
#: pytest writes the test and its phase into the environment; a part that is started in a later one must not differ.
STEADY = {"PYTEST_CURRENT_TEST": "an installation"}


def churn_rows(count: int, seed: int = 0, start: str = "2026-01-05") -> pd.DataFrame:
    """Customers who leave the more the more they call and pay."""
    rng = np.random.default_rng(seed)
    calls, fee = rng.poisson(3, count), rng.uniform(5, 100, count).round(2)
    odds = -3 + 0.5 * calls + 0.02 * fee
    return pd.DataFrame(
        {
            "customer_id": np.arange(count) + seed * 1_000_000,
            "seen_at": pd.date_range(start, periods=count, freq="30min", tz="UTC"),
            "plan": rng.choice(["basic", "plus", "pro"], count),
            "monthly_fee": fee,
            "calls": calls,
            "comment": None,
            "left": rng.random(count) < 1 / (1 + np.exp(-odds)),
        }
    )


@contextmanager
def postgres_database() -> Iterator[str]:
    """Make a database for a while on the PostgreSQL of this machine; where none answers, its address is empty."""
    import psycopg

    at = "postgres@127.0.0.1:5432"
    try:
        admin = psycopg.connect(f"postgresql://{at}/postgres", autocommit=True, connect_timeout=2)
    except psycopg.OperationalError:
        yield ""
        return
    name = f"mlops_test_{uuid.uuid4().hex[:12]}"
    admin.execute(f"CREATE DATABASE {name}")
    try:
        yield f"{at}/{name}"
    finally:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        admin.close()
