"""Performance on the rows of a window whose true values have arrived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from mlcore.slices import Slice, SlicePerformance, members

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.metrics import Metric, Output
    from mlcore.policy.monitoring import PerformancePolicy
    from mlcore.validation.bootstrap import Resampler

Array = np.ndarray[Any, Any]

#: Each bound of an interval holds with this probability: the interval covers 95 %.
_ONE_SIDED: Final = 0.975
_RESAMPLES: Final = 500
#: Harm is larger than what rows differ by chance, in standard errors: one window in twenty of a sound model is beyond.
_SURE: Final = 1.645


@dataclass(frozen=True, slots=True)
class Performance:
    """The model's metric on a window beside what it was at validation.

    Parameters
    ----------
    outcome : {"fine", "harmed", "too_little_data"}
        ``harmed``: the error grew by more than the policy allows, and by more than rows differ by chance.
        ``too_little_data``: too few labels to say.
    metric : str
    value, reference : float or None
        On this window, and on the held-out rows when the model, or one before it, was trained.
    worsening_fraction : float or None
        Growth of the loss, as a share of the reference; negative is better.
    rows, labelled : int
    lower, upper : float or None
        95 % interval of `value`; None where it was not asked for, or there are too few blocks for one.
    lag_median_seconds, lag_p95_seconds : float or None
        How long after its row a label came: half of them at most the first, 95 % at most the second.
    slices : tuple of SlicePerformance
    earlier : bool, default=False
        Whether the model is harmed only beside those before it, whose `reference` it is.
    held_out_rows : int, default=0
        What the model was validated by; 0 where nobody knows.
    """

    outcome: Literal["fine", "harmed", "too_little_data"]
    metric: str
    value: float | None
    reference: float | None
    worsening_fraction: float | None
    rows: int
    labelled: int
    lower: float | None = None
    upper: float | None = None
    lag_median_seconds: float | None = None
    lag_p95_seconds: float | None = None
    slices: tuple[SlicePerformance, ...] = ()
    earlier: bool = False
    held_out_rows: int = 0

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
        whose = "a model before it" if self.earlier else "validation"
        interval = "" if self.lower is None else f" ({self.lower:.4g} to {self.upper:.4g})"
        return (
            f"{self.metric} is {self.value:.4g}{interval}, {abs(self.worsening_fraction):.0%} {change} than the "
            f"{self.reference:.4g} of {whose} ({self.coverage:.0%} of {self.rows:,} rows labelled)."
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the ledger."""
        return {"format": 1, **asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Performance:
        """Return what `to_json` wrote; older versions wrote neither interval, lag nor slices."""
        slices = tuple(SlicePerformance(**item) for item in values.get("slices", ()))
        return cls(**{**{name: value for name, value in values.items() if name != "format"}, "slices": slices})


@dataclass(frozen=True, slots=True)
class Labelled:
    """What more is known of the labelled rows, beside truth and answers.

    Parameters
    ----------
    frame : DataFrame of shape (n_labelled, n_columns)
        Columns that slices are of.
    blocks : ndarray of shape (n_labelled,) or None
        Number of the block of each row; rows of one block are no independent evidence. None: each row is.
    lag_seconds : ndarray of shape (n_labelled,) or None
        How long after its row each label came.
    slices : sequence of Slice
    """

    frame: pd.DataFrame
    blocks: Array | None = None
    lag_seconds: Array | None = None
    slices: Sequence[Slice] = ()


def realised(
    truth: Array,
    output: Output,
    rows: int,
    metric: Metric,
    reference: float,
    policy: PerformancePolicy,
    *,
    known: Labelled | None = None,
    rng: np.random.Generator | None = None,
    before: float | None = None,
    held_out_rows: int = 0,
) -> Performance:
    """Measure the model on the labelled rows of a window.

    It is harmed where its loss is above the reference by more than the policy's share of it, and by more than 1.645
    standard errors s sqrt(1 + n / m), with s the jackknife's of the n labelled rows and m those held out: rows alone
    lead to that in one window of twenty of a model that is as it was.

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
    known : Labelled, optional
        Without it neither slices nor lag are told.
    rng : numpy.random.Generator, optional
        Draws the resamples, whole blocks, that intervals come from (Künsch, 1989); without it there are none.
    before : float, optional
        `possible_before`: what could be done before is asked for, too. A model that was trained while a change was
        under way is poor on its own held-out rows: by those alone it would be sound.
    held_out_rows : int, default=0
        How many rows `reference` is of.
    """
    labelled = len(truth)
    lags = known.lag_seconds if known is not None else None
    median, p95 = np.quantile(lags, [0.5, 0.95]).tolist() if lags is not None and len(lags) else (None, None)
    if not rows or labelled == 0 or labelled / rows < policy.minimum_coverage:
        return Performance(
            "too_little_data",
            metric.name,
            None,
            reference,
            None,
            rows,
            labelled,
            lag_median_seconds=median,
            lag_p95_seconds=p95,
            held_out_rows=held_out_rows,
        )
    statistics = metric.statistics(truth, output)
    value = float(metric.finish(statistics.sum(axis=0)))
    chance = chance_of(metric, statistics) * np.sqrt(1 + labelled / held_out_rows if held_out_rows else 1)

    def is_harm(asked: float) -> bool:
        more = metric.loss(value) - metric.loss(asked)
        return more > policy.maximum_worsening_fraction * abs(metric.loss(asked)) and not more <= _SURE * chance

    harmed, earlier = is_harm(reference), False
    if before is not None and not harmed and is_harm(before):
        reference, harmed, earlier = before, True, True
    worsening = (metric.loss(value) - metric.loss(reference)) / max(abs(metric.loss(reference)), 1e-12)
    outcome: Literal["fine", "harmed"] = "harmed" if harmed else "fine"
    resampler = _resampler(labelled, known, rng)
    lower, upper = _interval(metric, truth, output, resampler)
    slices: tuple[SlicePerformance, ...] = ()
    if known is not None:
        slices = tuple(
            _slice(part, rows_of_part, metric, truth, output, resampler)
            for part, rows_of_part in zip(known.slices, members(known.frame, known.slices), strict=True)
        )
    return Performance(
        outcome,
        metric.name,
        float(value),
        reference,
        float(worsening),
        rows,
        labelled,
        lower=lower,
        upper=upper,
        lag_median_seconds=median,
        lag_p95_seconds=p95,
        slices=slices,
        earlier=earlier,
        held_out_rows=held_out_rows,
    )


def chance_of(metric: Metric, statistics: Array) -> float:
    """Return the standard error of a metric by the jackknife over rows (Efron & Stein, 1981), taken for independent.

    sqrt((n - 1) / n * sum (v_i - mean v)²), with v_i the metric without row i; nan where that is not defined.

    Parameters
    ----------
    metric : Metric
    statistics : ndarray of shape (n_rows, k)
        As ``metric.statistics`` returns them.
    """
    without = metric.finish(statistics.sum(axis=0) - statistics)
    rows = len(without)
    return float(np.sqrt((rows - 1) / rows * np.square(without - without.mean()).sum()))


def _resampler(rows: int, known: Labelled | None, rng: np.random.Generator | None) -> Resampler | None:
    from mlcore.validation.bootstrap import Resampler

    if rng is None:
        return None
    return Resampler(rows, None if known is None else known.blocks, _RESAMPLES, rng)


def _slice(
    part: Slice, inside: Array, metric: Metric, truth: Array, output: Output, resampler: Resampler | None
) -> SlicePerformance:
    count = int(inside.sum())
    if count < part.minimum_rows:
        return SlicePerformance(part.column, part.label, count, None, None, None, part.reference)
    value = _finite(metric.value(truth[inside], output.take(inside)))
    lower, upper = _interval(metric, truth, output, resampler, inside)
    return SlicePerformance(part.column, part.label, count, value, lower, upper, part.reference)


def _interval(
    metric: Metric, truth: Array, output: Output, resampler: Resampler | None, inside: Array | None = None
) -> tuple[float | None, float | None]:
    from mlcore.validation.bootstrap import expanded_interval

    if resampler is None:
        return None, None
    if inside is None:
        statistics = metric.statistics(truth, output)
    else:
        # of the slice's rows alone: the area under the curve counts pairs within it
        own = metric.statistics(truth[inside], output.take(inside))
        statistics = np.zeros((len(truth), own.shape[1]))
        statistics[inside] = own
    units = resampler.units if inside is None else resampler.units_in(inside)
    value, replicates = float(metric.finish(statistics.sum(axis=0))), metric.finish(resampler.totals(statistics))
    found = expanded_interval(value, replicates, units, _ONE_SIDED)
    return _finite(found.lower), _finite(found.upper)


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None
