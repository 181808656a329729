"""Train the best candidate on a dataset version and register it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from flows._context import Context, open_context, stage
from flows.quality import find_dataset
from mlcore import events, registry
from mlcore.events import Event
from mlcore.ledger import leases
from mlcore.ledger.records import DatasetVersion, Lease, ModelVersion
from mlcore.policy.approval import Cause

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.training.run import TrainedModel

PROJECT = Path(__file__).parent.parent


@stage("train")
async def train(
    usecase: str,
    dataset_version: int | None = None,
    seed: int | None = None,
    cause: Cause = "manual",
    cause_key: str = "",
) -> int:
    """Search the use case's candidates on a dataset version, measure the best and register it as a model version.

    Args:
        usecase: Name of the use case.
        dataset_version: The version to train on; the newest one if left out.
        seed: Seed of everything random; the use case's if left out.
        cause: What started this: drift, dataset, manual or schedule.
        cause_key: What exactly, for the record; filled in by retrain.
    """
    context = open_context(usecase)
    dataset = find_dataset(context, dataset_version)
    seed = context.usecase.training.search.seed if seed is None else seed
    model, trained = await asyncio.to_thread(_train, context, dataset, seed, cause, cause_key)
    model = register(context, model)
    context.announce()
    await context.tell(*describe(model, trained))
    return model.version


def register(context: Context, model: ModelVersion, lease: Lease | None = None) -> ModelVersion:
    """Give `model` its version and announce it; under a lease only while it is still held."""
    with context.ledger.transaction() as tx:
        if lease is not None:
            leases.require(tx, lease, context.now())
        model = registry.register(tx, model, context.now())
        tx.announce(
            Event(
                events.MODEL_TRAINED,
                context.name,
                key=str(model.version),
                occurred=context.now(),
                payload={"model_version": model.version},
            )
        )
    return model


def describe(model: ModelVersion, trained: TrainedModel) -> tuple[str, str]:
    """Return one sentence and the table of all candidates."""
    from mlcore.report.markdown import table

    score = trained.scores.holdout[trained.metric]
    baseline = trained.scores.dummy_holdout[trained.metric]
    sentence = (
        f"Version {model.version} is a {model.algorithm} model of dataset version {model.dataset_version}: "
        f"{trained.metric} {score:.4g} on the newest {trained.holdout_rows:,} rows, the dummy has {baseline:.4g}."
    )
    rows = [
        (
            trial.candidate,
            trial.state,
            f"{trial.mean_validation:.4g}",
            str(dict(trial.parameters)),
            f"{trial.seconds:.1f}",
        )
        for trial in sorted(trained.trials, key=lambda trial: (trial.state != "done", trial.number))
    ]
    return sentence, table(("candidate", "state", trained.metric, "parameters", "seconds"), rows)


def _train(
    context: Context, dataset: DatasetVersion, seed: int, cause: str, cause_key: str
) -> tuple[ModelVersion, TrainedModel]:
    from mlcore.modelstore import ModelMetadata, save_model
    from mlcore.training.provenance import provenance
    from mlcore.training.run import golden_rows, train_model

    frame = context.datasets.read(dataset.uri, dataset.table_version).to_pandas()
    trained = train_model(frame, context.usecase, seed=seed)
    code = provenance(PROJECT)
    metadata = ModelMetadata(
        algorithm=trained.algorithm,
        estimator=trained.estimator,
        parameters=trained.parameters,
        seed=seed,
        metric=trained.metric,
        metrics=trained.scores.to_json(),
        train_rows=trained.train_rows,
        holdout_rows=trained.holdout_rows,
        importance=tuple(asdict(item) for item in trained.importance),
        trials=tuple(trial.to_json() for trial in trained.trials),
        dataset_version=dataset.version,
        dataset_digest=dataset.digest,
        provenance=code.to_json(),
    )
    bundle = save_model(
        trained,
        context.settings.artifacts_root / "models",
        context.usecase,
        metadata,
        golden_rows(frame, context.usecase),
        baseline=_baseline(context, frame, trained),
    )
    model = ModelVersion(
        usecase=context.name,
        version=0,  # given by the registry
        digest=bundle.digest,
        uri=bundle.uri,
        dataset_version=dataset.version,
        algorithm=metadata.algorithm,
        parameters=metadata.to_json()["parameters"],
        seed=seed,
        metrics=metadata.to_json()["metrics"],
        candidates=tuple(metadata.to_json()["trials"]),
        code_commit=code.code_commit,
        code_dirty=code.code_dirty,
        lock_digest=code.lock_digest,
        usecase_digest=context.usecase.digest,
        cause=cause,
        cause_key=cause_key,
        flow_run_id=context.run_id,
        created_at=context.now(),
    )
    return model, trained


def _baseline(context: Context, frame: pd.DataFrame, trained: TrainedModel) -> bytes:
    """Return what the drift of live rows is measured against: the rows that were trained on."""
    from mlcore.drift import build_baseline, independent_blocks
    from mlcore.training.splits import split_holdout

    train, _ = split_holdout(frame, context.usecase)
    contract = context.usecase.contract
    blocks = independent_blocks(train, contract, context.usecase.monitoring.drift)
    return build_baseline(train, trained.pipeline.predict(train), contract, blocks=blocks).to_bytes()
