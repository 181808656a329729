"""Causes of a retraining: claimed once, justified by what is stored, decided by a pure function, recorded."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from flows import _inbox
from mlcore import events, registry
from mlcore.approval import NOT_BY_HAND
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
from mlcore.errors import TrainingError
from mlcore.events import Event
from mlcore.failpoints import failpoint
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
#: What is older than this is not decided about any more.
STALE: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Claim:
    """A cause that this run has claimed, and what was decided about it."""

    record: DecisionRecord
    is_new: bool


def key_of(event: ReceivedEvent) -> str:
    """Return what makes causes the same: two events about one window are one cause."""
    if event.name == events.DRIFT_DETECTED:
        return f"window:{_window_id(event)}"
    return f"dataset:{_inbox.text(event.payload.get('dataset_version', ''), 200)}"


def claim_all(context: Context, woken_by: ReceivedEvent | None) -> list[DecisionRecord]:
    """Read every unread event, decide once about each new cause, and record why each other event is ignored.

    One transaction: two runs woken by the same storm cannot both decide about one cause.

    Returns
    -------
    list of DecisionRecord
        What this run decided, in the order of the events.
    """
    unread = _inbox.unread(context, WAKING, woken_by=woken_by)
    claims: dict[str, Claim | str] = {}
    rows = []
    with context.ledger.transaction() as tx:
        # read again: another run may have been faster between the read and this transaction
        taken = tx.existing(Wakeup, [event.id for event in unread])
        for event in unread:
            if event.id in taken:
                continue
            key = key_of(event)
            if context.now() - event.occurred > STALE:
                rows.append(_inbox.ignored(context, event, key, "stale", "it is older than a week"))
            elif (claim := claims.get(key)) is None:
                claims[key] = claim = _claim(tx, context, event)
                rows.append(_row(context, event, claim))
            else:
                # however many events name it, a cause is looked at once
                rows.append(_row(context, event, claim if isinstance(claim, str) else replace(claim, is_new=False)))
        tx.add_many_once(rows)
    decided = [claim.record for claim in claims.values() if isinstance(claim, Claim) and claim.is_new]
    for item in decided:
        show(context, item)
    return decided


def claim_manual(context: Context, reason: str, actor: str = "") -> DecisionRecord:
    """Record that a person, `actor` where they say so, or a schedule asks for a retraining."""
    with context.ledger.transaction() as tx:
        return record(tx, context, "manual", f"manual:{context.run_id}", ManualSubject(reason), actor).record


def show(context: Context, decided: DecisionRecord) -> None:
    """Write a decision about a window into the window's page, for whoever reads it there."""
    kind, _, window_id = decided.cause_key.partition(":")
    if kind == "window":
        from mlcore.report.window import add_decision

        page = context.window_page(window_id)
        add_decision(page, decided.action, decided.sentence, str(decided.evidence.get("would_change", "")))


def require_starter(view: View, context: Context, cause: Cause, cause_key: str, actor: str) -> None:
    """Make sure that a training starts for the cause it names, and by somebody known where that matters.

    Raises
    ------
    TrainingError
        If no retraining of this cause runs, or a person starts it without a name where nobody may approve their own.
    """
    policy = context.usecase.approval
    if cause in NOT_BY_HAND:
        running = view.first(Retraining, usecase=context.name, cause=cause, cause_key=cause_key, state="running")
        if running is None:
            raise TrainingError(
                "nothing on record started this training",
                subject=f"{context.name}: cause {cause} {cause_key}".strip(),
                expected="a retraining of this cause that runs now",
                got="none",
                remedy="Leave `cause` out when you start a training yourself.",
            )
    elif policy.required != "never" and not policy.self_approval and not actor.strip():
        raise TrainingError(
            "say who starts this training",
            subject=context.name,
            expected="your e-mail address as `actor`, since approval.self_approval is off",
            got="nobody",
            remedy="Start it again with `actor`.",
        )


def record(tx: Transaction, context: Context, cause: Cause, cause_key: str, subject: Subject, actor: str = "") -> Claim:
    """Decide about `subject` and record it with everything that follows, unless its cause was decided about before."""
    known = tx.first(DecisionRecord, usecase=context.name, cause_key=cause_key)
    if known is not None:
        return Claim(known, is_new=False)
    decision = decide(subject, history(tx, context, subject), context.usecase.retraining, context.now())
    saved = _record(context, cause, cause_key, decision, actor)
    tx.add(saved)
    tx.audit(
        usecase=context.name,
        actor=actor or context.actor,
        action=f"decision.{decision.action}",
        subject=cause_key,
        at=context.now(),
        decision=saved.id,
        sentence=decision.sentence,
    )
    failpoint("cause.after-decision")
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
        is_running=any(item.state in ("requested", "running") for item in retrainings),
    )


def subject_of_window(view: View, context: Context, window: Window) -> WindowSubject | None:
    """Return the stored diagnosis of `window` as a subject, None where it has none."""
    diagnosis = view.first(DiagnosisRecord, order_by="-created_at", window_id=window.id)
    if diagnosis is None:
        return None
    new_rows, known_rows = _rows(view, context, window)
    champion = registry.alias(view, context.name, "champion")
    by_champion = champion is None or champion.version == diagnosis.model_version
    return WindowSubject(Diagnosis.from_json(diagnosis.report), new_rows, known_rows, by_champion)


def _claim(tx: Transaction, context: Context, event: ReceivedEvent) -> Claim | str:
    """Return the claim of what `event` names, or why nothing that is stored justifies it."""
    if event.name == events.DRIFT_DETECTED:
        window = tx.get(Window, id=_window_id(event))
        subject = (
            subject_of_window(tx, context, window) if window is not None and window.usecase == context.name else None
        )
        if subject is None:
            return "no such window has been diagnosed"
        if subject.diagnosis.cause not in DRIFT:
            return f"the stored diagnosis is {subject.diagnosis.cause}"
        return record(tx, context, "drift", key_of(event), subject)
    version = event.payload.get("dataset_version")
    # true is an int as well, and no column holds more than 63 bits
    is_version = type(version) is int and 0 < version < 2**63
    dataset = tx.get(DatasetVersion, usecase=context.name, version=version) if is_version else None
    if dataset is None:
        return "there is no such dataset version"
    if dataset.origin == "collected":
        return "this version was made by a retraining"
    return record(tx, context, "dataset", key_of(event), DatasetSubject(dataset.version, dataset.rows))


def _window_id(event: ReceivedEvent) -> str:
    return _inbox.text(event.payload.get("window_id", ""), 200)


def _row(context: Context, event: ReceivedEvent, claim: Claim | str) -> Wakeup:
    key = key_of(event)
    if isinstance(claim, str):
        return _inbox.ignored(context, event, key, "not justified by the ledger", claim)
    if not claim.is_new:
        detail = f"{key} was decided about before ({claim.record.action})"
        return _inbox.ignored(context, event, key, "same cause", detail)
    limit = claim.record.evidence["limit"]
    if limit is not None:
        return _inbox.ignored(context, event, key, limit, claim.record.sentence)
    return _inbox.row(context, event, key, acted=True, reason=f"decided: {claim.record.action}")


def _record(context: Context, cause: Cause, cause_key: str, decision: Decision, actor: str) -> DecisionRecord:
    return DecisionRecord(
        id=str(uuid.uuid4()),
        usecase=context.name,
        cause=cause,
        cause_key=cause_key,
        action=decision.action,
        sentence=decision.sentence,
        evidence={**decision.to_json(), "actor": actor},
        created_at=context.now(),
    )


def _earlier_causes(view: View, context: Context, champion: int) -> tuple[str, ...]:
    found = view.all(DiagnosisRecord, order_by="-created_at", limit=50, usecase=context.name, model_version=champion)
    judged = {rule.name for rule in context.usecase.monitoring.windows if "performance" in rule.checks}
    return tuple(item.cause for item in found[1:] if item.window_id.split("/")[1] in judged)


def _rows(view: View, context: Context, until: Window) -> tuple[int, int]:
    """Return how many labelled rows the champion was not trained on, up to a window's end, and on how many it was."""
    champion = registry.alias(view, context.name, "champion")
    model = view.get(ModelVersion, usecase=context.name, version=champion.version) if champion else None
    dataset = view.get(DatasetVersion, usecase=context.name, version=model.dataset_version) if model else None
    known_until = dataset.time_to if dataset and dataset.time_to else datetime.min.replace(tzinfo=until.ends_at.tzinfo)
    windows = view.all(Window, usecase=context.name, cadence=until.cadence)
    new = sum(item.labelled for item in windows if known_until < item.ends_at <= until.ends_at)
    return new, dataset.rows if dataset else 0


def lease_name(context: Context) -> str:
    """Return the name of the lease under which one use case is retrained."""
    return f"retrain:{context.name}"
