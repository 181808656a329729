"""Performance where labels are missing: what the metric is expected to be, and how far such estimates were off."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from mlcore.drift.encoding import Encoding, without_empty
from mlcore.errors import ModelFileError
from mlcore.metrics import Metric, Output, metric_named
from mlcore.performance.expected import Calibration, expected_value
from mlcore.slices import Slice, SlicePerformance, cut_slices, members, slices_from_json, slices_to_json

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.policy.monitoring import PerformancePolicy
    from mlcore.usecase import UseCase

Array = np.ndarray[Any, Any]

FORMAT: Final = 1
#: Held-out rows are cut into so many runs; what an estimate is off by on each is the measured error.
_CHUNKS: Final = 10
_FOLDS: Final = 5
#: With fewer held-out rows nothing is fitted: a chunk would say nothing.
LEAST_ROWS: Final = 100
#: Fewer rows of a slice in a chunk do not measure an error.
_LEAST_OF_SLICE: Final = 10
_CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """The metric that is expected on a window, were its labels here.

    It follows from where the inputs are, under the relation of inputs and target that held on the held-out rows: a
    changed relation it cannot see.

    Parameters
    ----------
    outcome : {"fine", "suspected", "harmed", "too_little_data"}
        ``suspected``: worse than the policy allows, beyond the interval. ``harmed``: the same, where the policy says
        that estimated harm counts.
    method : {"confidence", "direct_loss"}
    metric : str
    value, lower, upper : float or None
        The estimate and its 95 % interval, from what estimates were off by on chunks of the held-out rows.
    reference : float
        The metric on the held-out rows.
    worsening_fraction : float or None
        Growth of the loss, as a share of the reference.
    rows : int
    slices : tuple of SlicePerformance
    """

    outcome: Literal["fine", "suspected", "harmed", "too_little_data"]
    method: Literal["confidence", "direct_loss"]
    metric: str
    value: float | None
    lower: float | None
    upper: float | None
    reference: float
    worsening_fraction: float | None
    rows: int
    slices: tuple[SlicePerformance, ...] = ()

    @property
    def sentence(self) -> str:
        """The finding in words."""
        if self.value is None or self.worsening_fraction is None:
            return f"{self.metric} cannot be estimated on {self.rows:,} rows."
        change = "worse" if self.worsening_fraction > 0 else "better"
        return (
            f"Without labels, {self.metric} is estimated at {self.value:.4g} ({self.lower:.4g} to {self.upper:.4g}), "
            f"{abs(self.worsening_fraction):.0%} {change} than the {self.reference:.4g} of validation, if the relation "
            "of inputs and target is what it was."
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the ledger."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Estimate:
        """Return what `to_json` wrote."""
        slices = tuple(SlicePerformance(**item) for item in values["slices"])
        return cls(**{**{name: value for name, value in values.items() if name != "format"}, "slices": slices})


@dataclass(frozen=True, slots=True)
class PerformanceModel:
    """What is learned from held-out rows to estimate a model's performance; small, kept with the model.

    Parameters
    ----------
    metric : Metric
    reference : float
        The metric on the held-out rows.
    error : float
        Root mean square of what estimates were off by on chunks of the held-out rows, each estimated by what was
        learned from the others.
    chunk_rows : int
        Size of these chunks; larger windows are estimated better than `error` says.
    spread : float
        Variance of the held-out target; 0 for classification.
    slices : tuple of Slice
    learned : Calibration or LossModel
    """

    metric: Metric
    reference: float
    error: float
    chunk_rows: int
    spread: float
    slices: tuple[Slice, ...]
    learned: Calibration | LossModel

    def estimate(self, frame: pd.DataFrame, output: Output, policy: PerformancePolicy, minimum_rows: int) -> Estimate:
        """Estimate the metric on the rows of a window.

        Parameters
        ----------
        frame : DataFrame
            The window's features.
        output : Output
            What was answered for them.
        policy : PerformancePolicy
        minimum_rows : int
            With fewer the outcome is ``too_little_data``.
        """
        from scipy.stats import t

        method: Literal["confidence", "direct_loss"] = (
            "confidence" if isinstance(self.learned, Calibration) else "direct_loss"
        )
        rows = len(frame)
        value = _expected(self.learned, self.metric, self.spread, frame, output) if rows >= minimum_rows else np.nan
        if not np.isfinite(value):
            return Estimate("too_little_data", method, self.metric.name, None, None, None, self.reference, None, rows)
        quantile = float(t.ppf((1 + _CONFIDENCE) / 2, _CHUNKS))
        margin = quantile * self.error
        before = self.metric.loss(self.reference)
        worsening = (self.metric.loss(value) - before) / max(abs(before), 1e-12)
        suspected = worsening > policy.maximum_worsening_fraction and self.metric.loss(value) - margin > before
        outcome: Literal["fine", "suspected", "harmed"] = "fine"
        if suspected:
            outcome = "harmed" if policy.estimated_harm == "counts" else "suspected"
        return Estimate(
            outcome,
            method,
            self.metric.name,
            value,
            *self._interval(value, margin),
            self.reference,
            float(worsening),
            rows,
            tuple(
                self._of_slice(part, rows_of_part, frame, output, quantile)
                for part, rows_of_part in zip(self.slices, members(frame, self.slices), strict=True)
            ),
        )

    def _interval(self, value: float, margin: float) -> tuple[float, float]:
        """Return the interval as far as the metric goes: no loss is below 0, no score above 1."""
        if self.metric.higher_is_better:
            return value - margin, min(value + margin, 1.0)
        return max(value - margin, 0.0), value + margin

    def _of_slice(
        self, part: Slice, rows: Array, frame: pd.DataFrame, output: Output, quantile: float
    ) -> SlicePerformance:
        count = int(rows.sum())
        value = np.nan
        if count >= part.minimum_rows:
            value = _expected(self.learned, self.metric, self.spread, frame, output.take(rows), rows)
        if not np.isfinite(value):
            return SlicePerformance(part.column, part.label, count, None, None, None, part.reference)
        margin = None if part.error is None else quantile * part.error
        lower, upper = (None, None) if margin is None else self._interval(value, margin)
        return SlicePerformance(part.column, part.label, count, value, lower, upper, part.reference)

    def to_bytes(self) -> bytes:
        """Return a file's content: a NumPy archive without pickle; trees in skops' format."""
        facts = {
            "format": FORMAT,
            "metric": self.metric.name,
            "task": self.metric.task,
            "reference": self.reference,
            "error": self.error,
            "chunk_rows": self.chunk_rows,
            "spread": self.spread,
            "slices": slices_to_json(self.slices),
            "encoding": None if isinstance(self.learned, Calibration) else self.learned.encoding.to_json(),
        }
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer, facts=np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8), **self.learned.to_arrays()
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> PerformanceModel:
        """Return what `to_bytes` wrote.

        Raises
        ------
        ModelFileError
            If it is something else, or of a format this code does not know.
        """
        try:
            archive = np.load(io.BytesIO(data), allow_pickle=False)
            facts = json.loads(archive["facts"].tobytes())
            if facts["format"] != FORMAT:
                raise ValueError(f"format {facts['format']}")
            learned: Calibration | LossModel = (
                Calibration.from_arrays(archive)
                if facts["encoding"] is None
                else LossModel.from_arrays(archive, Encoding.from_json(facts["encoding"]))
            )
            return cls(
                metric=metric_named(facts["metric"], facts["task"]),
                reference=facts["reference"],
                error=facts["error"],
                chunk_rows=facts["chunk_rows"],
                spread=facts["spread"],
                slices=slices_from_json(facts["slices"]),
                learned=learned,
            )
        except (ValueError, KeyError, OSError, EOFError) as error:
            raise ModelFileError(
                "this does not estimate performance",
                expected=f"a file of format {FORMAT}",
                got=str(error)[:200],
                remedy="Train the model again.",
            ) from None


@dataclass(frozen=True, slots=True)
class LossModel:
    """A small boosting model of each row's loss, given its features and the prediction."""

    encoding: Encoding
    trees: Any

    @classmethod
    def fitted(cls, frame: pd.DataFrame, output: Output, losses: Array, encoding: Encoding) -> LossModel:
        """Learn the losses of rows."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        trees = HistGradientBoostingRegressor(
            max_iter=50, max_leaf_nodes=15, min_samples_leaf=20, early_stopping=False, random_state=0
        )
        return cls(encoding, trees.fit(without_empty(_inputs(encoding, frame, output)), losses))

    def losses(self, frame: pd.DataFrame, output: Output) -> Array:
        """Return the expected loss of each row; none is negative."""
        return np.maximum(self.trees.predict(_inputs(self.encoding, frame, output)), 0.0)

    def to_arrays(self) -> dict[str, Array]:
        """Return what is kept."""
        from zipfile import ZIP_DEFLATED

        import skops.io

        data = skops.io.dumps(self.trees, compression=ZIP_DEFLATED, compresslevel=6)
        return {"trees": np.frombuffer(data, dtype=np.uint8)}

    @classmethod
    def from_arrays(cls, archive: Any, encoding: Encoding) -> LossModel:
        """Return what `to_arrays` wrote; only types of the fixed list are loaded."""
        import skops.io

        from mlcore.modelstore.trust import TRUSTED_TYPES

        return cls(encoding, skops.io.loads(archive["trees"].tobytes(), trusted=list(TRUSTED_TYPES)))


def fit_performance_model(
    frame: pd.DataFrame, truth: Array, output: Output, metric: Metric, usecase: UseCase
) -> PerformanceModel | None:
    """Learn from held-out rows how to estimate `metric` without labels.

    Classification: probabilities are calibrated, each class by isotonic regression, and the metric's expectation is
    taken over labels drawn from them. Regression: each row's loss is regressed on its features and its prediction, and
    the mean of what is predicted is the estimate.

    Parameters
    ----------
    frame : DataFrame of shape (n_rows, n_columns)
        Rows that the model was not fitted on, in the order of time where there is one.
    truth : ndarray of shape (n_rows,)
    output : Output
        The model's answers.
    metric : Metric
    usecase : UseCase

    Returns
    -------
    PerformanceModel or None
        None where there are fewer than 100 rows, or where the metric is not defined on them.

    References
    ----------
    Kivimäki, J., Białek, J., Nurminen, J. K. & Kuberski, W. (2025). Confidence-based estimators for predictive
    performance in model monitoring. Journal of Artificial Intelligence Research 82.
    Zadrozny, B. & Elkan, C. (2002). Transforming classifier scores into accurate multiclass probability estimates. KDD.
    NannyML. Direct loss estimation. https://nannyml.readthedocs.io/en/stable/how_it_works/performance_estimation.html
    Yoo, D. & Kweon, I. S. (2019). Learning loss for active learning. CVPR.
    """
    reference = metric.value(truth, output)
    if len(frame) < LEAST_ROWS or not np.isfinite(reference):
        return None
    contract = usecase.contract
    encoding = Encoding.of(frame, contract)
    spread = float(np.var(truth)) if contract.task == "regression" else 0.0
    slices = cut_slices(frame, contract, usecase.validation.slices)
    parts = list(members(frame, slices))
    chunk = np.arange(len(frame)) * _CHUNKS // len(frame)
    errors: list[list[float]] = [[] for _ in range(1 + len(slices))]
    for fold in range(_FOLDS):
        others = chunk % _FOLDS != fold
        learned = _learn(frame, truth[others], output.take(others), metric, encoding, others)
        for number in range(fold, _CHUNKS, _FOLDS):
            for found, rows in zip(errors, [np.ones(len(frame), dtype=bool), *parts], strict=True):
                here = rows & (chunk == number)
                if here.sum() >= _LEAST_OF_SLICE:
                    expected = _expected(learned, metric, spread, frame, output.take(here), here)
                    found.append(expected - metric.value(truth[here], output.take(here)))
    return PerformanceModel(
        metric=metric,
        reference=float(reference),
        error=_size(errors[0]) or 0.0,
        chunk_rows=len(frame) // _CHUNKS,
        spread=spread,
        slices=tuple(
            part.measured(metric.value(truth[rows], output.take(rows)), _size(found))
            for part, rows, found in zip(slices, parts, errors[1:], strict=True)
        ),
        learned=_learn(frame, truth, output, metric, encoding, np.ones(len(frame), dtype=bool)),
    )


def _learn(
    frame: pd.DataFrame, truth: Array, output: Output, metric: Metric, encoding: Encoding, rows: Array
) -> Calibration | LossModel:
    """Learn from `rows` of the frame, whose truth and answers are given; probabilities alone take no copy of them."""
    if output.probabilities is not None:
        return Calibration.fitted(truth, output)
    return LossModel.fitted(frame[rows], output, metric.row_loss(truth, output), encoding)


def _expected(
    learned: Calibration | LossModel,
    metric: Metric,
    spread: float,
    frame: pd.DataFrame,
    output: Output,
    rows: Array | slice = slice(None),
) -> float:
    """Return what is expected of `rows` of the frame, whose answers are given."""
    if isinstance(learned, Calibration):
        return expected_value(metric, output, learned.probabilities(output))
    loss = float(learned.losses(frame[rows], output).mean())
    # the sums of one row of that loss; of the target, which R² asks for, the spread is the held-out rows'
    totals = [1.0, loss, 0.0, spread] if metric.name == "r2" else [1.0, loss]
    return float(metric.finish(np.array(totals)))


def _inputs(encoding: Encoding, frame: pd.DataFrame, output: Output) -> Array:
    return np.column_stack([encoding.encode(frame), np.asarray(output.values, dtype=float)])


def _size(errors: list[float]) -> float | None:
    known = np.array([error for error in errors if np.isfinite(error)])
    return float(np.sqrt(np.mean(known**2))) if len(known) >= 2 else None
