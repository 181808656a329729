"""The gate on models that look back, and on own functions that fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from mlcore.metrics import Output, metric_named
from mlcore.training.pipeline import build_pipeline
from mlcore.training.splits import target_values
from mlcore.usecase import UseCase, load_usecase, parse_usecase
from mlcore.validation import evaluate
from mlcore.validation.subject import FittedModel
from tests.support import churn_rows

ROOT = Path(__file__).parents[2]


def _definition(*steps: dict) -> dict:
    data = yaml.safe_load((ROOT / "tests" / "usecases" / "churn" / "usecase.yaml").read_text())
    return {**data, "training": {**data["training"], "features": list(steps)}}


def _fitted(usecase: UseCase, frame):
    pipeline = build_pipeline(usecase, usecase.training.candidates[0], {}, 0)
    return pipeline.fit(frame, target_values(frame, usecase.contract))


def test_an_old_champion_looks_back_at_the_same_rows_as_the_challenger():
    """A champion whose own tail is months old is judged with what happened since, as a service is sent it."""
    step = {"kind": "lag", "columns": ["calls"], "after": "P1D"}
    usecase = parse_usecase(_definition(step), source="churn")
    frame = churn_rows(900)
    frame["left"] = frame["calls"].shift(48, fill_value=0) > 3  # two rows an hour
    train, holdout = frame[:600], frame[600:]
    champion = _fitted(usecase, train[:200])
    challenger = FittedModel(_fitted(usecase, train))
    report = evaluate(challenger, FittedModel(champion), holdout, usecase, rng=np.random.default_rng(0), train=train)
    metric, truth = metric_named(report.metric, "classification"), target_values(holdout, usecase.contract)
    assert report.metrics[0].opponent.value == metric.value(truth, Output.of(champion, holdout, train))
    assert report.metrics[0].opponent.value < metric.value(truth, Output.of(champion, holdout))


def test_the_speed_of_a_model_with_lags_is_that_of_a_request_with_history():
    """The latency guard sends the rows before the timed one, and never a later one or the row itself."""
    step = {"kind": "lag", "columns": ["calls"], "after": "P1D"}
    data = _definition(step)
    usecase = parse_usecase({**data, "validation": {**data["validation"], "maximum_latency": "PT30S"}}, source="churn")
    frame, time = churn_rows(900), usecase.contract.time.name
    asked = []

    class Asked(FittedModel):
        def output(self, frame, history=None):
            if len(frame) == 1:
                asked.append((frame[time].iloc[0], history))
            return super().output(frame, history)

    model = Asked(_fitted(usecase, frame[:600]))
    report = evaluate(model, model, frame[600:], usecase, rng=np.random.default_rng(0), train=frame[:600])
    assert [guard.outcome for guard in report.guards if guard.kind == "latency"] == ["passed"]
    assert all((history[time] < at).all() for at, history in asked)
    assert max(len(history) for _, history in asked) > 150


def test_an_own_function_that_fails_on_missing_values_is_a_rejection(tmp_path):
    """The gate asks about empty rows: a function that cannot answer them fails the guard, and the gate goes on."""
    folder = tmp_path / "churn"
    folder.mkdir()
    step = {"kind": "own", "columns": ["calls"], "function": "whole"}
    (folder / "usecase.yaml").write_text(yaml.safe_dump(_definition(step)))
    (folder / "features.py").write_text("def whole(columns):\n    return [int(calls) for calls in columns['calls']]\n")
    usecase, frame = load_usecase(folder), churn_rows(900)
    model = FittedModel(_fitted(usecase, frame[:600]))
    report = evaluate(model, model, frame[600:], usecase, rng=np.random.default_rng(0))
    (guard,) = [guard for guard in report.guards if guard.kind == "bad_rows"]
    assert guard.outcome == "failed"
    assert "whole" in guard.sentence
    assert report.verdict == "reject"
