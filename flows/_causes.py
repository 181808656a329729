"""Causes of a retraining: claimed once, justified by what is stored, decided by a pure function, recorded."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from flows import _inbox
from mlcore import events, registry
from mlcore.decision import (
    DRIFT,
    DatasetSubject,
    Decision,
    History,
    ManualSubject,
    Subject,
    WindowSubject,
    decide,
)
from mlcore.diagnosis import Diagnosis
from mlcore.events import Event
from mlcore.ledger.records import (
    DatasetVersion,
    DecisionRecord,
    DiagnosisRecord,
    ModelVersion,
    Retraining,
    Wakeup,
    Window,
)
from mlcore.policy.approval import Cause

if TYPE_CHECKING:
    from flows._context import Context
    from flows._server import ReceivedEvent
    from mlcore.ledger.store import Transaction, View

WAKING: Final = (events.DRIFT_DETECTED, events.DATASET_PUBLISHED)
_STALE: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Claim:
    """A cause that this run has claimed, and what was decided about it."""

    record: DecisionRecord
    is_new: bool


def key_of(event: ReceivedEvent) -> str:
    """Return what makes causes the same: two events about one window are one cause."""
    if event.name == events.DRIFT_DETECTED:
        return f"window:{event.payload.get('window_id', '')}"
    return f"dataset:{event.payload.get('dataset_version', '')}"


def claim_all(context: Context, woken_by: ReceivedEvent | None) -> list[DecisionRecord]:
    """Read every unread event, decide once about each new cause, and record why each other event is ignored.

    One transaction: two runs woken by the same storm cannot both decide about one cause.

    Returns
    -------
    list of DecisionRecord
        What this run decided, in the order of the events.
    """
    unread = _inbox.unread(context, WAKING, woken_by=woken_by)
    decided = []
    with context.ledger.transaction() as tx:
        for event in unread:
            # read again: another run may have been faster between the read and this transaction
            if tx.get(Wakeup, event_id=event.id) is not None:
                continue
            claim, reason = _claim(tx, context, event)
            if claim is not None and claim.is_new:
                decided.append(claim.record)
            acted = claim is not None and claim.is_new
            tx.add(_inbox.row(context, event, key_of(event), acted=acted, reason=reason))
    return decided


def claim_manual(context: Context, reason: str) -> DecisionRecord:
    """Record that a person, or a schedule, asks for a retraining."""
    with context.ledger.transaction() as tx:
        return record(tx, context, "manual", f"manual:{context.run_id}", ManualSubject(reason)).record


def record(tx: Transaction, context: Context, cause: Cause, cause_key: str, subject: Subject) -> Claim:
    """Decide about `subject` and record it with everything that follows, unless its cause was decided about before."""
    known = tx.first(DecisionRecord, usecase=context.name, cause_key=cause_key)
    if known is not None:
        return Claim(known, is_new=False)
    decision = decide(subject, history(tx, context, subject), context.usecase.retraining, context.now())
    saved = _record(context, cause, cause_key, decision)
    tx.add(saved)
    tx.audit(
        usecase=context.name,
        actor=context.actor,
        action=f"decision.{decision.action}",
        subject=cause_key,
        at=context.now(),
        decision=saved.id,
        sentence=decision.sentence,
    )
    wants_training = decision.action == "retrain"
    if wants_training:
        tx.add(
            Retraining(
                decision_id=saved.id,
                usecase=context.name,
                cause=cause,
                cause_key=cause_key,
                state="requested",
                flow_run_id=context.run_id,
                dataset_version=subject.version if isinstance(subject, DatasetSubject) else None,
                model_version=None,
                requested_at=context.now(),
                finished_at=None,
                error="",
            )
        )
    if decision.action != "nothing":
        # that nothing was wrong is on the record; a day of quiet windows need not be told one by one
        tx.announce(
            Event(
                events.RETRAINING_REQUESTED if wants_training else events.RETRAINING_DECLINED,
                context.name,
                key=saved.id,
                occurred=context.now(),
                payload={"decision_id": saved.id},
            )
        )
    return Claim(saved, is_new=True)


def history(view: View, context: Context, subject: Subject) -> History:
    """Return what `decide` needs to know of the past."""
    champion = registry.alias(view, context.name, "champion")
    retrainings = view.all(Retraining, usecase=context.name)
    return History(
        has_champion=champion is not None,
        earlier_causes=_earlier_causes(view, context, champion.version)
        if champion and isinstance(subject, WindowSubject)
        else (),
        # the first model of a use case is no retraining
        retrainings=tuple(
            item.requested_at for item in retrainings if item.state != "failed" and item.cause != "dataset"
        ),
    )


def subject_of_window(view: View, context: Context, window: Window) -> WindowSubject | None:
    """Return the stored diagnosis of `window` as a subject, None where it has none."""
    diagnosis = view.first(DiagnosisRecord, order_by="-created_at", window_id=window.id)
    if diagnosis is None:
        return None
    return WindowSubject(Diagnosis.from_json(diagnosis.report), new_rows=_new_rows(view, context, window))


def _claim(tx: Transaction, context: Context, event: ReceivedEvent) -> tuple[Claim | None, str]:
    cause_key = key_of(event)
    if context.now() - event.occurred > _STALE:
        return None, "stale: it is older than a week"
    if event.name == events.DRIFT_DETECTED:
        window = tx.get(Window, id=str(event.payload.get("window_id", "")))
        subject = (
            subject_of_window(tx, context, window) if window is not None and window.usecase == context.name else None
        )
        if subject is None:
            return None, "not justified: no such window has been diagnosed"
        if subject.diagnosis.cause not in DRIFT:
            return None, f"not justified: the stored diagnosis is {subject.diagnosis.cause}"
        claim = record(tx, context, "drift", cause_key, subject)
    else:
        version = event.payload.get("dataset_version")
        dataset = tx.get(DatasetVersion, usecase=context.name, version=version) if isinstance(version, int) else None
        if dataset is None:
            return None, "not justified: there is no such dataset version"
        if dataset.origin == "collected":
            return None, "this version was made by a retraining"
        claim = record(tx, context, "dataset", cause_key, DatasetSubject(dataset.version, dataset.rows))
    if not claim.is_new:
        return claim, f"same cause: {cause_key} was decided about before ({claim.record.action})"
    return claim, f"decided: {claim.record.action}"


def _record(context: Context, cause: Cause, cause_key: str, decision: Decision) -> DecisionRecord:
    return DecisionRecord(
        id=str(uuid.uuid4()),
        usecase=context.name,
        cause=cause,
        cause_key=cause_key,
        action=decision.action,
        sentence=decision.sentence,
        evidence=decision.to_json(),
        created_at=context.now(),
    )


def _earlier_causes(view: View, context: Context, champion: int) -> tuple[str, ...]:
    found = view.all(DiagnosisRecord, order_by="-created_at", limit=50, usecase=context.name, model_version=champion)
    judged = {rule.name for rule in context.usecase.monitoring.windows if "performance" in rule.checks}
    return tuple(item.cause for item in found[1:] if item.window_id.split("/")[1] in judged)


def _new_rows(view: View, context: Context, until: Window) -> int:
    """Return how many labelled rows the champion has not been trained on, up to the end of a window."""
    champion = registry.alias(view, context.name, "champion")
    model = view.get(ModelVersion, usecase=context.name, version=champion.version) if champion else None
    dataset = view.get(DatasetVersion, usecase=context.name, version=model.dataset_version) if model else None
    known_until = dataset.time_to if dataset and dataset.time_to else datetime.min.replace(tzinfo=until.ends_at.tzinfo)
    windows = view.all(Window, usecase=context.name, cadence=until.cadence)
    return sum(item.labelled for item in windows if known_until < item.ends_at <= until.ends_at)


def lease_name(context: Context) -> str:
    """Return the name of the lease under which one use case is retrained."""
    return f"retrain:{context.name}"
