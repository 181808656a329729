"""The fault suite through the peers' defaults as rules: whatever drifts is retrained on.

The same windows as in faults.md, each compared with rows of the past that the model was trained on. alibi-detect runs
here; Evidently and NannyML need other versions than the lock has, and run in environments of their own, whose Python
``EVIDENTLY_PYTHON`` and ``NANNYML_PYTHON`` name: ``evidently==0.7.23 'pandas<3'``, ``nannyml==0.13.1
'statsmodels<0.15'``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import faults
from benchmarks.faults import Case, Outcome

#: Rows of the past that a peer compares with, drawn once: Evidently takes seconds a window for more.
REFERENCE_ROWS = 50_000
TRUTHS = ("data fault", "no harm", "harm", "too little data")
PEERS = {"evidently": "EVIDENTLY_PYTHON", "nannyml": "NANNYML_PYTHON"}
#: Both tell their makers of each use; where nobody answers, they try again and again.
SILENT = {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}


def run() -> None:
    """Print one line a rule."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outcomes, cases = _write(folder)
        children = {
            peer: subprocess.Popen(
                [os.environ[variable], Path(__file__).with_name("rules_peer.py"), peer, folder],
                env=os.environ | SILENT,
            )
            for peer, variable in PEERS.items()
            if os.environ.get(variable)
        }
        rules = {"this policy": [item.action == "retrain" for item in outcomes]}
        rules |= _rules("alibi-detect TabularDrift", [_alibi(folder, case) for case in cases])
        for peer, child in children.items():
            assert child.wait() == 0, peer
            rules |= _rules({"evidently": "Evidently", "nannyml": "NannyML"}[peer], _read(folder / f"{peer}.json"))
    for peer in PEERS.keys() - children.keys():
        print(f"{peer} is left out: {PEERS[peer]} is not set")
    _print(outcomes, rules)


def _write(folder: Path) -> tuple[list[Outcome], list[dict[str, Any]]]:
    """Judge every case as the loop does, and leave its rows for the peers."""
    outcomes, cases = [], []
    for name in faults.DATA:
        setting = faults.load_setting(name)
        features = setting.usecase.contract.features
        numbers = [item.name for item in features if setting.frame[item.name].dtype.kind in "iuf"]
        categories = [item.name for item in features if item.name not in numbers]
        for moment in setting.models:
            past = setting.frame[setting.frame[setting.time] < moment]
            past = past.sample(min(len(past), REFERENCE_ROWS), random_state=0).sort_index()
            _plain(past, numbers, categories).to_parquet(folder / _reference(name, moment))
        for case in faults.cases(setting):
            outcomes.append(faults.judge(case))
            window = f"{len(cases)}.parquet"
            _plain(case.rows, numbers, categories).to_parquet(folder / window)
            cases.append(_facts(case, window, numbers, categories))
    (folder / "cases.json").write_text(json.dumps(cases))
    return outcomes, cases


def _facts(case: Case, window: str, numbers: list[str], categories: list[str]) -> dict[str, Any]:
    reference = _reference(case.place.setting.usecase.name, case.moment)
    return {"reference": reference, "window": window, "numbers": numbers, "categories": categories}


def _reference(name: str, moment: Any) -> str:
    return f"{name}-{moment:%Y%m%d}.parquet"


def _plain(rows: pd.DataFrame, numbers: list[str], categories: list[str]) -> pd.DataFrame:
    """Return what a peer looks at: numbers and texts."""
    return rows[numbers].astype(float).join(rows[categories].astype(str)).reset_index(drop=True)


def _alibi(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    from alibi_detect.cd import TabularDrift

    reference, window = (pd.read_parquet(folder / case[side]) for side in ("reference", "window"))
    numbers, categories = case["numbers"], case["categories"]
    labels = {name: sorted({*reference[name], *window[name]}) for name in categories}

    def matrix(frame: pd.DataFrame) -> np.ndarray:
        codes = [pd.Categorical(frame[name], categories=labels[name]).codes for name in categories]
        return np.column_stack([frame[numbers].to_numpy(), *codes])

    places = {len(numbers) + place: list(range(len(labels[name]))) for place, name in enumerate(categories)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector = TabularDrift(matrix(reference), p_val=0.05, categories_per_feature=places)
        drifted = detector.predict(matrix(window), drift_type="batch")["data"]["is_drift"]
    return {"columns": ["any"] if drifted else [], "whole": None}


def _read(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())
    return found


def _rules(name: str, found: list[dict[str, Any]]) -> dict[str, list[bool]]:
    """Return what 'retrain at any drift' does, and 'retrain where the whole has drifted' where the peer says that."""
    refused = Counter(item["error"] for item in found if "error" in item)
    for error, times in refused.most_common():
        print(f"{name} refused {times} windows, not retrained on: {error}")
    rules = {f"{name}: any column": [bool(item.get("columns")) for item in found]}
    if any(item.get("whole") is not None for item in found):
        rules[f"{name}: whole window"] = [bool(item.get("whole")) for item in found]
    return rules


def _print(outcomes: list[Outcome], rules: dict[str, list[bool]]) -> None:
    """Print how many windows of each kind are retrained on; nothing is lost by 'too little data', harm should be."""
    truths = [faults.truth(item) for item in outcomes]
    # with too few new rows nobody can learn what has changed: to wait is right, and to retrain is not wrong
    waits = [item.expected == ("wait",) for item in outcomes]
    sums = Counter(truths)
    print(f"{'retrained on':<36}" + "".join(f"{truth:>17}" for truth in TRUTHS) + f"{'right':>9}")
    print(f"{'  of windows':<36}" + "".join(f"{sums[truth]:>17}" for truth in TRUTHS) + f"{len(outcomes):>9}")
    for name, retrained in rules.items():
        counts = Counter(truth for truth, done in zip(truths, retrained, strict=True) if done)
        right = sum(
            done == (truth == "harm") or (truth == "harm" and wait)
            for truth, done, wait in zip(truths, retrained, waits, strict=True)
        )
        line = "".join(f"{counts[truth]:>17}" for truth in TRUTHS)
        print(f"{name:<36}{line}{right / len(outcomes):>9.1%}")
    actions = sum(item.right for item in outcomes)
    print(f"\nright: retrained on harm and on nothing else; with the faults told: {actions / len(outcomes):.1%} here,")
    print("while a rule that knows drift only tells nobody that the data is to be fixed")


if __name__ == "__main__":
    sys.exit("run it as `python -m benchmarks rules`")
