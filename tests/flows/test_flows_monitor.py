"""What a training keeps for monitoring, and what monitoring makes of it: with labels, and without."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from flows._cli.status import _status_lines, _status_of
from flows._context import Context
from flows._server import Server
from flows.monitor import Served, _answers, _estimate, _performance, _write_page
from flows.settings import Settings
from flows.train import _for_monitoring
from mlcore.diagnosis import Diagnosis
from mlcore.drift import Baseline, model_drift
from mlcore.ledger.records import DiagnosisRecord, Evaluation, ModelVersion, Window
from mlcore.ledger.store import Ledger
from mlcore.modelstore import ModelMetadata, load_model, load_performance, load_reference, save_model
from mlcore.performance import PerformanceModel
from mlcore.policy.monitoring import WindowRule
from mlcore.training.provenance import Provenance
from mlcore.training.run import golden_rows, train_model
from tests.support import churn_rows

RULE = WindowRule(name="daily", period="day", checks=("performance",), minimum_rows=30)


def _served(churn, root, ledger=None):
    """Return a use case with a model that was trained, kept and loaded."""
    context = Context(Settings(home=root), churn, ledger, Server("http://127.0.0.1:9/api", attempts=1), "run")
    frame = churn_rows(2_000)
    trained = train_model(frame, churn, seed=1)
    kept = _for_monitoring(churn, frame, trained.train, trained.holdout, trained.output)
    assert kept["performance"]
    assert Baseline.from_bytes(kept["baseline"]).numeric["score"].rows == trained.holdout_rows
    bundle = save_model(
        trained,
        root,
        churn,
        ModelMetadata.of(trained, Provenance("", False, "", {})),
        golden_rows(frame, churn),
        **kept,
    )
    model = load_model(bundle.uri, bundle.digest)
    learned = PerformanceModel.from_bytes(load_performance(model))
    return context, Served(1, model, Baseline.from_bytes(model.baseline, load_reference(model)), learned)


def test_performance_is_realised_with_labels_and_estimated_without(churn, tmp_path):
    """Through the model's folder: the same rows, once with labels and once without."""
    context, served = _served(churn, tmp_path)
    rows = churn_rows(600, seed=5)
    output = served.model.output(rows)
    arrived = pd.Timestamp("2026-02-01", tz="UTC")
    rows = rows.assign(
        prediction=output.values,
        probabilities=list(output.probabilities),
        received_at=arrived,
        labelled_at=arrived + pd.to_timedelta(np.arange(600), unit="s"),
    )
    measured = _performance(context, served, rows, _answers(served.model, rows))
    assert measured.outcome == "fine"
    assert measured.lower < measured.value < measured.upper
    assert measured.lag_median_seconds == 299.5
    assert measured.held_out_rows == served.model.metadata.holdout_rows
    kept = {"holdout": {measured.metric: 0.01}, "dummy_holdout": {measured.metric: 0.6}}
    better = ModelVersion(
        churn.name, 1, "d", "u", 1, "forest", {}, 0, kept, (), "c", False, "l", "u", "dataset", "k", "run", arrived
    )
    beside = _performance(context, replace(served, replaced=(better,)), rows, _answers(served.model, rows))
    assert (beside.outcome, beside.earlier, beside.value) == ("harmed", True, measured.value)
    estimate = _estimate(context, served, rows, _answers(served.model, rows), RULE)
    assert estimate.lower <= measured.value <= estimate.upper

    unlabelled = rows.assign(left=None, labelled_at=rows["labelled_at"].where(rows["left"].isna()))
    told = _performance(context, served, unlabelled, _answers(served.model, unlabelled))
    assert (told.outcome, told.lag_median_seconds) == ("too_little_data", None)
    assert _estimate(context, served, unlabelled, _answers(served.model, unlabelled), RULE) == estimate


def test_a_healthy_window_has_a_page_and_status_says_where(churn, tmp_path):
    """With the pictures of what matters most only: it takes a part of what a page of a window that moved takes."""
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    context, served = _served(churn, tmp_path, ledger)
    rows = churn_rows(600, seed=5)
    output = served.model.output(rows)
    rows = rows.assign(prediction=output.values)
    drift = model_drift(served.baseline, rows, output, churn, minimum_rows=30)
    at = datetime(2026, 2, 1, tzinfo=UTC)
    window = Window("churn/daily/2026-02-01T00", "churn", "daily", at, at + timedelta(days=1), 600, 600, "closed", at)
    sound = Diagnosis("healthy", "Nothing is wrong.", (), {})
    _write_page(context, window, served, rows, sound, None, drift, None, None)
    text = context.window_page(window.id).read_text(encoding="utf-8")
    assert "Nothing is wrong." in text and "://" not in text.replace("http://www.w3.org", "")
    assert 1 <= text.count("<figure>") <= 4
    record = DiagnosisRecord("1", "churn", window.id, 1, "healthy", sound.sentence, sound.to_json(), at)
    with ledger.transaction() as tx:
        tx.add(record)
    with ledger.read() as view:
        facts = _status_of(view, churn, context.settings)
    assert any(str(context.window_page(window.id)) in line for line in _status_lines(facts))


def test_status_says_why_the_newest_model_was_not_promoted(churn, tmp_path):
    """Whether there is a champion or none yet, and where its page is, if it is on this machine."""
    ledger, here = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite3'}"), Settings(home=tmp_path)
    at = datetime(2026, 2, 1, tzinfo=UTC)
    with ledger.transaction() as tx:
        tx.add(Evaluation("first", "churn", 1, None, 1, "promote", "Better.", {}, at))
        tx.add(Evaluation("last", "churn", 2, 1, 2, "hold", "Not decided: is it known?", {}, at + timedelta(hours=1)))
    with ledger.read() as view:
        without = _status_lines(_status_of(view, churn, here))
    page = here.evaluation_page("churn", "last")
    page.parent.mkdir(parents=True)
    page.touch()
    with ledger.read() as view:
        facts = _status_of(view, churn, here)
    told = "  judged     version 2, hold: Not decided: is it known?"
    assert (without[-1], _status_lines(facts)[-2:]) == (told, [told, f"             {page}"])
    assert facts["last_evaluation"]["verdict"] == "hold"
