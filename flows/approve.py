"""Ask a person; suspended while waiting, so that no worker is held and restarts do no harm."""

from __future__ import annotations

from typing import Literal

from prefect.flow_runs import asuspend_flow_run
from prefect.input import RunInput, keyset_from_paused_state
from prefect.input.actions import aread_flow_run_input
from prefect.states import Suspended
from pydantic import Field

from flows import _approval
from flows._context import Context, open_context, stage
from flows._question import question
from mlcore.errors import ApprovalError
from mlcore.ledger.records import Approval


class ApprovalForm(RunInput):
    """The form in the Prefect UI."""

    decision: Literal["approve", "reject"] = Field(description="What you decide.")
    approver: str = Field(
        max_length=320, description="Your e-mail address; it must be on the use case's list of approvers."
    )
    reason: str = Field(max_length=_approval.LONGEST_REASON, description="Why; it is kept in the audit trail.")


@stage("approve")
async def approve(usecase: str, approval_id: str = "", event_id: str = "") -> str:
    """Wait for people's answers to an approval; a wrong answer is asked again, no answer in time is a reject.

    Args:
        usecase: Name of the use case.
        approval_id: The question to ask; the newest pending one if left out.
        event_id: The event that woke this; left out when a person starts it.
    """
    context = open_context(usecase)
    try:
        approval = _approval.find(context, approval_id or (_left(context) if event_id else ""))
    except ApprovalError as error:
        if not event_id:
            raise
        await context.tell(f"Nothing is asked: {error}")
        return "nothing is asked"
    if approval.state == "pending" and not _approval.take(context, approval):
        sentence = f"Another run asks already whether version {approval.model_version} may serve."
        await context.tell(sentence)
        return sentence
    if approval.state != "pending":
        await _refuse_late(context, approval)
    # a resumed run starts from the top: the ledger knows which of its answers it has taken
    while approval.state == "pending":
        number = _approval.attempt(context, approval)
        form = await asuspend_flow_run(
            wait_for_input=ApprovalForm.with_initial_data(description=question(context, approval)),
            timeout=_approval.seconds_left(context, approval),
            key=_key(approval, number),
        )
        try:
            approval = _answer(context, approval, form, number)
        except ApprovalError:
            approval = _approval.find(context, approval.id)
            if approval.state != "pending":
                context.announce()
                raise  # the question was over before this answer came: there is nothing to ask again
    context.announce()
    sentence = f"Version {approval.model_version} was {approval.state}"
    sentence += f" by {approval.approver}: {approval.reason}" if approval.approver else f": {approval.reason}"
    await context.tell(sentence, question(context, approval))
    return sentence


def _left(context: Context) -> str:
    """Return the question that this run asks, or the oldest that no live run does; empty where there is none."""
    with context.ledger.read() as view:
        mine = view.first(Approval, usecase=context.name, flow_run_id=context.run_id)
        pending = view.all(Approval, order_by="requested_at", usecase=context.name, state="pending")
    if mine is not None:
        return mine.id  # it was resumed, and starts from the top
    return next((item.id for item in _approval.unasked(context, pending)), "")


async def _refuse_late(context: Context, approval: Approval) -> None:
    """Tell whoever has answered this run's form after the question was over that it was, and why."""
    number = _approval.attempt(context, approval)
    keys = keyset_from_paused_state(Suspended(pause_key=_key(approval, number)))
    given = await aread_flow_run_input(keys["response"])
    if given is not None:
        _answer(context, approval, ApprovalForm(**given), number)


def _key(approval: Approval, number: int) -> str:
    return f"{approval.id}-{number}"


def _answer(context: Context, approval: Approval, form: ApprovalForm, number: int) -> Approval:
    return _approval.answer(
        context.ledger,
        context.usecase,
        approval.id,
        granted=form.decision == "approve",
        approver=form.approver,
        reason=form.reason,
        now=context.now(),
        flow_run_id=context.run_id,
        attempt=number,
    )
