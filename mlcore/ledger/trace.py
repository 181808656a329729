"""From one id to everything behind it: data, checks, code, evaluation, approver, deployment, prediction."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from mlcore.errors import LedgerError
from mlcore.ledger.records import (
    AliasChange,
    Approval,
    BentoRecord,
    DatasetVersion,
    DecisionRecord,
    Deployment,
    DiagnosisRecord,
    Evaluation,
    ModelVersion,
    OutboxEntry,
    QualityRecord,
    Wakeup,
    Window,
)

if TYPE_CHECKING:
    from mlcore.ledger.store import View

_PREDICTION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-\d+")


class FoundPrediction(Protocol):
    """What is known of a captured row: `mlcore.capture.store.Prediction` is one."""

    @property
    def model_version(self) -> int:
        """The version that answered."""

    @property
    def received_at(self) -> datetime:
        """When it was asked."""

    @property
    def prediction(self) -> Any:
        """What was answered."""

    @property
    def label(self) -> Any:
        """The true value, None where none has come."""


#: ``(row id) -> (use case, what is known)``, None where no such row was captured.
FindPrediction = Callable[[str], tuple[str, FoundPrediction] | None]


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One link: what it is, its id, when, in a sentence, and the facts."""

    kind: str
    id: str
    at: datetime
    sentence: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Trace:
    """The whole chain, from the data to the answer."""

    identifier: str
    steps: tuple[TraceStep, ...]


def trace(view: View, identifier: str, find_prediction: FindPrediction) -> Trace:
    """Return everything behind `identifier`.

    Parameters
    ----------
    view : View
    identifier : str
        The id of a prediction (as ``/predict`` returned it), ``<use case>/model/<version>``,
        ``<use case>/dataset/<version>``, a window's or an approval's id, or the id of a flow run, event,
        evaluation or decision.
    find_prediction : callable
        Looks a captured row up.

    Raises
    ------
    LedgerError
        If nothing has this id.
    """
    steps = tuple(_steps(view, identifier, find_prediction))
    if not steps:
        raise LedgerError(
            "nothing has this id",
            subject=identifier,
            expected="a prediction, <use case>/model/<version>, <use case>/dataset/<version>, window, run or event",
            remedy="`mlops status` and `mlops models` show ids.",
        )
    return Trace(identifier, steps)


def _steps(view: View, identifier: str, find_prediction: FindPrediction) -> Iterator[TraceStep]:
    if _PREDICTION.fullmatch(identifier):
        found = find_prediction(identifier)
        if found is not None:
            usecase, row = found
            yield from _model(view, usecase, row.model_version)
            label = (
                "not known yet"
                if row.label is None
                else f"{row.label:g}"
                if isinstance(row.label, float)
                else row.label
            )
            sentence = f"version {row.model_version} answered {row.prediction}; the true value is {label}"
            yield TraceStep("prediction", identifier, row.received_at, sentence, {"prediction": row.prediction})
        return
    parts = identifier.split("/")
    if len(parts) == 3 and parts[1] == "model" and parts[2].isdigit():
        yield from _model(view, parts[0], int(parts[2]))
    elif len(parts) == 3 and parts[1] == "dataset" and parts[2].isdigit():
        yield from _dataset(view, parts[0], int(parts[2]))
        for model in view.all(ModelVersion, order_by="version", usecase=parts[0], dataset_version=int(parts[2])):
            yield _trained(model)
    else:
        yield from _others(view, identifier)


def _others(view: View, identifier: str) -> Iterator[TraceStep]:
    window = view.get(Window, id=identifier)
    if window is not None:
        yield from _window(view, window)
    approval = view.get(Approval, id=identifier)
    if approval is not None:
        yield from _model(view, approval.usecase, approval.model_version)
    evaluation = view.get(Evaluation, id=identifier)
    if evaluation is not None:
        yield from _model(view, evaluation.usecase, evaluation.model_version)
    decision = view.get(DecisionRecord, id=identifier)
    if decision is not None:
        yield from _cause(view, decision)
    for model in view.all(ModelVersion, order_by="created_at", flow_run_id=identifier):
        yield from _model(view, model.usecase, model.version)
    for wakeup in view.all(Wakeup, order_by="received_at", flow_run_id=identifier):
        yield _woken(wakeup)
    received = view.get(Wakeup, event_id=identifier)
    if received is not None:
        yield _woken(received)
    sent = view.get(OutboxEntry, id=identifier)
    if sent is not None:
        state = f"delivered at {sent.delivered_at:%H:%M:%S}" if sent.delivered_at else f"waiting: {sent.last_error}"
        yield TraceStep("event", sent.id, sent.created_at, f"{sent.event} of {sent.usecase}, {state}", dict(sent.body))


def _model(view: View, usecase: str, version: int) -> Iterator[TraceStep]:
    model = view.get(ModelVersion, usecase=usecase, version=version)
    if model is None:
        return
    yield from _dataset(view, usecase, model.dataset_version)
    decision = view.first(DecisionRecord, usecase=usecase, cause_key=model.cause_key)
    if decision is not None:
        yield from _cause(view, decision)
    yield _trained(model)
    for item in view.all(Evaluation, order_by="created_at", usecase=usecase, model_version=version):
        yield TraceStep(
            "evaluation",
            item.id,
            item.created_at,
            f"{item.verdict}: {item.sentence}",
            {"champion": item.champion_version},
        )
    for asked in view.all(Approval, order_by="requested_at", usecase=usecase, model_version=version):
        answer = f"{asked.state} by {asked.approver}: {asked.reason}" if asked.approver else asked.state
        yield TraceStep(
            "approval", asked.id, asked.answered_at or asked.requested_at, answer, {"digest": asked.model_digest}
        )
    for change in view.all(AliasChange, order_by="changed_at", usecase=usecase, version=version):
        sentence = f"became {change.alias} (generation {change.generation}) by {change.actor}: {change.reason}"
        yield TraceStep("alias", f"{change.alias}@{change.generation}", change.changed_at, sentence, {})
    bento = view.get(BentoRecord, usecase=usecase, model_version=version)
    if bento is not None:
        yield TraceStep("bento", bento.tag, bento.created_at, f"packaged as {bento.tag}", {"digest": bento.digest})
    for service in view.all(Deployment, order_by="created_at", usecase=usecase, model_version=version):
        sentence = f"{service.state} at {service.url}" if service.url else f"{service.state} {service.error}"
        yield TraceStep("deployment", service.id, service.changed_at, sentence, {"bento": service.bento_tag})


def _dataset(view: View, usecase: str, version: int) -> Iterator[TraceStep]:
    dataset = view.get(DatasetVersion, usecase=usecase, version=version)
    if dataset is None:
        return
    for parent in dataset.parents:
        yield from _dataset(view, usecase, parent)
    check = view.get(QualityRecord, id=dataset.quality_id)
    if check is not None:
        outcome = "passed" if check.passed else "failed"
        sentence = f"{len(check.report['checks'])} checks on {check.rows:,} rows: {outcome}"
        yield TraceStep("quality", check.id, check.created_at, sentence, {"subject": check.subject})
    sentence = f"dataset version {dataset.version}: {dataset.rows:,} rows of {dataset.source}"
    facts = {"digest": dataset.digest, "windows": list(dataset.windows)}
    yield TraceStep("dataset", f"{usecase}/dataset/{dataset.version}", dataset.published_at, sentence, facts)


def _trained(model: ModelVersion) -> TraceStep:
    dirty = ", with changes that were not committed" if model.code_dirty else ""
    sentence = f"version {model.version}: {model.algorithm} from code {model.code_commit[:12] or 'outside git'}{dirty}"
    facts = {"digest": model.digest, "lock": model.lock_digest, "seed": model.seed, "flow_run": model.flow_run_id}
    return TraceStep("model", f"{model.usecase}/model/{model.version}", model.created_at, sentence, facts)


def _cause(view: View, decision: DecisionRecord) -> Iterator[TraceStep]:
    if decision.cause_key.startswith("window:"):
        window = view.get(Window, id=decision.cause_key.removeprefix("window:"))
        if window is not None:
            yield from _diagnoses(view, window)
    yield TraceStep(
        "decision",
        decision.id,
        decision.created_at,
        f"{decision.action}: {decision.sentence}",
        {"cause": decision.cause_key},
    )


def _window(view: View, window: Window) -> Iterator[TraceStep]:
    yield from _diagnoses(view, window)
    decision = view.first(DecisionRecord, usecase=window.usecase, cause_key=f"window:{window.id}")
    if decision is not None:
        yield TraceStep("decision", decision.id, decision.created_at, f"{decision.action}: {decision.sentence}", {})


def _diagnoses(view: View, window: Window) -> Iterator[TraceStep]:
    sentence = f"{window.rows:,} rows, {window.labelled:,} labelled when it closed"
    yield TraceStep("window", window.id, window.closed_at, sentence, {})
    for item in view.all(DiagnosisRecord, order_by="created_at", window_id=window.id):
        yield TraceStep(
            "diagnosis",
            item.id,
            item.created_at,
            f"{item.cause}: {item.sentence}",
            {"model_version": item.model_version},
        )


def _woken(wakeup: Wakeup) -> TraceStep:
    sentence = f"{wakeup.event} {wakeup.outcome}: {wakeup.reason}"
    return TraceStep("event", wakeup.event_id, wakeup.received_at, sentence, {"flow_run": wakeup.flow_run_id})
