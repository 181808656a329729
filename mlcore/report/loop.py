"""The page of a whole loop: what happened, caused by what, and what it was worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mlcore.report import charts, page
from mlcore.report.charts import Bar, Mark, Point, Span


@dataclass(frozen=True, slots=True)
class DecisionLine:
    """One decision."""

    at: datetime
    cause: str
    action: str
    sentence: str


@dataclass(frozen=True, slots=True)
class TraceLine:
    """One link of an audit chain."""

    kind: str
    at: datetime
    sentence: str


@dataclass(frozen=True, slots=True)
class LoopFacts:
    """Everything the page shows.

    Parameters
    ----------
    title, lead : str
    figures : sequence of (value, what)
    spans : sequence of Span
        Flow runs.
    errors : sequence of Point
        Daily error of each model.
    metric : str
    marks : sequence of Mark
        Retrainings and promotions, on the time axis of the data.
    drift : sequence of Bar
        Population stability index per window and feature.
    drift_threshold : float
    decisions : sequence of DecisionLine
    ignored : sequence of (reason, count)
        Why events were not acted on.
    quarantined : sequence of (source, reason)
    trace_id : str
    trace : sequence of TraceLine
    """

    title: str
    lead: str
    figures: Sequence[tuple[str, str]]
    spans: Sequence[Span]
    errors: Sequence[Point]
    metric: str
    marks: Sequence[Mark]
    drift: Sequence[Bar]
    drift_threshold: float
    decisions: Sequence[DecisionLine]
    ignored: Sequence[tuple[str, int]]
    quarantined: Sequence[tuple[str, str]]
    trace_id: str
    trace: Sequence[TraceLine]


def write_loop_page(facts: LoopFacts, path: Path) -> Path:
    """Write the page."""
    blocks = [
        page.sentence(facts.lead, lead=True),
        page.figures(facts.figures),
        page.heading("Error over time"),
        page.sentence("Each model on the rows after its training, day by day; the lines mark what changed."),
        page.picture(charts.lines(facts.errors, facts.marks, y=facts.metric)),
        page.heading("What ran, and what started it"),
        page.picture(charts.timeline(facts.spans)),
        page.heading("Drift of each feature"),
        page.sentence("Population stability index against the rows trained on; beyond the dashed line it counts."),
        page.picture(charts.bars(facts.drift, x="population stability index", threshold=facts.drift_threshold)),
        page.heading("Decisions"),
        page.table(
            ("when", "cause", "decision", "why"),
            [(f"{item.at:%H:%M:%S}", item.cause, item.action, item.sentence) for item in facts.decisions],
        ),
        page.heading("Events that were ignored"),
        page.table(("how many", "why"), [(count, reason) for reason, count in facts.ignored]),
        page.heading("Quarantine"),
        page.table(("batch", "why"), facts.quarantined),
        page.heading("Behind one prediction"),
        page.sentence(f"Everything that led to the answer for row {facts.trace_id}."),
        page.table(
            ("what", "when", "how"), [(item.kind, f"{item.at:%H:%M:%S}", item.sentence) for item in facts.trace]
        ),
    ]
    return page.write_page(path, facts.title, blocks)
