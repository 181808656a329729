"""Look at every closed window: quality, drift, performance, diagnosis; and decide where no event is needed for it."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

from flows import _causes, quality
from flows._context import Context, open_context, stage
from mlcore import events
from mlcore.decision import DRIFT
from mlcore.errors import RegistryError
from mlcore.events import Event
from mlcore.ledger.records import DiagnosisRecord, ModelVersion, QualityRecord, Window

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from mlcore.diagnosis import Diagnosis
    from mlcore.modelstore import LoadedModel
    from mlcore.performance import Performance
    from mlcore.policy.monitoring import WindowRule


@stage("monitor")
async def monitor(usecase: str) -> list[str]:
    """Diagnose every closed window that was not looked at yet.

    Args:
        usecase: Name of the use case.
    """
    context = open_context(usecase)
    with context.ledger.read() as view:
        windows = view.all(Window, order_by="ends_at", usecase=context.name, state="closed")
    rules = {rule.name: rule for rule in context.usecase.monitoring.windows}
    sentences = []
    models: dict[int, LoadedModel] = {}
    for window in windows:
        if window.cadence not in rules:
            continue
        diagnosis, record, checked = await asyncio.to_thread(_diagnose, context, window, rules[window.cadence], models)
        page = f" Page: `{context.window_page(window.id)}`" if diagnosis.cause != "healthy" else ""
        sentences.append(f"{window.id}: {_save(context, window, diagnosis, record, checked)}{page}")
    context.announce()
    await context.tell(
        sentences[-1] if sentences else "No closed window waits.", "\n".join(f"- {line}" for line in sentences)
    )
    return sentences


def _diagnose(
    context: Context, window: Window, rule: WindowRule, models: dict[int, LoadedModel]
) -> tuple[Diagnosis, DiagnosisRecord, QualityRecord | None]:
    from mlcore.capture.store import CaptureStore
    from mlcore.diagnosis import diagnose
    from mlcore.drift import Baseline, detect_drift, independent_blocks

    contract, policy = context.usecase.contract, context.usecase.monitoring
    store = CaptureStore(context.settings.lake_root, context.name, contract)
    frame = store.read(window.starts_at, window.ends_at)
    model = _model(context, frame, models)
    baseline = Baseline.from_bytes(model.baseline)
    report, checked = None, None
    if "quality" in rule.checks and len(frame) >= rule.minimum_rows:
        report, checked = quality.check(context, _inputs(context, frame), window.id, partial=True)
    drift = None
    if "drift" in rule.checks:
        drift = detect_drift(
            baseline,
            frame,
            frame["prediction"].to_numpy(),
            contract,
            policy.drift,
            minimum_rows=rule.minimum_rows,
            blocks=independent_blocks(frame, contract, policy.drift),
        )
    performance = _performance(context, model, frame) if "performance" in rule.checks else None
    diagnosis = diagnose(contract, baseline, frame, report, drift, performance)
    if diagnosis.cause != "healthy":
        from mlcore.report.distributions import distributions
        from mlcore.report.window import WindowFacts, write_window_page

        names = [item.name for item in drift.columns] if drift else [item.name for item in diagnosis.features]
        write_window_page(
            WindowFacts(
                title=context.usecase.title,
                window_id=window.id,
                starts_at=window.starts_at,
                ends_at=window.ends_at,
                model_version=int(frame["model_version"].iloc[-1]),
                rows=window.rows,
                labelled=window.labelled,
                diagnosis=diagnosis,
                decision=None,
                quality=report,
                drift=drift,
                performance=performance,
                drift_threshold=policy.drift.minimum_effect,
                distributions=distributions(baseline, frame, contract, names),
            ),
            context.window_page(window.id),
        )
    facts = {
        **diagnosis.to_json(),
        "drift": drift.to_json() if drift else None,
        "quality_id": checked.id if checked else None,
        "window": window.id,
    }
    record = DiagnosisRecord(
        id=str(uuid.uuid4()),
        usecase=context.name,
        window_id=window.id,
        model_version=int(frame["model_version"].iloc[-1]),
        cause=diagnosis.cause,
        sentence=diagnosis.sentence,
        report=facts,
        created_at=context.now(),
    )
    return diagnosis, record, checked


def _save(
    context: Context, window: Window, diagnosis: Diagnosis, record: DiagnosisRecord, checked: QualityRecord | None
) -> str:
    """Write the diagnosis and what follows from it in one transaction; return what to say."""
    with context.ledger.transaction() as tx:
        current = tx.get(Window, id=window.id)
        if current is None or current.state != "closed":
            return "looked at by another run meanwhile."
        if checked is not None:
            tx.add(checked)
        tx.add(record)
        tx.change(window, state="diagnosed")
        tx.audit(
            usecase=context.name,
            actor=context.actor,
            action="window.diagnosed",
            subject=window.id,
            at=context.now(),
            diagnosis=record.id,
            cause=diagnosis.cause,
        )
        moved = diagnosis.cause in DRIFT
        if moved or diagnosis.cause == "data_fault":
            tx.announce(
                Event(
                    events.DRIFT_DETECTED if moved else events.QUALITY_FAILED,
                    context.name,
                    key=window.id,
                    occurred=context.now(),
                    payload={"window_id": window.id},
                    labels={"ml.diagnosis": diagnosis.cause},
                )
            )
        if not moved:
            # nobody needs to be woken for these: 'do nothing' is decided, and recorded, here
            subject = _causes.subject_of_window(tx, context, window)
            assert subject is not None
            _causes.record(tx, context, "drift", f"window:{window.id}", subject)
    return diagnosis.sentence


def _model(context: Context, frame: pd.DataFrame, models: dict[int, LoadedModel]) -> LoadedModel:
    """Return the model that answered most recently in the window."""
    from mlcore.modelstore import load_model

    version = int(frame["model_version"].iloc[-1])
    if version not in models:
        with context.ledger.read() as view:
            model = view.get(ModelVersion, usecase=context.name, version=version)
        if model is None:
            raise RegistryError(
                "captured rows name a model that is not registered", subject=f"{context.name} {version}"
            )
        models[version] = load_model(model.uri, model.digest)
    return models[version]


def _inputs(context: Context, frame: pd.DataFrame) -> pa.Table:
    import pyarrow as pa

    contract = context.usecase.contract
    plain = [column.name for column in contract.inputs if column.capture == "plain"]
    schema = pa.schema([contract.arrow_schema().field(name) for name in plain])
    return pa.Table.from_pandas(frame[plain], schema=schema, preserve_index=False)


def _performance(context: Context, model: LoadedModel, frame: pd.DataFrame) -> Performance:
    import numpy as np

    from mlcore.metrics import Output, metric_named
    from mlcore.performance import realised

    contract, policy = context.usecase.contract, context.usecase.monitoring.performance
    metric = metric_named(policy.metric or context.usecase.validation.metric or model.metadata.metric, contract.task)
    labelled = frame[frame[contract.target.name].notna()]
    classes = model.classes
    output = Output(
        labelled["prediction"].to_numpy(),
        np.stack(labelled["probabilities"].to_list()) if classes and len(labelled) else None,
        np.array(classes) if classes else None,
    )
    reference = model.metadata.metrics["holdout"][metric.name]
    return realised(labelled[contract.target.name].to_numpy(), output, len(frame), metric, reference, policy)
