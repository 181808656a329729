"""The service of one model version: predict, labels, info; every answered row is captured."""

from __future__ import annotations

import base64
import gc
import json
import logging
import os
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import bentoml
import httpx
import prometheus_client
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError

from bentos.schema import LabelRequest, PredictResponse, frame_of, predict_request
from mlcore import events
from mlcore.capture.records import label_record, prediction_record
from mlcore.capture.spool import Spool
from mlcore.events import Event
from mlcore.modelstore import LoadedModel, load_model

BUNDLE: Final = Path(__file__).resolve().parent.parent / "bundle"
BUNDLE_FACTS: Final = "service.json"
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
    spool: Spool | None
    hash_key: bytes

    @property
    def usecase(self) -> str:
        """The use case's name."""
        return self.model.usecase.name


serving: Serving | None = None


def load(folder: Path = BUNDLE) -> Serving:
    """Load the model in `folder`, its digest checked first, and open the spool."""
    facts = json.loads((folder / BUNDLE_FACTS).read_text())
    model = load_model(folder / "model", facts["digest"])
    policy = model.usecase.serving
    spool_root = os.environ.get("MLOPS_SPOOL", "")
    spool = None
    if policy.capture and spool_root:
        spool = Spool(Path(spool_root) / model.usecase.name, on_sealed=lambda name: _announce(model.usecase.name, name))
    return Serving(
        model=model,
        version=facts["model_version"],
        request=predict_request(model.contract, policy.maximum_rows_per_request),
        spool=spool,
        hash_key=os.environ.get("MLOPS_HASH_KEY", model.usecase.name).encode(),
    )


def _announce(usecase: str, segment: str) -> None:
    """Tell the Prefect server that rows wait; only a hint, a schedule collects them anyway."""
    url = os.environ.get("MLOPS_EVENTS_URL", "")
    if not url:
        return
    event = Event(events.CAPTURE_SEALED, usecase, key=segment, occurred=datetime.now(UTC), payload={"segment": segment})
    headers = {}
    if auth := os.environ.get("PREFECT_API_AUTH_STRING"):
        headers["Authorization"] = "Basic " + base64.b64encode(auth.encode()).decode()
    try:
        httpx.post(f"{url}/events", json=[event.to_wire()], headers=headers, timeout=5).raise_for_status()
    except httpx.HTTPError as error:
        log.warning("could not announce captured rows: %s", error)


@app.post("/predict", response_model=PredictResponse)
async def predict(request: Request) -> Response:
    """Score rows: ``{"rows": [{column: value, ...}, ...]}``; columns left out are missing values."""
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
    output = serving.model.output(frame_of(rows, serving.model.contract))
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


@app.post("/labels")
async def labels(request: Request) -> Response:
    """Take true values: ``{"labels": [{"id": row id, "value": true value}, ...]}``."""
    assert serving is not None
    try:
        parsed = LabelRequest.model_validate_json(await request.body())
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
                hash_key=current.hash_key,
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


@bentoml.service(name="model", workers=1, traffic={"timeout": 60, "max_concurrency": 512})
@bentoml.asgi_app(app, path="/")
class ModelService:
    """One model version behind ``POST /predict``."""

    def __init__(self) -> None:
        global serving  # noqa: PLW0603 (the mounted routes are module functions: they need it)
        serving = load()
        request_schema = serving.request.model_json_schema(ref_template="#/components/schemas/{model}")
        _describe_input(request_schema)
        # the heap is built now: collecting it again and again would only make requests wait
        gc.collect()
        gc.freeze()

    @bentoml.on_shutdown
    def stop(self) -> None:
        """Seal what is captured, so that nothing waits for a process that is gone."""
        if serving is not None and serving.spool is not None:
            serving.spool.close()


def _describe_input(schema: dict[str, Any]) -> None:
    """Put the contract's input into the OpenAPI document."""
    document = app.openapi()
    components = document.setdefault("components", {}).setdefault("schemas", {})
    components.update(schema.pop("$defs", {}))
    components["PredictRequest"] = schema
    reference = {"$ref": "#/components/schemas/PredictRequest"}
    document["paths"]["/predict"]["post"]["requestBody"] = {
        "required": True,
        "content": {"application/json": {"schema": reference}},
    }
