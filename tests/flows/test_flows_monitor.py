"""What a training keeps for monitoring, and what monitoring makes of it: with labels, and without."""

from __future__ import annotations

import numpy as np
import pandas as pd

from flows._context import Context
from flows._server import Server
from flows.monitor import Served, _answers, _estimate, _performance
from flows.settings import Settings
from flows.train import _for_monitoring
from mlcore.drift import Baseline
from mlcore.modelstore import ModelMetadata, load_model, load_performance, load_reference, save_model
from mlcore.performance import PerformanceModel
from mlcore.policy.monitoring import WindowRule
from mlcore.training.provenance import Provenance
from mlcore.training.run import golden_rows, train_model
from tests.support import churn_rows

RULE = WindowRule(name="daily", period="day", checks=("performance",), minimum_rows=30)


def test_performance_is_realised_with_labels_and_estimated_without(churn, tmp_path):
    """Through the model's folder: the same rows, once with labels and once without."""
    context = Context(Settings(home=tmp_path), churn, None, Server("http://127.0.0.1:9/api", attempts=1), "run")
    frame = churn_rows(2_000)
    trained = train_model(frame, churn, seed=1)
    kept = _for_monitoring(churn, trained.train, trained.holdout, trained.output)
    assert kept["performance"]
    assert Baseline.from_bytes(kept["baseline"]).numeric["score"].rows == trained.holdout_rows
    bundle = save_model(
        trained,
        tmp_path,
        churn,
        ModelMetadata.of(trained, Provenance("", False, "", {})),
        golden_rows(frame, churn),
        **kept,
    )
    model = load_model(bundle.uri, bundle.digest)
    learned = PerformanceModel.from_bytes(load_performance(model))
    served = Served(1, model, Baseline.from_bytes(model.baseline, load_reference(model)), learned)

    rows = churn_rows(600, seed=5)
    output = model.output(rows)
    arrived = pd.Timestamp("2026-02-01", tz="UTC")
    rows = rows.assign(
        prediction=output.values,
        probabilities=list(output.probabilities),
        received_at=arrived,
        labelled_at=arrived + pd.to_timedelta(np.arange(600), unit="s"),
    )
    measured = _performance(context, served, rows, _answers(model, rows))
    assert measured.outcome == "fine"
    assert measured.lower < measured.value < measured.upper
    assert measured.lag_median_seconds == 299.5
    estimate = _estimate(context, served, rows, _answers(model, rows), RULE)
    assert estimate.lower <= measured.value <= estimate.upper

    unlabelled = rows.assign(left=None, labelled_at=rows["labelled_at"].where(rows["left"].isna()))
    told = _performance(context, served, unlabelled, _answers(model, unlabelled))
    assert (told.outcome, told.lag_median_seconds) == ("too_little_data", None)
    assert _estimate(context, served, unlabelled, _answers(model, unlabelled), RULE) == estimate
