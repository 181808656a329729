"""The model card and the evaluation page of a model that was trained and judged."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlcore.modelstore import ModelMetadata
from mlcore.report.card import CardFacts, write_model_card
from mlcore.report.evaluation import EvaluationFacts, candidate_scores, write_evaluation_page
from mlcore.report.trials import trials_table
from mlcore.training.provenance import provenance
from mlcore.training.run import TrainedModel, train_model
from mlcore.training.splits import split_holdout
from mlcore.usecase import UseCase
from mlcore.validation import EvaluationReport, evaluate
from mlcore.validation.subject import FittedModel

ROOT = Path(__file__).parents[2]
FACTS = CardFacts(
    version=3,
    digest="sha256:abc",
    cause="drift",
    created_at=datetime(2026, 11, 23, tzinfo=UTC),
    dataset_rows=1415,
    dataset_from=datetime(2011, 1, 1, tzinfo=UTC),
    dataset_to=datetime(2011, 3, 1, tzinfo=UTC),
    dataset_source="hourly.csv",
    champion_version=None,
)


@pytest.fixture(scope="module")
def judged(bikeshare: UseCase, bikeshare_frame: pd.DataFrame) -> tuple[TrainedModel, EvaluationReport]:
    """Two months of rentals, trained on and judged."""
    winter = bikeshare_frame[bikeshare_frame["recorded_at"] < "2011-03-01"]
    trained = train_model(winter, bikeshare, seed=0)
    train, holdout = split_holdout(winter, bikeshare)
    model = FittedModel(trained.pipeline, trained.dummy)
    return trained, evaluate(model, None, holdout, bikeshare, rng=np.random.default_rng(0), train=train)


def test_the_card_says_what_was_measured(judged, bikeshare: UseCase, tmp_path: Path):
    """Owner, digests, every metric with its interval, the guards, generated features and what is not known."""
    trained, report = judged
    metadata = ModelMetadata.of(trained, provenance(ROOT), dataset_version=2, dataset_digest="sha256:def")
    page = write_model_card(bikeshare, metadata, report, FACTS, tmp_path / "card.html").read_text()
    assert bikeshare.owner.email in page
    assert "sha256:abc" in page
    assert "sha256:def" in page
    for metric in report.metrics:
        assert f"{metric.challenger.value:.4g}" in page
    assert all(guard.name in page for guard in report.guards)
    assert trained.importance[0].feature in page
    assert "never tried" in page
    assert "https:" not in page


def test_the_page_draws_calibration_learning_curve_and_errors(judged, bikeshare: UseCase, tmp_path: Path):
    """The evidence is there as pictures."""
    trained, report = judged
    rows = [step[0] for step in trained.scores.learning_curve]
    assert rows == sorted(rows)
    assert len(rows) == 3
    scores = candidate_scores([t.to_json() for t in trained.trials], chosen=trained.algorithm, higher_is_better=False)
    facts = EvaluationFacts(
        "Bikes",
        3,
        None,
        trained.algorithm,
        "sha256:abc",
        2,
        "drift",
        "rentals/h",
        scores,
        trained.scores.learning_curve,
        trials=trials_table(
            [trial.to_json() for trial in trained.trials],
            algorithm=trained.algorithm,
            parameters=trained.parameters,
            holdout=trained.scores.holdout[trained.metric],
            higher_is_better=False,
        ),
        importance=[asdict(item) for item in trained.importance],
        out_of_fold=[item.to_json() for item in trained.out_of_fold],
    )
    page = write_evaluation_page(report, facts, tmp_path / "evaluation.html").read_text()
    for heading in (
        "Every metric",
        "Calibration and learning curve",
        "Errors over time",
        "Candidates",
        "All candidates, out of fold",
        "What it looks at",
    ):
        assert f"<h2>{heading}</h2>" in page
    assert page.count("<svg") >= 7
    section = page.partition("<h2>All candidates, out of fold</h2>")[2].partition("<h2>")[0]
    assert section.count("<svg") == 2
    for item in trained.out_of_fold:
        assert f">{item.candidate}<" in section
        assert all(f">{value:.4g}<" in section for _, _, value, _ in item.folds[0].slices)
    assert section.count(f"{trained.algorithm}, held out") >= 2
    assert ">winner, held out<" in section
    assert all(f">{item.challenger:.4g}<" in section for item in report.slices if item.challenger is not None)
    tried = page.partition("Everything that was tried")[2].partition("</table>")[0]
    assert tried.count("<tr>") == 1 + len(trained.trials)
    assert tried.count(">chosen<") == 1
    for trial in trained.trials:
        assert all(f">{score:.4g}<" in tried for score in trial.validation)
