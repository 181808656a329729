"""Approvals as evidence: the question, who may answer, and an answer bound to one model, evaluation and dataset."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from mlcore import events
from mlcore.errors import ApprovalError
from mlcore.events import Event
from mlcore.ledger.records import Approval, DecisionRecord, Evaluation, ModelVersion

if TYPE_CHECKING:
    from flows._context import Context
    from mlcore.ledger.store import Ledger, Transaction
    from mlcore.usecase import UseCase


def request(tx: Transaction, usecase: UseCase, model: ModelVersion, evaluation: Evaluation, now: datetime) -> Approval:
    """Ask: write the pending approval and announce it, in the transaction that wrote the evaluation."""
    approval = Approval(
        id=f"approval-{evaluation.id}",
        usecase=usecase.name,
        model_version=model.version,
        model_digest=model.digest,
        evaluation_id=evaluation.id,
        dataset_version=evaluation.dataset_version,
        state="pending",
        flow_run_id="",
        approver="",
        reason="",
        requested_at=now,
        expires_at=now + usecase.approval.expires_after,
        answered_at=None,
    )
    if tx.add_once(approval):
        _record(tx, approval, "approval.requested", events.APPROVAL_REQUESTED, actor="policy", now=now)
    return approval


def pending(context: Context, approval_id: str) -> Approval:
    """Return the approval called `approval_id`, or the newest pending one where it is empty.

    Raises
    ------
    ApprovalError
        If there is none.
    """
    with context.ledger.read() as view:
        if approval_id:
            approval = view.get(Approval, id=approval_id)
        else:
            approval = view.first(Approval, order_by="-requested_at", usecase=context.name, state="pending")
    if approval is None or approval.usecase != context.name:
        raise ApprovalError(
            "nothing to approve",
            subject=f"{context.name} {approval_id}".strip(),
            expected="a pending approval",
            got="none",
            remedy="`mlops status` lists what is waiting.",
        )
    return approval


def bind(context: Context, approval: Approval) -> None:
    """Note which flow run waits, so that commands know where to send the answer."""
    if approval.flow_run_id != context.run_id:
        with context.ledger.transaction() as tx:
            tx.change(approval, flow_run_id=context.run_id)


def seconds_left(context: Context, approval: Approval) -> int:
    """Return the whole seconds until `approval` expires, at least one."""
    return max(1, int((approval.expires_at - context.now()).total_seconds()))


def question(context: Context, approval: Approval) -> str:
    """Return what the person reads above the form, in Markdown."""
    with context.ledger.read() as view:
        model = view.get(ModelVersion, usecase=context.name, version=approval.model_version)
        evaluation = view.get(Evaluation, id=approval.evaluation_id)
        decision = (
            view.first(DecisionRecord, usecase=context.name, cause_key=model.cause_key) if model is not None else None
        )
    if model is None or evaluation is None:
        raise ApprovalError("the approval's model or evaluation is gone", subject=approval.id)
    guards = evaluation.report.get("guards", [])
    lines = [
        f"## May version {model.version} of {context.usecase.title} serve?",
        evaluation.sentence,
        "",
        f"- **why it was trained**: {decision.sentence if decision else model.cause}",
        f"- **algorithm**: {model.algorithm}, dataset version {approval.dataset_version}",
        f"- **guards**: {sum(guard['outcome'] == 'passed' for guard in guards)} of {len(guards)} hold",
        f"- **model digest**: `{approval.model_digest}`",
        f"- **report**: `{context.evaluation_page(evaluation.id)}`",
        f"- **answer by**: {approval.expires_at:%Y-%m-%d %H:%M} UTC; no answer means no",
        f"- **who may answer**: {', '.join(context.usecase.approval.approvers)}",
    ]
    return "\n".join(lines)


def answer(
    ledger: Ledger,
    usecase: UseCase,
    approval_id: str,
    *,
    granted: bool,
    approver: str,
    reason: str,
    now: datetime,
) -> Approval:
    """Record a person's answer, once.

    Raises
    ------
    ApprovalError
        If the approver is not on the use case's list, no reason is given, or the approval was answered, has
        expired, or no longer fits its model. Nothing is changed then.
    """
    allowed = {address.lower() for address in usecase.approval.approvers}
    if approver.strip().lower() not in allowed:
        raise ApprovalError(
            "this person may not approve",
            subject=approver or "nobody",
            expected=f"one of {', '.join(usecase.approval.approvers)}",
            remedy="Ask one of them, or add the address to approval.approvers.",
        )
    if not reason.strip():
        raise ApprovalError("a reason is needed", subject=approval_id, remedy="Say in a sentence why.")
    with ledger.transaction() as tx:
        approval = tx.get(Approval, id=approval_id)
        model = tx.get(ModelVersion, usecase=usecase.name, version=approval.model_version) if approval else None
        _require_open(approval, model, approval_id, now)
        assert approval is not None
        answered = tx.change(
            approval,
            state="granted" if granted else "denied",
            approver=approver.strip().lower(),
            reason=reason.strip(),
            answered_at=now,
        )
        _record(
            tx,
            answered,
            "approval.granted" if granted else "approval.denied",
            events.APPROVAL_GRANTED if granted else events.APPROVAL_DENIED,
            actor=answered.approver,
            now=now,
        )
    return answered


def expire(tx: Transaction, approval: Approval, now: datetime) -> Approval:
    """Close an approval that nobody answered in time: that means no."""
    expired = tx.change(approval, state="expired", reason="nobody answered in time", answered_at=now)
    _record(tx, expired, "approval.expired", events.APPROVAL_DENIED, actor="maintain", now=now)
    return expired


def _require_open(approval: Approval | None, model: ModelVersion | None, approval_id: str, now: datetime) -> None:
    if approval is None or approval.state != "pending":
        problem = f"it is {approval.state}" if approval else "there is none"
    elif now >= approval.expires_at:
        problem = f"it expired at {approval.expires_at:%Y-%m-%d %H:%M} UTC"
    elif model is None or model.digest != approval.model_digest:
        problem = "the model is not the one that was shown"
    else:
        return
    raise ApprovalError(
        "this approval cannot be answered",
        subject=approval_id,
        expected="a pending approval of the model that was shown",
        got=problem,
        remedy="`mlops status` lists what is waiting.",
    )


def _record(tx: Transaction, approval: Approval, action: str, event: str, *, actor: str, now: datetime) -> None:
    tx.audit(
        usecase=approval.usecase,
        actor=actor,
        action=action,
        subject=f"{approval.usecase}/model/{approval.model_version}",
        at=now,
        approval=approval.id,
        model_digest=approval.model_digest,
        evaluation=approval.evaluation_id,
        dataset_version=approval.dataset_version,
        reason=approval.reason,
    )
    tx.announce(
        Event(
            event,
            approval.usecase,
            key=approval.id,
            occurred=now,
            payload={"approval_id": approval.id, "model_version": approval.model_version},
        )
    )
