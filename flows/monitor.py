"""Look at every closed window: quality, drift, performance, diagnosis; and decide where no event is needed for it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from flows import _causes, quality
from flows._context import Context, open_context, stage
from mlcore import events, registry
from mlcore.decision import DRIFT
from mlcore.errors import RegistryError
from mlcore.events import Event
from mlcore.failpoints import failpoint
from mlcore.ledger.records import DiagnosisRecord, ModelVersion, QualityRecord, Window

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from mlcore.diagnosis import Diagnosis
    from mlcore.drift import Baseline, DriftReport
    from mlcore.metrics import Metric, Output
    from mlcore.modelstore import LoadedModel
    from mlcore.performance import Estimate, Performance, PerformanceModel
    from mlcore.policy.monitoring import WindowRule
    from mlcore.quality import QualityReport
    from mlcore.report.window import EarlierDrift

#: Windows before the one that a page is about.
_DRAWN_BEFORE: Final = 23
#: Histograms on the page of a healthy window: those that matter most to the model.
_DRAWN_HEALTHY: Final = 3


@dataclass(frozen=True, slots=True)
class Served:
    """A model version, what it is monitored by (old ones have nothing to estimate with), and those it replaced."""

    version: int
    model: LoadedModel
    baseline: Baseline
    learned: PerformanceModel | None
    replaced: tuple[ModelVersion, ...] = ()


@stage("monitor")
async def monitor(usecase: str, event_id: str = "") -> list[str]:  # noqa: ARG001 (`stage` reads it)
    """Diagnose every closed window that was not looked at yet.

    Args:
        usecase: Name of the use case.
        event_id: The event that woke this; left out when a person starts it.
    """
    context = open_context(usecase)
    with context.ledger.read() as view:
        windows = view.all(Window, order_by="ends_at", usecase=context.name, state="closed")
    rules = {rule.name: rule for rule in context.usecase.monitoring.windows}
    sentences, details = [], []
    models: dict[int, Served] = {}
    for window in windows:
        if window.cadence not in rules:
            continue
        found = await asyncio.to_thread(_diagnose, context, window, rules[window.cadence], models)
        page = f"Page: `{context.window_page(window.id)}`"
        sentences.append(f"{window.id}: {_save(context, window, *found)} {page}")
        details += [f"- {sentences[-1]}", *(f"  - {line}" for line in _further(found[0]))]
    context.announce()
    await context.tell(sentences[-1] if sentences else "No closed window waits.", "\n".join(details))
    return sentences


def _further(diagnosis: Diagnosis) -> list[str]:
    """Return what was measured or estimated, where the diagnosis does not say it already."""
    from mlcore.performance import Estimate, Performance

    facts = diagnosis.evidence
    told = [
        Performance.from_json(facts["performance"]).sentence if facts.get("performance") else "",
        Estimate.from_json(facts["estimate"]).sentence if facts.get("estimate") else "",
        facts.get("whole_rows") or "",
    ]
    return [line for line in told if line and line not in diagnosis.sentence]


def _diagnose(
    context: Context, window: Window, rule: WindowRule, models: dict[int, Served]
) -> tuple[Diagnosis, DiagnosisRecord, QualityRecord | None, Callable[[], None]]:
    """Return what is found, the records of it, and what draws the page where that is still to be done."""
    from mlcore.diagnosis import diagnose
    from mlcore.drift import model_drift

    contract, store = context.usecase.contract, context.captures
    frame = store.read(window.starts_at, window.ends_at)
    served = _model(context, frame, models)
    output = _answers(served.model, frame)
    report, checked = None, None
    if "quality" in rule.checks and len(frame) >= rule.minimum_rows:
        report, checked = quality.check(context, _inputs(context, frame), window.id, partial=True)
    drift = None
    if "drift" in rule.checks:
        drift = model_drift(served.baseline, frame, output, context.usecase, minimum_rows=rule.minimum_rows)
    performance, estimate = None, None
    if "performance" in rule.checks:
        performance = _performance(context, served, frame, output)
        if performance.outcome == "too_little_data":
            estimate = _estimate(context, served, frame, output, rule)
    recent = _last_healthy(context, window)
    diagnosis = diagnose(
        contract,
        served.baseline,
        frame,
        report,
        drift,
        performance,
        recent=None if recent is None else store.read(recent.starts_at, recent.ends_at),
        minimum_rows=rule.minimum_rows,
        estimate=estimate,
    )
    draw = partial(_write_page, context, window, served, frame, diagnosis, report, drift, performance, estimate)
    if diagnosis.cause != "healthy":
        draw()  # who is woken by the event writes the decision into it
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
        model_version=served.version,
        cause=diagnosis.cause,
        sentence=diagnosis.sentence,
        report=facts,
        created_at=context.now(),
    )
    return diagnosis, record, checked, draw if diagnosis.cause == "healthy" else _nothing


def _nothing() -> None:
    """Draw no page: there is one already."""


def _write_page(
    context: Context,
    window: Window,
    served: Served,
    frame: pd.DataFrame,
    diagnosis: Diagnosis,
    quality: QualityReport | None,
    drift: DriftReport | None,
    performance: Performance | None,
    estimate: Estimate | None,
) -> None:
    """Write the page of a window; of one that nobody has to look into only what matters most is drawn."""
    from mlcore.report.distributions import distributions
    from mlcore.report.window import WindowFacts, write_window_page

    importance = _importance(context, served)
    names = [item.name for item in drift.columns] if drift else [item.name for item in diagnosis.features]
    if diagnosis.cause == "healthy":
        names = sorted(names, key=lambda name: -importance.get(name, 0.0))[:_DRAWN_HEALTHY]
    write_window_page(
        WindowFacts(
            title=context.usecase.title,
            window_id=window.id,
            starts_at=window.starts_at,
            ends_at=window.ends_at,
            model_version=served.version,
            rows=window.rows,
            labelled=window.labelled,
            diagnosis=diagnosis,
            decision=None,
            quality=quality,
            drift=drift,
            performance=performance,
            drift_threshold=context.usecase.monitoring.drift.minimum_effect,
            distributions=distributions(served.baseline, frame, context.usecase.contract, names),
            estimate=estimate,
            importance=importance,
            earlier=_earlier(context, window),
        ),
        context.window_page(window.id),
    )


def _save(
    context: Context,
    window: Window,
    diagnosis: Diagnosis,
    record: DiagnosisRecord,
    checked: QualityRecord | None,
    draw: Callable[[], None],
) -> str:
    """Write the diagnosis and what follows from it in one transaction, then the page; return what to say."""
    failpoint("monitoring.before-save")
    with context.ledger.transaction() as tx:
        current = tx.get(Window, id=window.id)
        if current is None or current.state != "closed":
            return "looked at by another run meanwhile."
        if checked is not None:
            tx.add(checked)
        tx.add(record)
        failpoint("monitoring.after-record")
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
            decided = _causes.record(tx, context, "drift", f"window:{window.id}", subject).record
    draw()
    if not moved:
        _causes.show(context, decided)
    return diagnosis.sentence


def _model(context: Context, frame: pd.DataFrame, models: dict[int, Served]) -> Served:
    """Return the model that answered most recently in the window, and what it is monitored by."""
    from mlcore.drift import Baseline
    from mlcore.modelstore import load_model, load_performance, load_reference
    from mlcore.performance import REMEMBERED, PerformanceModel

    version = int(frame["model_version"].iloc[-1])
    if version not in models:
        with context.ledger.read() as view:
            model = view.get(ModelVersion, usecase=context.name, version=version)
            replaced = registry.replaced(view, context.name, version, REMEMBERED)
        if model is None:
            raise RegistryError(
                "captured rows name a model that is not registered", subject=f"{context.name} {version}"
            )
        loaded = load_model(model.uri, model.digest)
        learned = load_performance(loaded)
        models[version] = Served(
            version,
            loaded,
            Baseline.from_bytes(loaded.baseline, load_reference(loaded)),
            PerformanceModel.from_bytes(learned) if learned else None,
            replaced,
        )
    return models[version]


def _last_healthy(context: Context, window: Window) -> Window | None:
    """Return the newest window of the cadence before this one in which the data was sound and enough."""
    from mlcore.diagnosis import NO_REFERENCE

    with context.ledger.read() as view:
        for item in view.all(
            Window, order_by="-ends_at", usecase=context.name, cadence=window.cadence, state="diagnosed"
        ):
            if item.ends_at <= window.starts_at:
                record = view.first(DiagnosisRecord, order_by="-created_at", window_id=item.id)
                if record is not None and record.cause not in NO_REFERENCE:
                    return item
    return None


def _importance(context: Context, served: Served) -> dict[str, float]:
    from mlcore.training.importance import by_column

    known = {str(item["feature"]): float(item["worsening"]) for item in served.model.metadata.importance}
    return by_column(known, context.usecase)


def _earlier(context: Context, window: Window) -> list[EarlierDrift]:
    """Return how the columns had moved in the windows of the cadence before this one, by time."""
    from mlcore.report.window import EarlierDrift

    found = []
    with context.ledger.read() as view:
        known = view.all(Window, order_by="-ends_at", usecase=context.name, cadence=window.cadence, state="diagnosed")
        for item in [item for item in known if item.ends_at <= window.starts_at][:_DRAWN_BEFORE]:
            record = view.first(DiagnosisRecord, order_by="-created_at", window_id=item.id)
            drift = record.report.get("drift") if record is not None else None
            if record is not None and drift:
                psi = {column["name"]: float(column["psi"]) for column in drift["columns"]}
                found.append(EarlierDrift(item.starts_at, record.cause, psi))
    return found[::-1]


def _inputs(context: Context, frame: pd.DataFrame) -> pa.Table:
    import pyarrow as pa

    contract = context.usecase.contract
    plain = [column.name for column in contract.inputs if column.capture == "plain"]
    schema = pa.schema([contract.arrow_schema().field(name) for name in plain])
    return pa.Table.from_pandas(frame[plain], schema=schema, preserve_index=False)


def _answers(model: LoadedModel, frame: pd.DataFrame) -> Output:
    import numpy as np

    from mlcore.metrics import Output

    classes = model.classes
    return Output(
        frame["prediction"].to_numpy(),
        np.stack(frame["probabilities"].to_list()) if classes and len(frame) else None,
        np.array(classes) if classes else None,
    )


def _metric(context: Context, model: LoadedModel) -> Metric:
    from mlcore.metrics import metric_named

    usecase = context.usecase
    name = usecase.monitoring.performance.metric or usecase.validation.metric or model.metadata.metric
    return metric_named(name, usecase.contract.task)


def _performance(context: Context, served: Served, frame: pd.DataFrame, output: Output) -> Performance:
    import numpy as np

    from mlcore.drift import row_blocks
    from mlcore.performance import Labelled, Validated, possible_before, realised

    contract, policy = context.usecase.contract, context.usecase.monitoring
    metric = _metric(context, served.model)
    has_label = frame[contract.target.name].notna().to_numpy()
    labelled = frame[has_label]
    lags = (labelled["labelled_at"] - labelled["received_at"]).dt.total_seconds().to_numpy(dtype=float)
    known = Labelled(
        frame=labelled,
        blocks=row_blocks(labelled, contract, policy.drift),
        lag_seconds=lags[~np.isnan(lags)],
        slices=served.learned.slices if served.learned is not None and served.learned.metric is metric else (),
    )
    return realised(
        labelled[contract.target.name].to_numpy(),
        output.take(has_label),
        len(frame),
        metric,
        served.model.metadata.metrics["holdout"][metric.name],
        policy.performance,
        known=known,
        rng=np.random.default_rng(0),
        before=possible_before(
            metric,
            Validated.of(served.model.metadata.metrics, metric.name),
            [Validated.of(model.metrics, metric.name) for model in served.replaced],
        ),
        held_out_rows=served.baseline.held_out_rows,
    )


def _estimate(
    context: Context, served: Served, frame: pd.DataFrame, output: Output, rule: WindowRule
) -> Estimate | None:
    """Return what the error is expected to be; None where another metric was learned, or none could be."""
    learned = served.learned
    if learned is None or learned.metric is not _metric(context, served.model):
        return None
    return learned.estimate(frame, output, context.usecase.monitoring.performance, rule.minimum_rows)
