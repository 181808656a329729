"""Decide about a cause, once; and if it is worth it, assemble the data, train a challenger and validate it."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Final

import httpx
from prefect import get_run_logger

from flows import _causes, _inbox, _lease, publish
from flows._context import Context, open_context, stage
from flows._server import ReceivedEvent
from flows.quality import find_dataset
from flows.train import train
from flows.validate import validate
from mlcore import events, registry
from mlcore.errors import LeaseHeldError, LedgerError, MLOpsError, ServerError, StorageError, TrainingError
from mlcore.failpoints import failpoint
from mlcore.ledger import leases
from mlcore.ledger.records import (
    DatasetVersion,
    DecisionRecord,
    DiagnosisRecord,
    Lease,
    ModelVersion,
    Retraining,
    Window,
)
from mlcore.policy.approval import normal

if TYPE_CHECKING:
    import pandas as pd

#: What may pass by itself: a server that is away, a disk that is full, a ledger that is busy.
_PASSING: Final = (OSError, httpx.HTTPError, ServerError, StorageError, LedgerError)

#: How often a retraining is begun whose runs die; one that kills its process each time must not go on for ever.
MOST_ATTEMPTS: Final = 5


@stage("retrain")
async def retrain(
    usecase: str,
    window_id: str = "",
    dataset_version: int | None = None,
    event_id: str = "",
    reason: str = "",
    actor: str = "",
) -> str:
    """Consider what has happened and retrain if the policy says so; started by hand, it retrains.

    Args:
        usecase: Name of the use case.
        window_id: The window whose drift woke this; filled in by the automation.
        dataset_version: The dataset version that woke this; filled in by the automation.
        event_id: The event that woke this; left out when a person starts it.
        reason: Why, when a person starts it.
        actor: Your e-mail address, when you start it; needed where nobody may approve a model of their own.
    """
    context = open_context(usecase)
    if event_id:
        decided = _causes.claim_all(context, _event(context, event_id, window_id, dataset_version))
    else:
        with context.ledger.read() as view:
            _causes.require_starter(view, context, "manual", "", actor)
        decided = [_causes.claim_manual(context, reason, normal(actor))]
    context.announce()
    sentences = [f"{item.action}: {item.sentence}" for item in decided]
    await asyncio.to_thread(_lease.give_up_if_dead, context, _causes.lease_name(context))
    for retraining in _open(context):
        sentences.append(await _carry_out(context, retraining))
    await context.tell(
        sentences[-1] if sentences else "Every event was about something decided before; nothing to do.",
        "\n".join(f"- {sentence}" for sentence in sentences),
    )
    return sentences[-1] if sentences else "nothing"


async def _carry_out(context: Context, retraining: Retraining) -> str:
    """Run one requested retraining to its end, alone for this use case."""
    try:
        async with _lease.held(context, _causes.lease_name(context)) as lease:
            if why := await asyncio.to_thread(_why_not_again, context, retraining):
                _change(context, lease, retraining, state="failed", error=why, finished_at=context.now())
                return why
            started = {"state": "running", "flow_run_id": context.run_id, "attempts": retraining.attempts + 1}
            retraining = _change(context, lease, retraining, **started)
            try:
                dataset = await asyncio.to_thread(_assemble, context, retraining)
                failpoint("retraining.after-assembly")
                version = _trained(context, retraining) or await train(
                    usecase=context.name,
                    dataset_version=dataset.version,
                    cause=retraining.cause,
                    cause_key=retraining.cause_key,
                    actor=_starter(context, retraining),
                )
                verdict = _judged(context, version) or await validate(usecase=context.name, model_version=version)
            except _PASSING:
                raise  # it says nothing about the data or the model: the next run carries the retraining on
            except Exception as error:
                why = str(error) if isinstance(error, MLOpsError) else "the run failed; its log says why"
                _change(context, lease, retraining, state="failed", error=why, finished_at=context.now())
                raise
            # a run that is killed or told to stop, by whatever signal, comes to neither end: it is carried on as well
            made = {"dataset_version": dataset.version, "model_version": version}
            _change(context, lease, retraining, state="done", finished_at=context.now(), **made)
    except LeaseHeldError as error:
        # the run that holds it looks again for requested ones, and so does maintain
        get_run_logger().info("%s", error)
        return "A retraining of this use case is running already; this one waits its turn."
    return f"Version {version} was trained on dataset version {dataset.version}: {verdict}."


def _why_not_again(context: Context, retraining: Retraining) -> str:
    """Return why a retraining that an earlier run began and did not end is not begun again; empty if it is."""
    if retraining.attempts >= MOST_ATTEMPTS:
        return (
            f"The retraining was begun {retraining.attempts} times and never came to an end; it is given up. The logs "
            "of its runs say where they stopped. When that is mended, start it by hand."
        )
    if retraining.state != "running":
        return ""
    try:
        cancelled = context.server.was_cancelled(retraining.flow_run_id)
    except ServerError:
        return ""  # the server does not know the run any more
    return "A person cancelled the run; the retraining is not begun again." if cancelled else ""


def _open(context: Context) -> list[Retraining]:
    """Return the retrainings that were asked for and are not done, those of dead runs among them."""
    with context.ledger.read() as view:
        if leases.is_held(view.get(Lease, name=_causes.lease_name(context)), context.now()):
            return view.all(Retraining, order_by="requested_at", usecase=context.name, state="requested")
        left = view.all(Retraining, order_by="requested_at", usecase=context.name, state="running")
        return left + view.all(Retraining, order_by="requested_at", usecase=context.name, state="requested")


def _starter(context: Context, retraining: Retraining) -> str:
    """Return the person who asked for a retraining, whichever run carries it out."""
    with context.ledger.read() as view:
        decision = view.get(DecisionRecord, id=retraining.decision_id)
    return str(decision.evidence.get("actor", "")) if decision is not None else ""


def _trained(context: Context, retraining: Retraining) -> int | None:
    """Return the version that a run which died since has registered for this retraining."""
    with context.ledger.read() as view:
        model = view.first(ModelVersion, usecase=context.name, cause=retraining.cause, cause_key=retraining.cause_key)
    return model.version if model is not None else None


def _judged(context: Context, version: int) -> str | None:
    """Return the verdict that a run which died since has left on `version`."""
    with context.ledger.read() as view:
        evaluation = registry.newest_evaluation(view, context.name, version)
    return evaluation.verdict if evaluation is not None else None


def _change(context: Context, lease: Lease, retraining: Retraining, **values: object) -> Retraining:
    failpoint("retraining.before-change")
    with context.ledger.transaction() as tx:
        leases.require(tx, lease, context.now())
        changed = tx.change(retraining, **values)
    failpoint("retraining.after-change")
    return changed


def _assemble(context: Context, retraining: Retraining) -> DatasetVersion:
    """Return the dataset version to train on: what was published, joined with the labelled rows of production."""
    from mlcore.data.assemble import training_set
    from mlcore.data.ingest import conform

    base = _published(context, retraining.dataset_version)
    contract = context.usecase.contract
    labelled = context.captures.labelled()
    windows, sound = _without_faulty(context, labelled)
    if sound.empty:
        return base
    table = training_set(
        context.datasets.read(base.uri, base.table_version),
        conform(sound, contract, source="captured rows"),
        contract,
        keys_repeat=context.usecase.cleaning.key_duplicates == "keep",
        keep_since=_keep_since(context, sound),
    )
    outcome = publish.publish_table(
        context,
        table,
        origin="collected",
        source=f"dataset {base.version} and {len(sound):,} labelled rows",
        parents=(base.version,),
        windows=windows,
    )
    with context.ledger.transaction() as tx:
        outcome = publish.save(tx, context, outcome)
    if outcome.dataset is None:
        raise TrainingError(
            "the training set failed its checks", subject=context.name, got=outcome.sentence, remedy="Fix the data."
        )
    return outcome.dataset


def _published(context: Context, version: int | None) -> DatasetVersion:
    if version is not None:
        return find_dataset(context, version)
    with context.ledger.read() as view:
        versions = view.all(DatasetVersion, order_by="-version", usecase=context.name)
    return next((item for item in versions if item.origin != "collected"), None) or find_dataset(context, None)


def _without_faulty(context: Context, labelled: pd.DataFrame) -> tuple[tuple[str, ...], pd.DataFrame]:
    """Leave out the rows of windows that were diagnosed as data faults: they are to be fixed, not learned."""
    time = context.usecase.contract.time
    with context.ledger.read() as view:
        windows = {window.id: window for window in view.all(Window, order_by="starts_at", usecase=context.name)}
        faulty = {item.window_id for item in view.all(DiagnosisRecord, usecase=context.name, cause="data_fault")}
    if time is not None:
        for window_id in faulty & windows.keys():
            window = windows[window_id]
            inside = (labelled[time.name] >= window.starts_at) & (labelled[time.name] < window.ends_at)
            labelled = labelled[~inside]
    return tuple(window_id for window_id in windows if window_id not in faulty), labelled


def _keep_since(context: Context, labelled: pd.DataFrame) -> datetime | None:
    window, time = context.usecase.retraining.training_window, context.usecase.contract.time
    return None if window is None or time is None else labelled[time.name].max().to_pydatetime() - window


def _event(context: Context, event_id: str, window_id: str, dataset_version: int | None) -> ReceivedEvent | None:
    if window_id:
        return _inbox.waking(context, events.DRIFT_DETECTED, event_id, {"window_id": window_id})
    if dataset_version is not None:
        return _inbox.waking(context, events.DATASET_PUBLISHED, event_id, {"dataset_version": dataset_version})
    return None  # woken to carry on what a dead run left
