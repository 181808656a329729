"""What is judged: two models' answers on the same held-out rows, and the resamples they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mlcore.metrics import Metric, Output
from mlcore.validation.bootstrap import Interval, Resampler, expanded_interval
from mlcore.validation.report import MetricResult

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.usecase import UseCase

Array = np.ndarray[Any, Any]


class Model(Protocol):
    """What can be judged; `mlcore.modelstore.LoadedModel` is one."""

    @property
    def size_bytes(self) -> int:
        """Size of the model's files."""

    @property
    def dummy(self) -> Any:
        """The fitted baseline that came with it, or None."""

    @property
    def seed_deviation(self) -> float:
        """Standard deviation of the gate's metric over seeds of the same recipe."""

    def output(self, frame: pd.DataFrame, history: pd.DataFrame | None = None) -> Output:
        """Return its answers; `history` as in `Output.of`."""


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A pipeline in memory, judged as if it were loaded."""

    pipeline: Any
    dummy: Any = None
    size_bytes: int = 0
    seed_deviation: float = 0.0

    def output(self, frame: pd.DataFrame, history: pd.DataFrame | None = None) -> Output:
        """Return its answers; `history` as in `Output.of`."""
        return Output.of(self.pipeline, frame, history)


@dataclass(frozen=True, slots=True)
class Subject:
    """Everything the guards look at; `first` where the opponent is the dummy, since there is no champion."""

    usecase: UseCase
    model: Model
    frame: pd.DataFrame
    truth: Array
    challenger: Output
    opponent: Output
    metric: Metric
    resampler: Resampler
    first: bool = False

    def compare(self, metric: Metric, rows: Array | None = None, seed_noise: Array | float = 0.0) -> MetricResult:
        """Return `metric` of both models with intervals, on all rows or on the rows of a mask.

        `seed_noise`, one value a resample, is added to the difference: what other seeds would have made of it.
        """
        losses, results = [], []
        for output in (self.challenger, self.opponent):
            statistics = metric.statistics(self.truth, output)
            if rows is not None:
                statistics = statistics * rows[:, None]
            resampled = metric.finish(self.resampler.totals(statistics))
            results.append((float(metric.finish(statistics.sum(axis=0))), resampled))
            losses.append(-resampled if metric.higher_is_better else resampled)
        units = self.resampler.units if rows is None else self.resampler.units_in(rows)
        (challenger, first), (opponent, second) = results
        value, replicates = metric.loss(challenger) - metric.loss(opponent), losses[0] - losses[1] + seed_noise
        return MetricResult(
            name=metric.name,
            higher_is_better=metric.higher_is_better,
            challenger=self._interval(challenger, first, units),
            opponent=self._interval(opponent, second, units),
            difference=self._interval(value, replicates, units),
        )

    def _interval(self, value: float, replicates: Array, units: int) -> Interval:
        return expanded_interval(value, replicates, units, self.usecase.validation.confidence)


def margin(fraction: float, opponent: float) -> float:
    """Return the worsening that `fraction` of the opponent's value allows."""
    return fraction * abs(opponent)
