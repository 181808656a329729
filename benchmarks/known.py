"""A model whose answers are known beforehand, judged as any other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from mlcore.metrics import Output


@dataclass(frozen=True)
class Known:
    """Answers by the index of the rows."""

    answers: Output
    seed_deviation: float = 0.0
    dummy: Any = None
    size_bytes: int = 0

    def output(self, frame: pd.DataFrame, history: pd.DataFrame | None = None) -> Output:  # noqa: ARG002
        """Return the answers for the rows asked about."""
        return self.answers.take(frame.index.to_numpy())
