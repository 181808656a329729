"""Runs every benchmark, or the named one; what one prints and keeps in no report of its own is kept here."""

from __future__ import annotations

import importlib
import io
import os
import platform
import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

REPORTS = Path(__file__).parent / "reports"

NAMES = (
    "alarms",
    "audit",
    "backtests",
    "drift",
    "faults",
    "gate",
    "quality",
    "recovery",
    "report",
    "rules",
    "scoring",
    "serving",
    "training",
    "validity",
)


class _Tee(io.StringIO):
    """Shows what it keeps."""

    def write(self, text: str) -> int:
        sys.__stdout__.write(text)  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]
        return super().write(text)


def _kept(name: str, module: ModuleType) -> None:
    """Run a benchmark that prints, and write what it printed, with its own description, to a report."""
    load, printed = os.getloadavg()[0], _Tee()
    with redirect_stdout(printed):
        module.run()
    told = (
        f"# {name.capitalize()}\n\n`python -m benchmarks {name}`\n\n{(module.__doc__ or '').strip()}\n\n"
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, load at the start {load:.1f}.\n\n```\n{printed.getvalue().strip()}\n```\n"
    )
    (REPORTS / f"{name}.md").write_text(told, encoding="utf-8")


for name in sys.argv[1:2] or NAMES:
    if name not in NAMES:
        sys.exit(f"unknown benchmark {name!r}: expected one of {', '.join(NAMES)}")
    module = importlib.import_module(f"benchmarks.{name}")
    module.run() if hasattr(module, "REPORT") else _kept(name, module)
