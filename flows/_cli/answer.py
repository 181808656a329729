"""`mlops approve` and `mlops reject`: the answer that the form in the Prefect UI gives."""

from __future__ import annotations

import time
from dataclasses import asdict

from flows import _approval
from flows._cli.installation import Answer, load, open_ledger
from flows._server import Server
from flows.settings import settings
from mlcore import approval as rules
from mlcore.errors import ApprovalError
from mlcore.ledger.records import Approval, ApprovalAnswer
from mlcore.ledger.store import Ledger

_FORM_SECONDS = 30.0
_TAKEN_SECONDS = 120.0


def answer(approval_id: str, *, decision: str, approver: str, reason: str) -> Answer:
    """Answer an approval by the call that the UI makes, and wait until the answer is taken.

    Raises
    ------
    ApprovalError
        If nothing waits, or the answer is refused: the question stays open then.
    """
    here = settings()
    ledger = open_ledger(here)
    approval = _open_approval(ledger, approval_id)
    usecase = load(here, approval.usecase)
    with ledger.read() as view:
        given = _approval.answers(view, approval.id)
        _approval.require_acceptable(
            view, usecase, approval, given, granted=decision == "approve", approver=approver, reason=reason
        )
    server = Server.of(here)
    _until_asked(server, approval)
    server.resume(approval.flow_run_id, {"decision": decision, "approver": approver, "reason": reason})
    taken, now = _until_taken(ledger, approval, {(item.flow_run_id, item.attempt) for item in given})
    if taken.outcome == "refused":
        raise ApprovalError("the answer was refused", subject=approval.id, got=taken.refusal)
    facts = {**asdict(now), "answer": asdict(taken)}
    if now.state == "pending":
        text = f"The answer is kept; {usecase.approval.quorum} people must agree to version {now.model_version}."
    else:
        text = f"Version {now.model_version} of {now.usecase} was {now.state} by {now.approver}."
    return facts, text


def _until_asked(server: Server, approval: Approval) -> None:
    """Wait a little for the form: after an answer it takes its run some seconds to ask the next person."""
    until = time.monotonic() + _FORM_SECONDS
    while server.flow_run(approval.flow_run_id)["state"]["type"] != "PAUSED":
        if time.monotonic() > until:
            raise ApprovalError(
                "the form is not there",
                subject=f"flow run {approval.flow_run_id}",
                expected="a suspended run",
                got=server.flow_run(approval.flow_run_id)["state"]["name"],
                remedy="Is a worker running? `maintain` has a dead run asked again within two minutes.",
            )
        time.sleep(0.5)


def _until_taken(ledger: Ledger, approval: Approval, before: set[tuple[str, int]]) -> tuple[ApprovalAnswer, Approval]:
    until = time.monotonic() + _TAKEN_SECONDS
    while time.monotonic() < until:
        with ledger.read() as view:
            given = view.all(ApprovalAnswer, approval_id=approval.id, flow_run_id=approval.flow_run_id)
            now = view.get(Approval, id=approval.id)
        new = [item for item in given if (item.flow_run_id, item.attempt) not in before]
        if new and now is not None:
            return new[0], now
        time.sleep(0.5)
    raise ApprovalError(
        "the answer was sent and is not taken yet",
        subject=approval.id,
        expected=f"an answer on record within {_TAKEN_SECONDS:.0f} s",
        got="none",
        remedy="Nothing is lost: it is taken when a worker runs.",
    )


def _open_approval(ledger: Ledger, approval_id: str) -> Approval:
    with ledger.read() as view:
        if approval_id:
            found = [item for item in [view.get(Approval, id=approval_id)] if item is not None]
        else:
            found = view.all(Approval, order_by="requested_at", state="pending")
    if len(found) != 1:
        raise ApprovalError(
            "several approvals wait: say which" if found else "nothing waits for an answer",
            subject=approval_id,
            expected="the id of an approval" if found or approval_id else "a pending approval",
            got=", ".join(item.id for item in found) or "none",
            remedy="`mlops status` lists what is waiting.",
        )
    [approval] = found
    if approval.state != "pending":
        raise rules.not_open(approval)
    if not approval.flow_run_id:
        raise ApprovalError(
            "nobody can be asked yet",
            subject=approval.id,
            expected="a suspended run of approve/default",
            got="none",
            remedy="Is a worker running? Then try again in a minute.",
        )
    return approval
