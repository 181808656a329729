"""A process that is told to stop ends, also where what the signal's handler raises is lost."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from flows._termination import EXIT_CODE
from tests.support import PATIENCE_SECONDS

_PROCESS = """
import asyncio, signal, sys
from prefect.utilities.engine import capture_sigterm
from flows import _termination

async def sleep():
    _termination.watch(float(sys.argv[2]))
    if sys.argv[1] == "lost":  # asyncio logs what a callback raises, and goes on
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGTERM)
    else:
        signal.raise_signal(signal.SIGTERM)
    await asyncio.sleep(3600)

with capture_sigterm():
    asyncio.run(sleep())
"""


@pytest.mark.parametrize(
    ("raised", "grace_seconds", "code"), [("lost", 0.2, EXIT_CODE), ("kept", 600.0, -signal.SIGTERM)]
)
def test_who_is_told_to_stop_stops(raised, grace_seconds, code):
    """By itself where it unwinds; otherwise it is ended."""
    done = subprocess.run(
        [sys.executable, "-c", _PROCESS, raised, str(grace_seconds)],
        timeout=PATIENCE_SECONDS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert ("TerminationSignal" in done.stderr) == (raised == "lost")


def test_only_the_process_of_a_run_is_ended(monkeypatch):
    """A person's own, in which a flow is called, is not."""
    monkeypatch.delenv("PREFECT__FLOW_RUN_ID", raising=False)
    watched = []
    monkeypatch.setattr("flows._termination.watch", watched.append)
    from flows._termination import end_when_told

    end_when_told()
    assert watched == []
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "a-run")
    end_when_told()
    assert watched == [10.0]
