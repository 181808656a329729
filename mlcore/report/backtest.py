"""The page of a backtest: error over time of each strategy, with its retrainings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlcore.report import charts, page
from mlcore.report.charts import Mark, Point

if TYPE_CHECKING:
    from mlcore.backtest import BacktestResult


def write_backtest_page(result: BacktestResult, path: Path) -> Path:
    """Write the page."""
    # the policy first: it is drawn as the solid line
    windows = sorted(result.windows, key=lambda item: item.strategy != "policy")
    points = [Point(item.strategy, item.starts_at, item.error) for item in windows]
    marks = [
        Mark(item.starts_at, "retrained")
        for item in result.windows
        if item.strategy == "policy" and item.action == "retrain"
    ]
    summaries = [(item.strategy, f"{item.error:.4g}", item.retrainings, item.alarms) for item in result.summaries]
    decisions = [
        (f"{item.starts_at:%Y-%m-%d}", f"{item.error:.4g}", item.cause, item.action)
        for item in result.windows
        if item.strategy == "policy"
    ]
    return page.write_page(
        path,
        f"{result.usecase}: which retraining policy?",
        [
            page.sentence(result.sentence, lead=True),
            page.table(("strategy", result.metric, "retrainings", "windows with drift"), summaries),
            page.heading("Error over time"),
            page.picture(charts.lines(points, marks, y=result.metric.replace("_", " "))),
            page.heading("What the policy decided"),
            page.table(("window", result.metric, "diagnosis", "decision"), decisions),
        ],
    )
