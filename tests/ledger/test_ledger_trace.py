"""From one id to the whole chain, both ways: the same graph wherever it is entered, and short however much there is."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mlcore import registry
from mlcore.capture.store import Answered, Prediction
from mlcore.errors import LedgerError
from mlcore.events import Event
from mlcore.ledger.graph import Trace, children, lines
from mlcore.ledger.records import (
    Approval,
    ApprovalAnswer,
    BentoRecord,
    DatasetVersion,
    DecisionRecord,
    Deployment,
    DiagnosisRecord,
    Evaluation,
    OutboxEntry,
    QualityRecord,
    QuarantinedBatch,
    Wakeup,
    Window,
)
from mlcore.ledger.store import Ledger
from mlcore.ledger.trace import MOST, trace
from mlcore.report.lineage import lineage_page
from tests.ledger.test_ledger_store import a_model

START = datetime(2026, 11, 1, tzinfo=UTC)
ROW = "01234567-89ab-4cde-8f01-23456789abcd-0"
WINDOW = "b/daily/2026-11-03T00"


def _at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> Ledger:
    """Two generations: data, a model, its window drifts, collected rows, a second model that a person approved."""
    ledger = Ledger.open(f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.db'}")
    with ledger.transaction() as tx:
        for version, parents, windows in ((1, (), ()), (2, (1,), (WINDOW,))):
            at = _at(version * 10)
            tx.add(QualityRecord(f"q{version}", "b", "s", True, 9, {"checks": [1, 2]}, at))
            tx.add(
                DatasetVersion(
                    "b", version, f"d{version}", "u", 1, 9, "announced", "a.csv", parents, windows, None, None,
                    f"q{version}", {}, at,
                )
            )  # fmt: skip
            cause = "dataset:1" if version == 1 else f"window:{WINDOW}"
            tx.add(DecisionRecord(f"decision{version}", "b", "drift", cause, "retrain", "Yes.", {}, at))
            model = replace(a_model(), dataset_version=version, digest=f"m{version}", cause_key=cause)
            model = replace(model, created_at=_at(version * 10 + 1), flow_run_id=f"run{version}")
            registry.register(tx, model, model.created_at)
            tx.add(
                Evaluation(f"e{version}", "b", version, None, version, "promote", "Better.", {}, _at(version * 10 + 2))
            )
            registry.promote(
                tx, "b", version, expected_generation=version - 1, actor="ann", reason="", now=_at(version * 10 + 3)
            )
            tx.add(BentoRecord("b", version, f"b:{version}", "p", "d", _at(version * 10 + 4)))
            at = _at(version * 10 + 5)
            tx.add(
                Deployment(
                    f"dep{version}", "b", version, f"b:{version}", "local", "serving", "http://x", None, "", at, at
                )
            )
        tx.add(Window(WINDOW, "b", "daily", _at(15), _at(16), 50, 50, "diagnosed", _at(16)))
        tx.add(DiagnosisRecord("diagnosis", "b", WINDOW, 1, "harmful_shift", "It moved.", {}, _at(17)))
        at = _at(23)
        tx.add(Approval("approval-e2", "b", 2, "m2", "e2", 2, "granted", "asking", "ann", "a clear gain", at, at, at))
        tx.add(
            ApprovalAnswer("approval-e2", "asking", 1, "b", 2, "m2", "e2", 2, "granted", "ann", "a clear gain", "", at)
        )
        tx.add(Wakeup("event", "ml.drift.detected", "b", f"window:{WINDOW}", "acted", "ok", "run2", {}, at, at))
    return ledger


def _trace(ledger: Ledger, identifier: str) -> Trace:
    def find(row_id):
        return ("b", Prediction(row_id, 2, _at(30), 7.5, 8.0)) if row_id == ROW else None

    with ledger.read() as view:
        return trace(view, identifier, find, lambda _, version: Answered(10_000 * version, 9, _at(40)))


def _ids(found: Trace) -> set[str]:
    return {step.id for step in found.steps}


def _reached(found: Trace, start: str, *, back: bool = False) -> set[str]:
    """Return the ids on the paths from a step, along the links or against them."""
    links = [(link.target, link.source) if back else (link.source, link.target) for link in found.links]
    seen = {place for place, step in enumerate(found.steps) if step.id == start}
    while more := {target for source, target in links if source in seen} - seen:
        seen |= more
    return {found.steps[place].id for place in seen}


def test_from_a_prediction_back_to_data_people_and_cause(story):
    """Its service, model, evaluation, who agreed and why, and both generations of data, by links."""
    found = _trace(story, ROW)
    assert _reached(found, ROW, back=True) >= {
        "dep2", "b:2", "approval-e2", "e2", "b/model/2", "decision2", "diagnosis", WINDOW,
        "b/dataset/2", "b/dataset/1", "q1", "q2",
    }  # fmt: skip
    assert not any(step.kind == "predictions" for step in found.steps)
    told = next(step for step in found.steps if step.kind == "prediction")
    assert told.sentence == "version 2 answered 7.5; the true value is 8"


def test_from_a_dataset_forward_to_what_was_served(story):
    """Models, evaluations, approvals, services and answers, of the versions that grew out of it, too."""
    found = _trace(story, "b/dataset/1")
    reached = _reached(found, "b/dataset/1")
    assert reached >= {"b/model/1", "e1", "dep1", "b/dataset/2", "b/model/2", "e2", "approval-e2", "dep2"}
    counts = [step.sentence for step in found.steps if step.id in reached and step.kind == "predictions"]
    assert counts == ["10,000 predictions of version 1, 9 labelled", "20,000 predictions of version 2, 9 labelled"]


@pytest.mark.parametrize(
    ("identifier", "kinds"),
    [
        ("b/model/2", {"dataset", "quality", "approval", "answer", "predictions", "deployment", "decision"}),
        (WINDOW, {"window", "diagnosis", "decision", "dataset", "model"}),
        ("run2", {"model", "event", "approval"}),
        ("asking", {"model", "approval"}),
        ("event", {"event", "decision", "model", "window"}),
        ("approval-e2", {"approval", "model"}),
        ("e1", {"evaluation", "model"}),
        ("decision1", {"decision", "dataset", "model"}),
        ("b:2", {"bento", "model"}),
        ("dep1", {"deployment", "model"}),
        ("m2", {"model", "approval", "dataset"}),
        ("d1", {"dataset", "quality", "model"}),
    ],
)
def test_every_kind_of_id_leads_into_the_chain(story, identifier, kinds):
    """Each step is there once, every link joins two of them, and the tree shows them all."""
    found = _trace(story, identifier)
    assert {step.kind for step in found.steps} >= kinds
    assert len({(step.kind, step.id) for step in found.steps}) == len(found.steps)
    assert all(0 <= end < len(found.steps) for link in found.links for end in (link.source, link.target))
    assert all(found.steps[link.source].id != found.steps[link.target].id for link in found.links)
    assert {place for _, place, _ in lines(found)} == set(range(len(found.steps)))
    assert children(found)[0]


def test_an_alias_follows_what_was_known_when_it_was_set(story):
    """A challenger is one by its evaluation, however it was answered later; a champion by who agreed."""
    with story.transaction() as tx:
        at = _at(22) + timedelta(seconds=1)
        registry.challenge(tx, "b", 2, actor="run", reason="promote", now=at)
    found = _trace(story, "b/model/2")
    before = {found.steps[link.target].id: found.steps[link.source].id for link in found.links}
    assert (before["b/challenger@1"], before["b/champion@2"]) == ("e2", "approval-e2")


def test_an_event_in_the_outbox_leads_to_what_it_announced(story):
    """By the id that the server shows."""
    with story.read() as view:
        sent = view.first(OutboxEntry, event="ml.model.promoted")
    assert _ids(_trace(story, sent.id)) >= {sent.id, "b/model/1", "b/dataset/1"}


def test_a_batch_that_was_kept_out_is_traced_like_a_dataset(ledger):
    """By its own id, its event, and the run that kept it: with the checks it failed, or without where none was made."""
    with ledger.transaction() as tx:
        tx.add(QualityRecord("q", "b", "a.csv", False, 9, {"checks": [1, 2]}, START))
        for batch, quality in (("checked", "q"), ("unread", None)):
            tx.add(
                QuarantinedBatch(batch, "b", f"{batch}.csv", "/kept", ("calls: 3 are negative", "x"), quality, START)
            )
            tx.audit(usecase="b", actor="flow-run:r", action="dataset.rejected", subject="a", at=START, batch=batch)
            tx.announce(Event("ml.dataset.rejected", "b", key=batch, occurred=START, payload={"batch_id": batch}))
    found = _trace(ledger, "checked")
    assert [(step.kind, step.sentence) for step in found.steps] == [
        ("quality", "2 checks on 9 rows: failed"),
        ("quarantine", "checked.csv was kept out: calls: 3 are negative; x"),
    ]
    assert [(link.source, link.target) for link in found.links] == [(0, 1)]
    assert _ids(_trace(ledger, "unread")) == {"unread"}
    assert _ids(_trace(ledger, "r")) == {"1", "2", "checked", "unread", "q"}
    with ledger.read() as view:
        sent = view.first(OutboxEntry, event="ml.dataset.rejected")
    assert _ids(_trace(ledger, sent.id)) == {"checked", "q", sent.id}
    assert "kept out" in lineage_page(found)


@pytest.mark.parametrize(
    "wrong", ["", "nobody", "b/model/99", "b/model/x", f"{ROW}0", "x" * 100_000, "b/dataset/" + "9" * 30]
)
def test_an_unknown_id_is_one_clear_error(story, wrong):
    """It says what would have been one, and where to find them."""
    with pytest.raises(LedgerError, match="nothing has this id") as caught:
        _trace(story, wrong)
    assert len(str(caught.value)) < 1000


def test_a_thousand_windows_and_models_are_counted(ledger):
    """What nobody would read is a number; the newest are shown."""
    with ledger.transaction() as tx:
        tx.add(DatasetVersion("b", 1, "d", "u", 1, 9, "announced", "a", (), (), None, None, "q", {}, START))
        for number in range(1, 201):
            tx.add(replace(a_model(), version=number, digest=str(number), cause_key=str(number)))
        for number in range(1000):
            cause = "harmful_shift" if number % 10 == 0 else "healthy"
            tx.add(DiagnosisRecord(str(number), "b", f"w{number}", 200, cause, "s", {}, START))
    with ledger.read() as view:
        found = trace(view, "b/dataset/1", lambda _: None)
    assert len(found.steps) < 3 * MOST
    told = [step.sentence for step in found.steps]
    assert "188 older, not shown" in told
    assert "1,000 windows diagnosed: 100 harmful_shift, 900 healthy" in told
    assert len(lineage_page(found)) < 100_000


def test_the_page_draws_every_step_and_link_and_escapes(story):
    """A box a step, a line a link, nothing loaded, nothing run."""
    with story.read() as view:
        found = trace(view, "b/model/2", lambda _: None)
    evil = replace(found.steps[0], sentence="<script>alert(1)</script>", id='"><i>')
    text = lineage_page(replace(found, steps=(evil, *found.steps[1:])))
    assert (text.count("<g><title>"), text.count("<path ")) == (len(found.steps), len(found.links))
    assert not any(word in text for word in ("<script", '"><i>', "src=", "@import"))
    same = (lineage_page(found) for _ in range(2))
    assert len(set(itertools.chain(same))) == 1
