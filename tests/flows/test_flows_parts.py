"""Parts of an installation that end are started again, with patience for one that cannot run."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows._cli import parts
from flows._cli.parts import Part


class Clock:
    """A clock that is put forward by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """Return the clock that parts look at."""
    clock = Clock()
    monkeypatch.setattr(parts, "time", clock)
    return clock


@pytest.fixture
def start(tmp_path: Path) -> Iterator[object]:
    """Start a part that runs some code."""
    started = []

    def begin(code: str) -> Part:
        part = Part("worker", [sys.executable, "-c", code], tmp_path / "log", {})
        part.start()
        started.append(part)
        return part

    yield begin
    for part in started:
        part.stop()


def test_a_killed_part_runs_again(start, clock):
    """It says that it has ended and when it is started again, and does it."""
    part = start("import time; time.sleep(600)")
    assert part.mend() == ""
    killed = part.pid
    clock.now += 3600
    os.kill(killed, signal.SIGKILL)
    part._process.wait()
    assert part.mend().startswith("the worker has ended (-9) and is started again in 0.25 s")
    assert part.mend() == ""
    assert not part.runs
    clock.now += 0.25
    assert part.mend() == "the worker is started again"
    assert part.runs
    assert part.pid != killed


def test_a_part_that_cannot_run_is_started_ever_more_seldom(start, clock):
    """Each pause is twice the one before, up to a minute; after a sound time an end is an accident again."""
    part = start("raise SystemExit('no licence')")

    def pause() -> float:
        part._process.wait()
        assert "has ended (1)" in part.mend()
        assert "no licence" in part.last_words
        before = clock.now
        while not part.mend():
            clock.now += 0.25
        return clock.now - before

    assert [pause() for _ in range(10)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    clock.now += 100
    assert pause() == 0.25
