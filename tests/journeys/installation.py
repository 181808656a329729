"""A running installation for a journey: a server, a worker, a gateway, their ledger, and what a test asks of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
import yaml

from bentos.processes import free_port
from flows._cli.stack import Stack
from mlcore.ledger.records import Retraining
from mlcore.ledger.store import Ledger
from tests.support import STEADY

ROOT = Path(__file__).parents[2]
T = TypeVar("T")
#: Seconds that a wait may take. Each ends at once when what it waits for is there; but the server on SQLite may lock
#: itself for a minute, and again (docs/decisions/0008), and that is waited out.
PATIENCE = 400.0


@contextmanager
def installed(
    home: Path, change: Callable[[dict[str, Any]], object] | None = None, **variables: str
) -> Iterator[Installation]:
    """Run an installation at `home`: of the tests' use cases, or of churn with a change made to it."""
    usecases = ROOT / "tests" / "usecases"
    if change is not None:
        written = yaml.safe_load((usecases / "churn" / "usecase.yaml").read_text())
        change(written)
        usecases = home / "usecases"
        (usecases / "churn").mkdir(parents=True)
        (usecases / "churn" / "usecase.yaml").write_text(yaml.safe_dump(written))
    ports = {"server_port": free_port(), "host_port": free_port()}
    stack = Stack(home, **ports, usecases=usecases, environment={**variables, **STEADY})
    url = variables.get("MLOPS_LEDGER_URL", f"sqlite:///{home / 'ledger.db'}")
    with closing(Ledger.open(url)) as ledger, stack:
        yield Installation(stack, ledger)


@dataclass
class Installation:
    """A running installation and its ledger."""

    stack: Stack
    ledger: Ledger

    def until(self, find: Callable[[Any], T | None], seconds: float = PATIENCE) -> T:
        """Wait until `find` finds something in the ledger."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with self.ledger.read() as view:
                found = find(view)
            if found:
                return found
            self.stack.mend()
            time.sleep(0.3)
        failed = self.stack.server.find_flow_runs(flow_runs={"state": {"type": {"any_": ["FAILED", "CRASHED"]}}})
        pytest.fail(f"not in {seconds} s; failed runs: {[(r['name'], r['state']['message']) for r in failed]}")

    def finished(self, run_id: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait until a run is done, and return it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            run = self.stack.server.flow_run(run_id)
            if run["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED"):
                return run
            time.sleep(0.3)
        pytest.fail(f"run {run_id} is not done in {seconds} s")

    def kill(self, name: str) -> str:
        """Kill the processes of runs called `name`; return the last run's id."""
        killed = ""
        for process, run_id in self.processes(name):
            process.kill()
            killed = run_id
        assert killed
        return killed

    def taken_over(self, cause_key: str, killed: str) -> str:
        """Wait until another run than the one that was killed has a retraining of churn, and return that run."""
        return self.until(
            lambda view: (
                found.flow_run_id
                if (found := view.first(Retraining, usecase="churn", cause_key=cause_key)).flow_run_id != killed
                else None
            )
        )

    @contextmanager
    def unscheduled(self) -> Iterator[None]:
        """Take the schedule away from `maintain`: what is carried on meanwhile was told of, and waited for no minute.

        How long that takes is measured by ``python -m benchmarks recovery``.
        """
        (found,) = (item for item in self.stack.server.deployments() if item["entrypoint"].endswith(":maintain"))
        self.stack.server._call("POST", f"/deployments/{found['id']}/pause_deployment")
        try:
            yield
        finally:
            self.stack.server._call("POST", f"/deployments/{found['id']}/resume_deployment")

    def processes(self, name: str) -> Iterator[tuple[psutil.Process, str]]:
        """Yield the processes in which runs called `name` are at work, with the runs' ids."""
        for process in psutil.process_iter():
            try:
                environment = process.environ()
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
            run_id = environment.get("PREFECT__FLOW_RUN_ID", "")
            is_ours = run_id and environment.get("MLOPS_HOME") == str(self.stack.home.resolve())
            if is_ours and self.stack.server.flow_run(run_id)["name"] == name:
                yield process, run_id

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command as a person would."""
        return subprocess.run(
            [sys.executable, "-m", "flows._cli", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env={**os.environ, **self.stack.variables},
            timeout=180,
        )
