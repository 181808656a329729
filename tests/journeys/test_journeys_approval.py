"""Approval on a real server: two people, wrong answers by every way in, a restart in between, a late answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from flows import _approval
from mlcore import registry
from mlcore.errors import ApprovalError
from mlcore.ledger import audit
from mlcore.ledger.outbox import deliver
from mlcore.ledger.records import Approval, ApprovalAnswer, Evaluation, ModelVersion, Revalidation
from mlcore.ledger.store import Transaction
from mlcore.usecase import load_usecase
from tests.journeys.installation import PATIENCE, Installation, installed

pytestmark = [pytest.mark.journey, pytest.mark.timeout(2 * PATIENCE)]
PEOPLE = ("ann@example.org", "bob@example.org")


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Iterator[Installation]:
    """An installation whose use case wants two people to agree, neither of whom started the training."""

    def ask_two(usecase: dict[str, Any]) -> None:
        approvers = [*PEOPLE, "cy@example.org"]
        usecase["approval"] = {"required": "always", "approvers": approvers, "quorum": 2, "self_approval": False}

    with installed(tmp_path_factory.mktemp("installation"), ask_two) as installation:
        yield installation


def _register(tx: Transaction, now: datetime) -> ModelVersion:
    """Register a model that cy has trained."""
    model = ModelVersion(
        "churn", 0, "", "u", 1, "forest", {}, 0, {}, (), "c", False, "l", "u", "manual", "manual:1", "run", now
    )
    digest = f"sha256:{tx.next_version(ModelVersion, 'churn')}"
    return registry.register(tx, replace(model, digest=digest), now, started_by="cy@example.org")


def _ask(here: Installation) -> Approval:
    """Ask about a new model, compared with today's champion, as `validate` does, and wait for the form."""
    now = datetime.now(UTC)
    usecase = load_usecase(here.stack.usecases / "churn")
    with here.ledger.transaction() as tx:
        model, champion = _register(tx, now), registry.alias(tx, "churn", "champion")
        against = champion.version if champion else None
        evaluation = Evaluation(f"e{model.version}", "churn", model.version, against, 1, "promote", "Better.", {}, now)
        tx.add(evaluation)
        approval = _approval.request(tx, usecase, model, evaluation, now)
    deliver(here.ledger, here.stack.server.post_events, now)
    return here.until(lambda view: _waiting(here, view.get(Approval, id=approval.id)))


def _waiting(here: Installation, approval: Approval) -> Approval | None:
    if not approval.flow_run_id:
        return None
    return approval if here.stack.server.flow_run(approval.flow_run_id)["state"]["name"] == "Suspended" else None


def _resume(here: Installation, approval: Approval, **form: Any) -> None:
    here.stack.server.resume(approval.flow_run_id, form)


def _answered(here: Installation, approval: Approval, count: int) -> list[ApprovalAnswer]:
    def find(view):
        given = view.all(ApprovalAnswer, order_by="attempt", approval_id=approval.id)
        return given if len(given) == count else None

    return here.until(find)


def test_1_wrong_answers_by_form_and_command_ask_again(here):
    """What the form's schema refuses never reaches the run; what the rules refuse is told on the next form."""
    approval = _ask(here)
    good = {"decision": "approve", "approver": PEOPLE[0], "reason": "fine"}
    for wrong in (
        {},
        {**good, "decision": "perhaps"},
        {key: value for key, value in good.items() if key != "reason"},
        {**good, "reason": None},
        {**good, "reason": "x" * 5000},
        {**good, "urgent": True},
    ):
        with pytest.raises(ApprovalError, match="the answer was refused"):
            _resume(here, approval, **wrong)
        assert _waiting(here, approval)
    _resume(here, approval, decision="approve", approver="eve@example.org", reason="let me in")
    [refused] = _answered(here, approval, 1)
    assert (refused.outcome, refused.approver) == ("refused", "eve@example.org")
    here.until(lambda _: _waiting(here, approval))
    state = here.stack.server.flow_run(approval.flow_run_id)["state"]
    key = state["state_details"]["run_input_keyset"]["description"]
    shown = httpx.get(f"{here.stack.api_url}/flow_runs/{approval.flow_run_id}/input/{key}").text
    assert "this person may not approve" in shown
    for arguments, told in (
        (("--approver", "eve@example.org", "--reason", "x"), "may not approve"),
        (("--approver", PEOPLE[0], "--reason", "  "), "a reason is needed"),
        (("--approver", "cy@example.org", "--reason", "mine"), "who started a training may not"),
        (("approval-none", "--approver", PEOPLE[0], "--reason", "x"), "nothing waits"),
    ):
        done = here.cli("approve", *arguments)
        assert (done.returncode, told in done.stderr, "Traceback" in done.stderr) == (1, True, False), done.stderr
    assert len(_answered(here, approval, 1)) == 1
    assert _waiting(here, approval)


def test_2_two_people_agree_across_a_restart_of_server_and_worker(here):
    """The first yes is kept while everything is stopped; the same person is no second one; the other one decides."""
    with here.ledger.read() as view:
        approval = view.first(Approval, usecase="churn", state="pending")
    first = here.cli("approve", "--approver", PEOPLE[0], "--reason", "a clear gain")
    assert first.returncode == 0, first.stderr
    assert "2 people must agree" in first.stdout
    here.until(lambda _: _waiting(here, approval))
    here.stack.stop()
    here.stack.start()
    again = here.cli("approve", "--approver", PEOPLE[0], "--reason", "still")
    assert "agreed already" in again.stderr
    second = here.cli("approve", "--approver", PEOPLE[1], "--reason", "safe")
    assert second.returncode == 0, second.stderr
    given = _answered(here, approval, 3)
    assert [item.outcome for item in given] == ["refused", "granted", "granted"]
    with here.ledger.read() as view:
        kept = view.get(Approval, id=approval.id)
    assert (kept.state, kept.approver) == ("granted", ", ".join(PEOPLE))
    here.until(lambda view: registry.alias(view, "churn", "champion"))
    audit.verify(here.ledger)


def test_3_a_late_answer_to_an_old_question_is_refused_with_the_reason(here):
    """The champion has changed: the old form explains itself, and so does the command."""
    approval = _ask(here)
    with here.ledger.transaction() as tx:
        now, champion = datetime.now(UTC), registry.alias(tx, "churn", "champion")
        newer = _register(tx, now).version
        registry.promote(
            tx, "churn", newer, expected_generation=champion.generation, actor="dan@example.org", reason="", now=now
        )
        assert [item.state for item in _approval.close_all_over(tx, "churn", now)] == ["superseded"]
    by_command = here.cli("approve", approval.id, "--approver", PEOPLE[0], "--reason", "late")
    assert f"the champion is version {newer} now" in by_command.stderr
    _resume(here, approval, decision="approve", approver=PEOPLE[0], reason="late")
    run = here.finished(approval.flow_run_id)
    assert run["state"]["type"] == "FAILED"
    assert f"the champion is version {newer} now" in run["state"]["message"]
    [late] = _answered(here, approval, 1)
    assert late.outcome == "refused"
    # an automation has it compared again; this model's data is not there, which is told once and not tried for ever
    lost = here.until(lambda view: view.first(Revalidation, approval_id=approval.id, state="failed"))
    assert "dataset" in lost.error
    with here.ledger.read() as view:
        assert registry.alias(view, "churn", "champion").version == newer
