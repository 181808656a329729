"""How served rows are cut into windows, and what is measured on each."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from mlcore.contract import Frozen, Name

Period = Literal["hour", "day", "week", "month"]
Check = Literal["quality", "drift", "performance"]
Multivariate = Literal[
    "domain_classifier",
    "none",
    "alibi_classifier",
    "alibi_mmd",
    "alibi_lsdd",
    "alibi_spot_the_diff",
    "alibi_model_uncertainty",
    "alibi_context_mmd",
]


class WindowRule(Frozen):
    """A cadence: windows follow the calendar (UTC) of the time column, or of arrival where there is none."""

    name: Name = Field(description="Name of the cadence; part of each window's id.")
    period: Period = Field(description="Length of a window, by the calendar; weeks begin on Monday.")
    checks: tuple[Check, ...] = Field(min_length=1, description="What is looked at when such a window closes.")
    minimum_rows: int = Field(default=30, ge=1, description="Fewer rows: too little data to judge.")
    label_wait: timedelta = Field(
        default=timedelta(0),
        description="How long after its end a window stays open for labels, in the data's own time.",
    )


class DriftPolicy(Frozen):
    """What counts as drift of one column: significant after correction, and large enough to matter."""

    false_discovery_rate: float = Field(
        default=0.01,
        gt=0,
        lt=0.5,
        description="Share of false alarms among the columns called significant (Benjamini-Hochberg).",
    )
    minimum_effect: float = Field(default=0.2, ge=0, description="Smallest population stability index that counts.")
    block: timedelta | None = Field(
        default=None,
        description="Rows closer than this in time depend on each other, as hours of weather do for a week: for "
        "significance they count as one, or as many more as values differ within such blocks.",
    )
    multivariate: Multivariate = Field(
        default="domain_classifier",
        description="What compares whole rows, for drift that no single column shows; the alibi ones need the extra "
        "`alibi`, all of them but alibi_classifier PyTorch, too.",
    )


class PerformancePolicy(Frozen):
    """What counts as harm."""

    metric: str = Field(default="", description="Empty: the validation metric.")
    maximum_worsening_fraction: float = Field(
        default=0.2,
        gt=0,
        description="Share of the error measured at validation above which a window is harmed, where that is more than "
        "its rows differ by chance. What the three champions before could do is asked for, too, as a share of the "
        "constant answer's error.",
    )
    minimum_coverage: float = Field(default=0.5, gt=0, le=1, description="Share of rows that must have labels.")
    estimated_harm: Literal["watch", "counts"] = Field(
        default="watch",
        description="What harm is worth that is estimated because labels are missing: watch, it never retrains alone; "
        "counts, it is taken for measured.",
    )


class MonitoringPolicy(Frozen):
    """Everything that `monitor` obeys."""

    windows: tuple[WindowRule, ...] = Field(
        default=(WindowRule(name="daily", period="day", checks=("quality", "drift", "performance")),),
        min_length=1,
        description="The cadences; a row belongs to one window of each.",
    )
    drift: DriftPolicy = Field(default=DriftPolicy(), description="What counts as drift.")
    performance: PerformancePolicy = Field(default=PerformancePolicy(), description="When a window is harmed.")
