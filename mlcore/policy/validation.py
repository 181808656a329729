"""When a challenger may replace the champion."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from mlcore.contract import Frozen, Name


class MetricLimit(Frozen):
    """An absolute limit on a metric of the challenger on the held-out rows."""

    metric: str
    minimum: float | None = None
    maximum: float | None = None


class SliceRule(Frozen):
    """Every value (or quantile bin) of `column` with enough rows must not be worse than the champion."""

    column: Name
    minimum_rows: int = Field(default=50, ge=10)
    margin_fraction: float = Field(default=0.10, ge=0, description="Allowed worsening, share of the champion's error.")


class GuardMetric(Frozen):
    """A further metric on which the challenger must not be worse than the champion beyond the margin."""

    metric: str
    margin_fraction: float = Field(default=0.05, ge=0, description="Allowed worsening, share of the champion's value.")


class FairnessRule(Frozen):
    """Limits on how differently the groups of a sensitive column are treated (classification).

    Differences are between the most and the least favoured group, from 0 (alike) to 1.
    """

    column: Name
    positive: str = Field(default="", description="The favourable label; empty: the last of the sorted labels.")
    minimum_rows: int = Field(default=50, ge=10, description="Smaller groups are not compared.")
    maximum_demographic_parity_difference: float | None = Field(default=None, ge=0, le=1)
    maximum_equalised_odds_difference: float | None = Field(default=None, ge=0, le=1)


class Invariance(Frozen):
    """What must hold when one feature of a row is changed and the rest is not (metamorphic test)."""

    column: Name
    change: float = Field(description="Added to the feature; negative: taken away.")
    prediction: Literal["not_down", "not_up", "same"]
    tolerance_fraction: float = Field(
        default=0.01, ge=0, description="A smaller move, as a share of the spread of the predictions, is none."
    )
    maximum_violations_fraction: float = Field(default=0.05, ge=0, le=1, description="Share of rows allowed to differ.")


class ValidationPolicy(Frozen):
    """The gate: one primary metric decides, every guard must hold."""

    metric: str = Field(default="", description="Empty: the search metric.")
    confidence: float = Field(
        default=0.95,
        gt=0.5,
        lt=1,
        description="One-sided: with 0.95, an equal challenger is called better in at most 5 % of cases.",
    )
    resamples: int = Field(default=1000, ge=100)
    block: timedelta | None = Field(default=None, description="Rows closer than this in time are resampled together.")
    margin_fraction: float = Field(
        default=0.02, ge=0, description="Worsening that counts as 'not worse', share of the champion's error."
    )
    minimum_rows: int = Field(default=100, ge=10, description="Fewer held-out rows: hold, too little data.")
    when_not_worse: Literal["promote", "hold"] = Field(
        default="hold", description="Outcome where the challenger is neither better nor worse beyond doubt."
    )
    limits: tuple[MetricLimit, ...] = Field(default=())
    slices: tuple[SliceRule, ...] = Field(default=())
    maximum_latency: timedelta | None = Field(default=None, description="p99 of scoring one row.")
    maximum_size_mb: float | None = Field(default=None, gt=0)
    guard_metrics: tuple[GuardMetric, ...] = Field(default=())
    fairness: tuple[FairnessRule, ...] = Field(default=())
    invariances: tuple[Invariance, ...] = Field(default=())
    maximum_calibration_error: float | None = Field(
        default=None,
        gt=0,
        description="Expected calibration error; for regression, mean bias over tenths, share of the target's spread.",
    )
