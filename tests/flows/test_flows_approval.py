"""Approvals through the flows' own code and a real ledger: answered, superseded, reminded, expired, out of order."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import httpx
import pytest

from flows import _approval, _causes, _pending, approve, maintain
from flows._cli import answer
from flows._context import Context
from flows._question import question
from flows._server import Server
from flows.promote import due, move
from flows.settings import Settings
from flows.validate import save
from mlcore import events, registry
from mlcore.errors import ApprovalError, RegistryError, StalePromotionError, TrainingError
from mlcore.ledger import audit
from mlcore.ledger.records import (
    Approval,
    ApprovalAnswer,
    AuditEntry,
    DatasetVersion,
    Evaluation,
    ModelVersion,
    OutboxEntry,
    Retraining,
    Revalidation,
)
from mlcore.ledger.store import Ledger
from mlcore.ledger.trace import trace
from mlcore.policy.approval import ApprovalPolicy

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
POLICY = ApprovalPolicy(
    required="always",
    approvers=("ann@example.org", "bob@example.org", "cy@example.org"),
    remind_every=timedelta(hours=8),
    expires_after=timedelta(days=1),
)


class Clocked(Context):
    """A run whose clock the test sets."""

    at: ClassVar[datetime] = START

    def now(self) -> datetime:
        """The time of the test."""
        return Clocked.at


def _server(runs: dict[str, str]) -> Server:
    """Return a server that knows `runs`, by their id, in these states."""
    server = Server("http://127.0.0.1:9/api", attempts=1)
    listed = [{"id": run, "name": "approve-churn", "state": {"type": state}} for run, state in runs.items()]

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"events": []} if "/events/" in request.url.path else listed)

    server._client = httpx.Client(base_url=server.api_url, transport=httpx.MockTransport(answer))
    return server


def _context(ledger: Ledger, usecase, home, policy: ApprovalPolicy = POLICY, runs: dict[str, str] | None = None):
    usecase = usecase.model_copy(update={"approval": policy})
    return Clocked(Settings(home=home), usecase, ledger, _server(runs or {}), "run")


@pytest.fixture
def context(ledger, churn, tmp_path) -> Clocked:
    """A run of a use case that always asks, with three models none of which is the champion."""
    Clocked.at = START
    found = _context(ledger, churn, tmp_path)
    for _ in range(3):
        _model(found)
    return found


def _model(context: Context, cause: str = "manual", started_by: str = "") -> int:
    model = ModelVersion(
        context.name, 0, "", "u", 7, "forest", {}, 0, {}, (), "c", False, "l", "u", cause, "k", "run", context.now()
    )
    with context.ledger.transaction() as tx:
        version = tx.next_version(ModelVersion, context.name)
        return registry.register(
            tx, replace(model, digest=f"sha256:{version}"), context.now(), started_by=started_by
        ).version


_numbers = itertools.count()


def _evaluated(context: Context, version: int, verdict: str = "promote", **report) -> str:
    """Judge a version against today's champion, as `validate` does; return the id of the approval it would have."""
    Clocked.at += timedelta(seconds=1)
    with context.ledger.read() as view:
        champion = registry.alias(view, context.name, "champion")
        model = view.get(ModelVersion, usecase=context.name, version=version)
    evaluation = Evaluation(
        f"e{next(_numbers)}",
        context.name,
        version,
        champion.version if champion else None,
        7,
        verdict,  # type: ignore[arg-type]
        f"{verdict} it",
        {"guards": [], "slices": [], **report},
        context.now(),
    )
    save(context, model, evaluation)
    return f"approval-{evaluation.id}"


def _say(context: Context, approval_id: str, who: str = "ann", granted: bool = True, reason: str = "fine", number=None):
    approval = _get(context, approval_id)
    return _approval.answer(
        context.ledger,
        context.usecase,
        approval_id,
        granted=granted,
        approver=f"{who}@example.org",
        reason=reason,
        now=context.now(),
        flow_run_id=context.run_id,
        attempt=_approval.attempt(context, approval) if number is None else number,
    )


def _get(context: Context, approval_id: str) -> Approval:
    with context.ledger.read() as view:
        found = view.get(Approval, id=approval_id)
    assert found is not None
    return found


def _all(context: Context, kind, **equal):
    with context.ledger.read() as view:
        return view.all(kind, **equal)


def _champion(context: Context) -> int | None:
    with context.ledger.read() as view:
        found = registry.alias(view, context.name, "champion")
    return found.version if found else None


def test_an_answer_is_a_row_bound_to_what_was_shown(context):
    """Model digest, evaluation, dataset, person and reason; announced and audited with the answer."""
    asked = _evaluated(context, 1)
    assert _say(context, asked, reason=" a clear gain ").state == "granted"
    [row] = _all(context, ApprovalAnswer)
    assert (row.model_digest, f"approval-{row.evaluation_id}", row.dataset_version) == ("sha256:1", asked, 7)
    assert (row.approver, row.reason, row.outcome) == ("ann@example.org", "a clear gain", "granted")
    assert len(_all(context, OutboxEntry, event=events.APPROVAL_GRANTED)) == 1
    [entry] = _all(context, AuditEntry, action="approval.granted")
    assert (entry.actor, entry.facts["model_digest"]) == ("ann@example.org", "sha256:1")
    audit.verify(context.ledger)
    with context.ledger.read() as view:
        told = [step.sentence for step in trace(view, asked, lambda _: None).steps]
    assert "granted, ann@example.org: a clear gain" in told


def test_the_question_shows_what_an_answer_rests_on(context):
    """The gain, each guard and what it found where it does not hold, the worst slice, and where all of it is."""
    guards = [
        {"kind": "limit", "name": "log_loss", "outcome": "passed", "sentence": "fine"},
        {"kind": "leak", "name": "labels", "outcome": "passed", "sentence": "fine"},
        {"kind": "leak", "name": "copies", "outcome": "passed", "sentence": "fine"},
        {"kind": "slice", "name": "plan", "outcome": "not_judged", "sentence": "plan: 3 rows are too few"},
    ]
    slices = [
        {"column": "plan", "slice": name, "difference": {"value": value}} for name, value in (("pro", -2.0), ("x", 0.5))
    ]
    shown = question(context, _get(context, _evaluated(context, 1, guards=guards, slices=slices)))
    assert "promote it" in shown
    assert "- **guards**: 3 of 4 hold: limit (log_loss); no leak (labels, copies)\n" in shown
    assert "\n  - not judged: plan: 3 rows are too few\n" in shown
    assert "2 compared; the least gain is of plan x, difference in loss +0.5" in shown
    assert f"{context.settings.ui_url}/runs/flow-run/run)" in shown
    assert str(context.settings.artifacts_root / "evaluations") in shown
    assert "`sha256:1…`" in shown
    assert "compared with" not in shown  # nothing was


def test_the_question_says_what_would_be_replaced_and_on_which_data(context):
    """The first model stands against the dummy, later ones against the champion, by its number."""
    dataset = DatasetVersion(
        "churn", 7, "d", "u", 1, 4200, "manual", "a.csv", (), (), START - timedelta(days=9), START, "q", {}, START
    )
    with context.ledger.transaction() as tx:
        tx.add(dataset)
    first = question(context, _get(context, _evaluated(context, 1, rows=840)))
    assert "dataset version 7: 4,200 rows of 2026-11-14 to 2026-11-23" in first
    assert (
        "**compared with**: the dummy baseline, since there is no champion yet, on the same 840 held-out rows" in first
    )
    with context.ledger.transaction() as tx:
        registry.promote(tx, "churn", 1, expected_generation=0, actor="me", reason="", now=START)
    second = question(context, _get(context, _evaluated(context, 2, rows=840)))
    assert "**compared with**: version 1, the champion, on the same 840 held-out rows" in second
    other = question(context, _get(context, _evaluated(context, 3, rows=840, opponent="dummy")))
    assert "**compared with**: the dummy baseline, since version 1, the champion, cannot be compared, on the" in other


def test_wrong_answers_are_refused_on_record_and_ask_again(context):
    """A stranger, no reason, texts that no database takes: nothing is decided, and the next answer counts."""
    asked = _evaluated(context, 1)
    for who, reason in (("eve", "let me in"), ("ann", "  "), ("ann\0", "x"), ("\ud800", "x"), ("e" * 9000, "x")):
        with pytest.raises(ApprovalError):
            _say(context, asked, who, reason=reason)
    assert _get(context, asked).state == "pending"
    assert [row.outcome for row in _all(context, ApprovalAnswer)] == ["refused"] * 5
    assert "this person may not approve" in question(context, _get(context, asked)).splitlines()[0]
    assert _say(context, asked, "bob", reason="zero\0 and half \ud800").state == "granted"
    audit.verify(context.ledger)


def test_an_unknown_id_is_refused_and_changes_nothing(context):
    """A wrong id, and one of another use case."""
    _evaluated(context, 1)
    for wrong in ("approval-none", ""):
        with pytest.raises(ApprovalError, match="nothing to approve") as caught:
            _approval.answer(
                context.ledger,
                context.usecase,
                wrong,
                granted=True,
                approver="ann@example.org",
                reason="fine",
                now=context.now(),
                flow_run_id="run",
                attempt=1,
            )
        assert all((caught.value.expected, caught.value.got, caught.value.remedy))
    assert _all(context, ApprovalAnswer) == []


def test_a_run_that_starts_again_takes_no_answer_twice(context):
    """A refused answer stays refused although the list has changed, and a first yes is not a second one."""
    context = _context(context.ledger, context.usecase, context.settings.home, POLICY.model_copy(update={"quorum": 2}))
    asked = _evaluated(context, 1)
    with pytest.raises(ApprovalError):
        _say(context, asked, "eve")
    wider = POLICY.model_copy(update={"quorum": 2, "approvers": (*POLICY.approvers, "eve@example.org")})
    context = _context(context.ledger, context.usecase, context.settings.home, wider)
    assert _say(context, asked, "eve", number=1).state == "pending"
    assert _say(context, asked, "ann").state == "pending"
    assert _say(context, asked, "ann", number=2).state == "pending"
    assert [row.outcome for row in _all(context, ApprovalAnswer, order_by="attempt")] == ["refused", "granted"]


def test_a_quorum_takes_different_people_and_names_them(context):
    """Two of three; the same person twice is refused; the promotion names both."""
    context = _context(context.ledger, context.usecase, context.settings.home, POLICY.model_copy(update={"quorum": 2}))
    asked = _evaluated(context, 1)
    assert _say(context, asked, "ann", reason="good").state == "pending"
    with pytest.raises(ApprovalError, match="agreed already"):
        _say(context, asked, "ann")
    with pytest.raises(ApprovalError, match="not approved"):
        move(context, 1, "")
    assert "2, ann@example.org did" in question(context, _get(context, asked))
    granted = _say(context, asked, "bob", reason="safe")
    assert (granted.state, granted.approver, granted.reason) == (
        "granted",
        "ann@example.org, bob@example.org",
        "good; safe",
    )
    assert move(context, 1, "")[2] == "ann@example.org, bob@example.org"
    denied = _evaluated(context, 2)
    _say(context, denied, "ann")
    assert _say(context, denied, "cy", granted=False, reason="no").state == "denied"
    with pytest.raises(ApprovalError):
        move(context, 2, "")


def test_who_started_a_training_may_not_approve_its_model(context):
    """By whoever's account it runs: the starter is on the audit trail, and an unknown one is no other one."""
    context = _context(
        context.ledger, context.usecase, context.settings.home, POLICY.model_copy(update={"self_approval": False})
    )
    own, nobody, drift = _model(context, started_by="ann@example.org"), _model(context), _model(context, "drift")
    asked = _evaluated(context, own)
    with pytest.raises(ApprovalError, match="who started a training may not"):
        _say(context, asked, "ann")
    assert "**who started it**: ann@example.org" in question(context, _get(context, asked))
    assert _say(context, asked, "bob").state == "granted"
    unknown = _evaluated(context, nobody)
    with pytest.raises(ApprovalError, match="nobody knows who started"):
        _say(context, unknown, "bob")
    assert _say(context, unknown, "bob", granted=False).state == "denied"
    assert _say(context, _evaluated(context, drift), "ann").state == "granted"


def test_a_training_by_hand_names_its_starter_and_none_passes_for_the_ledgers_own(context):
    """Refused before anything is decided: no name where it is needed, a cause that nothing on record has."""
    strict = _context(
        context.ledger, context.usecase, context.settings.home, POLICY.model_copy(update={"self_approval": False})
    )
    with context.ledger.read() as view:
        _causes.require_starter(view, context, "manual", "", "")
        _causes.require_starter(view, strict, "manual", "", "ann@example.org")
        for cause, actor, told in (
            ("manual", " ", "say who"),
            ("schedule", "", "say who"),
            ("drift", "ann", "nothing on"),
        ):
            with pytest.raises(TrainingError, match=told):
                _causes.require_starter(view, strict, cause, "window:w", actor)
    with context.ledger.transaction() as tx:
        tx.add(Retraining("r", context.name, "drift", "window:w", "running", "run", None, None, START, None, ""))
    with context.ledger.read() as view:
        _causes.require_starter(view, strict, "drift", "window:w", "")
    kept = _causes.claim_manual(context, "complaints", "ann@example.org")
    assert kept.evidence["actor"] == "ann@example.org"


def test_only_a_large_change_is_asked_about(context):
    """By size of change: a small one is promoted by itself, a large one and an unmeasured one wait."""
    policy = POLICY.model_copy(update={"required": "by_change", "maximum_change_fraction": 0.1})
    context = _context(context.ledger, context.usecase, context.settings.home, policy)
    _evaluated(context, 1)
    _evaluated(context, 2, change_fraction=0.11)
    _evaluated(context, 3, change_fraction=0.1)
    assert sorted(item.model_version for item in _all(context, Approval)) == [1, 2]
    assert move(context, 3, "")[2] is None
    assert _champion(context) == 3


def test_a_new_evaluation_supersedes_the_question_and_asks_anew(context):
    """A late answer to the old question is refused with the reason; the answer to the new one counts."""
    old = _evaluated(context, 1)
    new = _evaluated(context, 1)
    assert [_get(context, name).state for name in (old, new)] == ["superseded", "pending"]
    with pytest.raises(ApprovalError, match="superseded: the model was evaluated again: promote"):
        _say(context, old)
    assert _get(context, new).state == "pending"
    assert _say(context, new).state == "granted"
    assert _all(context, Revalidation) == []


def test_a_new_evaluation_that_says_no_ends_the_question(context):
    """Neither the old question nor an old verdict leads to a promotion any more."""
    old = _evaluated(context, 1)
    _evaluated(context, 1, "reject")
    assert _get(context, old).state == "superseded"
    assert _all(context, Approval, state="pending") == []
    for version in (1, None):
        with pytest.raises(RegistryError, match="may not be promoted"):
            move(context, version, "")


def test_an_approval_before_the_second_evaluation_is_used_up(context):
    """A yes to one evaluation is no yes to the next one of the same model."""
    _say(context, _evaluated(context, 1))
    asked = _evaluated(context, 1)
    with pytest.raises(ApprovalError, match="pending"):
        move(context, 1, "")
    _say(context, asked, "bob")
    assert move(context, 1, "")[2] == "bob@example.org"


def test_a_newer_champion_supersedes_what_waits_and_has_it_compared_again(context):
    """The old question ends, `validate` is woken, and a person is asked with today's comparison."""
    first = _evaluated(context, 1)
    second = _evaluated(context, 2)
    _say(context, second)
    move(context, 2, "")
    assert _get(context, first).state == "superseded"
    assert "the champion is version 2 now" in _get(context, first).reason
    [due] = _all(context, Revalidation)
    assert (due.model_version, due.state) == (1, "requested")
    [event] = _all(context, OutboxEntry, event=events.APPROVAL_SUPERSEDED)
    assert event.body["resource"][_approval.AGAIN] == "true"
    with pytest.raises(ApprovalError, match="the champion is version 2 now"):
        _say(context, first)
    again = _evaluated(context, 1)
    assert [item.state for item in _all(context, Revalidation)] == ["done"]
    _say(context, again)
    move(context, 1, "")
    assert _champion(context) == 1


def test_of_two_granted_models_the_other_is_compared_again(context):
    """Both were agreed to against the same champion: one is promoted, the other is asked about anew, once."""
    first, second = _evaluated(context, 1), _evaluated(context, 2)
    _say(context, first)
    _say(context, second, "bob")
    move(context, 2, "")
    assert (_get(context, first).state, _get(context, second).state) == ("superseded", "granted")
    assert [(item.model_version, item.state) for item in _all(context, Revalidation)] == [(1, "requested")]
    [event] = _all(context, OutboxEntry, event=events.APPROVAL_SUPERSEDED)
    assert event.body["resource"][_approval.AGAIN] == "true"
    with context.ledger.transaction() as tx:
        assert _approval.close_all_over(tx, context.name, context.now()) == []
    again = _evaluated(context, 1)
    assert _get(context, again).state == "pending"
    _say(context, again)
    move(context, 1, "")
    assert _champion(context) == 1
    assert len(_all(context, Revalidation)) == 1


def test_after_a_restart_nothing_is_waited_for_but_a_run_that_is_at_work(context):
    """What was announced a second ago went down with the server, unless the run that it woke is there."""
    _evaluated(context, 1)
    Clocked.at += timedelta(seconds=1)
    assert _pending.wake(context) == []
    assert _pending.wake(context, at_once=True) == ["ml.approval.requested was left and is announced again"]
    Clocked.at += timedelta(seconds=1)
    context = _context(context.ledger, context.usecase, context.settings.home, runs={"x": "RUNNING"})
    assert _pending._at_work(context) == {"approve"}
    assert not any(events.APPROVAL_REQUESTED in sentence for sentence in _pending.wake(context, at_once=True))


def test_a_crashed_promotion_is_carried_on_once_it_is_due(context):
    """Without being told for which model: not while a person is asked, not twice, not after a rollback."""

    def left() -> int | None:
        with context.ledger.read() as view:
            found = due(view, context)
        return found.model_version if found else None

    assert left() is None
    asked = _evaluated(context, 1)
    assert left() is None
    _say(context, asked)
    assert left() == 1
    move(context, left(), "")
    assert left() is None
    _say(context, _evaluated(context, 2))
    move(context, left(), "")
    with context.ledger.transaction() as tx:
        registry.rollback(tx, context.name, actor="me", reason="", now=context.now())
    assert (_champion(context), left()) == (1, None)
    _evaluated(context, 3, "hold")
    assert left() is None


def test_a_crashed_question_is_asked_by_the_next_run_and_kept_when_it_resumes(context):
    """The oldest that nobody asks; a run that was resumed goes on with its own, whatever else was left meanwhile."""
    first, second = _evaluated(context, 1), _evaluated(context, 2)
    with context.ledger.transaction() as tx:
        tx.change(tx.get(Approval, id=first), flow_run_id="living")
    runs = {"living": "PAUSED"}
    context = _context(context.ledger, context.usecase, context.settings.home, runs=runs)
    assert approve._left(context) == second
    assert _approval.take(context, _get(context, second))
    asks = {"run": "PAUSED"}
    other = replace(_context(context.ledger, context.usecase, context.settings.home, runs=asks), run_id="x")
    assert approve._left(other) == first
    assert approve._left(context) == second
    _say(context, second)
    assert approve._left(context) == second
    both = replace(_context(context.ledger, context.usecase, context.settings.home, runs=runs | asks), run_id="y")
    assert approve._left(both) == ""


@pytest.mark.parametrize("back", [timedelta(0), timedelta(hours=1)])
def test_what_was_left_is_woken_again_also_after_the_clock_was_set_back(context, back):
    """Each time with an id that the server has not seen, although the same minutes come again."""
    _evaluated(context, 1)
    Clocked.at += timedelta(hours=1)
    woken = 0
    for step in range(4):
        if step == 2:
            Clocked.at -= back
        Clocked.at += timedelta(minutes=1)
        woken += len(_pending.wake(context))
        Clocked.at += timedelta(seconds=1)
        assert _pending.wake(context) == []
    assert woken == 4
    assert len({entry.id for entry in _all(context, OutboxEntry, event=events.APPROVAL_REQUESTED)}) == 5


def test_a_comparison_that_was_lost_is_woken_again_until_it_is_done(context):
    """The event was swallowed or its run died: `maintain` finds it in the ledger."""
    _evaluated(context, 1)
    _say(context, _evaluated(context, 2))
    move(context, 2, "")
    Clocked.at += timedelta(minutes=2)
    assert any(events.APPROVAL_SUPERSEDED in sentence for sentence in _pending.wake(context))
    assert not any(events.APPROVAL_SUPERSEDED in sentence for sentence in _pending.wake(context))
    _evaluated(context, 1, "hold")
    Clocked.at += timedelta(minutes=2)
    assert not any(events.APPROVAL_SUPERSEDED in sentence for sentence in _pending.wake(context))


def test_a_model_that_was_asked_about_never_serves_without_an_answer(context):
    """Compared with another champion its change may be small: the person who was asked is asked again."""
    policy = POLICY.model_copy(update={"required": "by_change", "maximum_change_fraction": 0.1})
    context = _context(context.ledger, context.usecase, context.settings.home, policy)
    _evaluated(context, 1, change_fraction=0.5)
    _evaluated(context, 2, change_fraction=0.01)
    move(context, 2, "")
    again = _evaluated(context, 1, change_fraction=0.01)
    assert _get(context, again).state == "pending"
    with pytest.raises(ApprovalError, match="pending"):
        move(context, 1, "")
    assert _champion(context) == 2


@pytest.mark.parametrize("answered", list(itertools.permutations((1, 2, 3))))
@pytest.mark.parametrize("promoted", list(itertools.permutations((1, 2, 3))))
def test_approvals_that_finish_out_of_order_never_replace_a_champion_unseen(churn, tmp_path, answered, promoted):
    """Three wait, all are granted, in every order: one is promoted, the others were not compared with it."""
    Clocked.at = START
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    context = _context(ledger, churn, tmp_path)
    for _ in range(3):
        _model(context)
    asked = {version: _evaluated(context, version) for version in (1, 2, 3)}
    for version in answered:
        _say(context, asked[version])
    assert move(context, promoted[0], "")[0] == promoted[0]
    for version in promoted[1:]:
        with pytest.raises(StalePromotionError, match="the champion changed"):
            move(context, version, "")
    assert _champion(context) == promoted[0]
    assert len(_all(context, OutboxEntry, event=events.MODEL_PROMOTED)) == 1
    ledger.close()


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))))
def test_an_answer_after_another_promotion_is_refused(churn, tmp_path, order):
    """Each is promoted as soon as it is granted: only the first answer counts, the others are asked anew."""
    Clocked.at = START
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    context = _context(ledger, churn, tmp_path)
    for _ in range(3):
        _model(context)
    asked = {version: _evaluated(context, version) for version in (1, 2, 3)}
    _say(context, asked[order[0]])
    move(context, order[0], "")
    for version in order[1:]:
        with pytest.raises(ApprovalError, match="superseded"):
            _say(context, asked[version])
        with pytest.raises(ApprovalError, match="superseded"):
            move(context, version, "")
    assert _champion(context) == order[0]
    assert {item.model_version for item in _all(context, Revalidation, state="requested")} == set(order[1:])
    ledger.close()


def test_a_changed_model_or_dataset_is_found_at_the_answer(context):
    """Whatever changed the row: the answer is refused, and the question is over."""
    digest, dataset = _evaluated(context, 1), _evaluated(context, 2)
    with context.ledger.transaction() as tx:
        tx.change(tx.get(ModelVersion, usecase=context.name, version=1), digest="sha256:other")
        tx.change(tx.first(Evaluation, model_version=2), dataset_version=8)
    for asked, told in ((digest, "the model is not"), (dataset, "the dataset version is not")):
        with pytest.raises(ApprovalError, match=told):
            _say(context, asked)
        assert _get(context, asked).state == "superseded"


def test_an_approval_asked_while_the_champion_changed_is_asked_anew_at_once(context):
    """The comparison took its time: what it says of yesterday's champion is not put to anybody."""
    with context.ledger.read() as view:
        model = view.get(ModelVersion, usecase=context.name, version=1)
    slow = Evaluation("slow", context.name, 1, None, 7, "promote", "Better.", {}, context.now())
    _say(context, _evaluated(context, 2))
    move(context, 2, "")
    save(context, model, slow)
    assert _get(context, "approval-slow").state == "superseded"
    assert [item.model_version for item in _all(context, Revalidation, state="requested")] == [1]


def test_reminders_come_once_a_period_also_after_restarts(context):
    """Every minute for a day, each time by a process that knows nothing: two reminders, then the end."""
    asked = _evaluated(context, 1)
    since, numbers = _get(context, asked).requested_at, []
    for minute in range(0, 60 * 26, 10):
        Clocked.at = since + timedelta(minutes=minute)
        fresh = _context(context.ledger, context.usecase, context.settings.home)
        for _ in range(2):
            numbers += [minute // 60 for line in maintain._see_to_approvals(fresh) if line.startswith("reminded")]
    assert numbers == [8, 16]
    assert len(_all(context, OutboxEntry, event=events.APPROVAL_REMINDED)) == 2
    assert [entry.facts["number"] for entry in _all(context, AuditEntry, action="approval.reminded")] == [1, 2]
    assert _get(context, asked).state == "expired"


def test_a_clock_that_was_set_back_reminds_of_nothing_twice(context):
    """What was sent was sent."""
    _evaluated(context, 1)
    Clocked.at += timedelta(hours=17)
    assert len(maintain._see_to_approvals(context)) == 1
    Clocked.at -= timedelta(hours=1)
    maintain._see_to_approvals(context)
    Clocked.at += timedelta(hours=1)
    assert maintain._see_to_approvals(context) == []


def test_no_answer_in_time_means_no(context):
    """Closed by `maintain`, recorded, announced as denied; the model cannot serve, a late answer is refused."""
    asked = _evaluated(context, 1)
    Clocked.at = _get(context, asked).expires_at - timedelta(seconds=1)
    maintain._see_to_approvals(context)
    assert _get(context, asked).state == "pending"
    Clocked.at += timedelta(seconds=1)
    assert maintain._see_to_approvals(context) == ["approval of version 1 expired: nobody answered in time"]
    assert maintain._see_to_approvals(context) == []
    assert len(_all(context, OutboxEntry, event=events.APPROVAL_DENIED)) == 1
    assert len(_all(context, AuditEntry, action="approval.expired")) == 1
    with pytest.raises(ApprovalError, match="expired: nobody answered in time"):
        _say(context, asked)
    with pytest.raises(ApprovalError, match="expired"):
        move(context, 1, "")


def test_an_answer_before_maintain_noticed_the_end_is_late_all_the_same(context):
    """The question is closed by the answer that came too late, once."""
    asked = _evaluated(context, 1)
    Clocked.at = _get(context, asked).expires_at
    with pytest.raises(ApprovalError, match="expired"):
        _say(context, asked)
    assert _get(context, asked).state == "expired"
    assert maintain._see_to_approvals(context) == []
    assert len(_all(context, OutboxEntry, event=events.APPROVAL_DENIED)) == 1


@pytest.mark.parametrize(("state", "woken"), [("PAUSED", False), ("RUNNING", False), ("CRASHED", True), (None, True)])
def test_a_question_whose_run_died_is_asked_by_another(context, state, woken):
    """A crashed, cancelled or deleted run asks nobody; a live one is not doubled."""
    asked = _evaluated(context, 1)
    assert _approval.take(context, _get(context, asked))
    runs = {"run": state} if state else {}
    other = replace(_context(context.ledger, context.usecase, context.settings.home, runs=runs), run_id="other")
    Clocked.at += timedelta(minutes=2)
    assert any(events.APPROVAL_REQUESTED in sentence for sentence in _pending.wake(other)) is woken
    assert _approval.take(other, _get(context, asked)) is woken
    assert _get(context, asked).flow_run_id == ("other" if woken else "run")


def test_of_two_runs_that_are_woken_at_once_one_asks(context):
    """Both saw that nobody asked."""
    seen = _get(context, _evaluated(context, 1))
    other = replace(context, run_id="other")
    assert [_approval.take(context, seen), _approval.take(other, seen)] == [True, False]


def test_the_command_refuses_before_anything_is_sent(churn, tmp_path, monkeypatch):
    """No id where several wait, a wrong one, one that is over, a stranger, no reason: one clear error each."""
    Clocked.at = datetime.now(UTC)
    (tmp_path / "usecases" / "churn").mkdir(parents=True)
    source = (Path(__file__).parents[1] / "usecases" / "churn" / "usecase.yaml").read_text()
    (tmp_path / "usecases" / "churn" / "usecase.yaml").write_text(source)
    here = Settings(home=tmp_path, usecases=tmp_path / "usecases", MLOPS_API_URL="http://127.0.0.1:9/api")
    monkeypatch.setattr(answer, "settings", lambda: here)
    ledger = Ledger.open(here.ledger)
    context = _context(ledger, churn, tmp_path, churn.approval)

    def refused(approval_id: str, approver: str = "owner@example.org", reason: str = "fine") -> str:
        with pytest.raises(ApprovalError) as caught:
            answer.answer(approval_id, decision="approve", approver=approver, reason=reason)
        assert all((caught.value.expected, caught.value.got, caught.value.remedy))
        return str(caught.value)

    assert "nothing waits" in refused("")
    first, second = (_evaluated(context, _model(context)) for _ in range(2))
    assert "nobody can be asked yet" in refused(first)
    for asked in (first, second):
        _approval.take(context, _get(context, asked))
    assert first in refused("")
    assert "nothing waits" in refused("approval-none")
    assert "may not approve" in refused(first, "eve@example.org")
    assert "a reason is needed" in refused(first, reason=" ")
    _evaluated(context, 1, "hold")
    assert "superseded: the model was evaluated again" in refused(first)
    assert _all(context, ApprovalAnswer) == []
    ledger.close()
