"""The page of a trace: the chain from the data to the answers, drawn and told."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlcore.report import page

if TYPE_CHECKING:
    from mlcore.ledger.graph import Trace, TraceStep

#: The stages from left to right, and the kinds of step in each.
_STAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "data": ("quality", "dataset", "quarantine"),
    "cause": ("window", "diagnosis", "decision", "event"),
    "model": ("model", "audit"),
    "judged": ("evaluation",),
    "approved": ("approval", "answer"),
    "released": ("alias", "bento", "deployment"),
    "served": ("prediction", "predictions"),
}
_COLUMN: Final = {kind: number for number, kinds in enumerate(_STAGES.values()) for kind in kinds}
_COLOUR: Final = ("accent", "note", "good", "accent", "good", "note", "accent")
_WIDTH, _GAP, _HEIGHT, _LINE, _TOP = 124, 20, 62, 74, 26
_CHARACTERS, _LINES = 18, 3  # of wide letters, too, so many fit


def lineage_page(found: Trace) -> str:
    """Return the page."""
    return page.render(f"Trace of {found.identifier}", _blocks(found))


def write_lineage_page(found: Trace, path: Path) -> Path:
    """Write the page."""
    return page.write(path, lineage_page(found))


def _blocks(found: Trace) -> Iterator[str]:
    steps = sorted(found.steps, key=lambda step: step.at)
    yield page.sentence(
        f"{len(steps)} steps from {steps[0].at:%Y-%m-%d %H:%M} to {steps[-1].at:%Y-%m-%d %H:%M} UTC.", lead=True
    )
    yield page.picture(_drawing(found), "From the data on the left to the answers on the right; hover for the whole.")
    yield page.heading("Step by step")
    yield page.table(
        ("when (UTC)", "what", "id", "what it says"),
        [(f"{step.at:%Y-%m-%d %H:%M:%S}", step.kind, step.id, step.sentence) for step in steps],
    )


def _drawing(found: Trace) -> str:
    """Return the graph as SVG: a column a stage, each column in the order of time."""
    columns: list[list[int]] = [[] for _ in _STAGES]
    for place in sorted(range(len(found.steps)), key=lambda place: found.steps[place].at):
        columns[_COLUMN[found.steps[place].kind]].append(place)
    used = [number for number, column in enumerate(columns) if column]
    spots = {
        place: (index * (_WIDTH + _GAP), _TOP + row * _LINE)
        for index, number in enumerate(used)
        for row, place in enumerate(columns[number])
    }
    width = len(used) * (_WIDTH + _GAP) - _GAP + 16
    height = _TOP + max(len(column) for column in columns) * _LINE
    parts = [
        f'<text x="{index * (_WIDTH + _GAP) + 2}" y="12" style="fill:var(--dim);font-size:11px">{name}</text>'
        for index, number in enumerate(used)
        for name in [list(_STAGES)[number]]
    ]
    parts += [_edge(spots[link.source], spots[link.target]) for link in found.links]
    parts += [_box(found.steps[place], *spot, found.identifier) for place, spot in spots.items()]
    return (
        f'<svg viewBox="-8 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'xmlns="http://www.w3.org/2000/svg" style="font-family:inherit">{"".join(parts)}</svg>'
    )


def _edge(source: tuple[int, int], target: tuple[int, int]) -> str:
    (x, y), (to_x, to_y) = source, target
    style = "fill:none;stroke:var(--dim);stroke-width:1.1;stroke-opacity:.6"
    if x == to_x:  # along the left side of the column
        start, end = y + _HEIGHT / 2, to_y + _HEIGHT / 2
        return f'<path d="M{x},{start} C{x - 12},{start} {x - 12},{end} {x},{end}" style="{style}"/>'
    leaves, enters = (x + _WIDTH, to_x) if x < to_x else (x, to_x + _WIDTH)
    start, end, bend = y + _HEIGHT / 2, to_y + _HEIGHT / 2, (enters - leaves) / 2
    return (
        f'<path d="M{leaves},{start} C{leaves + bend},{start} {enters - bend},{end} {enters},{end}" style="{style}"/>'
    )


def _box(step: TraceStep, x: int, y: int, asked: str) -> str:
    colour = _COLOUR[_COLUMN[step.kind]]
    told = textwrap.wrap(step.sentence, _CHARACTERS, max_lines=_LINES, placeholder="…") or [""]
    texts = "".join(
        f'<text x="{x + 9}" y="{y + 26 + 12 * row}" style="fill:var(--ink);font-size:10px">{html.escape(line)}</text>'
        for row, line in enumerate(told)
    )
    stroke = 2.2 if step.id == asked else 0.8
    return (
        f"<g><title>{html.escape(f'{step.kind} {step.id}: {step.sentence}')}</title>"
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="5" '
        f'style="fill:var(--card);stroke:var(--{colour});stroke-width:{stroke}"/>'
        f'<rect x="{x}" y="{y}" width="3.5" height="{_HEIGHT}" style="fill:var(--{colour})"/>'
        f'<text x="{x + 9}" y="{y + 13}" style="fill:var(--{colour});font-size:10px;font-weight:600">{step.kind}</text>'
        f"{texts}</g>"
    )
