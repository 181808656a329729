"""A baseline and its reference, through a model's folder and back."""

from __future__ import annotations

from mlcore.drift import Baseline, build_baseline, detect_drift
from mlcore.modelstore import ModelMetadata, load_model, load_reference, save_model
from mlcore.policy.monitoring import DriftPolicy
from mlcore.training.provenance import Provenance
from mlcore.training.run import golden_rows, train_model
from tests.support import churn_rows


def test_drift_of_a_saved_model_is_exact(churn, tmp_path):
    """What monitoring reads from the folder reports what the training process would have, and without it says so."""
    trained, frame, window = train_model(churn_rows(300), churn, seed=1), churn_rows(5_000), churn_rows(6_000, seed=2)
    baseline = build_baseline(frame, trained.pipeline.predict(frame), churn.contract)
    bundle = save_model(
        trained,
        tmp_path,
        churn,
        ModelMetadata.of(trained, Provenance("", False, "", {})),
        golden_rows(frame, churn),
        baseline=baseline.to_bytes(),
        reference=baseline.reference_bytes(),
    )
    model = load_model(bundle.uri, bundle.digest)
    answers = model.predict(window)
    reports = [
        detect_drift(known, window, answers, churn.contract, DriftPolicy(), minimum_rows=30)
        for known in (
            baseline,
            Baseline.from_bytes(model.baseline, load_reference(model)),
            Baseline.from_bytes(model.baseline),
        )
    ]
    assert reports[0] == reports[1]
    assert [report.exact for report in reports] == [True, True, False]
