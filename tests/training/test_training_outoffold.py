"""What the fits of a search say of rows that they were not fitted on."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlcore.calibration import calibration_curve
from mlcore.metrics import METRICS, Output
from mlcore.modelstore.bundle import ModelMetadata
from mlcore.report.outoffold import slices_table
from mlcore.training.fitting import fitting_here
from mlcore.training.pipeline import build_pipeline
from mlcore.training.run import TrainedModel, train_model
from mlcore.training.search import planned_trials
from mlcore.training.splits import search_folds, target_values
from mlcore.usecase import UseCase, parse_usecase
from mlcore.validation import evaluate
from mlcore.validation.subject import FittedModel

from .conftest import churn_definition


@pytest.fixture(scope="module")
def spring(bikeshare: UseCase, rentals: pd.DataFrame) -> tuple[UseCase, TrainedModel]:
    """Return a training on two months in which every row counts alike."""
    policy = bikeshare.training.model_copy(update={"rows": type(bikeshare.training.rows)()})
    usecase = bikeshare.model_copy(update={"training": policy})
    return usecase, train_model(rentals[rentals["recorded_at"] < "2011-03-01"], usecase, seed=0)


def test_every_algorithm_has_evidence_that_its_fold_gives_again(spring: tuple[UseCase, TrainedModel]) -> None:
    """Fitted by hand on the newest fold, the forest has the very slices, curve and losses that were kept."""
    usecase, trained = spring
    by_name = {item.candidate: item for item in trained.out_of_fold}
    assert set(by_name) == {"gradient_boosting", "forest", "poisson", "dummy"}
    metric = METRICS["mean_absolute_error"]
    fold = search_folds(trained.train, usecase)[0]
    target = target_values(trained.train, usecase.contract)
    candidate = next(item for item in usecase.training.candidates if item.name == "forest")
    model = build_pipeline(usecase, candidate, by_name["forest"].parameters, 0)
    with fitting_here():
        features = model[0].fit(trained.train.iloc[fold.train])
        known, held = (
            features.transform(trained.train.iloc[part], trained.train) for part in (fold.train, fold.validation)
        )
        model[1:].fit(known, target[fold.train])
    output, truth = Output.of(model[1:], held), target[fold.validation]
    rows = trained.train.iloc[fold.validation]
    newest = by_name["forest"].folds[0]
    assert newest.rows == len(rows)
    assert newest.value == pytest.approx(metric.value(truth, output))
    assert np.array(newest.calibration) == pytest.approx(np.array(calibration_curve(truth, output)))
    expected = {
        ("workingday", str(day)): (metric.value(truth[mask], output.take(mask)), int(mask.sum()))
        for day in (False, True)
        for mask in [(rows["workingday"] == day).to_numpy()]
    }
    found = {(column, label): (value, count) for column, label, value, count in newest.slices}
    assert found == {place: (pytest.approx(value), count) for place, (value, count) in expected.items()}
    assert sum(count for _, _, count in newest.residuals) == len(rows)
    mean = np.average([loss for _, loss, _ in newest.residuals], weights=[count for _, _, count in newest.residuals])
    assert mean == pytest.approx(newest.value)
    starts = [start for start, _, _ in newest.residuals]
    assert starts == sorted(starts)
    assert starts[0] == rows["recorded_at"].iloc[0].isoformat()


def test_all_met_the_newest_fold_and_those_that_went_on_have_more(spring: tuple[UseCase, TrainedModel]) -> None:
    """As many folds as the trial met; each value is what the search has, where it goes by the gate's metric."""
    usecase, trained = spring
    trials = {(trial.candidate, tuple(trial.parameters.items())): trial for trial in trained.trials}
    for item in trained.out_of_fold:
        trial = trials[item.candidate, tuple(item.parameters.items())]
        assert [fold.value for fold in item.folds] == pytest.approx(list(trial.validation))
    assert max(len(item.folds) for item in trained.out_of_fold) == usecase.training.search.folds
    assert len({item.folds[0].rows for item in trained.out_of_fold}) == 1


def test_it_is_of_the_rows_that_count(bikeshare: UseCase, rentals: pd.DataFrame) -> None:
    """Where new rows count more, so they did in the fits that are told of, on every fold that the search met."""
    trained = train_model(rentals[rentals["recorded_at"] < "2011-03-01"], bikeshare, seed=0)
    assert trained.scores.weighting == "recency"
    winner = next(item for item in trained.out_of_fold if item.candidate == trained.algorithm)
    assert winner.folds[0].value == pytest.approx(trained.scores.weightings["recency"])
    met = next(trial for trial in trained.trials if trial.parameters == winner.parameters).validation
    assert len(winner.folds) == len(met) > 1
    assert all(fold.value != value for fold, value in zip(winner.folds, met, strict=True))


def test_it_goes_with_the_model_and_older_models_have_none(spring: tuple[UseCase, TrainedModel]) -> None:
    """The metadata keeps it as JSON; metadata from before says nothing."""
    written = json.loads(json.dumps(ModelMetadata.of(spring[1]).to_json()))
    again = ModelMetadata.from_json(written)
    assert [item["candidate"] for item in again.out_of_fold] == [item.candidate for item in spring[1].out_of_fold]
    del written["out_of_fold"]
    assert ModelMetadata.from_json(written).out_of_fold == ()


def test_a_table_without_time_and_slices_without_rows(customers: pd.DataFrame) -> None:
    """There is no time to show losses over; a slice of too few rows, or of one class, is left out or has no value."""
    definition: dict[str, Any] = churn_definition()
    definition["validation"] = {
        "metric": "roc_auc",
        "slices": [{"column": "plan", "minimum_rows": 20}, {"column": "active", "minimum_rows": 100_000}],
    }
    usecase = parse_usecase(definition, source="churn")
    trained = train_model(customers, usecase, seed=0)
    for item in trained.out_of_fold:
        assert item.metric == "roc_auc"
        for fold in item.folds:
            assert fold.residuals == ()
            assert {column for column, *_ in fold.slices} == {"plan"}
            assert all(count >= 20 for *_, count in fold.slices)
    dummy = next(item for item in trained.out_of_fold if item.candidate == "dummy")
    assert {value for fold in dummy.folds for _, _, value, _ in fold.slices} == {0.5}


def test_ranges_are_those_that_the_gate_cuts(customers: pd.DataFrame) -> None:
    """Beside each candidate's figure for a range of numbers is the winner's on the same range of the held-out rows."""
    validation = {"minimum_rows": 50, "slices": [{"column": "age", "minimum_rows": 10}]}
    usecase = parse_usecase({**churn_definition(), "validation": validation}, source="churn")
    trained = train_model(customers, usecase, seed=0)
    model = FittedModel(trained.pipeline, trained.dummy)
    report = evaluate(model, None, trained.holdout, usecase, rng=np.random.default_rng(0))
    header, rows = slices_table([item.to_json() for item in trained.out_of_fold], report)
    assert header[-1] == "winner, held out"
    assert [row[0] for row in rows] == [f"age = {item.slice}" for item in report.slices]
    assert len(rows) == 4
    assert all(cell for row in rows for cell in row)


def test_nothing_is_kept_where_nobody_asks(customers: pd.DataFrame) -> None:
    """Without evidence, as in backtests, there is none."""
    trained = train_model(customers, parse_usecase(churn_definition(), source="churn"), seed=0, evidence=False)
    assert trained.out_of_fold == ()
    assert not any(trial.evidence for trial in trained.trials)


def test_the_plan_is_what_is_told_of(spring: tuple[UseCase, TrainedModel]) -> None:
    """Each candidate's parameters are those of a planned trial."""
    usecase, trained = spring
    planned = [{**candidate.parameters, **parameters} for candidate, parameters in planned_trials(usecase, seed=0)]
    assert all(dict(item.parameters) in planned for item in trained.out_of_fold)
