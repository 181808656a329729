"""One look at a window, by the code that monitors production."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcore.backtest.models import judged_by
from mlcore.canonical import digest_value
from mlcore.decision import DRIFT
from mlcore.diagnosis import Diagnosis, Quality, diagnose
from mlcore.drift import model_drift
from mlcore.metrics import Output
from mlcore.performance import realised

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.backtest.journal import Journal
    from mlcore.backtest.models import Trained
    from mlcore.backtest.past import Past
    from mlcore.policy.monitoring import WindowRule
    from mlcore.usecase import UseCase


@dataclass(frozen=True, slots=True)
class Seen:
    """What there was to see in a window.

    Parameters
    ----------
    diagnosis : Diagnosis
    error : float
        The metric on every row that ever got a label; nan without any.
    labelled : int
    harmed : bool
        Whether, by those labels, the error is beyond the policy's limit: the truth that alarms are held against.
    moved : bool
        Whether anything drifted, for a rule that knows no causes.
    """

    diagnosis: Diagnosis
    error: float
    labelled: int
    harmed: bool
    moved: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        error = self.error if math.isfinite(self.error) else None
        return {**asdict(self), "diagnosis": self.diagnosis.to_json(), "error": error}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Seen:
        """Return what `to_json` wrote."""
        error = math.nan if values["error"] is None else values["error"]
        return cls(**{**values, "diagnosis": Diagnosis.from_json(values["diagnosis"]), "error": error})


@dataclass(frozen=True, slots=True)
class Serving:
    """A model, since when it answers, and the metric that is asked of it because of the models before it."""

    since: datetime
    model: Trained
    before: float | None = None


class Looks:
    """Looks at windows, each once for the same models and monitoring."""

    def __init__(self, past: Past, journal: Journal) -> None:
        self._past, self._journal = past, journal
        self._quality: dict[tuple[str, datetime], Quality] = {}

    def at(
        self,
        start: datetime,
        serving: Sequence[Serving],
        usecase: UseCase,
        recent: datetime | None,
        *,
        blind: bool = False,
    ) -> Seen:
        """Return what the window that begins at `start` shows.

        Parameters
        ----------
        start : datetime
        serving : sequence of Serving
            The models that answered its rows, by time; the last one's baseline is what drift is measured against.
        usecase : UseCase
            With the setting's own policy.
        recent : datetime or None
            The newest window before it whose data was sound.
        blind : bool, default=False
            Drift of whole rows does not matter to who asks: told only where somebody else has asked before.
        """
        key = self._key(start, serving, usecase, recent)
        known = self._journal.get(key)
        if known is None and blind and usecase.monitoring.drift.multivariate != "none":
            return self.at(start, serving, _without_whole_rows(usecase), recent)
        if known is not None:
            return Seen.from_json(known)
        past, rows = self._past, self._past.rows(start)
        seen = examine(
            rows,
            answers(rows, serving, past),
            serving[-1].model,
            usecase,
            past.rule,
            self._checked(start, rows, usecase),
            None if recent is None else past.rows(recent),
            before=serving[-1].before,
        )
        self._journal.keep(key, seen.to_json())
        return seen

    def _key(self, start: datetime, serving: Sequence[Serving], usecase: UseCase, recent: datetime | None) -> str:
        told = usecase.model_dump(mode="json", include={"contract", "monitoring", "validation"})
        facts = {
            "models": [[item.since.isoformat(), item.model.key] for item in serving],
            "before": serving[-1].before,
            "recent": recent and recent.isoformat(),
            "contract": told["contract"],
            "monitoring": {name: told["monitoring"][name] for name in ("drift", "performance")},
            "metric": judged_by(usecase).name,
            "rule": self._past.rule.model_dump(mode="json"),
            "start": start.isoformat(),
        }
        return f"look:{digest_value(facts)}"

    def _checked(self, start: datetime, rows: pd.DataFrame, usecase: UseCase) -> Quality | None:
        """Return the outcome of the quality checks, which are the same whichever model answered."""
        key = digest_value(usecase.model_dump(mode="json", include={"contract"})), start
        if key not in self._quality:
            quality = check(rows, usecase, self._past.rule)
            if quality is None:
                return None
            self._quality[key] = quality
        return self._quality[key]


def _without_whole_rows(usecase: UseCase) -> UseCase:
    drift = usecase.monitoring.drift.model_copy(update={"multivariate": "none"})
    return usecase.model_copy(update={"monitoring": usecase.monitoring.model_copy(update={"drift": drift})})


def answers(rows: pd.DataFrame, serving: Sequence[Serving], past: Past) -> Output:
    """Return what was answered for `rows`, each by the model that was in force at its time."""
    which = np.searchsorted([np.datetime64(_naive(item.since)) for item in serving[1:]], _times(rows, past), "right")
    parts = [(np.flatnonzero(which == number), item.model) for number, item in enumerate(serving)]
    given = [
        (at, Output.of(model.pipeline, rows.iloc[at], past.frame)) for at, model in parts if len(at) or not len(rows)
    ]
    if len(given) == 1:
        return given[0][1]
    values = np.concatenate([output.values for _, output in given])
    if given[0][1].classes is None:
        return Output(values)
    classes = np.unique(np.concatenate([output.classes for _, output in given if output.classes is not None]))
    probabilities = np.zeros((len(rows), len(classes)))
    for at, output in given:
        # rows are by time and models take turns by time, so the parts are in the order of the rows
        assert output.classes is not None
        probabilities[np.ix_(at, np.searchsorted(classes, output.classes))] = output.probabilities
    return Output(values, probabilities, classes)


def check(rows: pd.DataFrame, usecase: UseCase, rule: WindowRule) -> Quality | None:
    """Return the outcome of the quality checks, None where the cadence asks for none."""
    from mlcore.data.ingest import conform
    from mlcore.quality import check_table

    if "quality" not in rule.checks:
        return None
    return check_table(conform(rows, usecase.contract), usecase.contract, partial=True)


def examine(
    rows: pd.DataFrame,
    output: Output,
    model: Trained,
    usecase: UseCase,
    rule: WindowRule,
    quality: Quality | None,
    recent: pd.DataFrame | None,
    before: float | None = None,
) -> Seen:
    """Diagnose the window `rows`, for which `output` was answered.

    Parameters
    ----------
    rows : DataFrame
    output : Output
    model : Trained
        What drift and harm are measured against.
    usecase : UseCase
    rule : WindowRule
    quality : Quality or None
    recent : DataFrame or None
        An earlier window whose data was sound.
    before : float, optional
        What is asked of `model` because of the models before it.
    """
    from mlcore.training.splits import target_values

    contract, metric = usecase.contract, judged_by(usecase)
    has_label = rows[contract.target.name].notna().to_numpy()
    truth, told = target_values(rows[has_label], contract), output.take(has_label)
    drift = None
    if "drift" in rule.checks:
        drift = model_drift(model.baseline, rows, output, usecase, minimum_rows=rule.minimum_rows, only_deciding=True)
    policy = usecase.monitoring.performance
    measured = partial(realised, metric=metric, reference=model.reference, policy=policy, before=before)
    performance = measured(truth, told, len(rows), held_out_rows=model.baseline.held_out_rows)
    diagnosis = diagnose(
        contract,
        model.baseline,
        rows,
        quality,
        drift,
        # as when it serves: a cadence that does not ask for performance decides without it
        performance if "performance" in rule.checks else None,
        recent=recent,
        minimum_rows=rule.minimum_rows,
    )
    everything = measured(truth, told, len(truth))
    return Seen(
        diagnosis=diagnosis,
        error=float("nan") if everything.value is None else everything.value,
        labelled=len(truth),
        harmed=everything.outcome == "harmed",
        moved=diagnosis.cause in DRIFT or (drift is not None and bool(drift.drifted)),
    )


def look(
    rows: pd.DataFrame,
    history: pd.DataFrame,
    model: Trained,
    usecase: UseCase,
    rule: WindowRule,
    recent: pd.DataFrame | None = None,
) -> tuple[Diagnosis, float]:
    """Diagnose the window `rows`, and return the metric of `model` on it; models with lags look back at `history`."""
    output = Output.of(model.pipeline, rows, history)
    seen = examine(rows, output, model, usecase, rule, check(rows, usecase, rule), recent)
    return seen.diagnosis, seen.error


def _naive(at: datetime) -> datetime:
    from datetime import UTC

    return at.astimezone(UTC).replace(tzinfo=None)


def _times(rows: pd.DataFrame, past: Past) -> Any:
    times = rows[past.time]
    return (times.dt.tz_convert("UTC").dt.tz_localize(None) if times.dt.tz is not None else times).to_numpy()
