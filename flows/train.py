"""Train the best candidate on a dataset version and register it."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

from flows import _causes, _dask
from flows._context import Context, open_context, stage
from flows.quality import find_dataset
from mlcore import events, registry
from mlcore.canonical import digest_value
from mlcore.events import Event
from mlcore.failpoints import failpoint
from mlcore.ledger import leases
from mlcore.ledger.records import DatasetVersion, Lease, ModelVersion
from mlcore.policy.approval import Cause, normal

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.metrics import Output
    from mlcore.training.provenance import Provenance
    from mlcore.training.run import TrainedModel
    from mlcore.training.trials import SearchJournal, Trial
    from mlcore.usecase import UseCase

PROJECT = Path(__file__).parent.parent


@stage("train")
async def train(
    usecase: str,
    dataset_version: int | None = None,
    seed: int | None = None,
    cause: Cause = "manual",
    cause_key: str = "",
    actor: str = "",
) -> int:
    """Search the use case's candidates on a dataset version, measure the best and register it as a model version.

    Args:
        usecase: Name of the use case.
        dataset_version: The version to train on; the newest one if left out.
        seed: Seed of everything random; the use case's if left out.
        cause: What started this: drift, dataset, manual or schedule.
        cause_key: What exactly, for the record; filled in by retrain.
        actor: Your e-mail address, when you start it; needed where nobody may approve a model of their own.
    """
    context = open_context(usecase)
    with context.ledger.read() as view:
        _causes.require_starter(view, context, cause, cause_key, actor)
    dataset = find_dataset(context, dataset_version)
    seed = context.usecase.training.search.seed if seed is None else seed
    progress = await SearchProgress.begin(context)
    model, trained = await asyncio.to_thread(_train, context, dataset, seed, cause, cause_key, progress)
    model = register(context, model, started_by=normal(actor))
    context.announce()
    await context.tell(*describe(model, trained))
    return model.version


class SearchProgress:
    """Shows how far a search is: a progress artifact in the UI, a line in the log for each fit."""

    def __init__(self, artifact: UUID, loop: asyncio.AbstractEventLoop) -> None:
        self._artifact = artifact
        self._loop = loop
        self._log = get_run_logger()
        self._update: Future[UUID] | None = None

    @classmethod
    async def begin(cls, context: Context) -> SearchProgress:
        """Make the artifact."""
        key = f"search-{context.name}".replace("_", "-")
        artifact = await acreate_progress_artifact(0.0, key=key, description=f"Search for {context.name}")
        return cls(artifact, asyncio.get_running_loop())

    def __call__(self, done: int, planned: int, trial: Trial) -> None:
        """Take note of one fit; called from the thread that searches."""
        score = f"{trial.validation[-1]:.4g}" if trial.validation else trial.note
        self._log.info("fit %d of %d: %s %s: %s", done, planned, trial.candidate, dict(trial.parameters), score)
        if self._update is not None and not self._update.done():
            return  # the server is slower than the fits are: show a later one
        update = aupdate_progress_artifact(self._artifact, 100 * done / planned)
        self._update = asyncio.run_coroutine_threadsafe(update, self._loop)
        self._update.add_done_callback(self._updated)

    def _updated(self, update: Future[UUID]) -> None:
        error = None if update.cancelled() else update.exception()
        if error is not None:  # a picture of the progress is no reason to stop
            self._log.warning("the progress could not be shown: %s", error)


def register(context: Context, model: ModelVersion, lease: Lease | None = None, started_by: str = "") -> ModelVersion:
    """Give `model` its version and announce it; under a lease only while it is still held."""
    failpoint("training.before-register")
    with context.ledger.transaction() as tx:
        if lease is not None:
            leases.require(tx, lease, context.now())
        model = registry.register(tx, model, context.now(), started_by=started_by)
        tx.announce(
            Event(
                events.MODEL_TRAINED,
                context.name,
                key=str(model.version),
                occurred=context.now(),
                payload={"model_version": model.version},
            )
        )
    failpoint("training.after-register")
    return model


def describe(model: ModelVersion, trained: TrainedModel) -> tuple[str, str]:
    """Return one sentence and the table of all candidates."""
    from mlcore.metrics import METRICS
    from mlcore.report.markdown import table
    from mlcore.report.outoffold import candidates_table, slices_table
    from mlcore.report.trials import trials_table

    # not defined where the held-out rows are all of one class, for example
    score, baseline = (
        measured.get(trained.metric) for measured in (trained.scores.holdout, trained.scores.dummy_holdout)
    )
    sentence = (
        f"Version {model.version} is a {model.algorithm} model of dataset version {model.dataset_version}: "
        f"{trained.metric} {_told(score)} on the newest {trained.holdout_rows:,} rows, the dummy has {_told(baseline)}."
    )
    if trained.scores.weightings:
        tried = ", ".join(f"{name} {value:.4g}" for name, value in trained.scores.weightings.items())
        sentence += f" Of its training rows, {trained.scores.weighting} counts ({tried})."
    header, rows = trials_table(
        model.candidates,
        algorithm=model.algorithm,
        parameters=model.parameters,
        holdout=score,
        higher_is_better=METRICS[trained.metric].higher_is_better,
    )
    told = f"By {trained.metric}:\n\n{table(header, rows)}"
    evidence = [item.to_json() for item in trained.out_of_fold]
    for what, (columns, cells) in (("", candidates_table(evidence)), (", by slice", slices_table(evidence))):
        if cells:
            told += f"\n\nOut of fold, on the newest fold{what}:\n\n{table(columns, cells)}"
    return sentence, told


def _told(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4g}"


def _train(
    context: Context, dataset: DatasetVersion, seed: int, cause: str, cause_key: str, progress: SearchProgress
) -> tuple[ModelVersion, TrainedModel]:
    frame, code = _read(context, dataset)
    from mlcore.modelstore import ModelMetadata, save_model
    from mlcore.training.fitting import in_threads
    from mlcore.training.run import golden_rows, train_model

    watched: dict[str, bytes] = {}

    def watch(train: pd.DataFrame, holdout: pd.DataFrame, output: Output) -> None:
        watched.update(_for_monitoring(context.usecase, frame, train, holdout, output))

    journal = _journal(context, dataset, seed, code)
    place = _dask.cluster_runner(context, dataset, seed) if context.settings.dask else nullcontext(in_threads)
    with place as runner:
        trained = train_model(
            frame, context.usecase, seed=seed, progress=progress, journal=journal, runner=runner, beside=watch
        )
    metadata = ModelMetadata.of(trained, code, dataset_version=dataset.version, dataset_digest=dataset.digest)
    bundle = save_model(
        trained,
        context.settings.models_root,
        context.usecase,
        metadata,
        golden_rows(frame, context.usecase),
        **watched,
    )
    journal.remove()
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


def _journal(context: Context, dataset: DatasetVersion, seed: int, code: Provenance) -> SearchJournal:
    """Return the memory of this very search: of the same rows, use case, seed and libraries."""
    from mlcore.training.trials import SearchJournal

    facts = {"dataset": dataset.digest, "usecase": context.usecase.digest, "seed": seed, **code.to_json()}
    name = digest_value(facts).removeprefix("sha256:")[:32]
    return SearchJournal(context.settings.artifacts_root / "searches" / context.name / f"{name}.jsonl")


def _read(context: Context, dataset: DatasetVersion) -> tuple[pd.DataFrame, Provenance]:
    """Return the rows, and the code that is at work, while the packages that fit and keep a model are imported."""
    import deltalake  # noqa: F401 - first of all, so that no two threads import the same
    import pandas as pd  # noqa: F401

    from mlcore.training.provenance import provenance

    with ThreadPoolExecutor(1, "read") as pool:
        rows = pool.submit(lambda: context.datasets.read(dataset.uri, dataset.table_version).to_pandas())
        code = pool.submit(provenance, PROJECT)
        import skops.io  # noqa: F401

        import mlcore.training.run  # noqa: F401

        return rows.result(), code.result()


def _for_monitoring(
    usecase: UseCase, frame: pd.DataFrame, train: pd.DataFrame, holdout: pd.DataFrame, output: Output
) -> dict[str, bytes]:
    """Return what live rows are compared with, and what estimates their error without labels, for `save_model`."""
    from mlcore.drift import model_baseline
    from mlcore.metrics import metric_named
    from mlcore.performance import fit_performance_model
    from mlcore.training.splits import target_values

    truth, metric = target_values(holdout, usecase.contract), metric_named(usecase.window_metric, usecase.contract.task)
    baseline = model_baseline(train, holdout, output, usecase, frame)
    performance = fit_performance_model(holdout, truth, output, metric, usecase)
    return {
        "baseline": baseline.to_bytes(),
        "reference": baseline.reference_bytes(),
        "performance": performance.to_bytes() if performance is not None else b"",
    }
