"""What a diagnosis says of one column, and how far its values lie from others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mlcore.drift.statistics import distances

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import Column, DataContract

Numbers = np.ndarray[Any, Any]

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
