"""Does the gate know what is noise? False promotions, power, and slices, on two real data sets.

A/A: challenger and champion are the same recipe with other seeds, judged on held-out weeks that neither has seen, in
trials with other weeks each. Power: the challenger of an A/A pair is made truly better by a known number of standard
errors, of rows (by whole days) and seeds together: its answers are drawn towards the truth. Slices: its answers are
drawn away from the truth on one slice only. Each share stands with its 95 % interval (Clopper & Pearson, 1934).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.known import Known
from mlcore.metrics import Metric, Output, metric_named
from mlcore.training.pipeline import build_pipeline
from mlcore.training.run import SIBLINGS
from mlcore.training.splits import target_values, usable
from mlcore.usecase import UseCase, load_usecase
from mlcore.validation import evaluate

ROOT = Path(__file__).parents[1]
TRIALS = 200
EFFECTS = (0.0, 1.0, 1.5, 2.0, 2.5, 3.0)
CONFIDENCES = (0.85, 0.95)
HARMS = (0.0, 0.1, 0.2, 0.4)
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Trial:
    """Held-out rows, the truth, and each model's answers with the deviation of its score over seeds."""

    held: pd.DataFrame
    truth: Array
    challenger: tuple[Output, float]
    champion: tuple[Output, float]


@dataclass(frozen=True)
class Study:
    """A data set, its recipe, and how long a trial's training and held-out rows are."""

    usecase: UseCase
    frame: pd.DataFrame
    slice_column: str
    train_days: int
    holdout_days: int
    most_rows: int
    recipe: Callable[[int], dict[str, Any]]

    @property
    def metric(self) -> Metric:
        """The gate's metric."""
        return metric_named(self.usecase.gate_metric, self.usecase.contract.task)

    def trials(self, count: int) -> Iterator[Trial]:
        """Yield trials of two models that differ by their seed, each with what its seed is worth, as training does."""
        contract, rng = self.usecase.contract, np.random.default_rng(0)
        at = contract.time.name
        first, last = self.frame[at].min(), self.frame[at].max()
        latest = (last - first).days - self.train_days - self.holdout_days
        for number in range(count):
            begin = first + pd.Timedelta(days=float(rng.uniform(0, latest)))
            middle = begin + pd.Timedelta(days=self.train_days)
            train = self.frame[(self.frame[at] >= begin) & (self.frame[at] < middle)]
            held = self.frame[
                (self.frame[at] >= middle) & (self.frame[at] < middle + pd.Timedelta(days=self.holdout_days))
            ]
            train = usable(train.iloc[:: max(1, len(train) // self.most_rows)], contract)
            held = usable(held, contract)
            truth, models = target_values(held, contract), []
            for seed in (6 * number, 6 * number + 3):
                outputs = [Output.of(self._fit(train, seed + sibling), held) for sibling in range(SIBLINGS + 1)]
                deviation = float(np.std([self.metric.value(truth, output) for output in outputs], ddof=1))
                models.append((outputs[0], deviation))
            yield Trial(held, truth, *models)

    def _fit(self, train: pd.DataFrame, seed: int) -> Any:
        candidate = self.usecase.training.candidates[0].model_copy(update=self.recipe(seed))
        return build_pipeline(self.usecase, candidate, {}, seed, threads=2).fit(
            train, target_values(train, self.usecase.contract)
        )


def studies() -> list[Study]:
    """Return rentals by the hour (regression) and flights (classification)."""
    bikes, flights = (load_usecase(ROOT / "usecases" / name) for name in ("bikeshare", "flights"))
    from mlcore.data.ingest import read_source

    tables = [
        read_source(str(ROOT / "usecases" / case.name / "data" / name), case.contract).to_pandas()
        for case, name in ((bikes, "hourly.csv"), (flights, "flights.parquet"))
    ]
    forest = {"n_estimators": 25, "min_samples_leaf": 5, "max_samples": 0.5}
    return [
        Study(
            bikes,
            tables[0],
            "workingday",
            60,
            30,
            1_500,
            lambda seed: {
                "estimator": "sklearn.ensemble.RandomForestRegressor",
                "parameters": {**forest, "random_state": seed},
            },
        ),
        Study(
            flights,
            tables[1],
            "origin",
            28,
            28,
            6_000,
            lambda seed: {
                "estimator": "sklearn.ensemble.RandomForestClassifier",
                "parameters": {**forest, "max_depth": 10, "random_state": seed},
            },
        ),
    ]


def drawn_to_truth(output: Output, truth: Array, share: float | Array) -> Output:
    """Return the answers moved towards the truth by `share`; negative: away from it."""
    share = np.broadcast_to(np.asarray(share, dtype=float), truth.shape)
    if output.probabilities is None:
        return Output(output.values + share * (truth - output.values))
    ideal = np.zeros_like(output.probabilities)
    ideal[np.arange(len(truth)), output.class_index(truth)] = 1
    moved = np.clip(output.probabilities + share[:, None] * (ideal - output.probabilities), 1e-6, None)
    moved /= moved.sum(axis=1, keepdims=True)
    return Output(output.classes[moved.argmax(axis=1)], moved, output.classes)


def better_by(output: Output, truth: Array, metric: Metric, gain: float, rows: Array | None = None) -> Output:
    """Return answers whose mean loss over `rows` is lower by `gain` (higher where it is negative), by bisection."""
    if gain == 0:
        return output
    where = np.ones(len(truth), dtype=bool) if rows is None else rows
    before = metric.row_loss(truth, output)[where].mean()
    low, high = (0.0, 1.0) if gain > 0 else (-3.0, 0.0)
    for _ in range(40):
        middle = (low + high) / 2
        moved = drawn_to_truth(output, truth, np.where(where, middle, 0.0))
        low, high = (middle, high) if before - metric.row_loss(truth, moved)[where].mean() < gain else (low, middle)
    return moved


def judge(study: Study, trial: Trial, challenger: Output, **policy: Any) -> Any:
    """Return the gate's report on known answers, without the guards that ask a model again."""
    validation = study.usecase.validation.model_copy(
        update={"limits": (), "slices": (), "guard_metrics": (), "resamples": 500, **policy}
    )
    case = study.usecase.model_copy(update={"validation": validation})
    models = Known(challenger, trial.challenger[1]), Known(*trial.champion)
    return evaluate(*models, trial.held, case, rng=np.random.default_rng(len(trial.held)))


def standard_error(study: Study, trial: Trial) -> float:
    """Return the standard error of the difference in loss: of the rows, by whole days, and of both seeds."""
    losses = [study.metric.row_loss(trial.truth, output) for output, _ in (trial.challenger, trial.champion)]
    difference = losses[0] - losses[1]
    day = trial.held[study.usecase.contract.time.name].dt.floor("D").factorize()[0]
    sums = np.bincount(day, weights=difference - difference.mean())
    days = len(sums)
    of_rows = np.sqrt((sums**2).sum() * days / (days - 1)) / len(difference)
    return float(np.hypot(of_rows, np.hypot(trial.challenger[1], trial.champion[1])))


def share(count: int, of: int) -> str:
    """Return a share with its 95 % interval (Clopper & Pearson, 1934)."""
    from scipy.stats import beta

    low = beta.ppf(0.025, count, of - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, of - count) if count < of else 1.0
    return f"{count / of:.1%} ({low:.1%} to {high:.1%})"


def run() -> None:
    """Print the report in Markdown."""
    from mlcore.policy.validation import SliceRule

    count = int(sys.argv[2]) if len(sys.argv) > 2 else TRIALS
    print(f"# What the gate promotes, {count} trials a data set\n\n`python -m benchmarks validity`\n")
    print(__doc__.split("\n", 2)[2])
    for study in studies():
        began = time.perf_counter()
        verdicts: dict[tuple[float, float], list[str]] = {(c, e): [] for c in CONFIDENCES for e in EFFECTS}
        refused: dict[float, int] = dict.fromkeys(HARMS, 0)
        rule = SliceRule(column=study.slice_column, minimum_rows=50, margin_fraction=0.05)
        rows = []
        for trial in study.trials(count):
            rows.append(len(trial.held))
            answers, error = trial.challenger[0], standard_error(study, trial)
            for effect in EFFECTS:
                challenger = better_by(answers, trial.truth, study.metric, effect * error)
                for confidence in CONFIDENCES:
                    verdicts[confidence, effect].append(judge(study, trial, challenger, confidence=confidence).verdict)
            values = trial.held[study.slice_column].astype(str).to_numpy()
            chosen = values == min(values)
            loss = study.metric.row_loss(trial.truth, answers)[chosen].mean()
            for harm in HARMS:
                harmed = better_by(answers, trial.truth, study.metric, -harm * loss, chosen)
                report = judge(study, trial, harmed, slices=(rule,))
                refused[harm] += any(guard.kind == "slice" for guard in report.failures)
        print(f"\n## {study.usecase.name}: {study.metric.name}\n")
        print(f"{int(np.mean(rows)):,} held-out rows in {study.holdout_days} days.\n")
        heads = [f"promoted at {c:.0%}" for c in CONFIDENCES] + [f"rejected at {c:.0%}" for c in CONFIDENCES]
        print(f"| truly better by | {' | '.join(heads)} |\n|---{'|---' * len(heads)}|")
        for effect in EFFECTS:
            told = "nothing (A/A)" if effect == 0 else f"{effect:g} standard errors"
            cells = [share(verdicts[c, effect].count(v), count) for v in ("promote", "reject") for c in CONFIDENCES]
            print(f"| {told} | {' | '.join(cells)} |")
        print(f"\n| worse on one value of {study.slice_column} by | refused for a slice |\n|---|---|")
        for harm, found in refused.items():
            print(f"| {harm:.0%} | {share(found, count)} |")
        print(f"\n{time.perf_counter() - began:.0f} s", flush=True)
