"""One self-contained HTML page from blocks: nothing is loaded from anywhere, everything is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1d2430;--dim:#5b6678;--line:#d9dee7;--back:#fff;--card:#f5f7fa;--accent:#0072b2}
@media(prefers-color-scheme:dark){:root{--ink:#e8ecf2;--dim:#9aa6b8;--line:#343c4a;--back:#12161d;--card:#1b212b;
--accent:#56b4e9}}
body{font:16px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--back);margin:0 auto;max-width:68rem;
padding:2rem 1.25rem 4rem}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .4rem}h2{font-size:1.25rem;margin:2.4rem 0 .5rem}
p{margin:.4rem 0 .8rem;max-width:48rem}.lead{font-size:1.1rem;color:var(--dim)}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.75rem;margin:1.2rem 0}
.figure{background:var(--card);border-radius:.5rem;padding:.8rem 1rem}.figure b{display:block;font-size:1.5rem}
.figure span{color:var(--dim);font-size:.85rem}
table{border-collapse:collapse;width:100%;font-size:.9rem;display:block;overflow-x:auto}
th,td{text-align:left;padding:.35rem .7rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--dim);font-weight:600;white-space:nowrap}
.picture{background:#fff;border:1px solid var(--line);border-radius:.5rem;padding:.75rem;overflow-x:auto;margin:.6rem 0}
.picture svg{max-width:100%;height:auto;display:block}
"""
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{title}</title><style>{style}</style></head><body>
{body}
</body></html>
"""


def heading(text: str) -> str:
    """Return a section's heading."""
    return f"<h2>{html.escape(text)}</h2>"


def sentence(text: str, *, lead: bool = False) -> str:
    """Return a paragraph."""
    return f'<p class="lead">{html.escape(text)}</p>' if lead else f"<p>{html.escape(text)}</p>"


def figures(items: Iterable[tuple[str, str]]) -> str:
    """Return key figures: pairs of value and what it is."""
    cells = "".join(
        f'<div class="figure"><b>{html.escape(value)}</b><span>{html.escape(what)}</span></div>'
        for value, what in items
    )
    return f'<div class="figures">{cells}</div>'


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def picture(svg: str) -> str:
    """Return an SVG that one of our own charts has drawn."""
    return f'<div class="picture">{svg}</div>'


def write_page(path: Path, title: str, blocks: Iterable[str]) -> Path:
    """Write the page; whoever reads it sees the old one or the new one."""
    body = f"<h1>{html.escape(title)}</h1>\n" + "\n".join(blocks)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".new")
    unfinished.write_text(_PAGE.format(title=html.escape(title), style=_STYLE, body=body), encoding="utf-8")
    return unfinished.replace(path)
