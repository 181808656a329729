"""The service of one model version: predict, labels, info; every answered row is captured."""

from __future__ import annotations

import gc
import json
import logging
import os
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import bentoml
import numpy as np
import prometheus_client
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError

from bentos.announce import Announcer
from bentos.schema import PredictResponse, frame_of, label_request, predict_request
from bentos.scorer import Rows, Scorer
from mlcore import failpoints
from mlcore.capture.records import label_record, prediction_record
from mlcore.capture.spool import Spool
from mlcore.errors import OwnCodeError
from mlcore.metrics import Output
from mlcore.modelstore import LoadedModel, load_model
from mlcore.owncode import find_code

BUNDLE: Final = Path(__file__).resolve().parent.parent / "bundle"
BUNDLE_FACTS: Final = "service.json"
BUNDLE_CODE: Final = "usecase"
_MOST_BODY_BYTES: Final = 32 * 1024 * 1024

log = logging.getLogger("bentos.service")
app = FastAPI(title="Model service", docs_url="/docs", openapi_url="/openapi.json")
rows_scored = prometheus_client.Counter("mlops_rows_scored", "Rows answered.", ["usecase", "model_version"])
rows_not_captured = prometheus_client.Gauge("mlops_rows_not_captured", "Rows answered that could not be kept.")


@dataclass(frozen=True)
class Serving:
    """What the process serves, made once at start."""

    model: LoadedModel
    version: int
    request: type[BaseModel]
    labels: type[BaseModel]
    spool: Spool | None
    scorer: Scorer

    @property
    def usecase(self) -> str:
        """The use case's name."""
        return self.model.usecase.name


serving: Serving | None = None


def load(folder: Path = BUNDLE) -> Serving:
    """Load the model in `folder`, its digest checked first, find the code it needs, and open the spool."""
    failpoints.arm(os.environ.get("MLOPS_FAILPOINT", ""))
    facts = json.loads((folder / BUNDLE_FACTS).read_text())
    model = load_model(folder / "model", facts["digest"])
    find_code(folder / BUNDLE_CODE)
    model.pipeline[0].require_code()
    policy = model.usecase.serving
    spool_root = os.environ.get("MLOPS_SPOOL", "")
    spool = None
    if policy.capture and spool_root:
        announcer = Announcer.from_environment(model.usecase.name)
        spool = Spool(Path(spool_root) / model.usecase.name, on_sealed=announcer.announce if announcer else None)
    return Serving(
        model=model,
        version=facts["model_version"],
        request=predict_request(
            model.contract, policy.maximum_rows_per_request, history=model.usecase.training.looks_back
        ),
        labels=label_request(model.contract),
        spool=spool,
        scorer=Scorer(partial(_score, model), together=not model.pipeline[0].looks_back),
    )


@app.post("/predict", response_model=PredictResponse)
async def predict(request: Request) -> Response:
    """Score rows: ``{"rows": [{column: value, ...}, ...]}``; columns left out are missing values.

    A model with lags or rolling statistics takes ``"history": [{column: value, ...}, ...]`` too, the target included:
    what happened since its training.
    """
    assert serving is not None
    received_at = datetime.now(UTC)
    body = await request.body()
    if len(body) > _MOST_BODY_BYTES:
        return _refusal(413, [f"body: {len(body):,} bytes, at most {_MOST_BODY_BYTES:,} are taken"])
    try:
        parsed: Any = serving.request.model_validate_json(body)
    except ValidationError as error:
        return _refusal(422, _describe(error))
    rows = [row.model_dump() for row in parsed.rows]
    history = [row.model_dump() for row in getattr(parsed, "history", ())]
    try:
        output = await serving.scorer.output(rows, history)
    except (ValueError, OwnCodeError) as error:
        # such values were not in the data it was tried with; the caller can read why, the service goes on
        return _refusal(422, [f"rows: the model cannot score them: {str(error).splitlines()[0][:200]}"])
    request_id = str(uuid.uuid4())
    values = output.values.tolist()
    probabilities = output.probabilities.tolist() if output.probabilities is not None else None
    classes = [str(label) for label in serving.model.classes or ()]
    ids = [f"{request_id}-{number}" for number in range(len(rows))]
    if serving.spool is not None and request.headers.get("x-capture") != "off":
        _capture(serving, rows, ids, request_id, received_at, values, probabilities)
    rows_scored.labels(serving.usecase, serving.version).inc(len(rows))
    answers = [
        {
            "id": row_id,
            "prediction": value,
            "probabilities": dict(zip(classes, probabilities[number], strict=True)) if probabilities else None,
        }
        for number, (row_id, value) in enumerate(zip(ids, values, strict=True))
    ]
    return JSONResponse(
        {
            "predictions": answers,
            "usecase": serving.usecase,
            "model_version": serving.version,
            "request_id": request_id,
        }
    )


def _score(model: LoadedModel, rows: Rows, history: Rows) -> Output:
    """Return the model's answers to `rows`.

    Raises
    ------
    ValueError
        If the model refuses the rows, or has no finite answer.
    OwnCodeError
        If an own function fails on them.
    """
    earlier = frame_of(history, model.contract, with_target=True) if history else None
    output = model.output(frame_of(rows, model.contract), earlier)
    for numbers in (output.values if output.classes is None else None, output.probabilities):
        if numbers is not None and not np.isfinite(numbers).all():
            bad = int(np.argwhere(~np.isfinite(numbers))[0][0])
            raise ValueError(f"row {bad} has no finite answer")
    return output


@app.post("/labels")
async def labels(request: Request) -> Response:
    """Take true values: ``{"labels": [{"id": row id, "value": true value}, ...]}``."""
    assert serving is not None
    body = await request.body()
    if len(body) > _MOST_BODY_BYTES:
        return _refusal(413, [f"body: {len(body):,} bytes, at most {_MOST_BODY_BYTES:,} are taken"])
    try:
        parsed: Any = serving.labels.model_validate_json(body)
    except ValidationError as error:
        return _refusal(422, _describe(error))
    if serving.spool is None:
        return _refusal(409, ["this service captures nothing, so labels have nowhere to go"])
    received_at = datetime.now(UTC).isoformat()
    serving.spool.append([label_record(label.id, label.value, received_at) for label in parsed.labels])
    return JSONResponse({"accepted": len(parsed.labels)})


@app.get("/info")
async def info() -> dict[str, Any]:
    """Say which model this is."""
    assert serving is not None
    spool = serving.spool
    return {
        "usecase": serving.usecase,
        "title": serving.model.usecase.title,
        "model_version": serving.version,
        "digest": serving.model.digest,
        "algorithm": serving.model.metadata.algorithm,
        "inputs": {column.name: column.type for column in serving.model.contract.inputs},
        "capture": {"on": spool is not None, "dropped": spool.dropped + spool.failed if spool else 0},
    }


def _capture(
    current: Serving,
    rows: list[dict[str, Any]],
    ids: list[str],
    request_id: str,
    received_at: datetime,
    values: list[Any],
    probabilities: list[list[float]] | None,
) -> None:
    assert current.spool is not None
    scored_at = datetime.now(UTC).isoformat()
    current.spool.append(
        [
            prediction_record(
                current.model.contract,
                {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()},
                row_id=ids[number],
                request_id=request_id,
                received_at=received_at.isoformat(),
                scored_at=scored_at,
                model_version=current.version,
                prediction=values[number],
                probabilities=probabilities[number] if probabilities else None,
                hash_key=current.spool.hash_key,
            )
            for number, row in enumerate(rows)
        ]
    )
    rows_not_captured.set(current.spool.dropped + current.spool.failed)


def _refusal(status: int, problems: list[str]) -> Response:
    remedy = "GET /openapi.json describes the body; nothing was scored or kept."
    return JSONResponse({"error": {"problems": problems, "remedy": remedy}}, status_code=status)


def _describe(error: ValidationError) -> list[str]:
    found = []
    for problem in error.errors(include_url=False)[:5]:
        where = ".".join(str(part) for part in problem["loc"]) or "body"
        message = "unknown column" if problem["type"] == "extra_forbidden" else problem["msg"]
        found.append(f"{where}: {message}")
    return found


@bentoml.service(
    name="model",
    workers=1,
    traffic={"timeout": 60, "max_concurrency": 512},
    logging={"access": {"enabled": False}},  # a line for each request costs as much as an answer
)
@bentoml.asgi_app(app, path="/")
class ModelService:
    """One model version behind ``POST /predict``."""

    def __init__(self) -> None:
        global serving  # noqa: PLW0603 (the mounted routes are module functions: they need it)
        serving = load()
        for path, body in (("/predict", serving.request), ("/labels", serving.labels)):
            _describe_body(path, body)
        # the heap is built now: collecting it again and again would only make requests wait
        gc.collect()
        gc.freeze()

    @bentoml.on_shutdown
    def stop(self) -> None:
        """Seal what is captured, so that nothing waits for a process that is gone."""
        if serving is not None and serving.spool is not None:
            serving.spool.close()


def _describe_body(path: str, body: type[BaseModel]) -> None:
    """Put a body that the contract makes into the OpenAPI document."""
    schema = body.model_json_schema(ref_template="#/components/schemas/{model}")
    document = app.openapi()
    components = document.setdefault("components", {}).setdefault("schemas", {})
    components.update(schema.pop("$defs", {}))
    components[body.__name__] = schema
    reference = {"$ref": f"#/components/schemas/{body.__name__}"}
    document["paths"][path]["post"]["requestBody"] = {
        "required": True,
        "content": {"application/json": {"schema": reference}},
    }
