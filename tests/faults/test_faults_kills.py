"""SIGKILL at every failpoint: afterwards the state is old or new, and the loop goes on by itself."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bentos.processes import free_port
from bentos.targets.local import LocalTarget
from flows.deploy import MOST_ATTEMPTS as MOST_DEPLOYMENTS
from flows.retrain import MOST_ATTEMPTS
from mlcore import failpoints
from mlcore.ledger import audit
from mlcore.ledger.records import AuditEntry, Retraining
from mlcore.ledger.store import Ledger
from tests.faults.conftest import Nursery, in_each_state
from tests.support import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.fault, pytest.mark.timeout(900)]
DAY = 86_400
RETRAIN, PACKAGE = "flows/retrain.py:retrain", "flows/package.py:package"


@dataclass(frozen=True)
class Scenario:
    """What is killed: a step from a state; and whether the loop must carry it out, or may leave it undone."""

    name: str
    state: str
    step: str
    arguments: dict[str, Any] = field(default_factory=dict)
    carried_on: bool = True
    most: int = 99  # kills at passages of one failpoint, besides its last
    asleep: tuple[str, ...] = (PACKAGE,)  # flows that take long and are not what is killed


SCENARIOS = (
    Scenario("publish what was announced", "announced", "wake", asleep=(RETRAIN, PACKAGE)),
    Scenario("quarantine what was announced", "empty", "publish", {"faulty": True}, carried_on=False),
    Scenario("publish by hand", "empty", "publish", carried_on=False, asleep=(RETRAIN, PACKAGE)),
    Scenario("retrain", "published", "wake", most=1),
    Scenario("grant", "asked", "answer", carried_on=False),
    Scenario("deny", "asked", "answer", {"granted": False}, carried_on=False),
    Scenario("expire", "asked", "expire"),
    Scenario("supersede", "asked", "second", carried_on=False, most=1),
    Scenario("roll back", "second", "roll_back", carried_on=False),
    Scenario("promote", "granted", "promote"),
    Scenario("capture", "champion", "captured", carried_on=False, most=19),
    Scenario("collect and close", "captured", "maintain", {"flush": True}),
    Scenario("monitor", "closed", "monitor"),
    Scenario("package", "champion", "package", most=1, asleep=()),
)


@pytest.fixture(scope="module")
def states(nursery: Nursery) -> dict[str, Path]:
    """An installation in each state of the loop."""
    return in_each_state(nursery)


def _slug(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name)


def _settled(nursery: Nursery, home: Path, scenario: Scenario) -> dict[str, Any]:
    """Let the loop go on by itself to its rest; return what is then."""
    return dict(
        nursery.do(
            "settle",
            home,
            ahead=3 * DAY if scenario.step == "expire" else 0,
            arguments={"asleep": scenario.asleep, "flush": "flush" in scenario.arguments},
        )
    )


def test_every_failpoint_is_named_once_and_named_right():
    """The list and the source agree."""
    found = Counter(
        name
        for room in ("mlcore", "flows", "bentos")
        for path in (ROOT / room).rglob("*.py")
        for name in re.findall(r'failpoint\("([^"]+)"\)', path.read_text())
    )
    assert Counter(failpoints.NAMES) == found


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_killed_anywhere_the_state_is_old_or_new(nursery, states, scenario):
    """Killed at each passage of each failpoint, then left to itself."""
    start = states[scenario.state]
    untouched = nursery.copy(start, f"{_slug(scenario.name)}-old")
    old = _settled(nursery, untouched, scenario)
    done = nursery.copy(start, f"{_slug(scenario.name)}-new")
    traced = nursery(scenario.step, done, trace=True, arguments=scenario.arguments)
    assert traced.get("error") is None, traced
    new = _settled(nursery, done, scenario)
    passages = [
        (name, number)
        for name, count in Counter(traced["passed"]).items()
        for number in {*range(1, count + 1)}
        if number <= scenario.most or number == count > 1
    ]
    slowest = 0.0
    for name, number in passages:
        home = nursery.copy(start, f"{_slug(scenario.name)}-{name}-{number}")
        killed = nursery(scenario.step, home, arm=f"{name}:{number}", arguments=scenario.arguments)
        assert killed["code"] == -9, (name, number, killed)
        began = time.monotonic()
        after = _settled(nursery, home, scenario)
        slowest = max(slowest, time.monotonic() - began)
        if scenario.carried_on:
            assert after == new, (name, number)
        else:
            assert after in (old, new), (name, number)
        shutil.rmtree(home)
    print(f"{scenario.name}: {len(passages)} kills, slowest recovery {slowest:.1f} s")  # noqa: T201


@pytest.mark.parametrize(
    "order",
    [
        "retraining.after-assembly:1:TERM",
        "model.before-rename:1:TERM",
        "training.after-register:1:TERM",
        "evaluation.before-save:1:TERM",
        "retraining.after-assembly:1:EIO",
        "model.before-file:1:ENOSPC",
        "evaluation.before-save:1:ENOSPC",
    ],
)
def test_a_retraining_that_is_stopped_or_meets_what_passes_is_carried_on(nursery, states, order):
    """A worker that is shut down, or a disk that is full for a while, is no reason to give a retraining up."""
    scenario = next(item for item in SCENARIOS if item.name == "retrain")
    done = nursery.copy(states["published"], f"passing-{_slug(order)}-new")
    nursery.do("wake", done)
    home = nursery.copy(states["published"], f"passing-{_slug(order)}")
    stopped = nursery("wake", home, arm=order)
    assert stopped["code"] == (-15 if order.endswith("TERM") else 0), stopped
    assert _retraining(home).state == "running"
    assert _settled(nursery, home, scenario) == _settled(nursery, done, scenario)
    assert (_retraining(home).state, _retraining(home).attempts) == ("done", 2)


def test_a_retraining_that_kills_each_of_its_runs_is_given_up(nursery, states):
    """Five runs die of it; the next one says so and begins no other."""
    home = nursery.copy(states["published"], "deadly")
    for begun in range(MOST_ATTEMPTS):
        killed = nursery("wake" if begun == 0 else "resume", home, ahead=60 * begun, arm="model.before-file:1")
        assert killed["code"] == -9, killed
    assert _retraining(home).attempts == MOST_ATTEMPTS
    found = nursery.do("settle", home, ahead=60 * MOST_ATTEMPTS, arguments={"asleep": [PACKAGE]})
    assert (found["models"], found["retrainings"]) == ([], [["dataset", "failed"]])
    assert "begun 5 times" in _retraining(home).error


def test_a_deployment_that_is_killed_is_tried_again_by_itself(nursery, states):
    """Killed before, at and after the switch of a real host: one attempt serves at last, none is left at work."""
    packaged = nursery.copy(states["champion"], "packaged")
    nursery.do("package", packaged)
    settled = {"asleep": [RETRAIN, PACKAGE]}
    with _host(packaged / "host") as host:
        for name in (name for name in failpoints.NAMES if name.startswith("deployment.")):
            home = nursery.copy(packaged, name)
            killed = nursery("deploy", home, arm=name, host=host)
            assert killed["code"] == -9, (name, killed)
            nursery.do("settle", home, host=host, arguments=settled)
            found = nursery.do("settle", home, host=host, ahead=DAY, arguments=settled)
            begun = [] if name == "deployment.after-begin" else [["abandoned", 1]]
            assert found["deployments"] == [*begun, ["serving", 1]], name
            target = LocalTarget.at(host, packaged / "host")
            status = target.status("churn")
            assert status is not None
            assert (status.model_version, status.ready) == (1, True)
            target.stop("churn")
            shutil.rmtree(home)


def test_a_host_that_is_away_is_waited_for(nursery, states):
    """The attempt that met nobody is no failure; when the host is back, the champion is served."""
    home = nursery.copy(states["champion"], "no-host")
    nursery.do("package", home)
    settled = {"asleep": [RETRAIN, PACKAGE]}
    found = nursery.do("settle", home, host=f"http://127.0.0.1:{free_port()}", arguments=settled)
    assert found["deployments"] == [["abandoned", 1]]
    with _host(home / "host") as host:
        found = nursery.do("settle", home, host=host, ahead=DAY, arguments=settled)
    assert found["deployments"] == [["abandoned", 1], ["serving", 1]]


def test_a_deployment_that_kills_each_of_its_runs_is_given_up(nursery, states):
    """Five attempts die; then it is a failure, and told: a person must look."""
    home = nursery.copy(states["champion"], "deadly-bento")
    nursery.do("package", home)
    nursery.do("settle", home, arguments={"asleep": [RETRAIN, PACKAGE]})  # the event that asked first is used up
    with _host(home / "host") as host:
        for begun in range(MOST_DEPLOYMENTS):
            killed = nursery("deploy", home, ahead=600 * begun, host=host, arm="deployment.before-switch")
            assert killed["code"] == -9, killed
        found = nursery.do("settle", home, ahead=DAY, host=host, arguments={"asleep": [RETRAIN, PACKAGE]})
    assert found["deployments"] == [["abandoned", 1]] * (MOST_DEPLOYMENTS - 1) + [["failed", 1]]


@contextmanager
def _host(state: Path) -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "bentos.host", "--port", str(port), "--state-dir", str(state)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until and not _is_open(port):
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def _is_open(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def _retraining(home: Path) -> Retraining:
    ledger = Ledger.open(f"sqlite:///{home / 'ledger.db'}")
    with ledger.read() as view:
        (found,) = view.all(Retraining)
    ledger.close()
    return found


@pytest.mark.parametrize("order", ["capture.after-append:1", "ledger.after-commit:1", "ledger.before-commit:2"])
def test_a_command_that_is_killed_is_finished_by_the_same_command(nursery, states, order):
    """The real command in a process of its own: rows asked to be erased are gone, and that is on record, once."""
    home = nursery.copy(states["captured"], f"erase-{_slug(order)}")
    killed = _erase(home, order)
    assert killed.returncode == -9, killed.stderr
    again = _erase(home, "")
    assert again.returncode == 0, again.stderr
    ledger = Ledger.open(f"sqlite:///{home / 'ledger.db'}")
    audit.verify(ledger)
    with ledger.read() as view:
        assert len(view.all(AuditEntry, action="capture.erased")) == 1
    ledger.close()
    third = _erase(home, "")
    assert (third.returncode, "not kept" in third.stderr) == (1, True)
    assert "Traceback" not in third.stderr


def _erase(home: Path, order: str) -> subprocess.CompletedProcess[str]:
    variables = {"MLOPS_HOME": str(home), "MLOPS_USECASES": str(ROOT / "tests" / "usecases"), "MLOPS_FAILPOINT": order}
    return subprocess.run(
        [sys.executable, "-m", "flows._cli", "erase", "churn", "r0", "r1", "--reason", "asked"],
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
