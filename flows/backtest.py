"""Replay the past through the loop and compare retraining policies, before one goes live."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from flows._context import Context, open_context, stage
from flows.quality import find_dataset

if TYPE_CHECKING:
    from mlcore.data.casting import Unreadable


@stage("backtest")
async def backtest(
    usecase: str,
    uri: str = "",
    dataset_version: int | None = None,
    period: Literal["hour", "day", "week", "month"] | None = None,
    initial: int | None = None,
    every: int = 4,
    gate: bool = True,
    search: Literal["once", "always"] = "once",
    grid: dict[str, list[Any]] | None = None,
) -> str:
    """Compare retraining never, every n windows, at any drift, always, by an oracle, and by the use case's policy.

    Args:
        usecase: Name of the use case.
        uri: The past as a CSV or Parquet file. Leave it out to replay a dataset version.
        dataset_version: The version to replay; the newest one if neither is given.
        period: Replay in windows of this length instead of the cadence's.
        initial: Windows that the first model is trained on; by default a fifth of them.
        every: After so many windows the periodic strategy retrains.
        gate: Whether a new model must pass the gate.
        search: Whether to search for the first model only, or for every one.
        grid: Keys of the policy, each with values to compare: retraining.cooldown, [P1D, P7D].
    """
    from mlcore.backtest import Options

    context = open_context(usecase)
    options = Options(period=period, initial_windows=initial, every_windows=every, gate=gate, search=search)
    sentence, details = await asyncio.to_thread(_replay, context, uri, dataset_version, options, grid or {})
    await context.tell(sentence, details)
    return sentence


def _replay(
    context: Context, uri: str, version: int | None, options: Any, grid: dict[str, list[Any]]
) -> tuple[str, str]:
    from flows._replay import replay_table, table_rows
    from mlcore.data.ingest import read_past
    from mlcore.report.markdown import table

    unreadable: tuple[Unreadable, ...] = ()
    if uri:
        past, unreadable = read_past(uri, context.usecase.contract)
    else:
        dataset = find_dataset(context, version)
        past = context.datasets.read(dataset.uri, dataset.table_version)
    root = context.settings.artifacts_root
    written = replay_table(
        past, context.usecase, options=options, grid=grid, root=root, name=str(context.run_id), unreadable=unreadable
    )
    missed = "".join(f"\n- {item.sentence}" for item in unreadable)
    details = f"{table(*table_rows(written.result))}\n{missed}\n\nThe page with pictures: `{written.page}`"
    return written.result.sentence, details
