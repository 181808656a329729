"""What a diagnosis says of one column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import Column, DataContract

Numbers = np.ndarray[Any, Any]


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
