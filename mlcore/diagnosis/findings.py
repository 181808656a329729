"""What a diagnosis says of one column, and how far its values lie from others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from mlcore.drift.statistics import distances

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import Column, DataContract

Numbers = np.ndarray[Any, Any]

#: A stretch of training tells from so many sampled rows on.
LEAST_OF_STRETCH: Final = 8
#: Values may lie beyond the baseline's range by this share of it: seasons do; and a tenth of them anywhere.
_BEYOND, _MOST = 0.25, 0.9


@dataclass(frozen=True, slots=True)
class FeatureDiagnosis:
    """What happened to one column."""

    name: str
    finding: Literal["fault", "shift"]
    sentence: str
    effect: float


def fault(name: str, sentence: str) -> FeatureDiagnosis:
    """Return a fault of one column."""
    return FeatureDiagnosis(name, "fault", sentence, 1.0)


def numbers(frame: pd.DataFrame, name: str) -> Numbers:
    """Return a numeric column as floats, NaN where missing."""
    return frame[name].to_numpy(dtype=float, na_value=np.nan)


def open_columns(contract: DataContract, frame: pd.DataFrame) -> list[Column]:
    """Return the features whose values are there to be looked at: neither hashed nor left out when captured."""
    return [column for column in contract.features if column.capture == "plain" and column.name in frame]


def kolmogorov_smirnov(before: Numbers, values: Numbers) -> float:
    """Return the Kolmogorov-Smirnov distance of values to sorted ones, both without missing ones."""
    return distances(before, np.sort(values)).kolmogorov_smirnov


def near(before: Numbers, values: Numbers) -> bool:
    """Whether nearly all values lie in the range of sorted ones, or not far beyond it."""
    reach = _BEYOND * (before[-1] - before[0])
    return bool(np.mean((values >= before[0] - reach) & (values <= before[-1] + reach)) >= _MOST)


def share_of(values: Numbers, value: float) -> float:
    """Return the share of values that are this one."""
    return float(np.isclose(values, value, rtol=0, atol=1e-9).mean()) if len(values) else 0.0


@dataclass(frozen=True, slots=True)
class Times:
    """When the rows of a window were, and those of the baseline's sample; in microseconds."""

    window: Numbers
    sample: Numbers


def of_stretches(those: Numbers, known: Numbers, times: Times, least: int = LEAST_OF_STRETCH) -> Numbers:
    """Return the share of known training rows that are of `those`, for each stretch of training as long as the window.

    Parameters
    ----------
    those, known : ndarray of bool of shape (n,)
        Of the baseline's sample.
    times : Times
    least : int, default=8
        Stretches of fewer rows are left out.
    """
    if np.ptp(times.window) <= 0 or not known.any():
        return np.empty(0)
    stretch = (times.sample[known] - times.sample.min()) // np.ptp(times.window)
    rows = np.bincount(stretch)
    return np.bincount(stretch, those[known])[rows >= least] / rows[rows >= least]
