"""The page of a whole loop: what happened, caused by what, and what it was worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path

from mlcore.report import charts, page
from mlcore.report.charts import MOST_BARS, Bar, Mark, Point, Span


@dataclass(frozen=True, slots=True)
class DecisionLine:
    """One decision."""

    at: datetime
    cause: str
    action: str
    sentence: str


@dataclass(frozen=True, slots=True)
class ApprovalLine:
    """One question to a person, and the answer."""

    version: int
    state: str
    approver: str
    reason: str


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
    unit : str, default=""
        Of the metric.
    approvals : sequence of ApprovalLine, default=()
    fault, storm : str, default=""
        What was found of the faulty day, and what became of the storm of events, in a sentence each.
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
    unit: str = ""
    approvals: Sequence[ApprovalLine] = ()
    fault: str = ""
    storm: str = ""


def loop_page(facts: LoopFacts) -> str:
    """Return the page."""
    return page.render(facts.title, _blocks(facts))


def write_loop_page(facts: LoopFacts, path: Path) -> Path:
    """Write the page."""
    return page.write(path, loop_page(facts))


def _blocks(facts: LoopFacts) -> Iterator[str]:
    yield page.sentence(facts.lead, lead=True)
    yield page.figures(facts.figures)
    if facts.errors:
        metric = facts.metric.replace("_", " ")
        yield page.heading("Error over time")
        yield page.sentence("Each model on the rows after its training, day by day; the lines mark what changed.")
        yield page.picture(
            charts.lines(facts.errors, facts.marks, y=f"{metric} ({facts.unit})" if facts.unit else metric)
        )
    if facts.spans:
        yield page.heading("What ran, and what started it")
        yield page.picture(charts.timeline(facts.spans))
    yield from _drift(facts)
    yield page.heading("Decisions")
    yield page.table(("when", "about", "decision", "why"), _decisions(facts.decisions), empty="Nothing was decided.")
    if facts.approvals:
        yield page.heading("Approvals")
        yield page.table(
            ("version", "answer", "by", "reason"),
            [(f"{item.version}", item.state, item.approver, item.reason) for item in facts.approvals],
        )
    if facts.fault:
        yield page.callout("The faulty day", facts.fault, "note")
    if facts.storm:
        yield page.callout("The storm of events", facts.storm, "good")
    yield page.heading("Events that were ignored")
    yield page.table(("how many", "why"), [(count, reason) for reason, count in facts.ignored], empty="None was.")
    yield page.heading("Quarantine")
    yield page.table(("batch", "why"), facts.quarantined, empty="Every batch passed its checks.")
    if facts.trace:
        yield page.heading("Behind one prediction")
        yield page.sentence(f"Everything that led to the answer for row {facts.trace_id}.")
        yield page.table(
            ("what", "when", "how"), [(item.kind, f"{item.at:%H:%M:%S}", item.sentence) for item in facts.trace]
        )


def _drift(facts: LoopFacts) -> Iterator[str]:
    if not facts.drift:
        return
    yield page.heading("Drift of each feature")
    count = len({bar.name for bar in facts.drift})
    shown = f"; the {MOST_BARS} largest of {count}" if count > MOST_BARS else ""
    yield page.sentence(
        f"Population stability index against the rows trained on{shown}; beyond the dashed line it counts."
    )
    yield page.picture(charts.bars(facts.drift, x="population stability index", threshold=facts.drift_threshold))


def _decisions(lines: Sequence[DecisionLine]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the rows; neighbours that say the same are one."""
    for (action, sentence), same in groupby(lines, key=lambda line: (line.action, line.sentence)):
        group = list(same)
        about = group[0].cause if len(group) == 1 else f"{group[0].cause} to {group[-1].cause} ({len(group)} decisions)"
        yield f"{group[0].at:%H:%M:%S}", about, action, sentence
