"""How often drift is called where there is none, and how surely where there is: single columns and whole rows."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from mlcore.contract import Column, DataContract
from mlcore.data.dependence import block_length
from mlcore.drift import DriftReport, build_baseline, detect_drift, independent_blocks
from mlcore.drift.whole import row_blocks
from mlcore.policy.monitoring import DriftPolicy

REPORT = Path(__file__).parent / "reports" / "alarms.md"
USECASES = Path(__file__).parent.parent / "usecases"
WINDOWS, DRAWN, WORKERS = 1_000, 50, 2
#: Rows a day that are kept of each table.
_ROWS_A_DAY = 12
_DAY, _WEEK = timedelta(days=1), timedelta(days=7)
NUMBERS = [f"n{i}" for i in range(8)]


@dataclass(frozen=True, slots=True)
class Null:
    """One way to make windows without drift: some units of length `dealt` are the window, the others are trained on."""

    name: str
    table: str
    dealt: timedelta | None
    block: timedelta | Literal["drafted"] | None


NULLS = [
    Null(f"{table}: {told}", table, dealt, block)
    for table in ("bikeshare", "flights")
    for told, dealt, block in (
        ("rows dealt, no block", None, None),
        ("days dealt, block P1D", _DAY, _DAY),
        ("weeks dealt, no block", _WEEK, None),
        ("weeks dealt, block as `mlops init` drafts it", _WEEK, "drafted"),
        ("weeks dealt, block P1D", _WEEK, _DAY),
        ("weeks dealt, block P7D", _WEEK, _WEEK),
    )
]
#: Kinds of drift in one column, or between two, and their sizes.
POWER: dict[str, tuple[float, ...]] = {
    "mean moved by (deviations)": (0.1, 0.2, 0.3, 0.5, 0.8),
    "deviation times": (1.1, 1.25, 1.5, 2.0),
    "two categories swapped in (share of rows)": (0.05, 0.1, 0.2, 0.4),
    "correlation 0 becomes": (0.2, 0.4, 0.6, 0.8),
}


def run() -> None:
    """Measure and write the report."""
    os.environ["OMP_NUM_THREADS"] = "1"
    began = time.perf_counter()
    with ProcessPoolExecutor(WORKERS) as pool:
        sections = [_INTRODUCTION.format(windows=WINDOWS), *_false_alarms(pool), *_power(pool)]
    minutes = (time.perf_counter() - began) / 60
    sections.append(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}: {minutes:.1f} min.\n"
    )
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text("\n".join(sections))
    print("\n".join(sections))


def _false_alarms(pool: ProcessPoolExecutor) -> Iterator[str]:
    yield "| windows without drift | any column significant | and effect | whole rows significant | and effect |"
    yield "|---|---|---|---|---|"
    for null in NULLS:
        columns = np.mean(list(pool.map(_columns, [null] * WINDOWS, range(WINDOWS), chunksize=25)), axis=0)
        whole = np.mean(list(pool.map(_whole, [null] * WINDOWS, range(WINDOWS), chunksize=5)), axis=0)
        yield f"| {null.name} | " + " | ".join(f"{share:.1%}" for share in (*columns, *whole)) + " |"
        print(null.name, columns, whole, flush=True)
    yield ""


def _columns(null: Null, seed: int) -> tuple[bool, bool]:
    report, policy = _report(null, seed, whole=False)
    significant = any(item.adjusted_p <= policy.false_discovery_rate for item in report.columns)
    return significant, bool(report.drifted)


def _whole(null: Null, seed: int) -> tuple[bool, bool]:
    report, policy = _report(null, seed, whole=True)
    found = report.multivariate
    assert found is not None
    significant = found.p_value is not None and found.p_value <= policy.false_discovery_rate
    return significant, found.outcome == "drift"


def _report(null: Null, seed: int, *, whole: bool) -> tuple[DriftReport, DriftPolicy]:
    frame, contract = _table(null.table)
    rng = np.random.default_rng(seed)
    assert contract.time is not None
    unit = np.arange(len(frame))
    if null.dealt is not None:
        unit = frame[contract.time.name].dt.floor(null.dealt).astype("int64").to_numpy()
    numbers, place = np.unique(unit, return_inverse=True)
    in_window = np.isin(place, rng.permutation(len(numbers))[: round(len(numbers) * 28 / 365)])
    before, now = frame[~in_window], frame[in_window]
    block = _drafted(null.table) if null.block == "drafted" else null.block
    policy = DriftPolicy(block=block, multivariate="domain_classifier" if whole else "none")
    baseline = build_baseline(
        before,
        np.zeros(len(before)),
        contract,
        blocks=independent_blocks(before, contract, policy),
        block_of_row=row_blocks(before, contract, policy),
    )
    blocks = independent_blocks(now, contract, policy)
    report = detect_drift(baseline, now, np.zeros(len(now)), contract, policy, minimum_rows=1, blocks=blocks, threads=1)
    return report, policy


@cache
def _table(name: str) -> tuple[pd.DataFrame, DataContract]:
    from mlcore.data.ingest import read_source
    from mlcore.usecase import load_usecase

    contract = load_usecase(USECASES / name).contract
    source = {"bikeshare": "hourly.csv", "flights": "flights.parquet"}[name]
    frame = read_source(str(USECASES / name / "data" / source), contract).to_pandas()
    assert contract.time is not None
    days = frame[contract.time.name].dt.floor("D")
    frame = frame.sample(frac=1.0, random_state=0).groupby(days).head(_ROWS_A_DAY)
    return frame.sort_values(contract.time.name).reset_index(drop=True), contract


@cache
def _drafted(name: str) -> timedelta | None:
    """Return the block length of a draft with windows of months."""
    frame, contract = _table(name)
    assert contract.time is not None
    watched = [column.name for column in contract.features if column.drift]
    return block_length(frame[watched], frame[contract.time.name], _WEEK)


def _power(pool: ProcessPoolExecutor) -> Iterator[str]:
    yield "## Power\n"
    yield f"Share of {DRAWN} windows of 1,000 rows called drift, trained on 5,000; one column moves, or two relate.\n"
    yield "| drift | size | any column | whole rows | columns named rightly |"
    yield "|---|---|---|---|---|"
    for kind, sizes in POWER.items():
        for size in sizes:
            found = np.mean(list(pool.map(_power_window, [kind] * DRAWN, [size] * DRAWN, range(DRAWN))), axis=0)
            named = f"{found[2]:.0%}" if found[1] else ""
            yield f"| {kind} | {size:g} | {found[0]:.0%} | {found[1]:.0%} | {named} |"
            print(kind, size, found, flush=True)
    yield ""


def _power_window(kind: str, size: float, seed: int) -> tuple[bool, bool, bool]:
    rng = np.random.default_rng(seed)
    before, now = _rows(rng, 5_000), _rows(rng, 1_000)
    now = _CHANGES[kind](now, size, rng)
    columns = [Column(name=name, type="number") for name in NUMBERS]
    columns += [Column(name=name, type="category") for name in ("c0", "c1")]
    contract = DataContract(task="regression", columns=(*columns, Column(name="y", type="number", role="target")))
    answers = [np.zeros(len(rows)) for rows in (before, now)]
    baseline = build_baseline(before, answers[0], contract)
    report = detect_drift(baseline, now, answers[1], contract, DriftPolicy(), minimum_rows=1, threads=1)
    whole = report.multivariate
    assert whole is not None
    expected = {"two": "c0", "cor": "n1"}.get(kind[:3], "n0")
    return bool(report.drifted), whole.outcome == "drift", expected in [name for name, _ in whole.columns]


def _rows(rng: np.random.Generator, count: int) -> pd.DataFrame:
    numbers = {name: rng.normal(size=count) for name in NUMBERS}
    return pd.DataFrame({**numbers, "c0": rng.choice(list("abcde"), count), "c1": rng.choice(list("xyz"), count)})


def _swap(rows: pd.DataFrame, share: float, rng: np.random.Generator) -> pd.DataFrame:
    """Rename a to b in a share of all rows that have a, and so on: a fifth of the rows has each."""
    gone = rows["c0"].isin(["a", "b"]) & (rng.random(len(rows)) < share * 2.5)
    return rows.assign(c0=rows["c0"].where(~gone, "c"))


def _correlate(rows: pd.DataFrame, size: float, rng: np.random.Generator) -> pd.DataFrame:
    return rows.assign(n1=size * rows["n0"] + np.sqrt(1 - size**2) * rng.normal(size=len(rows)))


_CHANGES: dict[str, Callable[[pd.DataFrame, float, np.random.Generator], pd.DataFrame]] = {
    "mean moved by (deviations)": lambda rows, size, _: rows.assign(n0=rows["n0"] + size),
    "deviation times": lambda rows, size, _: rows.assign(n0=rows["n0"] * size),
    "two categories swapped in (share of rows)": _swap,
    "correlation 0 becomes": _correlate,
}

_INTRODUCTION = """# Drift: false alarms and power

Written by `python -m benchmarks alarms`. Nominal rate: `monitoring.drift.false_discovery_rate: 0.01`. "Significant" is
the test alone; "effect" is what counts as drift: a population stability index of at least `minimum_effect: 0.2`, or the
area under the curve that it stands for.

## False alarms, {windows:,} windows each

Windows are made of a real year by dealing a thirteenth of its rows, days or weeks to the window at random, and training
on the others: what is dealt is exchangeable, so every alarm is a false one, while the dependence within it is left as
it is. Rows dealt: exchangeable data. Days dealt: hours of a day depend on each other. Weeks dealt: days do, too.
"""
