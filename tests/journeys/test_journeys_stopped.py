"""A retraining that is stopped, whose server is away, whose worker or whole machine dies: each comes to its end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mlcore.ledger import audit
from mlcore.ledger.records import DecisionRecord, Evaluation, Lease, ModelVersion, Retraining
from tests.journeys.installation import PATIENCE, Installation, installed
from tests.support import churn_rows

pytestmark = [pytest.mark.journey, pytest.mark.timeout(2 * PATIENCE)]


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Iterator[Installation]:
    """One installation for the tests of this file, in the order they stand."""
    with installed(tmp_path_factory.mktemp("installation")) as installation:
        yield installation


def _begin(here: Installation, folder: Path, number: int) -> Retraining:
    """Publish dataset version `number`; return its retraining as soon as it is at work."""
    path = folder / f"{number}.csv"
    churn_rows(2500 + number, seed=number).to_csv(path, index=False)
    here.stack.server.run_deployment("publish-dataset/default", {"usecase": "churn", "uri": str(path)})
    return here.until(
        lambda view: view.first(Retraining, usecase="churn", cause_key=f"dataset:{number}", state="running")
    )


def _done(here: Installation, number: int) -> Retraining:
    """Wait for the end of a retraining; one decision, one model and one evaluation came of it."""
    key = f"dataset:{number}"
    done = here.until(lambda view: view.first(Retraining, usecase="churn", cause_key=key, state="done"))
    with here.ledger.read() as view:
        assert len(view.all(DecisionRecord, usecase="churn", cause_key=key)) == 1
        (model,) = view.all(ModelVersion, usecase="churn", cause_key=key)
        assert len(view.all(Evaluation, usecase="churn", model_version=model.version)) == 1
    assert done.model_version == model.version
    audit.verify(here.ledger)
    return done


def test_1_a_run_that_is_told_to_stop_is_carried_on(here, tmp_path):
    """SIGTERM, as from a machine that is shut down, unwinds a run like an error: it is none."""
    running = _begin(here, tmp_path, 1)
    for process, _ in here.processes("retrain-churn"):
        os.kill(process.pid, signal.SIGTERM)
    assert here.finished(running.flow_run_id)["state"]["type"] == "CRASHED"
    done = _done(here, 1)
    assert (done.attempts, done.flow_run_id != running.flow_run_id) == (2, True)


def test_2_the_server_is_away_for_a_minute(here, tmp_path):
    """In the middle of a retraining: whoever asks the server waits for it, or is carried on by another run."""
    _begin(here, tmp_path, 2)
    os.kill(here.stack.part("server").pid, signal.SIGTERM)
    time.sleep(60)
    assert not here.stack.server.healthy()
    _done(here, 2)  # while it waits it starts again what has ended


def test_3_a_run_and_its_worker_are_killed(here, tmp_path):
    """Nobody is left who could say that the run died: the next worker does, and the loop goes on."""
    _begin(here, tmp_path, 3)
    running = [*here.processes("retrain-churn")]
    killed = running[0][1]
    with here.unscheduled():
        os.kill(here.stack.part("worker").pid, signal.SIGKILL)
        for process, _ in running:
            process.kill()
        here.taken_over("dataset:3", killed)
    assert here.stack.server.flow_run(killed)["state"]["type"] == "CRASHED"
    _done(here, 3)


def test_4_everything_is_killed_and_started_again(here, tmp_path):
    """Server, worker, host and run at once, as when the power fails: what was begun goes on as soon as all is up."""
    running = _begin(here, tmp_path, 4)
    with here.unscheduled():
        for process in psutil.process_iter():
            try:
                if process.environ().get("MLOPS_HOME") == str(here.stack.home.resolve()):
                    process.kill()
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        here.stack.stop()
        here.stack.start()
        here.taken_over("dataset:4", running.flow_run_id)
    _done(here, 4)


def test_5_the_fork_server_is_killed_and_a_run_is_cancelled(here, tmp_path):
    """With the fork server die the worker and all runs, which others carry on; whom a person cancels, nobody does."""
    running = _begin(here, tmp_path, 5)
    os.kill(here.stack.part("forkserver").pid, signal.SIGKILL)
    taken = here.taken_over("dataset:5", running.flow_run_id)
    assert here.stack.server.flow_run(running.flow_run_id)["state"]["type"] == "CRASHED"
    ((launcher, run_id),) = here.processes("retrain-churn")
    assert run_id == taken
    assert "flows._launch" in launcher.cmdline()  # it stands for a fork again

    here.stack.server.end_run(taken, "CANCELLING", "a person, in the UI")
    here.until(lambda _: here.stack.server.flow_run(taken)["state"]["type"] == "CANCELLED")
    here.until(lambda view: view.get(Lease, name="retrain:churn").holder == "")  # given back, not left to expire
    here.until(lambda _: not launcher.is_running())  # it ends when the fork has
    here.stack.server.run_deployment("maintain/default", {"usecase": "churn", "at_once": True})
    left = here.until(lambda view: view.first(Retraining, usecase="churn", cause_key="dataset:5", state="failed"))
    assert (left.attempts, left.flow_run_id) == (2, taken)
    assert "A person cancelled the run" in left.error
    with here.ledger.read() as view:
        assert view.all(ModelVersion, usecase="churn", cause_key="dataset:5") == []
    audit.verify(here.ledger)
