"""Performance on the rows of a window whose true values have arrived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from mlcore.metrics import Metric, Output
    from mlcore.policy.monitoring import PerformancePolicy


@dataclass(frozen=True, slots=True)
class Performance:
    """The model's metric on a window beside what it was at validation.

    Parameters
    ----------
    outcome : {"fine", "harmed", "too_little_data"}
        ``harmed``: the error grew by more than the policy allows. ``too_little_data``: too few labels to say.
    metric : str
    value, reference : float or None
        On this window, and on the held-out rows when the model was trained.
    worsening_fraction : float or None
        Growth of the loss, as a share of the reference; negative is better.
    rows, labelled : int
    """

    outcome: Literal["fine", "harmed", "too_little_data"]
    metric: str
    value: float | None
    reference: float | None
    worsening_fraction: float | None
    rows: int
    labelled: int

    @property
    def coverage(self) -> float:
        """Share of the rows that have labels."""
        return self.labelled / self.rows if self.rows else 0.0

    @property
    def sentence(self) -> str:
        """The finding in words."""
        if self.value is None or self.reference is None or self.worsening_fraction is None:
            return f"{self.labelled:,} of {self.rows:,} rows have labels: too few to judge the model by."
        change = "worse" if self.worsening_fraction > 0 else "better"
        return (
            f"{self.metric} is {self.value:.4g}, {abs(self.worsening_fraction):.0%} {change} than the "
            f"{self.reference:.4g} of validation ({self.coverage:.0%} of {self.rows:,} rows labelled)."
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the ledger."""
        return {"format": 1, **asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Performance:
        """Return what `to_json` wrote."""
        return cls(**{name: value for name, value in values.items() if name != "format"})


def realised(
    truth: np.ndarray[Any, Any], output: Output, rows: int, metric: Metric, reference: float, policy: PerformancePolicy
) -> Performance:
    """Measure the model on the labelled rows of a window.

    Parameters
    ----------
    truth : ndarray of shape (n_labelled,)
    output : Output
        What was answered for the same rows.
    rows : int
        Rows of the window, labelled or not.
    metric : Metric
    reference : float
        The metric when the model was validated.
    policy : PerformancePolicy
    """
    labelled = len(truth)
    if not rows or labelled == 0 or labelled / rows < policy.minimum_coverage:
        return Performance("too_little_data", metric.name, None, reference, None, rows, labelled)
    value = metric.value(truth, output)
    before = metric.loss(reference)
    worsening = (metric.loss(value) - before) / max(abs(before), 1e-12)
    outcome: Literal["fine", "harmed"] = "harmed" if worsening > policy.maximum_worsening_fraction else "fine"
    return Performance(outcome, metric.name, float(value), reference, float(worsening), rows, labelled)
