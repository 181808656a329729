"""A disk that fails from the n-th write on: a typed error, nothing half done, then it goes on.

Of steps with hundreds of writes some are tried; with MLOPS_EVERY_WRITE=1 all are, in about an hour.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from tests.faults.conftest import Nursery, in_each_state

EVERY = os.environ.get("MLOPS_EVERY_WRITE") == "1"
pytestmark = [pytest.mark.fault, pytest.mark.timeout(3600 if EVERY else 900)]
AT_LENGTH = pytest.mark.skipif(not EVERY, reason="takes minutes")
PUBLISH, RETRAIN, PACKAGE = "flows/publish.py:publish", "flows/retrain.py:retrain", "flows/package.py:package"


@pytest.fixture(scope="module")
def states(disk_nursery: Nursery) -> dict[str, Path]:
    """An installation in each state of the loop."""
    return in_each_state(disk_nursery)


@pytest.mark.parametrize(
    ("state", "step", "number", "most"),
    [
        ("announced", "wake", errno.ENOSPC, 5),
        pytest.param("announced", "wake", errno.EIO, 1, marks=AT_LENGTH),
        ("granted", "promote", errno.EIO, 99),
        ("granted", "promote", errno.ENOSPC, 99),
        ("asked", "answer", errno.ENOSPC, 99),
        pytest.param("asked", "answer", errno.EIO, 1, marks=AT_LENGTH),
        ("captured", "maintain", errno.ENOSPC, 5),
        pytest.param("captured", "maintain", errno.EIO, 1, marks=AT_LENGTH),
        *(
            pytest.param(state, step, number, 1, marks=AT_LENGTH)
            for state, step in (("closed", "monitor"), ("second", "roll_back"))
            for number in (errno.ENOSPC, errno.EIO)
        ),
    ],
)
def test_at_every_write(disk_nursery, states, state, step, number, most):
    """Each write in turn is the first that fails: an error that a person can read, and the same call succeeds later.

    After `most`, of a step with very many, only some, fewer and fewer, to the end.
    """
    arguments = {"maintain": {"flush": True}, "wake": {"only": PUBLISH}}.get(step, {})
    asleep = {"asleep": [RETRAIN, PACKAGE], "flush": step == "maintain"}
    done = disk_nursery.copy(states[state], f"{step}-{number}-new")
    disk_nursery.do(step, done, arguments=arguments)
    new = disk_nursery.do("settle", done, arguments=asleep)
    write, tried = 1, 0
    while True:
        home = disk_nursery.copy(states[state], f"{step}-{number}-{write}")
        told = disk_nursery(step, home, arguments=arguments, write=write, errno=number)
        assert told["code"] == 0, told
        if not told["broke"]:
            break
        write, tried = write + (1 if EVERY or write < most else write // 2), tried + 1
        if told.get("error"):
            assert told["error"][0] == "mlcore.errors", (write, told)
            again = disk_nursery(step, home, arguments=arguments)
            assert again.get("error") is None or step == "answer", (write, again)
        assert disk_nursery.do("settle", home, arguments=asleep) == new, (write, told)
        shutil.rmtree(home)
    assert tried > 5
    print(f"{step}: {tried} of {write} writes")  # noqa: T201


@pytest.mark.parametrize("number", [errno.ENOSPC, pytest.param(errno.EIO, marks=AT_LENGTH)])
def test_while_a_model_is_made(disk_nursery, states, number):
    """A training's disk is full, or broken, from some write on: one model comes of it, whichever that is."""
    settle = {"asleep": [PACKAGE]}
    new = disk_nursery.do("settle", disk_nursery.copy(states["published"], f"making-{number}-new"), arguments=settle)
    assert new["retrainings"] == [["dataset", "done"]]
    write, tried = 1, 0
    while True:
        home = disk_nursery.copy(states["published"], f"making-{number}-{write}")
        told = disk_nursery("wake", home, write=write, errno=number)
        assert told["code"] == 0, told
        if not told["broke"]:
            break
        assert disk_nursery.do("settle", home, arguments=settle) == new, (write, told)
        shutil.rmtree(home)
        write, tried = write + 1 if EVERY else write * 2, tried + 1
    assert tried > 5
    print(f"retrain: {tried} of {write} writes")  # noqa: T201
