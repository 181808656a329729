"""Judges windows with a peer's defaults, in the peer's own environment: ``python rules_peer.py evidently FOLDER``.

Reads ``cases.json`` and the Parquet files that it names; writes ``<peer>.json``: for each window the columns that
drifted, and what the peer says of the whole window where it says something.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import pandas as pd


def evidently(reference: pd.DataFrame, window: pd.DataFrame, numbers: list[str], categories: list[str]) -> Any:
    """Return the verdicts of the preset for data drift, with its own choice of tests and thresholds."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    kinds = DataDefinition(numerical_columns=numbers, categorical_columns=categories)
    sides = [Dataset.from_pandas(side, data_definition=kinds) for side in (window, reference)]
    whole, *columns = Report([DataDriftPreset()]).run(*sides).dict()["metrics"]
    drifted = []
    for metric in columns:
        threshold, value = metric["config"]["threshold"], float(metric["value"])
        is_p_value = metric["config"]["method"].endswith("p_value")
        if value < threshold if is_p_value else value >= threshold:
            drifted.append(metric["config"]["column"])
    assert len(drifted) == whole["value"]["count"], (whole, columns)
    return {"columns": drifted, "whole": whole["value"]["share"] >= whole["config"]["drift_share"]}


def nannyml(reference: pd.DataFrame, window: pd.DataFrame, numbers: list[str], categories: list[str]) -> Any:
    """Return the alerts of the univariate calculator, its thresholds from chunks as large as the window."""
    from nannyml import UnivariateDriftCalculator

    calculator = UnivariateDriftCalculator(
        column_names=[*numbers, *categories], treat_as_categorical=categories, chunk_size=len(window)
    )
    found = calculator.fit(reference).calculate(window).filter(period="analysis").to_df()
    alerts = found.loc[:, found.columns.get_level_values(2) == "alert"].any()
    return {"columns": sorted({column for (column, *_), alert in alerts.items() if alert}), "whole": None}


def main(peer: str, folder: Path) -> None:
    """Judge every window."""
    warnings.simplefilter("ignore")
    rule = {"evidently": evidently, "nannyml": nannyml}[peer]
    references: dict[str, pd.DataFrame] = {}
    found = []
    for case in json.loads((folder / "cases.json").read_text()):
        if case["reference"] not in references:
            references[case["reference"]] = pd.read_parquet(folder / case["reference"])
        window = pd.read_parquet(folder / case["window"])
        try:
            found.append(rule(references[case["reference"]], window, case["numbers"], case["categories"]))
        except Exception as error:  # noqa: BLE001 - a peer may refuse a window in any way; that is its answer
            found.append({"error": f"{type(error).__name__}: {error}"[:200]})
    (folder / f"{peer}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
