"""The service of a model that looks back: history in the body, and only there where it has a meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from fastapi.testclient import TestClient

from bentos import service
from bentos.schema import predict_request
from mlcore.modelstore import LoadedModel, ModelMetadata, load_model, save_model
from mlcore.training.run import golden_rows, train_model
from mlcore.usecase import UseCase
from tests.support import churn_rows

STEPS = [
    {"kind": "rolling", "columns": ["left"], "window": "P2D", "after": "P1D", "by": ["plan"]},
    {"kind": "lag", "columns": ["calls", "plan"], "after": "PT1H"},
    {"kind": "frequency", "columns": ["plan", "calls"]},
]


@pytest.fixture(scope="module")
def looking_back(churn: UseCase) -> UseCase:
    """The churn use case with what happened before."""
    data = churn.model_dump(mode="json")
    data["training"]["features"] = STEPS
    return UseCase.model_validate_json(json.dumps(data))


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Rows of about two weeks."""
    return churn_rows(600, seed=5)


@pytest.fixture(scope="module")
def model(looking_back: UseCase, frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A saved model of them, in the place where a Bento has it."""
    trained = train_model(frame, looking_back, seed=0)
    metadata = ModelMetadata(trained.algorithm, trained.estimator, {}, 0, trained.metric, {}, 1, 1)
    bundle = tmp_path_factory.mktemp("bundle")
    saved = save_model(trained, bundle, looking_back, metadata, golden_rows(frame, looking_back))
    Path(saved.uri.removeprefix("file://")).rename(bundle / "model")
    (bundle / "service.json").write_text(json.dumps({"digest": saved.digest, "model_version": 3}))
    return load_model(bundle / "model", saved.digest)


@pytest.fixture()
def client(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The service's routes with that model."""
    monkeypatch.delenv("MLOPS_SPOOL", raising=False)
    monkeypatch.setattr(service, "serving", service.load(Path(model.uri).parent))
    yield TestClient(service.app)


def _body(frame: pd.DataFrame) -> list[dict]:
    return json.loads(frame.to_json(orient="records", date_format="iso", date_unit="us"))


def test_rows_are_answered_from_the_history_that_is_sent(
    client: TestClient, model: LoadedModel, frame: pd.DataFrame
) -> None:
    """The answers are those of the model with the same history, to the last bit; without one they are others."""
    after = churn_rows(100, seed=6, start="2026-01-17 12:00").drop(columns="comment")
    rows, history = after[60:].drop(columns="left"), after[:60].assign(left=True)
    expected = model.output(rows, history)
    assert not (expected.probabilities == model.output(rows).probabilities).all()
    for earlier, wanted in ((history, expected), (history.iloc[:0], model.output(rows))):
        answer = client.post("/predict", json={"rows": _body(rows), "history": _body(earlier)})
        assert answer.status_code == 200, answer.text
        found = [item["probabilities"]["True"] for item in answer.json()["predictions"]]
        assert found == wanted.probabilities[:, 1].tolist()
    assert len(client.post("/predict", json={"rows": _body(rows)}).json()["predictions"]) == len(rows)


@pytest.mark.parametrize(
    ("history", "told"),
    [
        ([{"cals": 3}], "history.0.cals: unknown column"),
        ([{"left": "yes"}], "history.0.left"),
        ({}, "history"),
    ],
)
def test_a_wrong_history_is_refused_by_name(client: TestClient, history: object, told: str) -> None:
    """History is as strictly typed as rows are."""
    answer = client.post("/predict", json={"rows": [{"calls": 3}], "history": history})
    assert answer.status_code == 422
    assert told in answer.text


def test_only_models_that_look_back_take_a_history(churn: UseCase) -> None:
    """Elsewhere it is an unknown key, and not in the OpenAPI document."""
    assert "history" not in predict_request(churn.contract, 10).model_json_schema()["properties"]
    schema = predict_request(churn.contract, 10, history=True).model_json_schema()
    assert "history" in schema["properties"]
    assert "left" in schema["$defs"]["HistoryRow"]["properties"]
    assert "left" not in schema["$defs"]["Row"]["properties"]
