"""The fits of a search as Prefect tasks on a Dask cluster: the setting ``MLOPS_DASK``."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows._context import Context
from mlcore.errors import SettingsError
from mlcore.ledger.records import DatasetVersion

if TYPE_CHECKING:
    from mlcore.training.fitting import Bench, Job, Runner
    from mlcore.training.trials import Trial


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker needs to lay out the very folds of the search: nothing but names, the rows it reads itself."""

    lake: str
    uri: str
    table_version: int
    usecase: str
    folder: str
    seed: int


@contextmanager
def cluster_runner(context: Context, dataset: DatasetVersion, seed: int) -> Iterator[Runner]:
    """Give a runner of fits on the cluster that the settings name, one for all folds of a search.

    Raises
    ------
    SettingsError
        If prefect-dask is not installed, or no scheduler answers there.
    """
    from mlcore.training.fitting import as_done

    try:
        from prefect_dask import DaskTaskRunner
    except ModuleNotFoundError:
        raise SettingsError(
            "Dask is asked for and not installed",
            subject="MLOPS_DASK",
            expected="the extra `dask`",
            got="no module prefect_dask",
            remedy="Install mlops-loop[dask], or unset MLOPS_DASK.",
        ) from None
    address = context.settings.dask
    # one thread a worker: a fit takes a core, and its warnings are its own
    options = {"cluster_kwargs": {"threads_per_worker": 1}} if address == "local" else {"address": address}
    folder = str((context.settings.usecases / context.usecase.name).resolve())
    place = Place(
        context.settings.lake_root, dataset.uri, dataset.table_version, context.usecase.model_dump_json(), folder, seed
    )

    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(DaskTaskRunner(**options))
        except OSError as error:
            raise SettingsError(
                "no Dask scheduler answers",
                subject="MLOPS_DASK",
                expected="local, or the address of a scheduler",
                got=f"{address}: {error}",
                remedy="Start `dask scheduler`, or unset MLOPS_DASK.",
            ) from None
        slots = max(1, sum(cluster.client.nthreads().values()))
        waiting = stack.enter_context(ThreadPoolExecutor(slots))

        def submit(job: Job) -> Future[Trial]:
            name = f"{job.trial.candidate} {job.trial.number} fold {job.fold}"
            fit = cluster.submit(_fit.with_options(task_run_name=name), {"place": place, "job": job})
            return waiting.submit(fit.result)

        # the workers lay out a bench of their own
        yield lambda next_job, bench: as_done(next_job, submit, slots)  # noqa: ARG005


@task(name="fit", cache_policy=NO_CACHE, persist_result=False)
def _fit(place: Place, job: Job) -> Trial:
    from mlcore.training.fitting import fitting_here

    with fitting_here():
        return _bench(place).meet(job)


@lru_cache(maxsize=1)
def _bench(place: Place) -> Bench:
    import json

    from mlcore.data.datasets import DatasetStore
    from mlcore.owncode import find_code
    from mlcore.training.fitting import Bench
    from mlcore.training.splits import split_holdout
    from mlcore.usecase import parse_usecase

    find_code(Path(place.folder))
    usecase = parse_usecase(json.loads(place.usecase), source=place.uri)
    frame = DatasetStore(place.lake).read(place.uri, place.table_version).to_pandas()
    train, holdout = split_holdout(frame, usecase)
    return Bench.of(train, usecase, seed=place.seed, held_out=holdout)
