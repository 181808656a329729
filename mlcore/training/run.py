"""One training: split, search, fit the winner, measure it on rows it never saw."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcore.errors import TrainingError
from mlcore.metrics import Output, all_metrics, metric_named
from mlcore.training.importance import Importance, permutation_importance
from mlcore.training.pipeline import build_pipeline
from mlcore.training.reproducible import one_thread
from mlcore.training.search import Progress, Trial, dummy_candidate, planned_trials, search
from mlcore.training.splits import split_holdout, target_values, usable

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

    from mlcore.usecase import UseCase


@dataclass(frozen=True, slots=True)
class Scores:
    """Every metric on the rows fitted on, on the validation folds (search metric only), and held out.

    Parameters
    ----------
    train, validation, holdout, dummy_holdout : mapping of metric name to value
    overfitting_gap : float
        The search metric's loss on held-out rows minus that on training rows; the larger, the more the model
        learned by heart, or the more the world moved.
    """

    train: Mapping[str, float]
    validation: Mapping[str, float]
    holdout: Mapping[str, float]
    dummy_holdout: Mapping[str, float]
    overfitting_gap: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the ledger."""
        return {
            "train": dict(self.train),
            "validation": dict(self.validation),
            "holdout": dict(self.holdout),
            "dummy_holdout": dict(self.dummy_holdout),
            "overfitting_gap": self.overfitting_gap,
        }


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A fitted pipeline and what was measured while it came about.

    The pipeline is the very one that was scored: it is not refitted on the held-out rows afterwards.
    """

    pipeline: Pipeline
    dummy: Pipeline
    algorithm: str
    estimator: str
    parameters: Mapping[str, Any]
    seed: int
    metric: str
    scores: Scores
    trials: tuple[Trial, ...]
    importance: tuple[Importance, ...]
    train_rows: int
    holdout_rows: int
    trained_from: datetime | None
    trained_to: datetime | None
    seconds: Mapping[str, float]


def train_model(
    frame: pd.DataFrame,
    usecase: UseCase,
    *,
    seed: int,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> TrainedModel:
    """Train the use case's best candidate.

    The newest rows are held out by `split_holdout`; the gate judges on the same ones.

    Parameters
    ----------
    frame : DataFrame
        Contract columns, any order of rows.
    usecase : UseCase
    seed : int
    progress : callable, optional
        ``(fits done, fits planned, trial)`` after each fit of the search.
    clock : callable, default=time.perf_counter

    Raises
    ------
    TrainingError
        If there are too few rows, a target with one class only, or no candidate can be fitted.
    UseCaseError
        If the training section asks for something impossible.
    """
    contract = usecase.contract
    missing = [name for name in contract.names if name not in frame.columns]
    if missing:
        raise TrainingError("columns are missing", subject=usecase.name, expected=", ".join(missing))
    began = clock()
    train, holdout = split_holdout(frame, usecase)
    target, truth = target_values(train, contract), target_values(holdout, contract)
    if contract.task == "classification" and len(np.unique(target)) < 2:
        raise TrainingError(
            "nothing to learn", subject=contract.target.name, expected="at least 2 classes", got=f"only {target[0]!r}"
        )
    found = search(train, usecase, seed=seed, progress=progress, clock=clock)
    searched = clock()
    candidate, parameters = planned_trials(usecase, seed=seed)[found.best.number]
    pipeline = _fit(build_pipeline(usecase, candidate, parameters, seed, threads=-1), train, target)
    dummy = _fit(build_pipeline(usecase, dummy_candidate(usecase), {}, seed), train, target)
    fitted = clock()
    metric = metric_named(usecase.training.search.metric, contract.task)
    on_train = all_metrics(contract.task, target, Output.of(pipeline, train))
    on_holdout = all_metrics(contract.task, truth, Output.of(pipeline, holdout))
    importance = permutation_importance(pipeline, holdout, truth, metric, np.random.default_rng(seed))
    lost = [metric.loss(scores.get(metric.name, float("nan"))) for scores in (on_train, on_holdout)]
    return TrainedModel(
        pipeline=pipeline,
        dummy=dummy,
        algorithm=candidate.name,
        estimator=candidate.estimator,
        parameters=found.best.parameters,
        seed=seed,
        metric=metric.name,
        scores=Scores(
            train=on_train,
            validation={metric.name: found.best.mean_validation},
            holdout=on_holdout,
            dummy_holdout=all_metrics(contract.task, truth, Output.of(dummy, holdout)),
            overfitting_gap=lost[1] - lost[0] if np.isfinite(lost).all() else 0.0,
        ),
        trials=found.trials,
        importance=importance,
        train_rows=len(train),
        holdout_rows=len(holdout),
        trained_from=_edge(train, usecase, "min"),
        trained_to=_edge(train, usecase, "max"),
        seconds={"search": searched - began, "fit": fitted - searched, "measure": clock() - fitted},
    )


def golden_rows(frame: pd.DataFrame, usecase: UseCase) -> pd.DataFrame:
    """Return up to ``serving.golden_rows`` rows, evenly spread over `frame`, input columns only."""
    rows = usable(frame, usecase.contract)
    spread = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), usecase.serving.golden_rows)).astype(int))
    return rows.iloc[spread][[column.name for column in usecase.contract.inputs]].reset_index(drop=True)


def _fit(pipeline: Pipeline, train: pd.DataFrame, target: Any) -> Pipeline:
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")  # the search has noted them
        try:
            pipeline.fit(train, target)
        except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
            raise TrainingError("the winner cannot be fitted on all training rows", got=str(error)[:200]) from None
    estimator = pipeline[-1]
    if "n_jobs" in estimator.get_params():
        # Threads help to fit; to answer one row they only cost, and services run one thread a request.
        estimator.set_params(n_jobs=None)
    return pipeline


def _edge(train: pd.DataFrame, usecase: UseCase, which: str) -> datetime | None:
    import pandas as pd

    if usecase.contract.time is None:
        return None
    edge = getattr(pd.to_datetime(train[usecase.contract.time.name], utc=True), which)()
    return None if pd.isna(edge) else edge.to_pydatetime()
