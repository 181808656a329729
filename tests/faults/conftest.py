"""Installations to break: a process that forks them, and the events that they exchange."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import disk
from tests.faults.server import Events

ROOT = Path(__file__).parents[2]

#: The steps that lead from one state to the next; each state is a home of its own.
STATES = (
    ("announced", "empty", "announce", {}),
    ("published", "announced", "wake", {"only": "flows/publish.py:publish"}),
    ("asked", "published", "wake", {"only": "flows/retrain.py:retrain"}),
    ("granted", "asked", "answer", {}),
    ("champion", "granted", "promote", {}),
    ("second", "champion", "second", {}),
    ("captured", "champion", "captured", {}),
    ("closed", "captured", "maintain", {"flush": True}),
)


class Nursery:
    """Forks a child for each order, and says how it ended."""

    def __init__(self, folder: Path, events: Events, preload: Path | None = None) -> None:
        self.folder, self.events = folder, events
        self.log = folder / "log.txt"
        folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        environment.pop("MLOPS_FAILPOINT", None)
        if preload:
            environment["LD_PRELOAD"] = str(preload)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("a"),
            text=True,
            cwd=ROOT,
            env=environment,
        )
        self._turn = threading.Lock()

    def __call__(self, step: str, home: Path, **order: Any) -> dict[str, Any]:
        """Let a child do `step` in `home`."""
        facts = {"step": step, "home": str(home), "server": self.events.address(home.name), "log": str(self.log)}
        with self._turn:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps({**facts, **order}) + "\n")
            self._process.stdin.flush()
            return dict(json.loads(self._process.stdout.readline()))

    def do(self, step: str, home: Path, **order: Any) -> Any:
        """Let a child do `step`, and return what it returns."""
        answer = self(step, home, **order)
        assert (answer["code"], answer.get("error")) == (0, None), (step, answer, self.log.read_text()[-3000:])
        return answer["value"]

    def copy(self, source: Path, name: str) -> Path:
        """Return a copy of an installation, its paths rewritten: they are absolute in the ledger."""
        import sqlite3

        target = self.folder / name
        shutil.copytree(source, target)
        self.events.copy(source.name, name)
        if not (target / "ledger.db").exists():
            return target
        with sqlite3.connect(target / "ledger.db") as ledger:
            for table, column in (("datasets", "uri"), ("models", "uri"), ("bentos", "path")):
                ledger.execute(f"UPDATE {table} SET {column} = replace({column}, '{source}', '{target}')")
        ledger.close()
        return target

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.kill()
        self._process.wait(30)


def in_each_state(nursery: Nursery) -> dict[str, Path]:
    """Make an installation in each state of the loop."""
    homes = {"empty": nursery.folder / "empty"}
    homes["empty"].mkdir()
    for state, before, step, arguments in STATES:
        homes[state] = nursery.copy(homes[before], state)
        nursery.do(step, homes[state], arguments=arguments)
    return homes


@pytest.fixture(scope="module")
def events() -> Iterator[Events]:
    """What the installations announce."""
    kept = Events()
    yield kept
    kept.close()


@pytest.fixture(scope="module")
def nursery(tmp_path_factory, events) -> Iterator[Nursery]:
    """A process that forks."""
    nursery = Nursery(tmp_path_factory.mktemp("nursery"), events)
    yield nursery
    nursery.close()


@pytest.fixture(scope="module")
def disk_nursery(tmp_path_factory, events) -> Iterator[Nursery]:
    """A process that forks, on disks that can fail."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler to make a disk that fails")
    folder = tmp_path_factory.mktemp("disk")
    nursery = Nursery(folder / "homes", events, disk.build(folder))
    yield nursery
    nursery.close()
