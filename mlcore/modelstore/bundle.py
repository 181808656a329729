"""What is in a model's folder, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.canonical import digest_value
from mlcore.contract import DataContract
from mlcore.metrics import Output
from mlcore.usecase import UseCase

if TYPE_CHECKING:
    import pandas as pd

FORMAT: Final = 1
MODEL, DUMMY, METADATA, BASELINE, GOLDEN, MANIFEST, REFERENCE, PERFORMANCE = (
    "model.skops",
    "dummy.skops",
    "metadata.json",
    "baseline.bin",
    "golden.json",
    "manifest.json",
    "reference.bin",  # optional, large, and only monitoring reads it: no part of what a service loads
    "performance.bin",  # optional, and only monitoring reads it
)
#: Left out of copies that serve.
MONITORING: Final = (REFERENCE, PERFORMANCE)


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """A saved model: its digest, where it is, and how large the files are that a service loads."""

    digest: str
    uri: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """Facts that travel with a model; all plain JSON values.

    Parameters
    ----------
    algorithm, estimator : str
    parameters : mapping
    seed : int
    metric : str
        The search metric.
    metrics : mapping
        ``Scores.to_json()``.
    importance : sequence of mapping
    trials : sequence of mapping
    out_of_fold : sequence of mapping
        ``CandidateEvidence.to_json()`` of each algorithm's best trial; empty in files of older versions.
    train_rows, holdout_rows : int
    dataset_version : int or None
    dataset_digest : str
    provenance : mapping
        ``Provenance.to_json()``.
    extra : mapping
        Whatever else the caller wants to keep.
    """

    algorithm: str
    estimator: str
    parameters: Mapping[str, Any]
    seed: int
    metric: str
    metrics: Mapping[str, Any]
    train_rows: int
    holdout_rows: int
    importance: tuple[Mapping[str, Any], ...] = ()
    trials: tuple[Mapping[str, Any], ...] = ()
    out_of_fold: tuple[Mapping[str, Any], ...] = ()
    dataset_version: int | None = None
    dataset_digest: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, trained: Any, provenance: Any = None, **facts: Any) -> ModelMetadata:
        """Return the facts of a `TrainedModel` and, where it is told, its `Provenance`; `facts` are further fields."""
        return cls(
            algorithm=trained.algorithm,
            estimator=trained.estimator,
            parameters=trained.parameters,
            seed=trained.seed,
            metric=trained.metric,
            metrics=trained.scores.to_json(),
            train_rows=trained.train_rows,
            holdout_rows=trained.holdout_rows,
            importance=tuple(asdict(importance) for importance in trained.importance),
            trials=tuple(trial.to_json() for trial in trained.trials),
            out_of_fold=tuple(item.to_json() for item in trained.out_of_fold),
            provenance={} if provenance is None else provenance.to_json(),
            **facts,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ModelMetadata:
        """Return what `to_json` wrote."""
        lists = {name: tuple(values.get(name, ())) for name in ("importance", "trials", "out_of_fold")}
        return cls(**{**values, **lists})


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    # JSON knows no NaN; what is not a number is nothing.
    return None if isinstance(value, float) and not np.isfinite(value) else value


@dataclass(frozen=True, slots=True)
class Golden:
    """Rows with the answers the model gave when it was saved.

    Parameters
    ----------
    rows : tuple of mapping
        Input columns as JSON values, timestamps in ISO 8601.
    expected : tuple
        The prediction for each row.
    """

    rows: tuple[Mapping[str, Any], ...]
    expected: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that passed every check.

    ``reference_digest`` and ``performance_digest`` are what `load_reference` and `load_performance` check their files
    against; None where none was saved.
    """

    pipeline: Any
    dummy: Any
    digest: str
    uri: str
    size_bytes: int
    usecase: UseCase
    metadata: ModelMetadata
    baseline: bytes
    golden: Golden
    reference_digest: str | None = None
    performance_digest: str | None = None

    @property
    def contract(self) -> DataContract:
        """The contract it was trained under."""
        return self.usecase.contract

    @property
    def classes(self) -> tuple[Any, ...] | None:
        """Labels in the order of `predict_proba`'s columns; None for regression."""
        known = getattr(self.pipeline, "classes_", None)
        return None if known is None else tuple(known.tolist())

    @property
    def seed_deviation(self) -> float:
        """Deviation of the gate's metric over seeds; 0 for models of before it was measured."""
        return float(self.metadata.metrics.get("seed_deviation") or 0.0)

    @property
    def own_scores(self) -> Mapping[str, float]:
        """What it scored on its own held-out rows, by metric; NaN where one is not defined."""
        scores = self.metadata.metrics.get("holdout") or {}
        return {name: float("nan") if value is None else float(value) for name, value in scores.items()}

    def output(self, frame: pd.DataFrame, history: pd.DataFrame | None = None) -> Output:
        """Return predictions, and probabilities where there are classes; `history` as in `Output.of`."""
        return Output.of(self.pipeline, frame, history)

    def predict(self, frame: pd.DataFrame) -> np.ndarray[Any, Any]:
        """Return numbers (float64) or labels, shape (n_rows,)."""
        return self.output(frame).values

    def predict_proba(self, frame: pd.DataFrame) -> np.ndarray[Any, Any] | None:
        """Return probabilities, shape (n_rows, n_classes), columns as in `classes`; None for regression."""
        return self.output(frame).probabilities


def contract_digest(usecase: UseCase) -> str:
    """Return the digest that ties a model to its columns."""
    return digest_value(usecase.contract.model_dump(mode="json"))


def golden_frame(golden: Golden, contract: DataContract) -> pd.DataFrame:
    """Return the golden rows as the DataFrame that the model takes."""
    import pandas as pd

    frame = pd.DataFrame([dict(row) for row in golden.rows], columns=[column.name for column in contract.inputs])
    for column in contract.inputs:
        if column.type == "timestamp":
            frame[column.name] = pd.to_datetime(frame[column.name], utc=True, format="ISO8601")
    return frame
