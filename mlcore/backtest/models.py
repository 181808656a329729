"""Models by what they were trained on: strategies and settings that come to the same moment share one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from mmap import ACCESS_READ, mmap
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from mlcore.backtest.journal import SavedModel, save_trained
from mlcore.canonical import digest_value
from mlcore.drift import Baseline, model_baseline
from mlcore.metrics import Metric, metric_named
from mlcore.performance import Validated
from mlcore.validation.subject import FittedModel

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.backtest.journal import Journal
    from mlcore.backtest.trainers import Trainers
    from mlcore.training.run import TrainedModel
    from mlcore.usecase import UseCase

#: Sections of a use case that a model depends on; the others may differ between settings that share it.
_LEARNED_FROM: Final = ("contract", "training", "serving")


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Trained:
    """A model as the loop knows it.

    Parameters
    ----------
    pipeline : Pipeline
    baseline : Baseline
        What drift is measured against.
    reference : float
        The metric of monitoring on the rows that were held out.
    key : str, default=""
        The same for models of the same recipe and rows.
    known_until : datetime, optional
        It has seen no row of this time or later.
    judged : FittedModel, optional
        As the gate takes it.
    dummy : float, default=nan
        The best constant answer's metric on the rows that `reference` is of.
    """

    pipeline: Any
    baseline: Baseline
    reference: float
    key: str = ""
    known_until: datetime | None = None
    judged: FittedModel | None = None
    dummy: float = math.nan


class Models:
    """Trains models of the past, each once.

    Parameters
    ----------
    frame : DataFrame
        Contract columns.
    usecase : UseCase
    seed : int
    journal : Journal, optional
        Keeps them on disk, for a backtest that was killed to go on from.
    search_once : bool, default=False
        Only the first model is searched for; later ones are its candidate with its parameters, fitted again. Where
        that is a constant answer, later ones are searched for, too.
    trainers : Trainers, optional
        Train side by side what is foreseen, once training has shown to take its time.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        usecase: UseCase,
        seed: int,
        *,
        journal: Journal | None = None,
        search_once: bool = False,
        trainers: Trainers | None = None,
    ) -> None:
        self._frame, self._usecase, self._seed = frame, usecase, seed
        self._trainers = trainers
        self._ahead: dict[str, Future[SavedModel | None]] = {}
        self._journal, self._search_once = journal, search_once
        self._recipe: UseCase | None = None
        #: Only what a strategy has in force stays in memory; the journal has the others.
        self._known: WeakValueDictionary[str, Trained] = WeakValueDictionary()
        self.trained = 0
        self._seconds = 0.0

    def at(self, moment: datetime) -> Trained:
        """Return the model trained on everything before `moment`, within the policy's training window."""
        assert self._usecase.contract.time is not None
        times = self._frame[self._usecase.contract.time.name]
        return self.of(self._usecase, moment, (), lambda: self._frame[times < moment])

    def of(
        self, usecase: UseCase, moment: datetime, without: tuple[datetime, ...], rows: Callable[[], pd.DataFrame]
    ) -> Trained:
        """Return the model of the rows before `moment`.

        Parameters
        ----------
        usecase : UseCase
            With the setting's own policy.
        moment : datetime
        without : tuple of datetime
            Windows whose rows are left out.
        rows : callable
            Returns the rows, if they are needed.

        Raises
        ------
        TrainingError
            If they are too few, or have one class only.
        """
        key = self._key(usecase, moment, without)
        found = self._known.get(key)
        if found is None:
            found = self._stored(key, usecase, moment) or self._new(key, usecase, moment, without, rows)
            self._known[key] = found
        if self._search_once and self._recipe is None:
            self._recipe = self._fixed(key, usecase)
        return found

    def foresee(self, usecase: UseCase, moments: Sequence[datetime], without: tuple[datetime, ...], left: int) -> None:
        """Have the models of these moments trained meanwhile, which are likely to be asked for, in this order.

        Parameters
        ----------
        usecase : UseCase
        moments : sequence of datetime
        without : tuple of datetime
            As in `of`.
        left : int
            How many models will be asked for in all: for a few that are trained in no time nothing is started.
        """
        if self._trainers is None or not self._trainers.worth(left * self._seconds):
            return
        wanted = {self._key(usecase, moment, without): moment for moment in moments}
        for key in [key for key, future in self._ahead.items() if key not in wanted and future.cancel()]:
            del self._ahead[key]
        for key, moment in wanted.items():
            if key not in self._ahead and key not in self._known and not self._is_kept(key):
                self._ahead[key] = self._trainers.train(self._recipe_for(usecase), moment, without)

    def _key(self, usecase: UseCase, moment: datetime, without: tuple[datetime, ...]) -> str:
        recipe = self._recipe_for(usecase)
        dump = recipe.model_dump(mode="json", include={*_LEARNED_FROM, "validation", "retraining", "monitoring"})
        facts = {name: dump[name] for name in _LEARNED_FROM}
        facts |= {
            "gate": dump["validation"]["metric"],
            "judged": judged_by(usecase).name,
            "window": dump["retraining"]["training_window"],
            "drift": dump["monitoring"]["drift"],
            "seed": self._seed,
            "moment": moment.astimezone(UTC).isoformat(),
            "without": [start.isoformat() for start in without],
        }
        return digest_value(facts).removeprefix("sha256:")[:32]

    def _recipe_for(self, usecase: UseCase) -> UseCase:
        if self._recipe is None:
            return usecase
        return usecase.model_copy(update={"training": self._recipe.training})

    def _fixed(self, key: str, usecase: UseCase) -> UseCase:
        """Return the use case with the winner of the first search as its only candidate."""
        assert self._journal is not None
        name, parameters = self._journal.winner(key)
        candidate = next((item for item in usecase.training.candidates if item.name == name), None)
        if candidate is None:
            return usecase
        fixed = candidate.model_copy(update={"parameters": {**candidate.parameters, **parameters}, "search": {}})
        search = usecase.training.search.model_copy(update={"trials": 1, "folds": 1})
        training = usecase.training.model_copy(update={"candidates": (fixed,), "search": search})
        return usecase.model_copy(update={"training": training})

    def _stored(self, key: str, usecase: UseCase, moment: datetime) -> Trained | None:
        loaded = self._journal.model(key) if self._journal is not None else None
        if loaded is None:
            return None
        from mlcore.modelstore import load_reference

        baseline = Baseline.from_bytes(loaded.baseline, load_reference(loaded))
        validated = Validated.of(loaded.metadata.metrics, judged_by(usecase).name)
        judged = FittedModel(loaded.pipeline, loaded.dummy, loaded.size_bytes, loaded.seed_deviation, loaded.own_scores)
        return Trained(loaded.pipeline, baseline, validated.value, key, moment, judged, validated.dummy)

    def _is_kept(self, key: str) -> bool:
        return self._journal is not None and self._journal.get(f"model:{key}") is not None

    def _new(
        self,
        key: str,
        usecase: UseCase,
        moment: datetime,
        without: tuple[datetime, ...],
        rows: Callable[[], pd.DataFrame],
    ) -> Trained:
        recipe, ahead = self._recipe_for(usecase), self._ahead.pop(key, None)
        if ahead is None and (self._trainers is None or not self._trainers.begun):
            return self._train(key, recipe, moment, rows())
        assert self._journal is not None and self._trainers is not None
        saved = (ahead or self._trainers.train(recipe, moment, without)).result()
        if saved is not None:
            self._journal.keep_model(key, saved)
            self.trained += 1
        return self._stored(key, usecase, moment) or self._train(key, recipe, moment, rows())

    def _train(self, key: str, usecase: UseCase, moment: datetime, past: pd.DataFrame) -> Trained:
        began = time.perf_counter()
        past = recent(past, usecase, moment)
        trained, baseline = learn(past, usecase, self._seed)
        size = 0
        if self._journal is not None:
            saved = save_trained(trained, usecase, past, baseline, self._journal.folder)
            self._journal.keep_model(key, saved)
            size = saved.size_bytes
        self.trained += 1
        self._seconds = time.perf_counter() - began
        validated = Validated.of(trained.scores.to_json(), judged_by(usecase).name)
        return Trained(
            trained.pipeline,
            _mapped(baseline),
            validated.value,
            key,
            moment,
            _judged(trained, size),
            validated.dummy,
        )


def learn(past: pd.DataFrame, usecase: UseCase, seed: int) -> tuple[TrainedModel, Baseline]:
    """Train a model as production does, less what is only told of it, and make its baseline."""
    from mlcore.training.run import train_model

    trained = train_model(past, usecase, seed=seed, evidence=False)
    return trained, model_baseline(trained.train, trained.holdout, trained.output, usecase, past)


def recent(past: pd.DataFrame, usecase: UseCase, moment: datetime) -> pd.DataFrame:
    """Return the rows within the policy's training window before `moment`."""
    window, time = usecase.retraining.training_window, usecase.contract.time
    return past if window is None or time is None else past[past[time.name] >= moment - window]


def judged_by(usecase: UseCase) -> Metric:
    """Return the metric that windows are judged by."""
    return metric_named(usecase.window_metric, usecase.contract.task)


def _judged(trained: TrainedModel, size_bytes: int) -> FittedModel:
    scores = trained.scores
    return FittedModel(trained.pipeline, trained.dummy, size_bytes, scores.seed_deviation, scores.holdout)


def _mapped(baseline: Baseline) -> Baseline:
    """Return the baseline as monitoring has it, its sorted values in a file: those of all models would fill memory."""
    reference = baseline.reference_bytes()
    if not reference:
        return baseline
    with TemporaryFile() as file:
        file.write(reference)
        file.flush()
        return Baseline.from_bytes(baseline.to_bytes(), mmap(file.fileno(), 0, access=ACCESS_READ))
