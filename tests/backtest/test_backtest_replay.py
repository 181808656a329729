"""The replay knows nothing before its time, counts what happened, and goes on after it was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlcore.backtest import BacktestResult, Journal, Options, WindowResult, parse_set, replay, settings_of
from mlcore.backtest.past import cut
from mlcore.backtest.replay import STRATEGIES
from mlcore.backtest.result import detections, summarise
from mlcore.backtest.trainers import Trainers
from mlcore.errors import JournalBusyError, TrainingError, UseCaseError

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from backtest_rows import CHANGE, past, usecase  # noqa: E402


@pytest.fixture(scope="module")
def result() -> BacktestResult:
    """One replay, with a second setting of the policy that may never retrain."""
    settings = settings_of(usecase(), {"retraining.budget": [0]})
    return replay(past(), usecase(), seed=0, options=Options(initial_windows=4), settings=settings)


def of(result: BacktestResult, strategy: str) -> list[WindowResult]:
    """Return a strategy's windows."""
    return [item for item in result.windows if item.strategy == strategy]


def test_policy_notices_the_change_and_static_does_not(result: BacktestResult):
    """The relation changes once: the policy asks for a retraining after the first harmed window, and not before."""
    windows = of(result, "policy")
    before = [item for item in windows if item.starts_at < CHANGE]
    first = next(item for item in windows if item.starts_at == CHANGE)
    assert {item.action for item in before} == {"nothing"}
    assert (first.cause in ("concept_change", "harmful_shift"), first.action, first.alarm) == (True, "retrain", True)
    assert result.summary("static").retrainings == 0
    assert result.summary("policy").error < result.summary("static").error
    assert result.summary("policy").retrainings < result.summary("always").retrainings


def test_every_strategy_sees_the_same_windows(result: BacktestResult):
    """Rows and labels of a window are the past's, whatever the strategy."""
    facts = {name: [(item.starts_at, item.rows, item.labelled) for item in of(result, name)] for name in STRATEGIES}
    assert all(other == facts["static"] for other in facts.values())
    assert len(facts["static"]) == 12


def test_periodic_retrains_after_every_fourth_window(result: BacktestResult):
    """Alarms of the schedule are every fourth window; after the last window nothing is trained."""
    assert [number for number, item in enumerate(of(result, "periodic"), 1) if item.alarm] == [4, 8, 12]
    assert result.summary("periodic").retrainings == 2


def test_settings_share_the_models_but_not_the_decisions(result: BacktestResult):
    """A budget of nothing never retrains, whatever it sees."""
    mine = result.summary("retraining.budget=0")
    assert (mine.retrainings, mine.error) == (0, result.summary("static").error)
    assert mine.alarms > 0


def test_labels_of_the_window_come_after_the_delay():
    """With labels a week late, the model trained after the first window answers one window later."""
    options = Options(initial_windows=4, gate=False)

    def first_answers(label_wait: str) -> int:
        result = replay(past(8), usecase(label_wait), seed=0, options=options)
        pairs = zip(of(result, "static"), of(result, "always"), strict=True)
        return next(number for number, (static, always) in enumerate(pairs) if static.error != always.error)

    assert (first_answers("P0D"), first_answers("P7D")) == (1, 2)


def test_the_policy_judges_a_new_model_by_its_own_answers():
    """With labels a week late, the window after a retraining was answered by the model before, and asks for nothing."""
    changed = usecase("P7D", minimum_new_rows=1)
    windows = of(replay(past(), changed, seed=0, options=Options(initial_windows=4, gate=False)), "policy")
    first = next(number for number, item in enumerate(windows) if item.action == "retrain")
    after = windows[first + 1]
    assert (after.harmed, after.alarm, after.action) == (True, True, "wait")
    assert "an earlier model gave" in after.sentence
    assert windows[first + 2].action != "wait"


@pytest.mark.parametrize("gate", [True, False])
def test_a_model_of_a_change_under_way_does_not_lower_the_bar(gate: bool):
    """What is held out is new, what is learned is old: the next champions are asked for what the first one could."""
    changed = usecase(budget=4, budget_period="P70D")
    result = replay(past(20), changed, seed=0, options=Options(initial_windows=4, gate=gate))
    assert result.share("policy") > 0.7
    assert result.summary("policy").retrainings <= 0.4 * result.summary("always").retrainings
    told = [item.sentence for item in of(result, "policy")]
    assert any("of a model before it" in sentence for sentence in told)
    assert any("as many as this one was validated by" in sentence for sentence in told)


def test_what_is_in_the_future_changes_nothing():
    """Cutting the past short leaves every earlier window as it was."""
    whole = replay(past(11), usecase("P3D"), seed=0, options=Options(initial_windows=4))
    short = replay(past(9), usecase("P3D"), seed=0, options=Options(initial_windows=4))
    last = max(item.starts_at for item in short.windows)

    def before(result: BacktestResult) -> dict[str, list[WindowResult]]:
        return {
            name: [replace(item, sentence="") for item in of(result, name) if item.starts_at < last]
            for name in STRATEGIES
            if name != "oracle"
        }

    assert before(whole) == before(short)


def test_order_of_rows_and_missing_times_do_not_matter():
    """Unsorted rows are sorted; rows without a time are left out and told of."""
    frame = past(8)
    mixed = frame.sample(frac=1, random_state=1)
    extra = frame.iloc[:5].assign(at=pd.NaT)
    options = Options(initial_windows=4)
    tidy = replay(frame, usecase(), seed=0, options=options)
    both = pd.concat([mixed, extra])
    untidy = replay(both.assign(at=pd.to_datetime(both["at"], utc=True)), usecase(), seed=0, options=options)
    assert untidy.summaries == tidy.summaries
    assert "5 without a time" in dict(untidy.facts)["rows"]


def test_windows_without_labels_wait():
    """Where labels are missing there is no error, no alarm, and the decision is to wait."""
    frame = past(8)
    unlabelled = frame["at"] >= pd.Timestamp("2026-02-16", tz="UTC")
    result = replay(
        frame.assign(cost=frame["cost"].mask(unlabelled)), usecase(), seed=0, options=Options(initial_windows=4)
    )
    last = of(result, "static")[-1]
    assert (last.cause, last.labelled, last.harmed) == ("too_little_data", 0, False)
    assert np.isnan(last.error) and np.isfinite(result.summary("static").error)
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))["windows"][-1]["error"] is None


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (past(1), "too little past"),
        (past(16).iloc[:30], "too little past"),
        (past(16).assign(cost=np.nan), "nothing to judge by"),
        (past(16).assign(at=pd.NaT), "nothing to judge by"),
    ],
)
def test_what_cannot_be_replayed_says_so(frame: pd.DataFrame, told: str):
    """Each ends in a sentence of ours."""
    with pytest.raises(TrainingError, match=told):
        cut(frame.assign(at=pd.to_datetime(frame["at"], utc=True)), usecase())


def test_a_shorter_window_needs_fewer_rows():
    """What a month's window must have, a day's need not."""
    assert cut(past(), usecase(), period="day").rule.minimum_rows == 30
    assert cut(past(), usecase()).rule.minimum_rows == 50


def window(number: int, *, harmed: bool, alarm: bool, rows: int = 10) -> WindowResult:
    """Return a window."""
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)
    return WindowResult("policy", at, rows, 1.0, "healthy", "nothing", rows, alarm, harmed)


@pytest.mark.parametrize(
    ("always", "pays", "told"),
    [([0.7, 0.8, 0.6, 0.7], True, "50% of what retraining"), ([0.999] * 4, False, "bettered it by 0.1%"),
     ([0.4, 1.55, 0.4, 1.55], False, "which may as well be chance"), ([1.2] * 4, False, "brought nothing")],
)  # fmt: skip
def test_a_gain_of_chance_has_no_share(always: list[float], pays: bool, told: str):
    """Where retraining always gains less than a hundredth, or less than windows differ by, the manager is told so."""
    errors = {"static": [1.0] * 4, "always": always, "policy": [(1 + error) / 2 for error in always]}
    windows = [
        replace(window(number, harmed=False, alarm=False), strategy=name, error=error)
        for name, values in errors.items()
        for number, error in enumerate(values)
    ]
    summaries = tuple(summarise(name, windows) for name in errors)
    found = BacktestResult("rows", "mean_absolute_error", tuple(windows), summaries)
    assert found.pays == pays
    assert told in found.sentence
    assert ("no retraining pays here" in found.sentence) == (not pays)


def test_alarms_are_held_against_the_truth():
    """A false alarm has no harm, missed harm no alarm; detection counts from the first harmed row."""
    kinds = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 1), (0, 0), (1, 1), (1, 0), (0, 0), (1, 0)]
    windows = [window(n, harmed=bool(h), alarm=bool(a)) for n, (h, a) in enumerate(kinds)]
    found = summarise("policy", windows)
    assert (found.alarms, found.false_alarms, found.missed_harm) == (4, 1, 3)
    assert detections(windows) == [20, 10]
    assert found.rows_to_detection == 15


def test_settings_are_keys_of_the_policy():
    """Two values of two keys are four policies; other keys and values are refused."""
    grid = parse_set(["retraining.cooldown=P7D", "retraining.cooldown=P1D", "retraining.budget=2"])
    found = settings_of(usecase(), {**grid, "retraining.budget": [2, 3]})
    assert len(found) == 4
    assert found["retraining.cooldown=P7D, retraining.budget=3"].retraining.cooldown == timedelta(days=7)
    for wrong in ("retraining.cooldwn=P7D", "retraining.cooldown=soon", "contract.task=x", "seed=1", "nothing"):
        with pytest.raises(UseCaseError):
            settings_of(usecase(), parse_set([wrong]))


def test_what_trains_ahead_changes_nothing(tmp_path: Path, result: BacktestResult):
    """Two processes that train what is foreseen find what one alone finds."""
    options = Options(initial_windows=4)
    expected = tuple(item for item in result.summaries if item.strategy in STRATEGIES)
    journal = Journal(tmp_path / "journal")
    together = replay(past(), usecase(), seed=0, options=options, journal=journal, processes=2)
    assert together.summaries == expected
    assert together.windows == tuple(item for item in result.windows if item.strategy in STRATEGIES)


def test_a_trainer_that_died_is_told_apart_from_rows_that_cannot_be_learned(tmp_path: Path):
    """Misfortune of a process is None, and the replay trains itself; a model that cannot be is what it always is."""
    whole = cut(past(), usecase(), initial=4)
    trainers = Trainers(whole, 0, tmp_path, 1)
    try:
        with pytest.raises(TrainingError):
            trainers.train(usecase(), whole.starts[0], ()).result()
        assert trainers.train(usecase(), whole.starts[4], ()).result() is not None
        trainers.kill()
        assert trainers.train(usecase(), whole.starts[4], ()).result() is None
    finally:
        trainers.close()


def test_the_candidate_of_the_first_search_is_fitted_again_also_where_a_constant_won(tmp_path: Path):
    """Where nothing can be learned the first search takes the constant; the replay goes on, and searches again."""
    frame = past(8)
    noise = frame.assign(cost=np.random.default_rng(1).normal(size=len(frame)))
    result = replay(noise, usecase(), seed=0, options=Options(initial_windows=4), journal=Journal(tmp_path / "journal"))
    assert np.isfinite(result.summary("always").error)


_CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from backtest_rows import past, usecase
from mlcore.backtest import Journal, Options, replay
replay(past(), usecase(), seed=0, options=Options(initial_windows=4), journal=Journal(Path(sys.argv[2])))
"""


@pytest.mark.fault
def test_a_killed_replay_goes_on(tmp_path: Path, result: BacktestResult):
    """Killed in the middle, it finds what it had done, does not train it again, and comes to the same end."""
    journal = tmp_path / "journal"
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(HERE), str(journal)],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    until = time.monotonic() + 120
    while len(list(journal.glob("models/energy/[!.]*/manifest.json"))) < 3:
        assert child.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    # a line that was cut off, as by a power failure
    with (journal / "journal.jsonl").open("ab") as file:
        file.write(b'["look:1", {"dia')
    kept = Journal(journal)
    # a folder whose name begins with a dot was being written: whoever goes on removes it
    models = {path: path.stat().st_mtime_ns for path in journal.glob("models/energy/[!.]*/model.skops")}
    known = len(journal.joinpath("journal.jsonl").read_bytes().splitlines())
    again = replay(past(), usecase(), seed=0, options=Options(initial_windows=4), journal=kept)
    assert again.summaries == tuple(item for item in result.summaries if item.strategy in STRATEGIES)
    assert {path: path.stat().st_mtime_ns for path in models} == models
    lines = [json.loads(line)[0] for line in journal.joinpath("journal.jsonl").read_bytes().splitlines()]
    assert [key for key, count in Counter(lines).items() if count > 1] == []
    assert len(lines) > known


def test_two_backtests_do_not_share_a_journal(tmp_path: Path):
    """The second one is told; once the first one has ended, however it ended, another one may go on from there."""
    first = Journal(tmp_path / "journal")
    first.keep("look:1", 1)
    with pytest.raises(JournalBusyError, match="running already"):
        Journal(tmp_path / "journal")
    first.close()
    second = Journal(tmp_path / "journal")
    assert second.get("look:1") == 1
    second.remove()
    assert Journal(tmp_path / "journal").get("look:1") is None
