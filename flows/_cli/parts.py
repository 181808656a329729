"""A part of an installation: a process that is started again when it ends by itself."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flows._cli.processes import spawn, stop

#: Seconds before the first new start; doubled for each end that comes soon after a start.
_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 60.0
#: Who ran for so many seconds has ended by an accident, not because it cannot run.
_SOUND_SECONDS: Final = 60.0


def end_of(log: Path) -> str:
    """Return the end of a log, for an error to show; nothing where there is none."""
    return log.read_text(errors="replace")[-600:].strip() if log.exists() else ""


@dataclass
class Part:
    """One process and how it is started.

    Parameters
    ----------
    name : str
    command : sequence of str
    log : Path
        Where its output goes.
    environment : mapping of str to str
        Variables besides those of this process.
    """

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str]
    _process: subprocess.Popen[bytes] | None = None
    _began: float = 0.0
    _early_ends: int = 0
    _due: float | None = None

    @property
    def pid(self) -> int | None:
        """Its process, None where it was never started."""
        return None if self._process is None else self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def last_words(self) -> str:
        """The end of its log."""
        return end_of(self.log)

    def start(self) -> None:
        """Start it."""
        self._process = spawn(self.command, log=self.log, environment=self.environment)
        self._began, self._due = time.monotonic(), None

    def stop(self) -> None:
        """Stop it and whatever it has started."""
        if self._process is not None:
            stop(self._process)

    def mend(self) -> str:
        """Start it again once it has ended and a pause is over; return what happened, empty where nothing did."""
        if self._process is None or self.runs:
            return ""
        now = time.monotonic()
        if self._due is None:
            self._early_ends = self._early_ends + 1 if now - self._began < _SOUND_SECONDS else 0
            pause = min(_PAUSE * 2**self._early_ends, _LONGEST_PAUSE)
            self._due = now + pause
            code = self._process.returncode
            return f"the {self.name} has ended ({code}) and is started again in {pause:g} s; its log is {self.log}"
        if now < self._due:
            return ""
        self.stop()  # what it had started may hold its port
        self.start()
        return f"the {self.name} is started again"
