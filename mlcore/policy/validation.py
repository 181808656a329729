"""When a challenger may replace the champion."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from mlcore.contract import Frozen, Name


class MetricLimit(Frozen):
    """An absolute limit on a metric of the challenger on the held-out rows."""

    metric: str = Field(description="Any metric of the task.")
    minimum: float | None = Field(default=None, description="Smallest acceptable value.")
    maximum: float | None = Field(default=None, description="Largest acceptable value.")


class SliceRule(Frozen):
    """Every value (or quantile bin) of `column` with enough rows must not be worse than the champion."""

    column: Name = Field(description="Column whose values, or quarters of the rows by value, are the slices.")
    minimum_rows: int = Field(default=50, ge=10, description="Smaller slices are shown, not judged.")
    margin_fraction: float = Field(default=0.10, ge=0, description="Allowed worsening, share of the champion's error.")


class GuardMetric(Frozen):
    """A further metric on which the challenger must not be worse than the champion beyond the margin."""

    metric: str = Field(description="Any metric of the task.")
    margin_fraction: float = Field(default=0.05, ge=0, description="Allowed worsening, share of the champion's value.")


class FairnessRule(Frozen):
    """Limits on how differently the groups of a sensitive column are treated (classification).

    Differences are between the most and the least favoured group, from 0 (alike) to 1.
    """

    column: Name = Field(description="The sensitive column, whose values are the groups.")
    positive: str = Field(default="", description="The favourable label; empty: the last of the sorted labels.")
    minimum_rows: int = Field(default=50, ge=10, description="Smaller groups are not compared.")
    maximum_demographic_parity_difference: float | None = Field(
        default=None, ge=0, le=1, description="Of the shares that get the favourable answer."
    )
    maximum_equalised_odds_difference: float | None = Field(
        default=None, ge=0, le=1, description="Of the true-positive or the false-positive rates, whichever is larger."
    )


class Invariance(Frozen):
    """What must hold when one feature of a row is changed and the rest is not (metamorphic test)."""

    column: Name = Field(description="The feature to change.")
    change: float = Field(description="Added to the feature; negative: taken away.")
    prediction: Literal["not_down", "not_up", "same"] = Field(description="What the prediction must do then.")
    tolerance_fraction: float = Field(
        default=0.01, ge=0, description="A smaller move, as a share of the spread of the predictions, is none."
    )
    maximum_violations_fraction: float = Field(default=0.05, ge=0, le=1, description="Share of rows allowed to differ.")


class LeakPolicy(Frozen):
    """What counts as knowing the answer beforehand; a challenger that does is rejected."""

    allow: tuple[Name, ...] = Field(
        default=(),
        description="Columns known before the prediction, however telling; the target, where it did change so that the "
        "champion's answers look as if labels were exchanged, or the sign, the unit or the row were another.",
    )
    maximum_column_skill: float = Field(
        default=0.95,
        gt=0,
        le=1,
        description="Share of the target that one column alone may explain; of its order half as much may be left, "
        "and of what a column of few values can tell of the order a larger share is asked about.",
    )
    maximum_skill: float = Field(
        default=0.999, gt=0, le=1, description="Share of the constant answer's error that a model may take away."
    )
    maximum_copies_fraction: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Share of the held-out rows that may be equal to training rows; `mlops init` drafts what it finds "
        "where rows repeat as a rule. Where more are and repeat by themselves, a challenger must not be worse, beyond "
        "the margin, on those whose features no training row has, or ten or more.",
    )


class ValidationPolicy(Frozen):
    """The gate: one primary metric decides, every guard must hold."""

    metric: str = Field(default="", description="Empty: the search metric.")
    confidence: float = Field(
        default=0.85,
        gt=0.5,
        lt=1,
        description="One-sided: with 0.85, an equal challenger is called better in at most 15 % of cases, and one that "
        "is better by two standard errors in at least 80 %.",
    )
    guard_confidence: float = Field(
        default=0.95,
        gt=0.5,
        lt=1,
        description="With 0.95, a challenger that is nowhere worse is refused for a slice in at most 5 % of cases.",
    )
    resamples: int = Field(default=1000, ge=100, description="Resamples of the paired bootstrap.")
    block: timedelta | None = Field(default=None, description="Rows closer than this in time are resampled together.")
    margin_fraction: float = Field(
        default=0.02, ge=0, description="Worsening that counts as 'not worse', share of the champion's error."
    )
    minimum_rows: int = Field(default=100, ge=10, description="Fewer held-out rows: hold, too little data.")
    minimum_label_rows: int = Field(
        default=2,
        ge=1,
        description="A label of fewer rows, training and held-out ones together: hold, it may be mistyped, and cannot "
        "be both learned and judged.",
    )
    when_not_worse: Literal["promote", "hold"] = Field(
        default="hold", description="Outcome where the challenger is neither better nor worse for sure."
    )
    when_not_comparable: Literal["hold", "as_first"] = Field(
        default="hold",
        description="Outcome where the champion cannot answer the held-out rows, since its contract was another: hold, "
        "or judge the challenger as a first model is judged, by its dummy and the absolute limits.",
    )
    limits: tuple[MetricLimit, ...] = Field(
        default=(), description="Absolute limits; they hold for the first model, too."
    )
    slices: tuple[SliceRule, ...] = Field(default=(), description="Where the challenger must not be worse.")
    maximum_latency: timedelta | None = Field(default=None, description="p99 of scoring one row.")
    maximum_size_mb: float | None = Field(default=None, gt=0, description="Size of the model's files in MB.")
    guard_metrics: tuple[GuardMetric, ...] = Field(default=(), description="Further metrics that must not get worse.")
    fairness: tuple[FairnessRule, ...] = Field(default=(), description="Limits on differences between groups.")
    invariances: tuple[Invariance, ...] = Field(default=(), description="Metamorphic tests of the challenger.")
    maximum_calibration_error: float | None = Field(
        default=None,
        gt=0,
        description="Expected calibration error; for regression, mean bias over tenths, share of the target's spread.",
    )
    leaks: LeakPolicy = Field(default=LeakPolicy(), description="Limits on what no honest model can know.")
