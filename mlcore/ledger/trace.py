"""From any id to everything behind it and everything that came of it: one command, one graph."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from mlcore.errors import LedgerError
from mlcore.ledger.graph import CountPredictions, FindPrediction, Trace, TraceLink, TraceStep
from mlcore.ledger.records import (
    AliasChange,
    Approval,
    ApprovalAnswer,
    AuditEntry,
    BentoRecord,
    DatasetVersion,
    DecisionRecord,
    Deployment,
    DiagnosisRecord,
    Evaluation,
    ModelVersion,
    OutboxEntry,
    QualityRecord,
    QuarantinedBatch,
    Wakeup,
    Window,
)

if TYPE_CHECKING:
    from mlcore.ledger.store import View

T = TypeVar("T")
_PREDICTION: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-\d+")
_NUMBERED: Final = re.compile(r"(?P<usecase>[^/]+)/(?P<kind>model|dataset)/(?P<version>\d{1,18})")
#: More of one kind than this are counted instead of listed; the newest are shown.
MOST: Final = 12


def trace(
    view: View, identifier: str, find_prediction: FindPrediction, count_predictions: CountPredictions | None = None
) -> Trace:
    """Return everything behind `identifier`, and everything that came of it.

    Parameters
    ----------
    view : View
    identifier : str
        The id of a prediction (as ``/predict`` returned it), ``<use case>/model/<version>``,
        ``<use case>/dataset/<version>``, the digest of one of them, a window's, an approval's or a quarantined batch's
        id, or the id of a flow run, event, evaluation or decision.
    find_prediction : callable
        Looks a captured row up.
    count_predictions : callable, optional
        Counts what a model has answered; without it, answers are left out.

    Raises
    ------
    LedgerError
        If nothing has this id.
    """
    chain = _Chain(view, find_prediction, count_predictions)
    chain.start(identifier)
    if not chain.steps:
        raise LedgerError(
            "nothing has this id",
            subject=identifier[:200],
            expected="a prediction, <use case>/model/<version>, <use case>/dataset/<version>, window, run or event",
            remedy="`mlops status` and `mlops models` show ids.",
        )
    return Trace(identifier, tuple(chain.steps), tuple(dict.fromkeys(chain.links)))


@dataclass
class _Chain:
    """A graph that grows: each step once, links between places."""

    view: View
    find: FindPrediction
    count: CountPredictions | None
    steps: list[TraceStep] = field(default_factory=list)
    links: list[TraceLink] = field(default_factory=list)
    places: dict[tuple[str, str], int] = field(default_factory=dict)
    followed: set[tuple[str, str]] = field(default_factory=set)

    def start(self, identifier: str) -> None:
        if _PREDICTION.fullmatch(identifier):
            self._prediction(identifier)
        elif numbered := _NUMBERED.fullmatch(identifier):
            self._numbered(numbered)
        elif identifier:
            self._other(identifier)

    def _add(self, kind: str, key: str, at: datetime, sentence: str, *sources: int | None, **facts: Any) -> int:
        place = self.places.setdefault((kind, key), len(self.steps))
        if place == len(self.steps):
            self.steps.append(TraceStep(kind, key, at, sentence, facts))
        self.links += [TraceLink(source, place) for source in sources if source is not None and source != place]
        return place

    def _first(self, kind: str, key: str) -> bool:
        """Whether this is the first time that what follows from it is asked for."""
        seen = (kind, key) in self.followed
        self.followed.add((kind, key))
        return not seen

    def _newest(self, items: list[T], *sources: int | None, kind: str, at: Callable[[T], datetime]) -> list[T]:
        """Return those to show, the newest; the others become one step that counts them."""
        if len(items) > MOST:
            older = items[:-MOST]
            key = f"{len(older)} older"
            self._add(kind, f"{kind}s:{sources}:{key}", at(older[-1]), f"{len(older):,} older, not shown", *sources)
        return items[-MOST:]

    def _prediction(self, identifier: str) -> None:
        found = self.find(identifier)
        if found is None:
            return
        usecase, row = found
        model = self._model(usecase, row.model_version, served=False)
        label = row.label if not isinstance(row.label, float) else f"{row.label:g}"
        told = "not known yet" if row.label is None else label
        sentence = f"version {row.model_version} answered {row.prediction}; the true value is {told}"
        source = self._serving(usecase, row.model_version, row.received_at)
        source = model if source is None else source
        self._add("prediction", identifier, row.received_at, sentence, source, prediction=row.prediction)

    def _serving(self, usecase: str, version: int, at: datetime) -> int | None:
        """Return the deployment that answered at a moment: the last one of the version that was made before."""
        made = self.view.all(Deployment, order_by="created_at", usecase=usecase, model_version=version)
        before = [item for item in made if item.created_at <= at and item.state != "failed"]
        return self.places.get(("deployment", before[-1].id)) if before else None

    def _numbered(self, named: re.Match[str]) -> None:
        usecase, version = named["usecase"], int(named["version"])
        if named["kind"] == "model":
            self._model(usecase, version)
        else:
            self._dataset(usecase, version, forward=True)

    def _other(self, identifier: str) -> None:
        view = self.view
        if window := view.get(Window, id=identifier):
            self._window(window)
        if batch := view.get(QuarantinedBatch, id=identifier):
            self._batch(batch)
        if approval := view.get(Approval, id=identifier):
            self._model(approval.usecase, approval.model_version)
        if evaluation := view.get(Evaluation, id=identifier):
            self._model(evaluation.usecase, evaluation.model_version)
        if decision := view.get(DecisionRecord, id=identifier):
            self._decision(decision)
        for model in view.all(ModelVersion, order_by="version", digest=identifier):
            self._model(model.usecase, model.version)
        for dataset in view.all(DatasetVersion, order_by="version", digest=identifier):
            self._dataset(dataset.usecase, dataset.version, forward=True)
        if bento := view.first(BentoRecord, tag=identifier):
            self._model(bento.usecase, bento.model_version)
        if deployment := view.get(Deployment, id=identifier):
            self._model(deployment.usecase, deployment.model_version)
        if received := view.get(Wakeup, event_id=identifier):
            self._woken(received)
        if sent := view.get(OutboxEntry, id=identifier):
            self._sent(sent)
        self._run(identifier)

    def _run(self, run_id: str) -> None:
        for model in self.view.all(ModelVersion, order_by="created_at", flow_run_id=run_id):
            self._model(model.usecase, model.version)
        for approval in self.view.all(Approval, order_by="requested_at", flow_run_id=run_id):
            self._model(approval.usecase, approval.model_version)
        for wakeup in self._newest(
            self.view.all(Wakeup, order_by="received_at", flow_run_id=run_id),
            kind="event",
            at=lambda item: item.received_at,
        ):
            self._woken(wakeup)
        written = self.view.all(AuditEntry, order_by="sequence", actor=f"flow-run:{run_id}")
        for entry in self._newest(written, kind="audit", at=lambda item: item.at):
            numbered = _NUMBERED.fullmatch(entry.subject)
            if numbered:
                self._numbered(numbered)
            source = self.places.get((numbered["kind"], entry.subject)) if numbered else None
            if batch := self.view.get(QuarantinedBatch, id=str(entry.facts.get("batch", ""))):
                source = self._batch(batch)
            sentence = f"{entry.action} of {entry.subject}, audit entry {entry.sequence}"
            self._add("audit", str(entry.sequence), entry.at, sentence, source, **dict(entry.facts))

    def _woken(self, wakeup: Wakeup) -> None:
        sentence = f"{wakeup.event} {wakeup.outcome}: {wakeup.reason}"
        place = self._add("event", wakeup.event_id, wakeup.received_at, sentence, flow_run=wakeup.flow_run_id)
        decision = self.view.first(DecisionRecord, usecase=wakeup.usecase, cause_key=wakeup.cause_key)
        if decision is not None:
            self.links.append(TraceLink(place, self._decision(decision)))

    def _sent(self, sent: OutboxEntry) -> None:
        state = f"delivered at {sent.delivered_at:%H:%M:%S}" if sent.delivered_at else f"waiting: {sent.last_error}"
        sentence = f"{sent.event} of {sent.usecase}, {state}"
        place = self._add("event", sent.id, sent.created_at, sentence, **dict(sent.body))
        named = sent.body.get("payload", {})
        about: int | None = None
        if window := self.view.get(Window, id=str(named.get("window_id", ""))):
            about = self._window(window)
        elif decision := self.view.get(DecisionRecord, id=str(named.get("decision_id", ""))):
            about = self._decision(decision)
        elif batch := self.view.get(QuarantinedBatch, id=str(named.get("batch_id", ""))):
            about = self._batch(batch)
        elif isinstance(named.get("model_version"), int):
            about = self._model(sent.usecase, named["model_version"])
        elif isinstance(named.get("dataset_version"), int):
            about = self._dataset(sent.usecase, named["dataset_version"], forward=True)
        if about is not None:
            self.links.append(TraceLink(about, place))

    def _dataset(self, usecase: str, version: int, *, forward: bool = False) -> int | None:
        """Add a dataset version with what it was made of; where `forward`, with what was made of it."""
        dataset = self.view.get(DatasetVersion, usecase=usecase, version=version)
        if dataset is None:
            return None
        key = f"{usecase}/dataset/{version}"
        if self._first("dataset", key):
            sources = [self._dataset(usecase, parent) for parent in dataset.parents]
            windows = [self.view.get(Window, id=window_id) for window_id in dataset.windows]
            shown = self._newest(
                [window for window in windows if window], kind="window", at=lambda item: item.closed_at
            )
            sources += [self._seen(window) for window in shown]
            sources.append(self._checked(dataset.quality_id))
            sentence = f"dataset version {dataset.version}: {dataset.rows:,} rows of {dataset.source}"
            facts = {"digest": dataset.digest, "windows": list(dataset.windows)}
            self._add("dataset", key, dataset.published_at, sentence, *sources, **facts)
        place = self.places["dataset", key]
        if forward and self._first("of dataset", key):
            made = self.view.all(ModelVersion, order_by="version", usecase=usecase, dataset_version=version)
            for model in self._newest(made, place, kind="model", at=lambda item: item.created_at):
                self._model(usecase, model.version)
            later = self.view.all(DatasetVersion, order_by="version", usecase=usecase)
            grown = [item for item in later if version in item.parents]
            for item in self._newest(grown, place, kind="dataset", at=lambda item: item.published_at):
                self._dataset(usecase, item.version, forward=True)
        return place

    def _checked(self, quality_id: str | None) -> int | None:
        check = self.view.get(QualityRecord, id=quality_id) if quality_id else None
        if check is None:
            return None
        outcome = "passed" if check.passed else "failed"
        sentence = f"{len(check.report['checks'])} checks on {check.rows:,} rows: {outcome}"
        return self._add("quality", check.id, check.created_at, sentence, subject=check.subject)

    def _batch(self, batch: QuarantinedBatch) -> int:
        """Add a batch that was not published, with the checks that it failed where it could be read at all."""
        sentence = f"{batch.source} was kept out: {'; '.join(batch.reasons)}"
        check = self._checked(batch.quality_id)
        return self._add("quarantine", batch.id, batch.created_at, sentence, check, path=batch.path)

    def _model(self, usecase: str, version: int, *, served: bool = True) -> int | None:
        """Add a model version with what is behind it and its release; where `served`, with its answers too."""
        model = self.view.get(ModelVersion, usecase=usecase, version=version)
        if model is None:
            return None
        key = f"{usecase}/model/{version}"
        if self._first("model", key):
            dataset = self._dataset(usecase, model.dataset_version)
            decided = self.view.first(DecisionRecord, usecase=usecase, cause_key=model.cause_key)
            cause = self._decision(decided, forward=False) if decided is not None else None
            dirty = ", with changes that were not committed" if model.code_dirty else ""
            code = f"{model.code_commit[:12] or 'outside git'}{dirty}"
            sentence = f"version {model.version}: {model.algorithm} from code {code}"
            facts = {"digest": model.digest, "lock": model.lock_digest, "seed": model.seed}
            facts["flow_run"] = model.flow_run_id
            place = self._add("model", key, model.created_at, sentence, dataset, cause, **facts)
            self._released(model, self._judged(model, place))
        place = self.places["model", key]
        if served and self._first("served by", key):
            self._served(model, place)
        return place

    def _judged(self, model: ModelVersion, place: int) -> int:
        """Add evaluations and approvals; return what the newest of them is."""
        last = place
        found: dict[str, Any] = {"usecase": model.usecase, "model_version": model.version}
        judged = self.view.all(Evaluation, order_by="created_at", **found)
        for item in self._newest(judged, place, kind="evaluation", at=lambda item: item.created_at):
            sentence = f"{item.verdict}: {item.sentence}"
            last = self._add("evaluation", item.id, item.created_at, sentence, place, champion=item.champion_version)
        for asked in self.view.all(Approval, order_by="requested_at", **found):
            answer = f"{asked.state} by {asked.approver}: {asked.reason}" if asked.approver else asked.state
            source = self.places.get(("evaluation", asked.evaluation_id), place)
            at = asked.answered_at or asked.requested_at
            last = self._add("approval", asked.id, at, answer, source, digest=asked.model_digest)
            given = self.view.all(ApprovalAnswer, order_by="answered_at", approval_id=asked.id)
            for said in self._newest(given, last, kind="answer", at=lambda item: item.answered_at):
                sentence = f"{said.outcome}, {said.approver or 'nobody'}: {said.refusal or said.reason}"
                key = f"{said.approval_id}/{said.flow_run_id}/{said.attempt}"
                self._add("answer", key, said.answered_at, sentence, last, shown=said.model_digest)
        return last

    def _judged_until(self, model: ModelVersion, at: datetime) -> int:
        """Return the last judgement or answer on a model that is not later than `at`; the model where there is none."""
        itself = self.places["model", f"{model.usecase}/model/{model.version}"]
        found: dict[str, Any] = {"usecase": model.usecase, "model_version": model.version}
        judged = [("evaluation", item.id, item.created_at) for item in self.view.all(Evaluation, **found)]
        judged += [
            ("approval", item.id, item.answered_at or item.requested_at) for item in self.view.all(Approval, **found)
        ]
        shown = [(when, self.places[kind, key]) for kind, key, when in judged if (kind, key) in self.places]
        return max([item for item in shown if item[0] <= at], default=(at, itself))[1]

    def _released(self, model: ModelVersion, source: int) -> None:
        usecase, version = model.usecase, model.version
        named = self.view.all(AliasChange, order_by="changed_at", usecase=usecase, version=version)
        for change in self._newest(named, source, kind="alias", at=lambda item: item.changed_at):
            sentence = f"became {change.alias} (generation {change.generation}) by {change.actor}: {change.reason}"
            key, at = f"{usecase}/{change.alias}@{change.generation}", change.changed_at
            self._add("alias", key, at, sentence, self._judged_until(model, at))
        bento = self.view.get(BentoRecord, usecase=usecase, model_version=version)
        if bento is not None:
            sentence = f"packaged as {bento.tag}"
            source = self._add("bento", bento.tag, bento.created_at, sentence, source, digest=bento.digest)
        made = self.view.all(Deployment, order_by="created_at", usecase=usecase, model_version=version)
        for item in self._newest(made, source, kind="deployment", at=lambda item: item.changed_at):
            sentence = f"{item.state} at {item.url}" if item.url else f"{item.state} {item.error}"
            self._add("deployment", item.id, item.changed_at, sentence, source, bento=item.bento_tag)

    def _served(self, model: ModelVersion, place: int) -> None:
        """Add how many answers there are and what was found in them."""
        counted = self.count(model.usecase, model.version) if self.count is not None else None
        if counted is not None:
            deployed = self._serving(model.usecase, model.version, counted.last_at)
            sentence = f"{counted.rows:,} predictions of version {model.version}, {counted.labelled:,} labelled"
            key = f"{model.usecase}/model/{model.version}/predictions"
            facts = {"rows": counted.rows, "labelled": counted.labelled}
            place = self._add(
                "predictions", key, counted.last_at, sentence, place if deployed is None else deployed, **facts
            )
        found = self.view.all(
            DiagnosisRecord, order_by="created_at", usecase=model.usecase, model_version=model.version
        )
        if len(found) > MOST:
            causes = ", ".join(f"{count:,} {cause}" for cause, count in Counter(item.cause for item in found).items())
            key = f"{model.usecase}/model/{model.version}/diagnoses"
            self._add("diagnosis", key, found[-1].created_at, f"{len(found):,} windows diagnosed: {causes}", place)
            return
        for item in found:
            window = self.view.get(Window, id=item.window_id)
            if window is not None:
                self._diagnosed(item, self._seen(window, place))

    def _window(self, window: Window) -> int:
        """Add a window with the models that answered in it, what was found, decided, and made of it."""
        diagnoses = self.view.all(DiagnosisRecord, order_by="created_at", window_id=window.id)
        for item in diagnoses:
            model = self._model(window.usecase, item.model_version, served=False)
            self._diagnosed(item, self._seen(window, model))
        place = self._seen(window)
        decision = self.view.first(DecisionRecord, usecase=window.usecase, cause_key=f"window:{window.id}")
        if decision is not None:
            self._decision(decision)
        later = self.view.all(DatasetVersion, order_by="version", usecase=window.usecase)
        grown = [item for item in later if window.id in item.windows]
        for dataset in self._newest(grown, place, kind="dataset", at=lambda item: item.published_at):
            self._dataset(window.usecase, dataset.version, forward=True)
        return place

    def _seen(self, window: Window, *sources: int | None) -> int:
        sentence = f"{window.id}: {window.rows:,} rows, {window.labelled:,} labelled when it closed"
        return self._add("window", window.id, window.closed_at, sentence, *sources)

    def _diagnosed(self, item: DiagnosisRecord, window: int) -> int:
        sentence = f"{item.cause}: {item.sentence}"
        return self._add("diagnosis", item.id, item.created_at, sentence, window, model_version=item.model_version)

    def _decision(self, decision: DecisionRecord, *, forward: bool = True) -> int:
        """Add a decision with its cause; where `forward`, with the models that came of it."""
        kind, _, subject = decision.cause_key.partition(":")
        sources: list[int | None] = []
        if kind == "window" and (window := self.view.get(Window, id=subject)):
            seen = self._seen(window)
            diagnoses = self.view.all(DiagnosisRecord, order_by="created_at", window_id=window.id)
            sources = [self._diagnosed(item, seen) for item in diagnoses] or [seen]
        elif kind == "dataset" and subject.isdigit():
            sources = [self._dataset(decision.usecase, int(subject))]
        sentence = f"{decision.action}: {decision.sentence}"
        place = self._add("decision", decision.id, decision.created_at, sentence, *sources, cause=decision.cause_key)
        if forward:
            for model in self.view.all(
                ModelVersion, order_by="version", usecase=decision.usecase, cause_key=decision.cause_key
            ):
                self._model(decision.usecase, model.version)
        return place
