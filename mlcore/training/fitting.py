"""Fitting trials on folds: one fit, and many side by side."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

import numpy as np

from mlcore.metrics import Metric, Output, metric_named
from mlcore.policy.training import Candidate, Weighting
from mlcore.reproducible import one_thread, sum_in_order
from mlcore.slices import Slice, cut_slices
from mlcore.training.outoffold import Questions
from mlcore.training.pipeline import build_pipeline, model_features
from mlcore.training.splits import Fold, search_folds, target_values
from mlcore.training.trials import Trial
from mlcore.training.weights import fit_weighted, row_weights, takes_weights

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

    from mlcore.training.preparation import Preparation
    from mlcore.usecase import UseCase

Array = np.ndarray[Any, Any]

#: Fitted rows are scored too, to see over-fitting; this many are enough.
TRAIN_SCORE_ROWS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Job:
    """One fit: a trial, its candidate with the parameters tried, and the number of the fold."""

    trial: Trial
    candidate: Candidate
    parameters: Mapping[str, Any]
    fold: int


@dataclass(frozen=True, slots=True, weakref_slot=True)
class _FoldFeatures:
    """The features of a fold's rows, shape (n_rows, n_features) each, and what is asked of the validation rows."""

    train: Array
    validation: Array
    questions: Questions | None
    _prepared: dict[tuple[bool, ...], tuple[Preparation, Any]] = field(default_factory=dict)

    def fit(self, model: Pipeline, target: Array, weights: Array | None) -> None:
        """Fit a preparation and an estimator; where all rows count alike, what others have prepared serves again."""
        if weights is not None:
            fit_weighted(model, self.train, target, weights)
            return
        step = model[0]
        kind = step.impute, step.one_hot, step.scale, step.sparse_fit
        if kind not in self._prepared:
            self._prepared[kind] = step, step.fit_transform(self.train)
        prepared, matrix = self._prepared[kind]
        model.steps[0] = model.steps[0][0], prepared
        model[-1].fit(matrix, target)


@dataclass(frozen=True, slots=True)
class Bench:
    """What every fit shares: the rows and their target, the folds, the use case and the seed.

    Unless `slices` is None it is kept how each fit did in them and over its fold's time, and how well it is calibrated.
    """

    frame: pd.DataFrame
    target: Array
    folds: tuple[Fold, ...]
    usecase: UseCase
    seed: int
    clock: Callable[[], float] = time.perf_counter
    slices: tuple[Slice, ...] | None = None
    #: those that a fit is at, and the newest: the search goes fold by fold, more need not be in memory
    _features: WeakValueDictionary[int, _FoldFeatures] = field(default_factory=WeakValueDictionary)
    _newest_features: list[_FoldFeatures] = field(default_factory=list)
    _making_features: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        usecase: UseCase,
        *,
        seed: int,
        clock: Callable[[], float] = time.perf_counter,
        held_out: pd.DataFrame | None = None,
    ) -> Bench:
        """Lay out the folds of the training rows `frame`.

        With the rows `held_out` evidence is kept, in the slices that the gate cuts of these.
        """
        target, folds = target_values(frame, usecase.contract), tuple(search_folds(frame, usecase))
        slices = None if held_out is None else cut_slices(held_out, usecase.contract, usecase.validation.slices)
        return cls(frame, target, folds, usecase, seed, clock, slices)

    def meet(self, job: Job, weighting: Weighting = "everything") -> Trial:
        """Fit the job's trial on its fold and return the trial with its scores added.

        The same job gives the same scores in any process, thread or order. Scores are not weighted.
        """
        began, trial, fold = self.clock(), job.trial, self.folds[job.fold]
        model = build_pipeline(self.usecase, job.candidate, job.parameters, self.seed)[1:]
        target, metric = self.target, search_metric(self.usecase)
        features = self._features_of(job.fold)
        scored = score_sample(len(fold.train))
        with _warnings() as told:
            try:
                weights = training_weights(self.frame, self.usecase, weighting, fold.train)
                if not takes_weights(model, weights):
                    raise ValueError("it takes no weights")
                features.fit(model, target[fold.train], weights)
                train = metric.value(target[fold.train][scored], Output.of(model, features.train[scored]))
                output = Output.of(model, features.validation)
                validation = metric.value(target[fold.validation], output)
            except (ValueError, TypeError, ArithmeticError, np.linalg.LinAlgError) as error:
                return replace(trial, state="failed", note=str(error).strip().splitlines()[0][:200])
        if not np.isfinite(validation):
            return replace(trial, state="failed", note=f"{metric.name} is not defined on a validation fold")
        asked = features.questions
        gate = metric_named(self.usecase.gate_metric, self.usecase.contract.task)
        return replace(
            trial,
            evidence=(*trial.evidence, asked.ask(target[fold.validation], output, gate)) if asked else (),
            validation=(*trial.validation, validation),
            train=(*trial.train, train),
            seconds=trial.seconds + self.clock() - began,
            note=trial.note or (told[0].splitlines()[0][:200] if told else ""),
        )

    def _features_of(self, number: int) -> _FoldFeatures:
        """Return the features of a fold, made once for all trials that meet it."""
        with self._making_features:
            found = self._features.get(number)
            if found is None:
                fold = self.folds[number]
                train, validation = (self.frame.iloc[rows] for rows in (fold.train, fold.validation))
                features = model_features(self.usecase).fit(train)
                fitted_on, held_out = (features.transform(part, self.frame) for part in (train, validation))
                questions = None
                if self.slices is not None:
                    questions = Questions.of(validation, self.usecase.contract, self.slices)
                found = _FoldFeatures(fitted_on, held_out, questions)
                self._features[number] = found
                self._newest_features[:] = [found]
            return found


def score_sample(rows: int) -> Array:
    """Return which of the rows that were fitted on are scored: evenly spread, up to twice `TRAIN_SCORE_ROWS`.

    Positions copy these rows to one place; trees take five times as long for rows that a slice leaves apart.
    """
    return np.arange(0, rows, max(1, rows // TRAIN_SCORE_ROWS))


def training_weights(
    frame: pd.DataFrame, usecase: UseCase, weighting: Weighting, rows: Array | slice = slice(None)
) -> Array | None:
    """Return how much each of `rows` counts; None where all count alike, or nothing tells when they were."""
    time = usecase.contract.time
    return None if time is None else row_weights(weighting, frame[time.name].iloc[rows], usecase.training.rows)


#: Returns the next fit; None while none can begin before another one has ended.
NextJob = Callable[[], Job | None]
#: Asks for a job whenever it can begin another, and yields their trials as they are done.
Runner = Callable[[NextJob, Bench], Iterator[Trial]]


def in_threads(next_job: NextJob, bench: Bench) -> Iterator[Trial]:
    """Meet the jobs in as many threads as this process may use cores; so many fits are in memory at once, no more."""
    with fitting_threads() as pool:
        yield from as_done(next_job, lambda job: pool.submit(bench.meet, job), len(os.sched_getaffinity(0)))


def as_done(next_job: NextJob, submit: Callable[[Job], Future[Trial]], most: int) -> Iterator[Trial]:
    """Submit a job whenever fewer than `most` are running and one is due; yield the trials as they are done."""
    running: set[Future[Trial]] = set()
    while True:
        while len(running) < most and (job := next_job()) is not None:
            running.add(submit(job))
        if not running:
            return
        done, running = wait(running, return_when=FIRST_COMPLETED)
        yield from (future.result() for future in done)


@contextmanager
def fitting_threads() -> Iterator[ThreadPoolExecutor]:
    """Give as many threads as this process may use cores, to fit in as `fitting_here` says."""
    with fitting_here(), ThreadPoolExecutor(len(os.sched_getaffinity(0)), "fit", sum_in_order) as pool:
        yield pool


@contextmanager
def fitting_here() -> Iterator[None]:
    """Sum in one thread, and tell each fit its own warnings, while fits run in this process."""
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = _hear
        yield


def search_metric(usecase: UseCase) -> Metric:
    """Return the metric that candidates are compared by."""
    return metric_named(usecase.training.search.metric, usecase.contract.task)


#: Warnings of each thread that is fitting.
_HEARD: dict[int, list[str]] = {}


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect the warnings of this thread; `warnings.catch_warnings` alone mixes up those of all threads."""
    heard: list[str] = []
    _HEARD[threading.get_ident()] = heard
    try:
        yield heard
    finally:
        del _HEARD[threading.get_ident()]


def _hear(message: Warning | str, *_: Any, **__: Any) -> None:
    if threading.get_ident() in _HEARD:
        _HEARD[threading.get_ident()].append(str(message))
