"""Quality checks of bikeshare's contract: Great Expectations as we drive it, beside the same checks in pandas."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.timing import race
from mlcore.data.ingest import conform, read_source
from mlcore.quality import check_table
from mlcore.usecase import load_usecase

ROOT = Path(__file__).parent.parent


def run() -> None:
    """Print the table for one year of hours, repeated to 100,000 rows."""
    usecase = load_usecase(ROOT / "usecases" / "bikeshare")
    contract = usecase.contract
    table = read_source(str(ROOT / "usecases" / "bikeshare" / "data" / "hourly.csv"), contract)
    frame = pd.concat([table.to_pandas()] * 12, ignore_index=True)
    large = conform(frame, contract)

    def in_pandas() -> list[bool]:
        found = [bool(frame[column.name].notna().all()) for column in contract.columns]
        for column in contract.columns:
            if column.minimum is not None:
                found.append(bool(frame[column.name].between(column.minimum, column.maximum).all()))
            if column.categories is not None:
                found.append(bool(frame[column.name].isin(column.categories).all()))
        return found

    print(f"quality, {len(frame):,} rows, {len(check_table(large, contract).checks)} checks")
    race(
        {
            "floor: the same checks in pandas": in_pandas,
            "ours: great expectations": lambda: check_table(large, contract),
        },
        floor="floor: the same checks in pandas",
    )
