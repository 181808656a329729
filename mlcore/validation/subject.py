"""What is judged: two models' answers on the same held-out rows, and the resamples they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

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
    """A pipeline in memory, judged as if it were loaded; `own_scores` are those of its own held-out rows, by metric."""

    pipeline: Any
    dummy: Any = None
    size_bytes: int = 0
    seed_deviation: float = 0.0
    own_scores: Mapping[str, float] = field(default_factory=dict)

    def output(self, frame: pd.DataFrame, history: pd.DataFrame | None = None) -> Output:
        """Return its answers; `history` as in `Output.of`."""
        return Output.of(self.pipeline, frame, history)


@dataclass(frozen=True, slots=True)
class Subject:
    """Everything the guards look at; `first` where the opponent is the dummy, since there is no champion.

    `own_scores` has what the champion scored on its own held-out rows, by metric; empty where it does not tell.
    """

    usecase: UseCase
    model: Model
    frame: pd.DataFrame
    truth: Array
    challenger: Output
    opponent: Output
    metric: Metric
    resampler: Resampler
    first: bool = False
    own_scores: Mapping[str, float] = field(default_factory=dict)
    _known: dict[str, tuple[Array, int]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def opponent_name(self) -> Literal["champion", "dummy"]:
        """What it is compared with, in words."""
        return "dummy" if self.first else "champion"

    def compare(self, metric: Metric, rows: Array | None = None, seed_noise: Array | float = 0.0) -> MetricResult:
        """Return `metric` of both models with intervals, on all rows or on the rows of a mask.

        `seed_noise`, one value a resample, is added to the difference: what other seeds would have made of it.
        """
        return self.resampled(metric, rows).result(seed_noise)

    def resampled(self, metric: Metric, rows: Array | None = None) -> Resampled:
        """Return `metric` of both models, on all rows or on the rows of a mask, as it is and on each resample."""
        both, first = self._statistics(metric)
        totals = self.resampler.totals(both, rows)
        sums = (both if rows is None else both[rows]).sum(axis=0)
        return Resampled(
            metric,
            (float(metric.finish(sums[:first])), float(metric.finish(sums[first:]))),
            (metric.finish(totals[:, :first]), metric.finish(totals[:, first:])),
            self.resampler.units if rows is None else self.resampler.units_in(rows),
            self.usecase.validation.confidence,
        )

    def _statistics(self, metric: Metric) -> tuple[Array, int]:
        """Return the statistics of challenger and opponent side by side, and how many columns are the challenger's.

        Those of the gate's metric are kept: every slice asks for them.
        """
        if metric.name not in self._known:
            tables = [metric.statistics(self.truth, output) for output in (self.challenger, self.opponent)]
            found = np.concatenate(tables, axis=1), tables[0].shape[1]
            if metric.name != self.metric.name:
                return found
            self._known[metric.name] = found
        return self._known[metric.name]


@dataclass(frozen=True, slots=True)
class Resampled:
    """A metric of challenger and opponent on some rows, and on each resample of them.

    Parameters
    ----------
    metric : Metric
    values : tuple of float
    replicates : tuple of ndarray of shape (resamples,)
    units : int
        How many things were drawn.
    confidence : float
        Of the intervals.
    """

    metric: Metric
    values: tuple[float, float]
    replicates: tuple[Array, Array]
    units: int
    confidence: float

    @property
    def difference(self) -> float:
        """By how much the challenger's loss is the larger one."""
        return self.metric.loss(self.values[0]) - self.metric.loss(self.values[1])

    @property
    def differences(self) -> Array:
        """The same on each resample."""
        losses = [-values if self.metric.higher_is_better else values for values in self.replicates]
        return np.asarray(losses[0] - losses[1])

    def result(self, seed_noise: Array | float = 0.0) -> MetricResult:
        """Return both values and their difference with intervals; `seed_noise` as in `Subject.compare`."""
        return MetricResult(
            name=self.metric.name,
            higher_is_better=self.metric.higher_is_better,
            challenger=self._interval(self.values[0], self.replicates[0]),
            opponent=self._interval(self.values[1], self.replicates[1]),
            difference=self._interval(self.difference, self.differences + seed_noise),
        )

    def _interval(self, value: float, replicates: Array) -> Interval:
        return expanded_interval(value, replicates, self.units, self.confidence)


def margin(fraction: float, opponent: float) -> float:
    """Return the worsening that `fraction` of the opponent's value allows."""
    return fraction * abs(opponent)
