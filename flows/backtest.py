"""Replay the past through the loop and compare retraining policies, before one goes live."""

from __future__ import annotations

import asyncio
from pathlib import Path

from flows._context import Context, open_context, stage
from flows.quality import find_dataset


@stage("backtest")
async def backtest(usecase: str, uri: str = "", dataset_version: int | None = None) -> str:
    """Compare never retraining, retraining after every window, at any drift, and by the use case's policy.

    Args:
        usecase: Name of the use case.
        uri: The past as a CSV or Parquet file. Leave it out to replay a dataset version.
        dataset_version: The version to replay; the newest one if neither is given.
    """
    context = open_context(usecase)
    sentence, details, page = await asyncio.to_thread(_replay, context, uri, dataset_version)
    await context.tell(sentence, f"{details}\n\nThe page with pictures: `{page}`")
    return sentence


def _replay(context: Context, uri: str, version: int | None) -> tuple[str, str, Path]:
    from mlcore.backtest import replay
    from mlcore.data.ingest import read_source
    from mlcore.report.backtest import write_backtest_page
    from mlcore.report.markdown import table

    if uri:
        past = read_source(uri, context.usecase.contract)
    else:
        dataset = find_dataset(context, version)
        past = context.datasets.read(dataset.uri, dataset.table_version)
    result = replay(past.to_pandas(), context.usecase, seed=context.usecase.training.search.seed)
    rows = [(item.strategy, f"{item.error:.4g}", item.retrainings, item.alarms) for item in result.summaries]
    folder = context.settings.artifacts_root / "backtests" / context.name
    page = write_backtest_page(result, folder / f"{context.run_id}.html")
    return result.sentence, table(("strategy", result.metric, "retrainings", "alarms"), rows), page
