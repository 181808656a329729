"""The search and the training as a whole."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mlcore.errors import TrainingError, UseCaseError
from mlcore.metrics import METRICS, Output
from mlcore.modelstore.identity import model_digest
from mlcore.training.estimators import make_estimator
from mlcore.training.fitting import Bench, Job, NextJob, in_threads
from mlcore.training.importance import by_column
from mlcore.training.run import golden_rows, train_model
from mlcore.training.search import planned_trials, search
from mlcore.training.splits import split_holdout, target_values
from mlcore.training.trials import SearchJournal, Trial
from mlcore.usecase import UseCase

ROOT = Path(__file__).parents[2]


def test_the_dummy_is_always_there_and_every_candidate_gets_a_turn(bikeshare: UseCase) -> None:
    """Trial 0 is the baseline; then candidates take turns within the budget of trials."""
    plan = planned_trials(bikeshare, seed=0)
    names = [candidate.name for candidate, _ in plan]
    assert names[:4] == ["dummy", "gradient_boosting", "forest", "poisson"]
    assert len(plan) - 1 <= bikeshare.training.search.trials
    assert plan == planned_trials(bikeshare, seed=0)


def test_the_winner_does_not_depend_on_the_clock(make_churn: Any, customers: pd.DataFrame) -> None:
    """A slow and a fast clock give the same winner and the same scores."""
    usecase = make_churn()
    slow = itertools.count(0, 0.01)
    one = search(Bench.of(customers, usecase, seed=1))
    other = search(Bench.of(customers, usecase, seed=1, clock=lambda: float(next(slow))))
    assert one.best.number == other.best.number
    assert [trial.validation for trial in one.trials] == [trial.validation for trial in other.trials]


def test_a_spent_budget_still_has_an_answer(make_churn: Any, customers: pd.DataFrame) -> None:
    """With no time at all the baseline is scored, the others are marked as skipped."""
    found = search(Bench.of(customers, make_churn(), seed=0), budget_seconds=-1.0)
    assert found.best.candidate == "dummy"
    assert {trial.state for trial in found.trials[1:]} == {"skipped"}


def test_a_budget_that_ends_half_way_leaves_the_best_so_far(make_churn: Any, customers: pd.DataFrame) -> None:
    """Cut off after the newest fold the winner is no baseline, though that alone has met every fold."""
    usecase = make_churn()
    trials = len(planned_trials(usecase, seed=0))
    begun: list[Job] = []

    def counted(next_job: NextJob, bench: Bench) -> Iterator[Trial]:
        while (job := next_job()) is not None:
            begun.append(job)
            yield bench.meet(job)

    counting = Bench.of(customers, usecase, seed=0, clock=lambda: len(begun))
    found = search(counting, budget_seconds=trials - 0.5, runner=counted)
    whole = search(Bench.of(customers, usecase, seed=0), runner=counted)
    assert [job.fold for job in begun[:trials]] == [0] * trials
    assert {len(trial.validation) for trial in found.trials[1:]} == {1}
    assert len(found.trials[0].validation) > 1
    assert found.best.candidate != "dummy"
    assert [trial.validation[0] for trial in found.trials] == [trial.validation[0] for trial in whole.trials]


def test_a_failing_candidate_does_not_stop_the_others(make_churn: Any, customers: pd.DataFrame) -> None:
    """A candidate that cannot be fitted is noted with its reason."""
    broken = {
        "name": "broken",
        "estimator": "sklearn.neighbors.KNeighborsClassifier",
        "parameters": {"n_neighbors": 10_000},
    }
    good = {"name": "tree", "estimator": "sklearn.tree.DecisionTreeClassifier", "parameters": {"min_samples_leaf": 60}}
    found = search(Bench.of(customers, make_churn(candidates=[broken, good]), seed=0))
    failed = next(trial for trial in found.trials if trial.candidate == "broken")
    assert (failed.state, found.best.candidate) == ("failed", "tree")
    assert "n_neighbors" in failed.note


@pytest.mark.parametrize(
    ("path", "parameters", "expected"),
    [
        ("os.system", {}, "sklearn.linear_model"),
        ("sklearn.linear_model.Ridgee", {}, "Regressor"),
        ("sklearn.linear_model.LogisticRegression", {}, "regression"),
        ("sklearn.linear_model.Ridge", {"alfa": 1}, "alpha"),
        ("subprocess.Popen", {}, "sklearn"),
    ],
)
def test_estimators_outside_the_list_are_refused(path: str, parameters: dict[str, Any], expected: str) -> None:
    """An unknown module, class, task or parameter is named together with what would be right."""
    with pytest.raises(UseCaseError, match=expected):
        make_estimator(path, parameters, "regression", seed=0)


def test_bikeshare_beats_its_baseline_and_knows_why(bikeshare: UseCase, rentals: pd.DataFrame) -> None:
    """Trained on two months, the model halves the baseline's error and ranks the hour highest."""
    seen: list[tuple[int, int]] = []
    winter = rentals[rentals["recorded_at"] < "2011-03-01"]
    trained = train_model(winter, bikeshare, seed=0, progress=lambda done, planned, _: seen.append((done, planned)))
    holdout, dummy = trained.scores.holdout, trained.scores.dummy_holdout
    assert holdout["mean_absolute_error"] < 0.5 * dummy["mean_absolute_error"]
    assert any("hour" in importance.feature for importance in trained.importance[:2])
    assert seen[-1][0] == seen[-1][1]
    assert len(golden_rows(winter, bikeshare)) == bikeshare.serving.golden_rows
    spring = rentals[(rentals["recorded_at"] >= "2011-05-01") & (rentals["recorded_at"] < "2011-07-01")]
    truth = target_values(spring, bikeshare.contract)
    retrained = train_model(rentals[rentals["recorded_at"] < "2011-05-01"], bikeshare, seed=0)
    error = METRICS["mean_absolute_error"].value
    before, after = (error(truth, Output.of(model.pipeline, spring)) for model in (trained, retrained))
    assert after < 0.75 * before


def test_a_classification_without_time_is_learned(make_churn: Any, customers: pd.DataFrame) -> None:
    """The second kind of use case runs through the same code."""
    beside: list[tuple[int, int, Output]] = []
    trained = train_model(
        customers,
        make_churn(),
        seed=0,
        beside=lambda train, holdout, output: beside.append((len(train), len(holdout), output)),
    )
    assert [(rows, held_out) for rows, held_out, _ in beside] == [(trained.train_rows, trained.holdout_rows)]
    assert beside[0][2] is trained.output
    assert Output.of(trained.dummy, customers).probabilities is not None
    assert trained.scores.holdout["roc_auc"] > 0.7
    assert trained.scores.holdout["log_loss"] < trained.scores.dummy_holdout["log_loss"]
    assert list(trained.pipeline.classes_) == ["no", "yes"]


def test_without_evidence_it_is_the_same_model(make_churn: Any, customers: pd.DataFrame) -> None:
    """What only tells of a model costs more than the model: left out, its bytes and what judges it are as before."""
    usecase = make_churn()
    fixed = usecase.training.candidates[0].model_copy(update={"search": {}})
    training = usecase.training.model_copy(update={"candidates": (fixed,)})
    alone = usecase.model_copy(update={"training": training})
    whole, bare = (train_model(customers, alone, seed=0, evidence=told) for told in (True, False))
    assert whole.algorithm == bare.algorithm == fixed.name
    assert model_digest(whole.pipeline, "") == model_digest(bare.pipeline, "")
    assert (whole.scores.holdout, whole.scores.seed_deviation) == (bare.scores.holdout, bare.scores.seed_deviation)
    assert whole.importance and whole.scores.learning_curve and len(whole.trials) == 2
    assert not bare.importance and not bare.scores.learning_curve and len(bare.trials) == 1


def test_a_generated_feature_counts_for_what_it_is_made_of(bikeshare: UseCase) -> None:
    """Also at second hand: the hour, crossed with whether people work, is half of the time's."""
    known = {"temperature": 2.0, "recorded_at_hour": 1.0, "workingday_x_recorded_at_hour": 4.0, "humidity": -1.0}
    found = by_column(known, bikeshare)
    assert found == pytest.approx({"temperature": 2 / 7, "recorded_at": 3 / 7, "workingday": 2 / 7, "humidity": 0.0})
    assert by_column({"humidity": 0.0}, bikeshare) == {}


def test_a_class_seen_once_and_a_constant_target(make_churn: Any, bikeshare: UseCase, customers: pd.DataFrame) -> None:
    """A class of one row is trained; a single class, or one number, leaves nothing to learn."""
    customers.loc[0, "left"] = "maybe"
    assert train_model(customers, make_churn(), seed=0).algorithm
    with pytest.raises(TrainingError, match=r"nothing to learn.*got only no"):
        train_model(customers.assign(left="no"), make_churn(), seed=0)
    hours = pd.date_range("2020-01-01", periods=300, freq="h", tz="UTC")
    constant = pd.DataFrame(dict.fromkeys(bikeshare.contract.names, 0.0), index=range(300))
    with pytest.raises(TrainingError, match=r"nothing to learn.*got only 7.0"):
        train_model(constant.assign(recorded_at=hours, bikers=7), bikeshare, seed=0)


_KILLED = """
import sys
from pathlib import Path
import pandas as pd
from mlcore.training.fitting import Bench
from mlcore.training.search import search
from mlcore.training.splits import split_holdout
from mlcore.training.trials import SearchJournal
from mlcore.usecase import load_usecase

usecase = load_usecase(Path(sys.argv[1]))
frame = pd.read_csv(sys.argv[2], parse_dates=["recorded_at"])
train, holdout = split_holdout(frame[frame["recorded_at"] < "2011-03-01"], usecase)
search(Bench.of(train, usecase, seed=0, held_out=holdout), journal=SearchJournal(Path(sys.argv[3])))
"""


@pytest.mark.fault
def test_a_killed_search_goes_on_where_it_was(bikeshare: UseCase, rentals: pd.DataFrame, tmp_path: Path) -> None:
    """Killed after some fits, and its last line torn: the winner and every score are those of a whole search."""
    journal, folder = SearchJournal(tmp_path / "search.jsonl"), ROOT / "usecases" / "bikeshare"
    command = [sys.executable, "-c", _KILLED, folder, folder / "data" / "hourly.csv", journal.path]
    with subprocess.Popen(command, cwd=ROOT) as process:
        until = time.monotonic() + 120
        while len(journal.read()) < 4 and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        process.kill()
    kept = journal.read()
    assert len(kept) >= 4
    with journal.path.open("ab") as file:
        file.write(b'{"number": 3, "candi')
    train, holdout = split_holdout(rentals[rentals["recorded_at"] < "2011-03-01"], bikeshare)
    begun: list[tuple[int, int]] = []

    def counted(next_job: NextJob, bench: Bench) -> Iterator[Trial]:
        def noted() -> Job | None:
            job = next_job()
            begun.extend([(job.trial.number, job.fold)] if job is not None else [])
            return job

        return in_threads(noted, bench)

    bench = Bench.of(train, bikeshare, seed=0, held_out=holdout)
    resumed, whole = search(bench, journal=journal, runner=counted), search(bench)
    assert not set(begun) & set(kept)
    untimed = [[replace(trial, seconds=0.0) for trial in found.trials] for found in (resumed, whole)]
    assert untimed[0] == untimed[1]
    assert all(len(trial.evidence) == len(trial.validation) for trial in whole.trials)
    assert resumed.best.number == whole.best.number
    assert len(journal.read()) == len(begun) + len(kept)


def test_each_fit_hears_its_own_warnings(make_churn: Any, customers: pd.DataFrame) -> None:
    """Two fits at a time, one of which does not converge: the note is with that one only."""
    short = {
        "name": "short",
        "estimator": "sklearn.neural_network.MLPClassifier",
        "parameters": {"max_iter": 3},
        "scale": True,
    }
    tree = {"name": "tree", "estimator": "sklearn.tree.DecisionTreeClassifier", "search": {"max_depth": [2, 3, 4, 5]}}
    found = search(Bench.of(customers, make_churn(candidates=[short, tree]), seed=0))
    notes = {trial.candidate: trial.note for trial in found.trials}
    assert "Maximum iterations" in notes["short"]
    assert notes["tree"] == ""
