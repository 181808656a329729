"""The replay: windows in the order of time, every strategy side by side, models and looks shared between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.backtest.journal import Journal
from mlcore.backtest.look import Looks, Seen, Serving, answers
from mlcore.backtest.models import Models, Trained, judged_by
from mlcore.backtest.past import Past, cut, words
from mlcore.backtest.result import BacktestResult, WindowResult, summarise
from mlcore.backtest.trainers import Trainers
from mlcore.canonical import digest_value
from mlcore.decision import HARM, History, WindowSubject, decide
from mlcore.diagnosis import NO_REFERENCE
from mlcore.errors import TrainingError
from mlcore.performance import REMEMBERED, Validated, possible_before
from mlcore.reproducible import one_thread

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.policy.monitoring import Period
    from mlcore.usecase import UseCase
    from mlcore.validation.report import GuardResult

#: ``static`` never retrains, ``periodic`` after every n-th window, ``any_drift`` whenever anything drifted, ``always``
#: after every window, ``oracle`` when the coming window's labels, which nobody has, say that it pays.
STRATEGIES: Final = ("static", "periodic", "any_drift", "always", "oracle", "policy")
#: What these do does not depend on drift: of windows that nobody else sees through their models whole rows are not
#: compared, which takes most of the time.
_BLIND: Final = ("static", "periodic", "always", "oracle")
#: Windows whose models are trained ahead: enough to keep the cores busy; a fault found in one is the others' waste.
_AHEAD: Final = 4
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """How the past is replayed.

    Parameters
    ----------
    period : {"hour", "day", "week", "month"}, optional
        Windows of this length instead of the cadence's.
    initial_windows : int, optional
        Windows that the first model is trained on; by default a fifth of them, at least two.
    every_windows : int, default=4
        How often ``periodic`` retrains.
    gate : bool, default=True
        Whether a new model must pass the gate before it answers; the oracle's never does, it knows better.
    search : {"once", "always"}, default="once"
        ``once``: only the first model is searched for; later ones are its candidate with its parameters, fitted again.
    """

    period: Period | None = None
    initial_windows: int | None = None
    every_windows: int = 4
    gate: bool = True
    search: str = "once"

    def __post_init__(self) -> None:
        if self.every_windows < 1 or self.search not in ("once", "always"):
            raise TrainingError(
                "not a way to replay",
                expected="at least 1 window between periodic retrainings, and search once or always",
                got=f"{self.every_windows} windows, search {self.search}",
            )


@dataclass(frozen=True, slots=True)
class _State:
    """Where one strategy stands."""

    name: str
    strategy: str
    usecase: UseCase
    serving: tuple[Serving, ...]
    causes: tuple[str, ...] = ()
    retrainings: tuple[datetime, ...] = ()
    faulty: tuple[datetime, ...] = ()
    sound: datetime | None = None
    windows: int = 0


def replay(
    frame: pd.DataFrame,
    usecase: UseCase,
    *,
    seed: int,
    options: Options = Options(),
    settings: Mapping[str, UseCase] | None = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
    processes: int | None = None,
) -> BacktestResult:
    """Replay `frame` window by window through the very code that runs in production.

    A window is judged when its labels are known, `label_wait` after its end; a model trained then has seen the rows
    before the window's end, without those of windows that were diagnosed as faulty, and answers from that moment on.
    It replaces the old one if the gate promotes it. Every approval is taken to be granted at once, and training to
    take no time.

    Parameters
    ----------
    frame : DataFrame
        Contract columns, in any order.
    usecase : UseCase
    seed : int
    options : Options
    settings : mapping of name to UseCase, optional
        Further policies to replay, as `settings_of` returns them.
    journal : Journal, optional
        For a replay that was killed to go on from.
    progress : callable, optional
        Is told what the policy made of each window.
    processes : int, optional
        Processes that train ahead; by default one a core, started only where they save time. They change no result.

    Returns
    -------
    BacktestResult

    Raises
    ------
    TrainingError
        If there is no time column, no cadence with performance, too little past, or the first model cannot be trained.
    """
    past = cut(frame, usecase, period=options.period, initial=options.initial_windows)
    if journal is None:
        with TemporaryDirectory(prefix="backtest-") as folder:
            kept = Journal(Path(folder))
            return replay(
                frame,
                usecase,
                seed=seed,
                options=options,
                settings=settings,
                journal=kept,
                progress=progress,
                processes=processes,
            )
    trainers = Trainers(past, seed, journal.folder, processes)
    try:
        with one_thread():
            return _replayed(
                _Loop(past, usecase, seed, options, journal, trainers), settings or {}, len(frame), progress
            )
    finally:
        trainers.close()


def _replayed(loop: _Loop, settings: Mapping[str, UseCase], rows: int, progress: Progress | None) -> BacktestResult:
    past, usecase = loop.past, loop.usecase
    states = [loop.begin(name, name, usecase) for name in STRATEGIES]
    states += [loop.begin(name, "policy", other) for name, other in settings.items()]
    found: list[WindowResult] = []
    for done, start in enumerate(past.replayed, 1):
        loop.foresee(states, done)
        results = {}
        for number, state in sorted(enumerate(states), key=lambda item: item[1].strategy in _BLIND):
            states[number], results[number] = loop.step(state, start)
        found += [results[number] for number in range(len(states))]
        if progress is not None:
            mine = next(result for result in results.values() if result.strategy == "policy")
            told = f"{start:%Y-%m-%d %H:%M} {mine.error:.4g} {mine.cause}: {mine.action} {mine.verdict}"
            progress(f"window {done} of {len(past.replayed)}: {told}".rstrip())
    metric = judged_by(usecase)
    return BacktestResult(
        usecase=usecase.name,
        metric=metric.name,
        windows=tuple(found),
        summaries=tuple(summarise(state.name, found) for state in states),
        higher_is_better=metric.higher_is_better,
        facts=tuple(_facts(past, loop.options, rows)),
        settings=tuple(settings),
    )


class _Loop:
    """What all strategies share: the past, the models, the looks and the gate."""

    def __init__(
        self, past: Past, usecase: UseCase, seed: int, options: Options, journal: Journal, trainers: Trainers
    ) -> None:
        self.past, self.usecase, self.seed, self.options, self.journal = past, usecase, seed, options, journal
        once = options.search == "once"
        self.models = Models(past.frame, usecase, seed, journal=journal, search_once=once, trainers=trainers)
        self.looks = Looks(past, journal)
        self._known_leaks: dict[tuple[str, str], tuple[GuardResult, ...]] = {}

    def begin(self, name: str, strategy: str, usecase: UseCase) -> _State:
        """Return a strategy with the first model."""
        first = self.past.first_cutoff
        model = self.models.of(usecase, first, (), lambda: self.past.known(first))
        return _State(name, strategy, usecase, (Serving(first + self.past.label_delay, model),))

    def foresee(self, states: Sequence[_State], window: int) -> None:
        """Have the models trained that ``always`` asks for after this window and the next ones, if they are sound."""
        always = next(state for state in states if state.strategy == "always")
        coming = self.past.replayed[window - 1 : -1]
        moments = [self.past.end(start) for start in coming[:_AHEAD]]
        self.models.foresee(always.usecase, moments, always.faulty, len(coming))

    def step(self, state: _State, start: datetime) -> tuple[_State, WindowResult]:
        """Judge one window, act, and return where the strategy stands then."""
        past = self.past
        end, now = past.end(start), past.judged_at(start)
        serving = _during(state.serving, start, end)
        seen = self.looks.at(start, serving, state.usecase, state.sound, blind=state.strategy in _BLIND)
        cause = seen.diagnosis.cause
        if cause not in NO_REFERENCE:
            state = replace(state, sound=start)
        if cause == "data_fault":
            state = replace(state, faulty=(*state.faulty, start))
        state = replace(state, windows=state.windows + 1)
        by_champion = serving[-1] is state.serving[-1]
        alarm, action, sentence = self._wanted(state, seen, start, by_champion=by_champion)
        verdict = ""
        if by_champion:
            state = replace(state, causes=(cause, *state.causes))
        if action == "retrain" and start != past.replayed[-1]:
            state, verdict, told = self._retrain(state, now, end)
            sentence = f"{sentence} {told}"
        rows = len(past.rows(start))
        result = WindowResult(
            state.name, start, rows, seen.error, cause, action, seen.labelled, alarm, seen.harmed, verdict, sentence
        )
        return state, result

    def _wanted(self, state: _State, seen: Seen, start: datetime, *, by_champion: bool) -> tuple[bool, str, str]:
        """Return whether the strategy wants a retraining, what it does, and why.

        `by_champion`: whether the newest model gave the window's last answers.
        """
        end, champion = self.past.end(start), state.serving[-1].model
        if state.strategy == "policy":
            assert champion.known_until is not None
            known = self.past.labelled(self.past.starts[0], champion.known_until)
            new = self.past.labelled(champion.known_until, end)
            subject = WindowSubject(seen.diagnosis, new, known, by_champion)
            history = History(has_champion=True, earlier_causes=state.causes, retrainings=state.retrainings)
            decision = decide(subject, history, state.usecase.retraining, self.past.judged_at(start))
            alarm = seen.diagnosis.cause in HARM or decision.action == "retrain"
            return alarm, decision.action, decision.sentence
        wants = {
            "static": False,
            "periodic": state.windows % self.options.every_windows == 0,
            "any_drift": seen.moved,
            "always": True,
        }.get(state.strategy)
        if wants is None:
            wants = self._pays(state, start)
        return wants, "retrain" if wants else "nothing", seen.diagnosis.sentence

    def _retrain(self, state: _State, now: datetime, cutoff: datetime) -> tuple[_State, str, str]:
        """Train, ask the gate, and promote or not."""
        state = replace(state, retrainings=(*state.retrainings, now))
        try:
            model = self._challenger(state, cutoff)
        except TrainingError as error:
            return state, "failed", f"No model could be trained: {error}"
        verdict, told = ("promote", "") if self._ungated(state) else self._judge(state, model, cutoff)
        if verdict == "promote":
            before = possible_before(
                judged_by(state.usecase),
                Validated(model.reference, model.dummy),
                [Validated(item.model.reference, item.model.dummy) for item in state.serving[-REMEMBERED:]],
            )
            state = replace(state, serving=(*state.serving, Serving(now, model, before)), causes=())
        return state, verdict, told

    def _challenger(self, state: _State, cutoff: datetime) -> Trained:
        return self.models.of(
            state.usecase, cutoff, state.faulty, lambda: self.past.known(cutoff, without=state.faulty)
        )

    def _ungated(self, state: _State) -> bool:
        return state.strategy == "oracle" or not self.options.gate

    def _judge(self, state: _State, challenger: Trained, cutoff: datetime) -> tuple[str, str]:
        """Return the gate's verdict and sentence about `challenger`, on the rows that were held out for it."""
        from mlcore.backtest.models import recent
        from mlcore.training.splits import split_holdout
        from mlcore.validation import evaluate

        champion, usecase = state.serving[-1].model, state.usecase
        if champion.key == challenger.key:
            return "hold", "It is the model that answers already."
        facts = [champion.key, challenger.key, usecase.model_dump(mode="json", include={"validation"})]
        key = f"gate:{digest_value(facts)}"
        known: Any = self.journal.get(key)
        if known is None:
            assert challenger.judged is not None
            past = recent(self.past.known(cutoff, without=state.faulty), usecase, cutoff)
            train, holdout = split_holdout(past, usecase)
            rng = np.random.default_rng(self.seed)
            leaks = self._leaks(challenger, usecase, train, holdout)
            report = evaluate(
                challenger.judged, champion.judged, holdout, usecase, rng=rng, train=train, known_leaks=leaks
            )
            known = [report.verdict, report.sentence]
            self.journal.keep(key, known)
        return known[0], known[1]

    def _leaks(
        self, challenger: Trained, usecase: UseCase, train: pd.DataFrame, holdout: pd.DataFrame
    ) -> tuple[GuardResult, ...]:
        """Return what the rows of a challenger know, looked for once, whichever champion it is compared with."""
        from mlcore.validation.leaks import leaks_of_rows

        known = challenger.key, digest_value(usecase.validation.leaks.model_dump(mode="json"))
        if known not in self._known_leaks:
            self._known_leaks[known] = leaks_of_rows(usecase, train, holdout)
        return self._known_leaks[known]

    def _pays(self, state: _State, start: datetime) -> bool:
        """Whether a model trained now has a lower error, by more than counts as harm, until the next one could be."""
        past = self.past
        later = [other for other in past.replayed if other > start]
        if not later:
            return False
        now, until = past.judged_at(start), past.judged_at(later[0])
        rows = past.between(now, until)
        rows = rows[rows[past.target].notna()].reset_index(drop=True)
        if rows.empty:
            return False
        try:
            model = self._challenger(state, past.end(start))
        except TrainingError:
            return False
        champion, metric = state.serving[-1].model, judged_by(state.usecase)
        old, new = (self._loss(rows, item, state.usecase) for item in (champion, model))
        limit = state.usecase.monitoring.performance.maximum_worsening_fraction
        return old - new > limit * abs(metric.loss(champion.reference))

    def _loss(self, rows: pd.DataFrame, model: Trained, usecase: UseCase) -> float:
        from mlcore.training.splits import target_values

        metric = judged_by(usecase)
        output = answers(rows, (Serving(self.past.first_cutoff, model),), self.past)
        return metric.loss(metric.value(target_values(rows, usecase.contract), output))


def _during(serving: tuple[Serving, ...], start: datetime, end: datetime) -> tuple[Serving, ...]:
    """Return the models that answered in ``[start, end)``, by time."""
    begun = [item for item in serving if item.since < end]
    before = [item for item in begun if item.since <= start]
    return (*before[-1:], *(item for item in begun if item.since > start))


def _facts(past: Past, options: Options, rows: int) -> Iterator[tuple[str, str]]:
    yield (
        "rows",
        f"{len(past.frame):,}" + (f" ({rows - len(past.frame):,} without a time left out)" * (rows > len(past.frame))),
    )
    yield "windows", f"{len(past.replayed)} of a {past.rule.period}, after {past.initial} for the first model"
    yield (
        "labels",
        f"known {words(past.label_delay)} after the window's end" if past.label_delay else "known at the window's end",
    )
    yield "gate", "a new model answers only if the gate promotes it" if options.gate else "off: every new model answers"
    yield "search", "for the first model only" if options.search == "once" else "for every model"
    yield "periodic", f"retrains after every {options.every_windows} windows"
