"""The rules of approval, alone: who may answer, what the answers come to, what is due and what no longer fits."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pydantic
import pytest

from mlcore import approval as rules
from mlcore.errors import ApprovalError
from mlcore.ledger.records import Approval, ApprovalAnswer, Evaluation, ModelVersion
from mlcore.policy.approval import ApprovalPolicy

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
POLICY = ApprovalPolicy(
    required="always",
    approvers=("Ann@example.org", "bob@example.org", "cy@example.org"),
    quorum=2,
    self_approval=False,
    remind_every=timedelta(hours=6),
)
APPROVAL = Approval("a", "b", 2, "d", "e", 7, "pending", "run", "", "", NOW, NOW + timedelta(days=1), None)
MODEL = ModelVersion(
    "b", 2, "d", "u", 7, "forest", {}, 0, {}, (), "c", False, "l", "u", "manual", "manual:1", "run", NOW
)
EVALUATION = Evaluation("e", "b", 2, 1, 7, "promote", "Better.", {}, NOW)


def said(who: str, outcome: str = "granted", attempt: int = 1) -> ApprovalAnswer:
    """Return an answer."""
    return ApprovalAnswer("a", "run", attempt, "b", 2, "d", "e", 7, outcome, who, "since", "", NOW)  # type: ignore[arg-type]


def refused(
    policy: ApprovalPolicy = POLICY, approval: Approval = APPROVAL, answers=(), **changed
) -> ApprovalError | None:
    """Return why an answer, good but for `changed`, is refused."""
    given = {"granted": True, "approver": "bob@example.org", "reason": "ok", "cause": "drift", "started_by": ""}
    try:
        rules.require_acceptable(policy, approval, answers, **{**given, **changed})
    except ApprovalError as error:
        return error
    return None


def test_a_good_answer_is_taken():
    """Somebody on the list, in whatever case and with a reason."""
    assert refused() is None
    assert refused(approver="  ANN@example.ORG ") is None


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"approver": "eve@example.org"}, "this person may not approve"),
        ({"approver": ""}, "got nobody"),
        ({"approver": "bob@example.org, cy@example.org"}, "this person may not approve"),
        ({"reason": ""}, "a reason is needed"),
        ({"reason": " \n\t "}, "a reason is needed"),
        ({"reason": "\u200b…"}, "a reason is needed"),
        ({"answers": [said("bob@example.org")]}, "has agreed already"),
        ({"cause": "manual", "started_by": "Bob@example.org"}, "may not approve its model"),
        ({"cause": "manual", "started_by": ""}, "nobody knows who started"),
        ({"cause": "schedule", "started_by": " "}, "nobody knows who started"),
        ({"approval": replace(APPROVAL, state="superseded", reason="the champion is version 3 now")}, "version 3 now"),
        ({"approval": replace(APPROVAL, state="granted", reason="fine")}, "it is granted: fine"),
        ({"approval": replace(APPROVAL, state="expired")}, "it is expired"),
    ],
)
def test_an_answer_that_does_not_count_is_refused_with_all_four_parts(changed, told):
    """Whoever is refused reads about what, what was expected, what was got, and what to do."""
    error = refused(**changed)
    assert error is not None
    assert told in str(error)
    assert all((error.subject, error.expected, error.got, error.remedy))


def test_who_started_a_training_may_reject_and_others_may_approve():
    """Four eyes are asked for a yes; and only where the policy wants them."""
    assert refused(cause="manual", started_by="bob@example.org", granted=False) is None
    assert refused(cause="manual", started_by="ann@example.org") is None
    lenient = POLICY.model_copy(update={"self_approval": True})
    assert refused(lenient, cause="manual", started_by="bob@example.org") is None
    assert refused(lenient, cause="manual", started_by="") is None


def test_who_agreed_may_still_reject():
    """A second look may find something, as long as the others have not agreed."""
    assert refused(answers=[said("bob@example.org")], granted=False) is None


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([], "pending"),
        ([said("ann@example.org")], "pending"),
        ([said("ann@example.org"), said("ann@example.org")], "pending"),
        ([said("ann@example.org"), said("bob@example.org", "refused")], "pending"),
        ([said("ann@example.org"), said("left@example.org")], "pending"),
        ([said("ann@example.org"), said("bob@example.org")], "granted"),
        ([said("ann@example.org"), said("bob@example.org", "denied")], "denied"),
        ([said("ann@example.org"), said("bob@example.org"), said("cy@example.org", "denied")], "denied"),
    ],
)
def test_the_quorum_counts_different_people_and_one_no_rejects(answers, expected):
    """Neither a refused answer, nor a second of the same person, nor one of somebody off the list counts."""
    assert rules.outcome(POLICY, answers) == expected


@pytest.mark.parametrize(
    ("hours", "number"), [(-30, 0), (0, 0), (5.99, 0), (6, 1), (11.99, 1), (12, 2), (23.99, 3), (24, 0), (300, 0)]
)
def test_a_reminder_is_due_once_a_period_until_it_is_over(hours, number):
    """A clock before the question, and one after its end, remind of nothing."""
    assert rules.reminder(POLICY, APPROVAL, NOW + timedelta(hours=hours)) == number
    assert rules.reminder(POLICY, replace(APPROVAL, state="granted"), NOW + timedelta(hours=hours)) == 0


@pytest.mark.parametrize(
    ("model", "evaluation", "champion", "told"),
    [
        (MODEL, EVALUATION, 1, ""),
        (replace(MODEL, digest="other"), EVALUATION, 1, "the model is not the one"),
        (None, EVALUATION, 1, "the model is not the one"),
        (MODEL, None, 1, "the evaluation is not the one"),
        (MODEL, replace(EVALUATION, model_version=3), 1, "the evaluation is not the one"),
        (MODEL, replace(EVALUATION, dataset_version=8), 1, "the dataset version is not the one"),
        (replace(MODEL, dataset_version=8), EVALUATION, 1, "the dataset version is not the one"),
        (MODEL, EVALUATION, 3, "the champion is version 3 now, the model was compared with version 1"),
        (MODEL, EVALUATION, None, "the champion is none now"),
    ],
)
def test_a_question_is_about_one_model_evaluation_dataset_and_champion(model, evaluation, champion, told):
    """Whatever of them changes is named."""
    found = rules.outdated(APPROVAL, model, evaluation, champion)
    assert found.startswith(told)
    assert bool(found) == bool(told)


@pytest.mark.parametrize(
    ("required", "cause", "change", "needed"),
    [
        ("never", "drift", 9.0, False),
        ("always", "dataset", 0.0, True),
        ("by_cause", "drift", 0.0, True),
        ("by_cause", "dataset", 9.0, False),
        ("by_change", "dataset", 0.10, False),
        ("by_change", "dataset", 0.11, True),
        ("by_change", "dataset", float("inf"), True),
        ("by_change", "dataset", None, True),
    ],
)
def test_the_policy_says_who_is_asked_about(required, cause, change, needed):
    """By cause, or by how much the answers change; what was not measured is asked about."""
    policy = ApprovalPolicy(
        required=required, causes=("drift",), maximum_change_fraction=0.1, approvers=("ann@example.org",)
    )
    assert policy.is_required(cause, change) is needed


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"quorum": 4}, "approvers names 3 different people"),
        ({"quorum": 2, "approvers": ("a@b.org", " A@B.org")}, "approvers names 1 different people"),
        ({"quorum": 0}, "quorum"),
        ({"required": "by_change"}, "maximum_change_fraction must be given"),
        ({"required": "by_change", "maximum_change_fraction": -1}, "maximum_change_fraction"),
        ({"remind_every": timedelta()}, "must be above zero"),
        ({"expires_after": timedelta(days=-1)}, "must be above zero"),
    ],
)
def test_a_policy_that_nobody_could_meet_is_refused(changed, told):
    """Found when the use case is loaded, not when somebody has waited for days."""
    with pytest.raises(pydantic.ValidationError, match=told):
        ApprovalPolicy.model_validate({**POLICY.model_dump(), **changed})
