"""When the worker asks for runs, and which get a process: all but those woken for a use case that is not there."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.workers.process import ProcessWorker

from flows import _worker
from flows.settings import Settings
from tests.support import PATIENCE_SECONDS

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


RUN = uuid.UUID(int=7)


@pytest.fixture
def asked(monkeypatch) -> Any:
    """Return a worker, the clock's hand, what the server will give, and when it was asked."""
    worker = _worker.Worker(work_pool_name="pool", name="worker")
    world = SimpleNamespace(worker=worker, now=100.0, given=[], asked=[])

    async def ask(_: Any) -> list[Any]:
        world.asked.append(world.now)
        return world.given

    def turn(now: float) -> None:
        world.now = now
        asyncio.run(worker.get_and_submit_flow_runs())

    monkeypatch.setattr(ProcessWorker, "get_and_submit_flow_runs", ask)
    monkeypatch.setattr(_worker, "time", SimpleNamespace(monotonic=lambda: world.now))
    world.turn = turn
    return world


def _tell(world: Any, monkeypatch: Any, *runs: uuid.UUID, then: type[Exception] | None = None) -> None:
    """Have the server tell of runs; then the connection breaks, or says nothing more."""

    async def events() -> Any:
        for run in runs:
            yield SimpleNamespace(resource=SimpleNamespace(id=f"prefect.flow-run.{run}"))
        if then is not None:
            raise then
        await asyncio.sleep(60)

    @asynccontextmanager
    async def subscriber(filter: Any, attempts: int) -> Any:
        assert set(filter.event.name) >= {"prefect.flow-run.Scheduled", "prefect.flow-run.Resuming"}
        yield events()

    async def listen() -> None:
        listening = asyncio.create_task(world.worker.listen())
        await asyncio.sleep(0.05)
        told = world.worker._is_told
        listening.cancel()
        await asyncio.wait([listening])
        world.worker._is_told = told

    monkeypatch.setattr(_worker, "get_events_subscriber", subscriber)
    asyncio.run(listen())


def test_who_is_told_nothing_asks_every_time(asked, monkeypatch):
    """A server that tells nobody, or has gone away, is asked as Prefect's own worker asks it."""
    for now in (100.0, 100.5):
        asked.turn(now)
    _tell(asked, monkeypatch, then=ConnectionError)
    asked.turn(120.0)
    asked.turn(120.5)
    assert asked.asked == [100.0, 100.5, 120.0, 120.5]


def test_who_is_told_of_runs_asks_when_there_are_some(asked, monkeypatch):
    """Every time at first, for runs from before; then every five seconds, and until it has a run that waits."""
    _tell(asked, monkeypatch)
    for now in (100.5, 109.5, 110.5, 114.0, 114.5, 115.0):
        asked.turn(now)
    assert asked.asked == [100.5, 109.5, 114.5]
    asked.now = 116.0
    _tell(asked, monkeypatch, RUN)
    asked.worker._waiting.pop(None)
    asked.turn(116.5)
    asked.given = [SimpleNamespace(id=RUN)]
    asked.turn(117.0)
    asked.turn(117.5)
    assert asked.asked[3:] == [116.5, 117.0]
    _tell(asked, monkeypatch, RUN)
    asked.worker._waiting.pop(None)
    asked.given = []  # another worker has it
    for now in (118.0, 120.0, 121.0):
        asked.turn(now)
    assert asked.asked[5:] == [118.0, 120.0]


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
        assert worker.wait(PATIENCE_SECONDS) == 0
    finally:
        worker.kill()
        worker.wait()
