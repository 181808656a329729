"""When a diagnosis or a new dataset leads to a retraining."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from mlcore.contract import Frozen


class RetrainingPolicy(Frozen):
    """What `decide` obeys."""

    harmed_windows: int = Field(
        default=1,
        ge=1,
        description="k: harmed windows that are needed; at least 2 where they have fewer than 48 rows, in which a data "
        "fault cannot be ruled out.",
    )
    of_last_windows: int = Field(default=1, ge=1, description="n: among how many of the last windows of the cadence.")
    cooldown: timedelta = Field(
        default=timedelta(hours=1), description="No second retraining within this time (wall clock)."
    )
    budget: int = Field(default=10, ge=0, description="Retrainings allowed per budget period.")
    budget_period: timedelta = Field(default=timedelta(days=30), description="Time (wall clock) the budget is for.")
    minimum_new_rows: int = Field(default=100, ge=0, description="Labelled rows the last training had not seen.")
    growth_fraction: float | None = Field(
        default=None,
        gt=0,
        description="Inputs that moved without harm are a reason, too, once the new rows are this share of those that "
        "the champion learned from; 1: as many again. Empty: they are watched.",
    )
    on_new_dataset: Literal["retrain", "ignore"] = Field(
        default="retrain", description="Whether a newly published dataset version alone is a reason to retrain."
    )
    training_window: timedelta | None = Field(
        default=None, description="Only rows this recent are trained on; empty: everything."
    )
