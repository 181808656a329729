"""The page of a backtest: each strategy's error over time, what it cost, and what the policy decided."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlcore.report import charts, page
from mlcore.report.charts import Mark, Point

if TYPE_CHECKING:
    from mlcore.backtest import BacktestResult, StrategySummary

#: More lines than this hide each other; the others are in the table.
_DRAWN: Final = ("policy", "static", "always", "oracle")
_HEADER: Final = ("retrainings", "promoted", "alarms", "false alarms", "missed harm", "rows to detection")
_MEANING: Final = (
    "Alarm: the strategy wanted a retraining. False alarm: one after a window whose error was within its limit. "
    "Missed harm: a window beyond it without an alarm. Rows to detection: answered from the first harmed row to the "
    "alarm, the median. The oracle knows the labels of the coming window, and retrains when that pays."
)


def write_backtest_page(result: BacktestResult, path: Path) -> Path:
    """Write the page."""
    name = result.metric.replace("_", " ")
    # the policy first: it is drawn as the solid line
    points = [
        Point(item.strategy, item.starts_at, item.error)
        for strategy in _DRAWN
        for item in result.windows
        if item.strategy == strategy and math.isfinite(item.error)
    ]
    mine = [item for item in result.windows if item.strategy == "policy"]
    marks = [Mark(item.starts_at, "retrained") for item in mine if item.action == "retrain"]
    decisions = [
        (
            f"{item.starts_at:%Y-%m-%d %H:%M}",
            f"{item.rows:,}",
            f"{item.error:.4g}",
            item.cause,
            f"{item.action}, {item.verdict}" if item.verdict else item.action,
            item.sentence,
        )
        for item in mine
    ]
    strategies = [item for item in result.summaries if item.strategy not in result.settings]
    settings = [item for item in result.summaries if item.strategy in result.settings]
    header = (result.metric, "of what always gains", *_HEADER)
    blocks = [
        page.sentence(result.sentence, lead=True),
        page.table(("strategy", *header), [_row(result, item) for item in strategies]),
        page.sentence(_MEANING),
        page.heading("Error over time"),
        page.picture(
            charts.lines(points, marks, y=name),
            "Each window by the models that answered in it; vertical lines: windows after which the policy retrained.",
        ),
        page.heading("What it costs"),
        page.picture(charts.lines(list(_spent(result)), (), y="retrainings until then")),
    ]
    if settings:
        blocks += [
            page.heading("Settings of the policy"),
            page.table(("setting", *header), [_row(result, item) for item in settings]),
        ]
    blocks += [
        page.heading("What the policy decided"),
        page.table(("window", "rows", result.metric, "diagnosis", "decision", "why"), decisions),
        page.heading("How it was replayed"),
        page.table(("", ""), result.facts),
    ]
    return page.write_page(path, f"{result.usecase}: which retraining policy?", blocks)


def _row(result: BacktestResult, item: StrategySummary) -> tuple[str, ...]:
    share = result.share(item.strategy)
    waited = item.rows_to_detection
    counts = (item.retrainings, item.promotions, item.alarms, item.false_alarms, item.missed_harm)
    return (
        item.strategy,
        f"{item.error:.4g}",
        "" if share is None else f"{share:.0%}",
        *(str(count) for count in counts),
        "" if waited is None else f"{waited:,.0f}",
    )


def _spent(result: BacktestResult) -> Iterator[Point]:
    """Yield the retrainings of each strategy, added up over time; there may be too many settings to tell apart."""
    # first those of the other picture, in its order: they have the same colours in both
    for summary in sorted(result.summaries, key=lambda item: [*_DRAWN, item.strategy].index(item.strategy)):
        if summary.strategy in result.settings:
            continue
        spent = 0
        for item in result.windows:
            if item.strategy == summary.strategy:
                spent += item.action == "retrain"
                yield Point(item.strategy, item.starts_at, spent)
