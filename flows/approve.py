"""Ask a person; suspended while waiting, so that no worker is held and restarts do no harm."""

from __future__ import annotations

from typing import Literal

from prefect.flow_runs import asuspend_flow_run
from prefect.input import RunInput
from pydantic import Field

from flows import _approval
from flows._context import Context, open_context, stage
from mlcore.errors import ApprovalError
from mlcore.ledger.records import Approval


class ApprovalForm(RunInput):
    """The form in the Prefect UI."""

    decision: Literal["approve", "reject"] = Field(description="What you decide.")
    approver: str = Field(description="Your e-mail address; it must be on the use case's list of approvers.")
    reason: str = Field(description="Why; it is kept in the audit trail.")


@stage("approve")
async def approve(usecase: str, approval_id: str = "") -> str:
    """Wait for a person's answer to an approval; a wrong answer is asked again, no answer in time is a reject.

    Args:
        usecase: Name of the use case.
        approval_id: The question to ask; the newest pending one if left out.
    """
    context = open_context(usecase)
    approval = _approval.pending(context, approval_id)
    question = _approval.question(context, approval)
    attempt = 1
    # a resumed run starts from the top: answers given before come back at once, by their key
    while approval.state == "pending":
        _approval.bind(context, approval)
        form = await asuspend_flow_run(
            wait_for_input=ApprovalForm.with_initial_data(description=question),
            timeout=_approval.seconds_left(context, approval),
            key=f"{approval.id}-{attempt}",
        )
        try:
            approval = _answer(context, approval, form)
        except ApprovalError as error:
            question = f"**{error}**\n\n{_approval.question(context, approval)}"
            attempt += 1
    context.announce()
    sentence = f"Version {approval.model_version} was {approval.state} by {approval.approver}: {approval.reason}"
    await context.tell(sentence, question)
    return sentence


def _answer(context: Context, approval: Approval, form: ApprovalForm) -> Approval:
    return _approval.answer(
        context.ledger,
        context.usecase,
        approval.id,
        granted=form.decision == "approve",
        approver=form.approver,
        reason=form.reason,
        now=context.now(),
    )
