"""The use cases' own past under every strategy: what the policy gains, of what always retraining gains, and its price.

``python -m benchmarks.backtests flights week`` replays one of them alone, in windows of another length.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mlcore.backtest import Journal, Options, journal_name, replay
from mlcore.data.digest import table_digest
from mlcore.data.ingest import read_source
from mlcore.report.markdown import table
from mlcore.usecase import load_usecase

if TYPE_CHECKING:
    from mlcore.backtest import BacktestResult
    from mlcore.policy.monitoring import Period

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "benchmarks" / "reports" / "backtests.md"
DATA = {"bikeshare": "hourly.csv", "flights": "flights.parquet"}
LEAST_SHARE, MOST_RETRAININGS = 0.9, 0.4
HEADER = (
    "strategy", "metric", "share of always", "retrainings", "promoted", "alarms", "false", "missed harm",
    "rows to detection",
)  # fmt: skip


def run(names: tuple[str, ...] = tuple(DATA), period: Period | None = None, *, write: bool = True) -> None:
    """Replay each use case with the gate and without it, print, and write the report."""
    parts = [
        "# Backtests\n\nWhat each strategy makes of the use cases' own past (`python -m benchmarks backtests`), "
        "through the code that runs in production. Asked for: at least 90 % of what retraining after every window "
        "gains, with at most 40 % of its retrainings. With the gate off every new model answers, as where there is "
        "none. How to read it, by week, and public tables: [backtests-notes.md](backtests-notes.md).\n"
    ]
    for name in names:
        for gate in (True, False):
            parts += _part(name, period, gate=gate)
    text = "\n".join(parts)
    print(text)
    if write:
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(text, encoding="utf-8")


def _part(name: str, period: Period | None, *, gate: bool) -> Iterator[str]:
    usecase = load_usecase(ROOT / "usecases" / name)
    rows = read_source(str(ROOT / "usecases" / name / "data" / DATA[name]), usecase.contract)
    # models are kept between the two runs, and by a run that was stopped: they differ in who answers alone
    journal = Journal(ROOT / ".mlops" / "benchmarks" / journal_name(table_digest(rows), usecase, 0))
    began = time.perf_counter()
    options = Options(period=period, gate=gate)
    result = replay(rows.to_pandas(), usecase, seed=0, options=options, journal=journal, progress=_tell)
    if gate:
        journal.close()
    else:
        journal.remove()
    seconds = time.perf_counter() - began
    yield f"## {name}, gate {'on' if gate else 'off'}\n"
    yield f"{result.sentence}\n"
    yield f"{_verdict(result)}\n"
    yield table(HEADER, [_row(result, item.strategy) for item in result.summaries])
    facts = "; ".join(f"{what}: {value}" for what, value in result.facts)
    shared = "" if gate else ", models shared with the run above"
    yield f"\n{facts}. {seconds:.0f} seconds on {len(os.sched_getaffinity(0))} cores{shared}.\n"


def _verdict(result: BacktestResult) -> str:
    share = result.share("policy")
    spent = result.summary("policy").retrainings / max(1, result.summary("always").retrainings)
    if share is None:
        return f"Retraining gains nothing here; the policy spends {spent:.0%} of always' retrainings."
    reached = share >= LEAST_SHARE and spent <= MOST_RETRAININGS
    return f"**{share:.0%} of the gain with {spent:.0%} of the retrainings: {'reached' if reached else 'missed'}.**"


def _row(result: BacktestResult, strategy: str) -> tuple[str, ...]:
    item, share = result.summary(strategy), result.share(strategy)
    counts = (item.retrainings, item.promotions, item.alarms, item.false_alarms, item.missed_harm)
    waited = "" if item.rows_to_detection is None else f"{item.rows_to_detection:,.0f}"
    return (strategy, f"{item.error:.4g}", "" if share is None else f"{share:.0%}", *map(str, counts), waited)


def _tell(told: str) -> None:
    print(told, file=sys.stderr, flush=True)


if __name__ == "__main__":
    chosen: list[str] = sys.argv[1:]
    run(tuple(chosen[:1]) or tuple(DATA), chosen[1] if chosen[1:] else None, write=not chosen)  # type: ignore[arg-type]
