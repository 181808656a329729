"""The `backtest` command: past data through the loop, without a server."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flows._cli.installation import Answer, load, open_ledger
from flows.settings import settings
from mlcore.errors import UseCaseError
from mlcore.ledger.records import DatasetVersion

if TYPE_CHECKING:
    from mlcore.backtest import Options
    from mlcore.data.casting import Unreadable


def backtest(usecase: str, data: str, options: Options, sets: Sequence[str], grid: Path | None) -> Answer:
    """Replay past data and compare policies."""
    from flows._replay import read_grid, replay_table, table_rows
    from mlcore.backtest import parse_set
    from mlcore.data.ingest import read_past

    here = settings()
    found = load(here, usecase)
    unreadable: tuple[Unreadable, ...] = ()
    if data:
        past, unreadable = read_past(data, found.contract)
    else:
        from mlcore.data.datasets import DatasetStore

        with open_ledger(here).read() as view:
            dataset = view.first(DatasetVersion, order_by="-version", usecase=found.name)
        if dataset is None:
            raise UseCaseError("nothing to replay", subject=found.name, remedy="Name a file with --data.")
        past = DatasetStore(here.lake_root).read(dataset.uri, dataset.table_version)
    wanted = parse_set(sets)
    for key, values in (read_grid(grid) if grid is not None else {}).items():
        wanted.setdefault(key, []).extend(values)
    written = replay_table(
        past,
        found,
        options=options,
        grid=wanted,
        root=here.root,
        name=found.name,
        progress=_progress,
        unreadable=unreadable,
    )
    header, rows = table_rows(written.result)
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows)]
    told = [written.result.sentence, *(item.sentence for item in unreadable), ""]
    text = "\n".join([*told, *(line.rstrip() for line in lines), "", str(written.page)])
    return {**written.result.to_json(), "page": str(written.page)}, text


def _progress(told: str) -> None:
    print(told, file=sys.stderr)  # noqa: T201
