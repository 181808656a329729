"""Runs every benchmark, or the named ones."""

from __future__ import annotations

import importlib
import sys

NAMES = ("alarms", "audit", "backtests", "drift", "faults", "gate", "quality", "training", "validity")

for name in sys.argv[1:2] or NAMES:
    if name not in NAMES:
        sys.exit(f"unknown benchmark {name!r}: expected one of {', '.join(NAMES)}")
    importlib.import_module(f"benchmarks.{name}").run()
