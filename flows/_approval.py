"""Approvals as evidence: each question and answer bound to one model, evaluation and dataset, and how it ends."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from mlcore import approval as rules
from mlcore import events, registry
from mlcore.errors import ApprovalError, ServerError
from mlcore.events import Event
from mlcore.failpoints import failpoint
from mlcore.ledger.records import (
    Approval,
    ApprovalAnswer,
    Evaluation,
    ModelVersion,
    OutboxEntry,
    Revalidation,
)
from mlcore.policy.approval import normal

if TYPE_CHECKING:
    from flows._context import Context
    from mlcore.ledger.store import Ledger, Transaction, View
    from mlcore.usecase import UseCase

LONGEST_REASON: Final = 4000
_ENDED: Final = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
#: Label of `ml.approval.superseded`: the model is to be compared with today's champion, and asked about anew.
AGAIN: Final = "ml.approval.again"


def is_needed(view: View, usecase: UseCase, model: ModelVersion, evaluation: Evaluation) -> bool:
    """Whether `model` may serve only after a person agreed: the policy says so, or it was asked about before."""
    policy = usecase.approval
    if policy.required == "never":
        return False
    asked_before = view.first(Approval, usecase=usecase.name, model_version=model.version) is not None
    change = evaluation.report.get("change_fraction")
    return asked_before or policy.is_required(model.cause, change)  # type: ignore[arg-type]


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
    failpoint("approval.after-request")
    return approval


def find(context: Context, approval_id: str) -> Approval:
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
        raise _unknown(f"{context.name} {approval_id}".strip())
    return approval


def unasked(context: Context, approvals: list[Approval]) -> list[Approval]:
    """Return those of `approvals` that no live flow run asks; a server that is away is taken to have them all."""
    bound = [approval.flow_run_id for approval in approvals if approval.flow_run_id]
    try:
        runs = context.server.find_flow_runs(flow_runs={"id": {"any_": bound}}) if bound else []
    except ServerError:
        return [approval for approval in approvals if not approval.flow_run_id]
    alive = {run["id"] for run in runs if (run.get("state") or {}).get("type") not in _ENDED}
    return [approval for approval in approvals if approval.flow_run_id not in alive]


def take(context: Context, approval: Approval) -> bool:
    """Note that this run asks, so that commands know where to send the answer; False where another run does already.

    An event that came twice must not lead to two forms.
    """
    if approval.flow_run_id not in ("", context.run_id) and approval not in unasked(context, [approval]):
        return False
    with context.ledger.transaction() as tx:
        now = tx.get(Approval, id=approval.id)
        if now is None or now.flow_run_id not in (approval.flow_run_id, context.run_id):
            return False  # another was faster
        tx.change(now, flow_run_id=context.run_id)
    return True


def attempt(context: Context, approval: Approval) -> int:
    """Return which answer this run waits for, from 1; counted in the ledger, so that a restart takes none twice."""
    with context.ledger.read() as view:
        return len(view.all(ApprovalAnswer, approval_id=approval.id, flow_run_id=context.run_id)) + 1


def seconds_left(context: Context, approval: Approval) -> int:
    """Return the whole seconds until `approval` expires, at least one."""
    return max(1, int((approval.expires_at - context.now()).total_seconds()))


def answers(view: View, approval_id: str) -> list[ApprovalAnswer]:
    """Return every answer to an approval, the refused ones too, oldest first."""
    return view.all(ApprovalAnswer, order_by="answered_at", approval_id=approval_id)


def answer(
    ledger: Ledger,
    usecase: UseCase,
    approval_id: str,
    *,
    granted: bool,
    approver: str,
    reason: str,
    now: datetime,
    flow_run_id: str,
    attempt: int,
) -> Approval:
    """Record a person's answer, once; return the approval, still pending where more people have to agree.

    `flow_run_id` and `attempt` tell this answer from every other: given again, it changes nothing.

    Raises
    ------
    ApprovalError
        If there is no such approval, or the answer does not count, see `mlcore.approval.require_acceptable`. A refused
        answer is on record, too, and a question that it came too late for is closed.
    """
    approver, reason = _text(normal(approver)), _text(reason.strip())
    with ledger.transaction() as tx:
        approval = tx.get(Approval, id=approval_id)
        if approval is None or approval.usecase != usecase.name:
            raise _unknown(approval_id)
        given = answers(tx, approval.id)
        if any((item.flow_run_id, item.attempt) == (flow_run_id, attempt) for item in given):
            return approval
        approval = close_if_over(tx, approval, now)
        refusal = None
        try:
            require_acceptable(tx, usecase, approval, given, granted=granted, approver=approver, reason=reason)
        except ApprovalError as error:
            refusal = error
        said = ApprovalAnswer(
            approval_id=approval.id,
            flow_run_id=flow_run_id,
            attempt=attempt,
            usecase=usecase.name,
            model_version=approval.model_version,
            model_digest=approval.model_digest,
            evaluation_id=approval.evaluation_id,
            dataset_version=approval.dataset_version,
            outcome="refused" if refusal else "granted" if granted else "denied",
            approver=approver,
            reason=reason,
            refusal=str(refusal or ""),
            answered_at=now,
        )
        tx.add(said)
        failpoint("approval.after-answer")
        if refusal:
            _audit(tx, approval, "approval.refused", approver or "nobody", now, reason=reason, refusal=str(refusal))
        else:
            approval = _conclude(tx, usecase, approval, [*given, said], now)
    if refusal:
        raise refusal
    return approval


def close_if_over(tx: Transaction, approval: Approval, now: datetime) -> Approval:
    """End a pending approval that has expired, or whose model, evaluation, dataset or champion has changed."""
    if approval.state != "pending":
        return approval
    if now >= approval.expires_at:
        closed = tx.change(approval, state="expired", reason="nobody answered in time", answered_at=now)
        _record(tx, closed, "approval.expired", events.APPROVAL_DENIED, actor="policy", now=now)
        return closed
    champion = registry.alias(tx, approval.usecase, "champion")
    version = champion.version if champion else None
    model = tx.get(ModelVersion, usecase=approval.usecase, version=approval.model_version)
    changed = rules.outdated(approval, model, tx.get(Evaluation, id=approval.evaluation_id), version)
    if not changed:
        return approval
    return _supersede(tx, approval, changed, now, compare_again=model is not None and model.version != version)


def close_all_over(tx: Transaction, usecase: str, now: datetime) -> list[Approval]:
    """End every approval of `usecase` that is over, also one granted and not acted on before another was.

    To be called where the champion changes.
    """
    closed = [close_if_over(tx, approval, now) for approval in tx.all(Approval, usecase=usecase, state="pending")]
    granted = [
        _close_if_overtaken(tx, approval, now) for approval in tx.all(Approval, usecase=usecase, state="granted")
    ]
    return [approval for approval in (*closed, *granted) if approval.state not in ("pending", "granted")]


def _close_if_overtaken(tx: Transaction, approval: Approval, now: datetime) -> Approval:
    """Have a model compared again that was agreed to, but against a champion that is none any more."""
    champion = registry.alias(tx, approval.usecase, "champion")
    newest = registry.newest_evaluation(tx, approval.usecase, approval.model_version)
    if (
        champion is None
        or newest is None
        or newest.id != approval.evaluation_id
        or champion.version in (newest.champion_version, approval.model_version)
        or registry.was_promoted_since(tx, approval.usecase, approval.model_version, newest.created_at)
    ):
        return approval
    why = f"agreed to, and not promoted before version {champion.version} became the champion"
    return _supersede(tx, approval, why, now, compare_again=True)


def replace(tx: Transaction, evaluation: Evaluation, now: datetime) -> None:
    """End the pending approvals of a model that has just been evaluated again."""
    for approval in tx.all(
        Approval, usecase=evaluation.usecase, model_version=evaluation.model_version, state="pending"
    ):
        _supersede(tx, approval, f"the model was evaluated again: {evaluation.verdict}", now, compare_again=False)


def remind(tx: Transaction, usecase: UseCase, now: datetime) -> list[Approval]:
    """Announce the reminders that are due, each once, and return whose they are."""
    reminded = []
    for approval in tx.all(Approval, usecase=usecase.name, state="pending"):
        number = rules.reminder(usecase.approval, approval, now)
        event = _event(events.APPROVAL_REMINDED, approval, now, key=f"{approval.id}#{number}")
        # the outbox is the memory: this reminder has one id, whoever sends it and however often
        if number and tx.get(OutboxEntry, id=str(event.id)) is None:
            tx.announce(event)
            _audit(tx, approval, "approval.reminded", "policy", now, number=number)
            reminded.append(approval)
    return reminded


def again(revalidation: Revalidation, now: datetime) -> Event:
    """Return the event that wakes `validate` for a model whose comparison was left half way."""
    return Event(
        events.APPROVAL_SUPERSEDED,
        revalidation.usecase,
        key=f"{revalidation.approval_id}#{now:%Y-%m-%dT%H:%M}",
        occurred=now,
        payload={"approval_id": revalidation.approval_id, "model_version": revalidation.model_version},
        labels={AGAIN: "true"},
    )


def require_acceptable(
    view: View,
    usecase: UseCase,
    approval: Approval,
    given: list[ApprovalAnswer],
    *,
    granted: bool,
    approver: str,
    reason: str,
) -> None:
    """Refuse an answer that does not count, by `mlcore.approval` and what the ledger knows of the model."""
    model = view.get(ModelVersion, usecase=usecase.name, version=approval.model_version)
    rules.require_acceptable(
        usecase.approval,
        approval,
        given,
        granted=granted,
        approver=approver,
        reason=reason,
        cause=model.cause if model is not None else "",
        started_by=registry.starter(view, model) if model is not None else "",
    )


def _conclude(
    tx: Transaction, usecase: UseCase, approval: Approval, given: list[ApprovalAnswer], now: datetime
) -> Approval:
    last, state = given[-1], rules.outcome(usecase.approval, given)
    if state == "pending":
        _audit(tx, approval, "approval.answered", last.approver, now, reason=last.reason)
        return approval
    yes = rules.agreed(usecase.approval, given)
    decisive = (
        [last] if state == "denied" else [item for item in given if item.outcome == "granted" and item.approver in yes]
    )
    closed = tx.change(
        approval,
        state=state,
        approver=", ".join(item.approver for item in decisive),
        reason="; ".join(item.reason for item in decisive),
        answered_at=now,
    )
    event = events.APPROVAL_GRANTED if state == "granted" else events.APPROVAL_DENIED
    _record(tx, closed, f"approval.{state}", event, actor=last.approver, now=now)
    return closed


def _supersede(tx: Transaction, approval: Approval, why: str, now: datetime, *, compare_again: bool) -> Approval:
    closed = tx.change(approval, state="superseded", reason=why, answered_at=now)
    if compare_again:
        tx.add(
            Revalidation(
                approval_id=approval.id,
                usecase=approval.usecase,
                model_version=approval.model_version,
                state="requested",
                evaluation_id=None,
                requested_at=now,
                finished_at=None,
                error="",
            )
        )
    failpoint("approval.after-close")
    labels = {AGAIN: "true" if compare_again else "false"}
    _record(tx, closed, "approval.superseded", events.APPROVAL_SUPERSEDED, actor="policy", now=now, labels=labels)
    return closed


def _unknown(subject: str) -> ApprovalError:
    return ApprovalError(
        "nothing to approve",
        subject=subject,
        expected="the id of an approval, or a pending one",
        got="none",
        remedy="`mlops status` lists what is waiting.",
    )


def _text(value: str) -> str:
    # a form takes anything; no database takes a zero, and the audit trail no half of a character
    return value[:LONGEST_REASON].encode(errors="replace").decode().replace("\0", "?")


def _record(
    tx: Transaction,
    approval: Approval,
    action: str,
    event: str,
    *,
    actor: str,
    now: datetime,
    labels: dict[str, str] | None = None,
) -> None:
    _audit(tx, approval, action, actor, now, reason=approval.reason)
    tx.announce(_event(event, approval, now, key=approval.id, labels=labels))


def _audit(tx: Transaction, approval: Approval, action: str, actor: str, now: datetime, **facts: Any) -> None:
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
        **facts,
    )


def _event(name: str, approval: Approval, now: datetime, *, key: str, labels: dict[str, str] | None = None) -> Event:
    payload: dict[str, str | int] = {"approval_id": approval.id, "model_version": approval.model_version}
    return Event(name, approval.usecase, key=key, occurred=now, payload=payload, labels=labels or {})
