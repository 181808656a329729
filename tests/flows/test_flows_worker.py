"""Which runs get a process: all but those that an event woke for a use case that is not there."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.workers.process import ProcessWorker

from flows import _worker
from flows.settings import Settings

ROOT = Path(__file__).parents[2]
EVENT = str(uuid.uuid4())


@pytest.fixture
def told(tmp_path, monkeypatch) -> list[Any]:
    """What the server is told, and which runs Prefect's own worker starts; there is one use case, `mine`."""
    told: list[Any] = []

    async def start(_: Any, run: Any, *__: Any) -> str:
        told.append(run.parameters)
        return "started"

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "usecase.yaml").touch()
    monkeypatch.setattr(_worker, "settings", lambda: Settings(usecases=tmp_path))
    monkeypatch.setattr(ProcessWorker, "run", start)
    return told


def _run(told: list[Any], parameters: dict[str, Any]) -> Any:
    async def set_flow_run_state(run_id: uuid.UUID, state: Any) -> None:
        told.append((run_id, state.name, state.message))

    worker = _worker.Worker(work_pool_name="pool", name="worker")
    worker._client = SimpleNamespace(set_flow_run_state=set_flow_run_state)  # type: ignore[assignment]
    run = SimpleNamespace(id=uuid.UUID(int=1), parameters=parameters)
    status = SimpleNamespace(started=told.append)
    return asyncio.run(worker.run(run, None, status))  # type: ignore[arg-type]


def test_a_made_up_use_case_costs_no_process(told):
    """Its run is over at once, and says why."""
    done = _run(told, {"usecase": "nobody", "event_id": EVENT})
    sentence = "There is no use case nobody; the event is ignored."
    assert told == [(uuid.UUID(int=1), "Completed", sentence), 0]  # no process is noted as its own
    assert done.status_code == 0


@pytest.mark.parametrize(
    "parameters",
    [
        {"usecase": "mine", "event_id": EVENT},
        {"usecase": "nobody"},  # a person mistypes: the run says what there is
        {"usecase": "", "event_id": EVENT},
        {"usecase": "", "at_once": True},
        {},
    ],
)
def test_every_other_run_is_started(told, parameters):
    """By Prefect's own worker."""
    assert _run(told, parameters) == "started"
    assert told == [parameters]


#: A worker that has nothing to do, started as a shell starts what is to go on in the background.
BACKGROUND = """
import asyncio, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
from flows import _worker
async def start(worker):
    print("at work", flush=True)
    await asyncio.sleep(3600)
_worker.look_back = lambda *_: set()
_worker.Worker.start = start
_worker.main()
"""


def test_a_worker_in_the_background_stops_when_told_to(tmp_path):
    """Where SIGINT is ignored, SIGTERM ends it all the same; it need not be killed."""
    worker = subprocess.Popen(
        [sys.executable, "-c", BACKGROUND],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "MLOPS_HOME": str(tmp_path)},
    )
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "at work\n"
        worker.terminate()
        assert worker.wait(60) == 0
    finally:
        worker.kill()
        worker.wait()
