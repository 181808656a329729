"""Training on flights: ours, bare and as a flow, beside the same fits by plain scikit-learn calls.

The plain calls do what a notebook would: a ColumnTransformer and the estimator in a Pipeline, fitted and scored on the
very folds that our search met, two fits at a time as ours, then the winner on all training rows and its score held
out. Ours adds the evidence: two sibling seeds, the learning curve, permutation importance and every metric. The next
figure is that evidence by plain calls on top. The flow is `train/default` as a worker runs it, from a process that has
imported nothing to the model in its folder, the baseline and the estimator of its error beside it. It is measured when
the automations have come to rest: publishing the flights trains and deploys a first model by itself.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from bentos.processes import free_port
from flows._cli.stack import Stack
from mlcore.training.estimators import make_estimator
from mlcore.training.run import TrainedModel, train_model
from mlcore.training.search import planned_trials
from mlcore.training.splits import search_folds, split_holdout, target_values
from mlcore.usecase import UseCase, load_usecase

ROOT = Path(__file__).parents[1]
CATEGORIES = ["carrier", "origin", "destination", "carrier_x_origin"]
NUMBERS = ["distance", "departure_hour", "arrival_hour", "departures_in_hour", "weekday"]


def run() -> None:
    """Print both times and their ratio, in two rounds that take turns."""
    from mlcore.data.ingest import read_source

    usecase = load_usecase(ROOT / "usecases" / "flights")
    frame = read_source(str(ROOT / "usecases" / "flights" / "data" / "flights.parquet"), usecase.contract).to_pandas()
    print(f"training, {len(frame):,} flights, {usecase.training.search.trials} trials, halving, 3 folds")
    ours, plain, evident = [], [], []
    for _ in range(2):
        began = time.perf_counter()
        trained = train_model(frame, usecase, seed=0)
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        evidence = _by_hand(frame, usecase, trained)
        plain.append(time.perf_counter() - began)
        evidence()
        evident.append(time.perf_counter() - began)
    print(f"  plain scikit-learn calls           {min(plain):8.1f} s")
    parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in trained.seconds.items())
    print(f"  the same and the evidence          {min(evident):8.1f} s   {min(evident) / min(plain):.2f} x")
    print(f"  ours                               {min(ours):8.1f} s   {min(ours) / min(plain):.2f} x   ({parts})")
    flow = _through_the_flow()
    print(f"  ours, the flow on a worker         {flow:8.1f} s   {flow / min(plain):.2f} x")


def _through_the_flow() -> float:
    """Return the seconds of the second of two runs on a real server and worker; the first one is a warm-up."""
    with tempfile.TemporaryDirectory() as home:
        stack = Stack(Path(home), server_port=free_port(), host_port=free_port(), usecases=ROOT / "usecases")
        with stack:
            data = ROOT / "usecases" / "flights" / "data" / "flights.parquet"
            _run(stack, "publish-dataset/default", {"usecase": "flights", "uri": str(data)})
            _rest(stack)
            _run(stack, "train/default", {"usecase": "flights"})
            _rest(stack)
            return _run(stack, "train/default", {"usecase": "flights"})


def _rest(stack: Stack, quiet: int = 15) -> None:
    """Wait until nothing has run for `quiet` looks, a second apart, but the housekeeping, which comes every minute."""
    names = {"type": {"any_": ["RUNNING", "PENDING"]}}
    looks = 0
    while looks < quiet:
        running = stack.server.find_flow_runs(flow_runs={"state": names})
        looks = looks + 1 if all(run["name"].startswith("maintain") for run in running) else 0
        time.sleep(1)


def _run(stack: Stack, deployment: str, parameters: dict[str, Any]) -> float:
    """Start a deployment, wait for its end, and return how long it ran."""
    server = stack.server
    run = server.run_deployment(deployment, parameters)
    while run["state"]["type"] not in ("COMPLETED", "FAILED", "CRASHED"):
        time.sleep(2)  # to be asked is work for the server, which shares the cores with the run
        run = server.flow_run(run["id"])
    if run["state"]["type"] != "COMPLETED":
        raise SystemExit(f"{deployment}: {run['state']['message']}")
    return float(run["total_run_time"])


def _by_hand(frame, usecase: UseCase, trained: TrainedModel) -> Callable[[], None]:
    """Search, fit and score; return what makes the evidence."""
    from sklearn.compose import ColumnTransformer
    from sklearn.inspection import permutation_importance
    from sklearn.metrics import log_loss, roc_auc_score
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    train, holdout = split_holdout(frame, usecase)
    tables = []
    for table in (train, holdout):
        made = table.assign(weekday=table["scheduled_departure"].dt.weekday)
        made["carrier_x_origin"] = made["carrier"].astype(str) + made["origin"].astype(str)
        tables.append(made)
    target, truth = (target_values(table, usecase.contract) for table in tables)
    folds, plan = search_folds(train, usecase), planned_trials(usecase, seed=0)

    def pipeline(number: int, seed: int = 0) -> Pipeline:
        candidate, parameters = plan[number]
        given = {**candidate.parameters, **parameters}
        estimator = make_estimator(candidate.estimator, given, "classification", seed=seed)
        encoder = (
            OneHotEncoder(handle_unknown="ignore")
            if candidate.one_hot
            else OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
        )
        numbers = StandardScaler() if candidate.scale else "passthrough"
        return Pipeline(
            [
                ("columns", ColumnTransformer([("c", encoder, CATEGORIES), ("n", numbers, NUMBERS)])),
                ("model", estimator),
            ]
        )

    def fit(job: tuple[int, int]) -> float:
        number, fold = job
        rows, held = folds[fold].train, folds[fold].validation
        model = pipeline(number).fit(tables[0].iloc[rows], target[rows])
        scored = rows[:: max(1, len(rows) // 20_000)]
        log_loss(target[scored], model.predict_proba(tables[0].iloc[scored]))
        return log_loss(target[held], model.predict_proba(tables[0].iloc[held]))

    jobs = [
        (trial.number, fold) for fold in range(len(folds)) for trial in trained.trials if len(trial.validation) > fold
    ]
    with threadpool_limits(limits=1), ThreadPoolExecutor(2) as pool:
        list(pool.map(fit, jobs))
        best = next(trial.number for trial in trained.trials if dict(trial.parameters) == dict(trained.parameters))
        model = pipeline(best).fit(tables[0], target)
        found = log_loss(truth, model.predict_proba(tables[1]))
    assert np.isfinite(found)

    def sibling(seed: int) -> float:
        return log_loss(truth, pipeline(best, seed).fit(tables[0], target).predict_proba(tables[1]))

    def step(fraction: float) -> float:
        rows = folds[0].train[-int(len(folds[0].train) * fraction) :]
        smaller = pipeline(best).fit(tables[0].iloc[rows], target[rows])
        return log_loss(target[folds[0].validation], smaller.predict_proba(tables[0].iloc[folds[0].validation]))

    def evidence() -> None:
        with threadpool_limits(limits=1), ThreadPoolExecutor(2) as pool:
            made = [*pool.map(sibling, (1, 2)), *pool.map(step, (0.1, 0.3))]
            made.append(roc_auc_score(target, model.predict_proba(tables[0])[:, 1]))
            names = CATEGORIES + NUMBERS
            few = tables[1][names].iloc[:2_000]
            made.extend(
                permutation_importance(
                    model, few, truth[:2_000], scoring="neg_log_loss", n_repeats=3, random_state=0
                ).importances_mean
            )
        assert np.isfinite(made).all()

    return evidence
