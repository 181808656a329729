"""The whole loop over past data: which retraining policy would have been best, before one goes live."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.capture.windows import period_end, period_start
from mlcore.decision import DRIFT, History, WindowSubject, decide
from mlcore.diagnosis import Diagnosis, diagnose
from mlcore.drift import Baseline, build_baseline, detect_drift, independent_blocks
from mlcore.errors import TrainingError
from mlcore.metrics import Metric, Output, metric_named
from mlcore.performance import realised

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.policy.monitoring import WindowRule
    from mlcore.usecase import UseCase

STRATEGIES: Final = ("static", "always", "any_drift", "policy")
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class WindowResult:
    """One window under one strategy.

    Parameters
    ----------
    strategy : {"static", "always", "any_drift", "policy"}
    starts_at : datetime
    rows : int
    error : float
        The metric of the model that answered, on this window.
    cause, action : str
        The diagnosis, and what the strategy did about it.
    """

    strategy: str
    starts_at: datetime
    rows: int
    error: float
    cause: str
    action: str


@dataclass(frozen=True, slots=True)
class StrategySummary:
    """One strategy over all windows: mean error by rows, retrainings, windows with drift."""

    strategy: str
    error: float
    retrainings: int
    alarms: int


@dataclass(frozen=True, slots=True)
class BacktestResult:
    """All strategies on the same past."""

    usecase: str
    metric: str
    windows: tuple[WindowResult, ...]
    summaries: tuple[StrategySummary, ...]

    @property
    def sentence(self) -> str:
        """What it comes to."""
        by = {item.strategy: item for item in self.summaries}
        gained, possible = (by["static"].error - by[name].error for name in ("policy", "always"))
        share = (
            f"{gained / possible:.0%} of what retraining after every window brings"
            if possible > 0
            else "nothing to gain"
        )
        return (
            f"The policy retrains {by['policy'].retrainings} times instead of {by['always'].retrainings} and has a "
            f"{self.metric} of {by['policy'].error:.4g} ({by['static'].error:.4g} without retraining): {share}."
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        windows = [{**asdict(item), "starts_at": item.starts_at.isoformat()} for item in self.windows]
        return {
            "format": 1,
            "usecase": self.usecase,
            "metric": self.metric,
            "sentence": self.sentence,
            "summaries": [asdict(item) for item in self.summaries],
            "windows": windows,
        }


@dataclass(frozen=True, slots=True)
class _Trained:
    pipeline: Any
    baseline: Baseline
    reference: float


def replay(
    frame: pd.DataFrame, usecase: UseCase, *, seed: int, initial_windows: int = 2, progress: Progress | None = None
) -> BacktestResult:
    """Replay `frame` window by window, in the order of time, through the very code that runs in production.

    Every strategy starts with the model of the first windows and retrains on everything seen until then. Labels of a
    window are known when it closes.

    Parameters
    ----------
    frame : DataFrame
        Contract columns, with a time column.
    usecase : UseCase
    seed : int
    initial_windows : int, default=2
        Windows that the first model is trained on.
    progress : callable, optional

    Raises
    ------
    TrainingError
        If there is no time column, no cadence with performance, or too little past.
    """
    contract = usecase.contract
    rule = next((rule for rule in usecase.monitoring.windows if "performance" in rule.checks), None)
    if contract.time is None or rule is None:
        raise TrainingError(
            "this use case cannot be replayed",
            subject=usecase.name,
            expected="a time column, and a window cadence that checks performance",
        )
    frame = frame.sort_values(contract.time.name, kind="stable").reset_index(drop=True)
    starts = frame[contract.time.name].map(lambda at: period_start(at.to_pydatetime(), rule.period))
    windows = sorted(start.to_pydatetime() for start in starts.unique())
    if len(windows) <= initial_windows + 1:
        raise TrainingError(
            "too little past to replay",
            subject=usecase.name,
            expected=f"more than {initial_windows + 1} windows",
            got=str(len(windows)),
        )
    models = _Models(frame, usecase, seed)
    found = [
        item
        for strategy in STRATEGIES
        for item in _run(strategy, frame, starts, windows[initial_windows:], usecase, rule, models, progress)
    ]
    metric = _metric(usecase)
    return BacktestResult(usecase.name, metric.name, tuple(found), tuple(_summary(name, found) for name in STRATEGIES))


class _Models:
    """Models by the moment they were trained at: strategies that retrain at the same moment share one."""

    def __init__(self, frame: pd.DataFrame, usecase: UseCase, seed: int) -> None:
        self._frame, self._usecase, self._seed = frame, usecase, seed
        self._known: dict[datetime, _Trained] = {}

    def at(self, moment: datetime) -> _Trained:
        """Return the model trained on everything before `moment`."""
        if moment not in self._known:
            self._known[moment] = self._train(moment)
        return self._known[moment]

    def _train(self, moment: datetime) -> _Trained:
        from mlcore.training.run import train_model
        from mlcore.training.splits import split_holdout

        usecase = self._usecase
        time = usecase.contract.time
        assert time is not None
        past = self._frame[self._frame[time.name] < moment]
        window = usecase.retraining.training_window
        if window is not None:
            past = past[past[time.name] >= moment - window]
        trained = train_model(past, usecase, seed=self._seed)
        train, _ = split_holdout(past, usecase)
        blocks = independent_blocks(train, usecase.contract, usecase.monitoring.drift)
        baseline = build_baseline(train, trained.pipeline.predict(train), usecase.contract, blocks=blocks)
        return _Trained(trained.pipeline, baseline, trained.scores.holdout[_metric(usecase).name])


def _run(
    strategy: str,
    frame: pd.DataFrame,
    starts: pd.Series,
    windows: list[datetime],
    usecase: UseCase,
    rule: WindowRule,
    models: _Models,
    progress: Progress | None,
) -> list[WindowResult]:
    model, trained_at = models.at(windows[0]), windows[0]
    causes: list[str] = []
    retrained: list[datetime] = []
    found = []
    for start in windows:
        rows = frame[starts == start].reset_index(drop=True)
        end = period_end(start, rule.period)
        diagnosis, error = _look(rows, model, usecase, rule)
        action = "nothing"
        if strategy == "policy":
            new_rows = int(((starts >= trained_at) & (starts < end)).sum())
            history = History(has_champion=True, earlier_causes=tuple(reversed(causes)), retrainings=tuple(retrained))
            action = decide(WindowSubject(diagnosis, new_rows), history, usecase.retraining, end).action
        elif strategy == "always" or (strategy == "any_drift" and diagnosis.cause in DRIFT):
            action = "retrain"
        found.append(WindowResult(strategy, start, len(rows), error, diagnosis.cause, action))
        causes.append(diagnosis.cause)
        if action == "retrain" and start != windows[-1]:
            model, trained_at, causes = models.at(end), end, []
            retrained.append(end)
        if progress is not None:
            progress(f"{strategy} {start:%Y-%m-%d}: {error:.4g} {diagnosis.cause} {action}")
    return found


def _look(rows: pd.DataFrame, model: _Trained, usecase: UseCase, rule: WindowRule) -> tuple[Diagnosis, float]:
    from mlcore.data.ingest import conform
    from mlcore.quality import check_table
    from mlcore.training.splits import target_values

    contract = usecase.contract
    output, truth = Output.of(model.pipeline, rows), target_values(rows, contract)
    metric = _metric(usecase)
    quality = check_table(conform(rows, contract), contract) if "quality" in rule.checks else None
    drift = (
        detect_drift(
            model.baseline,
            rows,
            output.values,
            contract,
            usecase.monitoring.drift,
            minimum_rows=rule.minimum_rows,
            blocks=independent_blocks(rows, usecase.contract, usecase.monitoring.drift),
        )
        if "drift" in rule.checks
        else None
    )
    performance = realised(truth, output, len(rows), metric, model.reference, usecase.monitoring.performance)
    return diagnose(contract, model.baseline, rows, quality, drift, performance), float(metric.value(truth, output))


def _summary(strategy: str, windows: list[WindowResult]) -> StrategySummary:
    mine = [item for item in windows if item.strategy == strategy]
    weights: Mapping[str, Any] = {"weights": [item.rows for item in mine]}
    return StrategySummary(
        strategy=strategy,
        error=float(np.average([item.error for item in mine], **weights)),
        retrainings=sum(item.action == "retrain" for item in mine[:-1]),
        alarms=sum(item.cause in DRIFT for item in mine),
    )


def _metric(usecase: UseCase) -> Metric:
    policy = usecase.monitoring.performance
    return metric_named(
        policy.metric or usecase.validation.metric or usecase.training.search.metric, usecase.contract.task
    )
