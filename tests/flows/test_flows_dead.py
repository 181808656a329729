"""What died with its worker is told by the next one; what nothing has changed about is not applied again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows import _worker
from flows._cli import apply
from flows._dead import tell_ends, worker_name
from flows._server import Server
from flows.settings import Settings
from tests.support import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
MINE = worker_name(Path("/home/of/mine"))


class Recorder:
    """A Prefect server that lists some things and keeps what it is told."""

    def __init__(self, runs: list[dict[str, Any]]) -> None:
        self.runs = runs
        self.told: dict[str, Any] = {}
        self.variables: dict[str, str] = {}
        self.listed: dict[str, list[dict[str, Any]]] = {"deployments": [], "automations": []}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        kind, _, path = request.url.path.removeprefix("/api/").partition("/")
        body = json.loads(request.content or "null")
        if kind == "variables" and request.method == "POST":
            self.variables[body["name"]] = body["value"]
        elif kind == "variables":
            name = path.removeprefix("name/")
            found = self.variables.pop(name, None) if request.method == "DELETE" else self.variables.get(name)
            return httpx.Response(200 if found else 404, json={"value": found} if found else {"detail": "none"})
        elif kind == "flow_runs" and path == "filter":
            wanted = body["flow_runs"]["state"]["type"]["any_"]
            return httpx.Response(200, json=[run for run in self.runs if run["state"]["type"] in wanted])
        elif path == "filter":
            return httpx.Response(200, json=self.listed[kind])
        elif body:
            self.told[path] = body
        return httpx.Response(200, json={})

    @property
    def server(self) -> Server:
        """A client of it."""
        server = Server("http://127.0.0.1:9/api", attempts=1)
        server._client = httpx.Client(base_url=server.api_url, transport=httpx.MockTransport(self))
        return server


def _run(run_id: str, state: str, worker: str | None = MINE) -> dict[str, Any]:
    labels = {"prefect.worker.name": worker} if worker else None
    return {"id": run_id, "name": f"retrain-{run_id}", "state": {"type": state}, "labels": labels}


@pytest.fixture
def living() -> Iterator[subprocess.Popen[bytes]]:
    """The process of a run."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(600)"],
        env={**os.environ, "PREFECT__FLOW_RUN_ID": "living"},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()  # before it has begun it has its parent's environment
    yield process
    process.kill()
    process.communicate()


@pytest.mark.usefixtures("living")
def test_only_the_dead_of_this_installation_are_told():
    """Runs that live, that ended, or that another worker started are none of its business."""
    recorder = Recorder(
        [
            _run("living", "RUNNING"),
            _run("dead", "RUNNING"),
            _run("unborn", "PENDING"),
            _run("stopped", "CANCELLING"),
            _run("ended", "COMPLETED"),
            _run("other", "RUNNING", worker_name(Path("/home/of/other"))),
            _run("subflow", "RUNNING", None),
        ]
    )
    assert tell_ends(recorder.server, MINE, {"living", "ended"}) == {"living"}
    assert recorder.told == {}
    assert tell_ends(recorder.server, MINE) == {"living"}
    told = {path.partition("/")[0]: body["state"]["type"] for path, body in recorder.told.items()}
    assert told == {"dead": "CRASHED", "unborn": "CRASHED", "stopped": "CANCELLED"}


def test_a_worker_that_starts_looks_back(monkeypatch):
    """The server may be away at first: it comes back."""
    recorder, refused = Recorder([_run("dead", "RUNNING")]), [1, 2]

    def answer(request: httpx.Request) -> httpx.Response:
        if refused:
            refused.pop()
            raise httpx.ConnectError("nobody listens")
        return recorder(request)

    server = recorder.server
    server._client = httpx.Client(base_url=server.api_url, transport=httpx.MockTransport(answer))
    monkeypatch.setattr(_worker, "_AGAIN_SECONDS", 0.0)
    assert _worker.look_back(server, MINE) == set()
    assert recorder.told["dead/set_state"]["state"]["type"] == "CRASHED"


def test_a_run_that_outlives_its_worker_is_watched_to_its_end(living, monkeypatch):
    """Whoever started it cannot tell any more that it died; runs that begin meanwhile are not looked at."""
    recorder = Recorder([_run("living", "RUNNING")])
    monkeypatch.setattr(_worker, "_AGAIN_SECONDS", 0.01)
    left = _worker.look_back(recorder.server, MINE)
    recorder.runs.append(_run("starting", "PENDING"))
    watching = threading.Thread(target=_worker.watch, args=(recorder.server, MINE, left), daemon=True)
    watching.start()
    watching.join(0.1)
    assert recorder.told == {}
    living.kill()
    living.wait()
    until = time.monotonic() + PATIENCE_SECONDS
    while not recorder.told and time.monotonic() < until:
        time.sleep(0.01)
    assert [*recorder.told] == ["living/set_state"]
    recorder.runs = []
    watching.join(PATIENCE_SECONDS)
    assert not watching.is_alive()


def test_what_the_server_has_is_not_applied_again(tmp_path, monkeypatch):
    """Until a use case or a setting changes, or somebody removes a trigger; a missing block is looked for again."""
    import yaml

    recorder, applied, missing = Recorder([]), [], ["no block"]
    (tmp_path / "mine").mkdir()
    policy = tmp_path / "mine" / "usecase.yaml"
    policy.write_text("name: mine")
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    triggers = [{"name": trigger["name"]} for item in declared for trigger in item.get("triggers", ())]

    def everything() -> list[str]:
        applied.append(1)
        recorder.listed = {"deployments": declared, "automations": triggers}
        return missing

    monkeypatch.setattr(apply, "apply", everything)
    monkeypatch.setattr(apply, "settings", lambda: Settings(usecases=tmp_path))
    monkeypatch.setattr(Server, "of", classmethod(lambda *_: recorder.server))

    def times() -> int:
        applied.clear()
        apply.apply_changed()
        return len(applied)

    assert [times(), times()] == [1, 1]
    missing.clear()
    assert [times(), times()] == [1, 0]
    policy.write_text("name: ours")
    assert [times(), times()] == [1, 0]
    recorder.listed["automations"] = triggers[1:]
    assert [times(), times()] == [1, 0]
    recorder.variables.clear()
    assert [times(), times()] == [1, 0]
