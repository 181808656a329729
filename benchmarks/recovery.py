"""How long the loop stands still: from an event to the first line of our code, from SIGKILL to the next run at work.

A real server, worker and service host on SQLite. First five events that nothing justifies, each of which wakes a run
that looks and ends. Then one loop, from announced rentals to the served model, with a person's approval, in which the
first run of each flow is killed as soon as it is at work. Then a run is killed with its worker, twice: a flow that
crashes again within a minute is left to `maintain`. At last everything is killed, server and all, and started again. A
run is at work when the server has its state Running, which is set right before our first line. There are two floors.
What a process computes to import what such a run needs, a fork is spared. How long Prefect's own server takes on the
same database, with nothing beside it, nobody is.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from bentos.processes import free_port
from flows._cli.stack import Stack
from mlcore import events
from mlcore.errors import ServerError
from mlcore.events import Event
from mlcore.ledger.records import Deployment, Retraining, Wakeup
from mlcore.ledger.store import Ledger

ROOT = Path(__file__).parents[1]
NAME = "bikeshare"
FLOWS = ("publish-dataset", "retrain", "approve", "promote", "package", "deploy")
PATIENCE_SECONDS = 900.0
IMPORTS = "import prefect.flow_engine, flows.retrain, sqlalchemy.dialects.sqlite, alembic.command"


@dataclass
class Bench:
    """An installation to kill parts of."""

    stack: Stack
    ledger: Ledger
    folder: Path
    _killed: set[str] = field(default_factory=set)

    def announce(self, name: str, **payload: Any) -> tuple[str, float]:
        """Post an event; return its id and when that was."""
        now = datetime.now(UTC)
        event = Event(name, NAME, str(uuid.uuid4()), now, payload).to_wire()
        self.stack.server.post_events([event])
        return event["id"], now.timestamp()

    def data(self, months: int) -> None:
        """Announce the rentals of the first `months` of 2011."""
        path = self.folder / f"until-{months}.csv"
        head, *rows = (ROOT / "usecases" / NAME / "data" / "hourly.csv").read_text().splitlines()
        kept = [row for row in rows if int(row[5:7]) <= months]
        path.write_text("\n".join([head, *kept]))
        self.announce(events.DATASET_ANNOUNCED, uri=str(path))

    def at_work(self, name: str, *, after: float = 0.0) -> dict[str, Any] | None:
        """Return a run called `name` that was not killed and began after a time, while it runs or since."""
        try:
            runs = self.stack.server.find_flow_runs(flow_runs={"name": {"any_": [name]}})
        except ServerError:
            return None
        begun = [run for run in runs if run["id"] not in self._killed and run["start_time"] and _begin(run) > after]
        return min(begun, key=_begin, default=None)

    def until(self, find: Any, every_seconds: float = 0.3) -> Any:
        """Wait for what `find` finds, and keep the installation mended."""
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            if found := find():
                return found
            self.stack.mend()
            time.sleep(every_seconds)  # asking costs the server, too
        raise SystemExit("the loop does not go on; logs: " + str(self.stack.home / "logs"))

    def kill(self, run: dict[str, Any]) -> float:
        """Kill the process of a run; return when."""
        for process in psutil.process_iter():
            try:
                if process.environ().get("PREFECT__FLOW_RUN_ID") == run["id"]:
                    process.kill()
                    self._killed.add(run["id"])
            except (psutil.AccessDenied, psutil.NoSuchProcess):
                continue
        return time.time()

    def next_run(self, name: str, killed: float) -> float:
        """Return the seconds from a kill to the next run called `name` at work."""
        run = self.until(lambda: self.at_work(name, after=killed))
        return _begin(run) - killed


def _begin(run: dict[str, Any]) -> float:
    return datetime.fromisoformat(run["start_time"]).timestamp()


def run() -> None:
    """Print every delay."""
    print(f"importing what a run needs      {_import_seconds():6.2f} s of a core")
    with tempfile.TemporaryDirectory() as folder:
        home, usecases = Path(folder) / "home", Path(folder) / "usecases"
        shutil.copytree(ROOT / "usecases" / NAME, usecases / NAME)
        policy = usecases / NAME / "usecase.yaml"
        text = policy.read_text().replace("required: by_cause", "required: always").replace("trials: 8", "trials: 4")
        policy.write_text(re.sub(r"\n  causes: .*", "", text))
        stack = Stack(home, server_port=free_port(), host_port=free_port(), usecases=usecases)
        began = time.time()
        with stack:
            print(f"everything started, first time  {time.time() - began:6.2f} s")
            bench = Bench(stack, Ledger.open(f"sqlite:///{home / 'ledger.db'}"), Path(folder))
            _events(bench)
            _loop(bench)
            _with_worker(bench)
        _everything(bench)


def _import_seconds() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(3):
        subprocess.run([sys.executable, "-c", IMPORTS], check=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 3


def _told(what: str, seconds: list[float]) -> None:
    print(f"{what:<32}{statistics.median(seconds):6.2f} s" + (f"   at most {max(seconds):.2f} s" * (len(seconds) > 1)))


def _events(bench: Bench) -> None:
    """Time events to the run that each wakes, and to the row that it leaves."""
    running, rows = [], []
    for _ in range(6):
        event, posted = bench.announce(events.DRIFT_DETECTED, window_id=f"{NAME}/daily/1999-01-01T00")

        def row(event: str = event) -> Wakeup | None:
            with bench.ledger.read() as view:
                return view.get(Wakeup, event_id=event)

        bench.until(row, every_seconds=0.05)
        rows.append(time.time() - posted)
        run = bench.until(lambda posted=posted: bench.at_work(f"retrain-{NAME}", after=posted))
        running.append(_begin(run) - posted)
        time.sleep(4)  # the trigger's window is over
    _told("event to the run at work", running[1:])
    _told("event to its row in the ledger", rows[1:])


def _loop(bench: Bench) -> None:
    """Kill the first run of every flow, from announced data to the served model."""
    bench.data(2)
    found: list[float] = []
    left = {f"{flow}-{NAME}" for flow in FLOWS}
    asked: set[str] = set()

    def serving() -> Deployment | None:
        _answer(bench, asked, when=f"approve-{NAME}" not in left)
        running = {"name": {"any_": sorted(left)}, "state": {"type": {"any_": ["RUNNING"]}}}
        for run in bench.stack.server.find_flow_runs(flow_runs=running):
            name = run["name"]
            killed = bench.kill(run)
            if run["id"] in bench._killed:
                left.remove(name)
                seconds = bench.next_run(name, killed)
                found.append(seconds)
                _told(f"SIGKILL of {name.removesuffix('-' + NAME)}", [seconds])
        with bench.ledger.read() as view:
            return view.first(Deployment, usecase=NAME, state="serving")

    bench.until(serving, every_seconds=0.1)
    _told(f"SIGKILL of {len(found)} flows", found)
    if left:
        print(f"  ended before they could be killed: {', '.join(sorted(left))}")


def _answer(bench: Bench, asked: set[str], *, when: bool) -> None:
    """Approve what is asked."""
    waiting = {"name": {"any_": [f"approve-{NAME}"]}, "state": {"name": {"any_": ["Suspended"]}}}
    for run in bench.stack.server.find_flow_runs(flow_runs=waiting) if when else ():
        if run["id"] not in asked:
            answer = {"decision": "approve", "approver": "owner@example.org", "reason": "measured"}
            bench.stack.server.resume(run["id"], answer)
            asked.add(run["id"])


def _retraining(bench: Bench, months: int) -> dict[str, Any]:
    """Announce more data; return the run of its retraining as soon as it trains."""
    began = time.time()
    bench.data(months)

    def training() -> dict[str, Any] | None:
        with bench.ledger.read() as view:
            running = view.first(Retraining, usecase=NAME, state="running")
        return bench.at_work(f"retrain-{NAME}", after=began) if running else None

    return dict(bench.until(training))


def _with_worker(bench: Bench) -> None:
    """Kill the worker, then a run that trains: nobody is left to say that it died. Then once more."""
    time.sleep(60)  # a flow that crashes again within a minute is left to `maintain`, which takes longer
    for what, months in (("SIGKILL of a run and its worker", 3), ("the same again, soon after", 4)):
        run = _retraining(bench, months)
        os.kill(bench.stack.part("worker").pid or 0, signal.SIGKILL)
        killed = bench.kill(run)
        _told(what, [bench.next_run(f"retrain-{NAME}", killed)])
        _done(bench)


def _everything(bench: Bench) -> None:
    """Kill every process of the installation while it trains, and start it anew."""
    with bench.stack as stack:
        _done(bench)
        _retraining(bench, 5)
        for process in _processes(stack):
            process.kill()
    killed = time.time()
    with Stack(stack.home, server_port=stack.server_port, host_port=stack.host_port, usecases=stack.usecases) as again:
        bench.stack = again
        up = time.time() - killed
        _told("everything started, next time", [up])
        _told("SIGKILL of everything", [bench.next_run(f"retrain-{NAME}", killed)])
        _done(bench)
    _told("floor: prefect server start", [_server_alone(again)])


def _server_alone(stack: Stack) -> float:
    """Return how long Prefect's own server takes on the same database, with nothing beside it, until it answers."""
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port"]
    began = time.time()
    server = subprocess.Popen(
        [*command, str(stack.server_port)],
        env={**os.environ, **stack.variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not stack.server.healthy():
        time.sleep(0.05)
    took = time.time() - began
    server.terminate()
    server.wait()
    return took


def _done(bench: Bench) -> None:
    def rests() -> bool:
        with bench.ledger.read() as view:
            left = [view.first(Retraining, usecase=NAME, state=state) for state in ("requested", "running")]
        return not any(left)

    bench.until(rests)


def _processes(stack: Stack) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            ours = process.pid != os.getpid() and process.environ().get("MLOPS_HOME") == str(stack.home.resolve())
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
        if ours:
            yield process
