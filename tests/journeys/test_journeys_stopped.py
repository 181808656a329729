"""A retraining that is stopped in the middle, and one whose server is away for a minute: both come to their end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlcore.ledger import audit
from mlcore.ledger.records import DecisionRecord, Evaluation, ModelVersion, Retraining
from mlcore.ledger.store import Ledger
from tests.journeys.test_journeys_loop import PATIENCE, ROOT, Installation, Stack, free_port
from tests.support import churn_rows

pytestmark = [pytest.mark.journey, pytest.mark.timeout(2 * PATIENCE)]


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Iterator[Installation]:
    """One installation for the tests of this file, in the order they stand."""
    home = tmp_path_factory.mktemp("installation")
    stack = Stack(home, server_port=free_port(), host_port=free_port(), usecases=ROOT / "tests" / "usecases")
    ledger = Ledger.open(f"sqlite:///{home / 'ledger.db'}")
    with stack:
        yield Installation(stack, ledger)
    ledger.close()


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
