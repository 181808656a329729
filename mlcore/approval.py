"""The rules of approval: whose answer counts, what follows from the answers, when to remind, what no longer fits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

from mlcore.errors import ApprovalError
from mlcore.policy.approval import ApprovalPolicy, normal

if TYPE_CHECKING:
    from mlcore.ledger.records import Approval, ApprovalAnswer, Evaluation, ModelVersion

#: Causes that the ledger knows by a decision of its own; every other training was started by a person.
NOT_BY_HAND: Final = frozenset({"drift", "dataset"})


def require_acceptable(
    policy: ApprovalPolicy,
    approval: Approval,
    answers: Sequence[ApprovalAnswer],
    *,
    granted: bool,
    approver: str,
    reason: str,
    cause: str,
    started_by: str,
) -> None:
    """Refuse an answer that does not count.

    Parameters
    ----------
    policy : ApprovalPolicy
    approval : Approval
        What is answered.
    answers : sequence of ApprovalAnswer
        Those given so far.
    granted : bool
        Whether this one is a yes.
    approver, reason : str
        Who answers, and why.
    cause, started_by : str
        What started the model's training, and which person did; empty where none did, or nobody said.

    Raises
    ------
    ApprovalError
        If the approval is not open, the approver is not on the list, has agreed before, or started the training where
        the policy forbids it, or no reason is given. Who started a training may always reject its model.
    """
    if approval.state != "pending":
        raise not_open(approval)
    who = normal(approver)
    if who not in policy.people:
        raise ApprovalError(
            "this person may not approve",
            subject=approval.id,
            expected=f"one of {', '.join(policy.approvers)}",
            got=who or "nobody",
            remedy="Ask one of them, or add the address to approval.approvers.",
        )
    if not any(letter.isalnum() for letter in reason):
        raise ApprovalError(
            "a reason is needed",
            subject=approval.id,
            expected="a sentence that says why",
            got=repr(reason) if reason.strip() else "none",
            remedy="Answer again, with a reason.",
        )
    if not granted:
        return
    if who in agreed(policy, answers):
        raise ApprovalError(
            "this person has agreed already",
            subject=approval.id,
            expected=f"{policy.quorum} different approvers",
            got=f"{who} for a second time",
            remedy="Ask another of the approvers; a rejection is still taken.",
        )
    if not policy.self_approval and cause not in NOT_BY_HAND:
        _require_another(approval, who, normal(started_by))


def _require_another(approval: Approval, who: str, starter: str) -> None:
    if not starter:
        raise ApprovalError(
            "nobody knows who started this training, so nobody may approve its model",
            subject=approval.id,
            expected="a training whose starter is on record, since approval.self_approval is off",
            got="a training started by hand, without `actor`",
            remedy="Start the training again with `actor`, or reject this model.",
        )
    if who == starter:
        raise ApprovalError(
            "who started a training may not approve its model",
            subject=approval.id,
            expected="an answer of somebody else",
            got=who,
            remedy="Ask another of the approvers; a rejection is still taken.",
        )


def not_open(approval: Approval) -> ApprovalError:
    """Return what to say to an answer that comes when nothing is asked any more."""
    explained = f"{approval.state}: {approval.reason}" if approval.reason else approval.state
    return ApprovalError(
        "this approval cannot be answered any more",
        subject=approval.id,
        expected="a pending approval",
        got=f"it is {explained}",
        remedy="`mlops status` lists what is waiting.",
    )


def agreed(policy: ApprovalPolicy, answers: Sequence[ApprovalAnswer]) -> list[str]:
    """Return the different people who said yes and may still answer, in the order of their answers."""
    said = dict.fromkeys(answer.approver for answer in answers if answer.outcome == "granted")
    return [who for who in said if who in policy.people]


def outcome(policy: ApprovalPolicy, answers: Sequence[ApprovalAnswer]) -> Literal["pending", "granted", "denied"]:
    """Return what `answers` come to: one no rejects, and it takes as many different people as the quorum to agree."""
    if any(answer.outcome == "denied" for answer in answers):
        return "denied"
    return "granted" if len(agreed(policy, answers)) >= policy.quorum else "pending"


def reminder(policy: ApprovalPolicy, approval: Approval, now: datetime) -> int:
    """Return the number of the reminder that is due at `now`, 0 where none is; one that was missed is not made up for.

    A clock that was set back asks for a number that was sent before.
    """
    if approval.state != "pending" or now >= approval.expires_at:
        return 0
    return max(0, (now - approval.requested_at) // policy.remind_every)


def outdated(
    approval: Approval, model: ModelVersion | None, evaluation: Evaluation | None, champion: int | None
) -> str:
    """Return what has changed since the question was asked, empty where it is still the question.

    Parameters
    ----------
    approval : Approval
    model, evaluation : ModelVersion and Evaluation, or None
        What the ledger has under the approval's names.
    champion : int or None
        Version of today's champion.
    """
    if model is None or model.digest != approval.model_digest:
        return "the model is not the one that was shown"
    if evaluation is None or evaluation.model_version != model.version:
        return "the evaluation is not the one that was shown"
    if not approval.dataset_version == evaluation.dataset_version == model.dataset_version:
        return "the dataset version is not the one that was shown"
    if evaluation.champion_version != champion:
        return (
            f"the champion is {_named(champion)} now, the model was compared with {_named(evaluation.champion_version)}"
        )
    return ""


def _named(version: int | None) -> str:
    return f"version {version}" if version is not None else "none"
