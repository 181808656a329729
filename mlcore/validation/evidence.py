"""What a person looks at besides the verdict: calibration, where in time the models err, and how much changes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from mlcore.calibration import calibration_curve, calibration_gap
from mlcore.metrics import Output
from mlcore.validation.report import CurvePoint, ResidualPoint
from mlcore.validation.subject import Subject

Array = np.ndarray[Any, Any]

_STRETCHES: Final = 24


def calibration(subject: Subject) -> tuple[CurvePoint, ...]:
    """Return the challenger's `calibration_curve`."""
    return tuple(CurvePoint(*point) for point in calibration_curve(subject.truth, subject.challenger))


def calibration_error(subject: Subject) -> float:
    """Return the mean distance between prediction and truth over the bins; for regression as a share of the spread.

    nan where the target does not vary.
    """
    curve = calibration_curve(subject.truth, subject.challenger)
    spread = 1.0 if subject.challenger.probabilities is not None else float(np.std(subject.truth))
    return calibration_gap(curve) / spread if spread > 0 else float("nan")


def residuals(subject: Subject) -> tuple[ResidualPoint, ...]:
    """Return both models' mean row loss in stretches of equally many rows in the order of time; empty without time."""
    from mlcore.training.splits import stretches

    time = subject.usecase.contract.time
    if time is None:
        return ()
    losses = [subject.metric.row_loss(subject.truth, output) for output in (subject.challenger, subject.opponent)]
    return tuple(
        ResidualPoint(
            starts_at=start,
            challenger=float(losses[0][rows].mean()),
            opponent=float(losses[1][rows].mean()),
            rows=len(rows),
        )
        for start, rows in stretches(subject.frame[time.name], _STRETCHES)
    )


def change_fraction(challenger: Output, champion: Output) -> float:
    """Return how much of the champion's answers to the same rows the challenger changes.

    Two models of equal error can answer quite differently. For classification this is the churn of Milani Fard,
    Cormier, Canini & Gupta (2016, "Launch and Iterate: Reducing Prediction Churn", NeurIPS): the share of rows that get
    another label. For regression it is ``mean(|challenger - champion|) / std(champion)``: 0 where nothing changes, and
    the same in any unit. inf where a champion that always gave one answer is changed.

    Examples
    --------
    >>> round(change_fraction(Output(np.array([1.0, 2.0, 3.5, 4.5])), Output(np.array([1.0, 2.0, 3.0, 4.0]))), 3)
    0.224
    >>> labels, classes = np.array(["no", "yes", "yes"]), np.array(["no", "yes"])
    >>> round(change_fraction(Output(labels, np.eye(2)[[0, 1, 1]], classes), Output(labels[[0, 0, 1]])), 3)
    0.333
    """
    if challenger.probabilities is not None:
        return float(np.mean(challenger.values != champion.values))
    change, spread = float(np.mean(np.abs(challenger.values - champion.values))), float(np.std(champion.values))
    return change / spread if spread > 0 else (float("inf") if change > 0 else 0.0)
