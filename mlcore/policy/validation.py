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


class ValidationPolicy(Frozen):
    """The gate: one primary metric decides, every guard must hold."""

    metric: str = Field(default="", description="Empty: the search metric.")
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
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
